"""What a group launches from: a launch template, a mixed instances policy over one, or a launch configuration."""

from sandbox.aws.catalogue import INSTANCE_TYPES
from sandbox.aws.errors import validation_error
from sandbox.aws.shapes import Fields
from sandbox.aws.values import LaunchSource, LaunchTemplate
from sandbox.aws.world import World


def resolve_source(world: World, params: Fields) -> LaunchSource | None:
    """The source a Create or Update call names, None if it names none. Raises AwsError for one that is not there."""
    if name := params.get("LaunchConfigurationName"):
        return _from_configuration(world, name)
    if template := params.get("LaunchTemplate"):
        return _from_template(world, template)
    if mixed := params.get("MixedInstancesPolicy"):
        return _from_mixed(world, mixed)
    return None


def _from_configuration(world: World, name: str) -> LaunchSource:
    if name not in world.configurations:
        raise validation_error(f"Launch configuration name not found - Launch configuration {name} not found")
    configuration = world.configurations[name]
    return LaunchSource(
        instance_types=(configuration.instance_type,),
        image_id=configuration.image_id,
        spot=configuration.spot_price is not None,
        configuration=name,
    )


def find_template(world: World, specification: Fields) -> LaunchTemplate | None:
    """By id or by name."""
    template_id, name = specification.get("LaunchTemplateId"), specification.get("LaunchTemplateName")
    for template in world.templates.values():
        if template.template_id == template_id or (template_id is None and template.name == name):
            return template
    return None


def _from_template(
    world: World, specification: Fields, *, instance_types: tuple[str, ...] = (), spot: bool | None = None
) -> LaunchSource:
    template = find_template(world, specification)
    version = specification.get("Version") or "$Default"
    if template is None or version not in ("1", "$Default", "$Latest"):
        raise validation_error(
            "You must use a valid fully-formed launch template. The specified launch template, with template ID "
            f"{specification.get('LaunchTemplateId')}, name {specification.get('LaunchTemplateName')}, version "
            f"{version}, does not exist."
        )
    types = instance_types or ((template.instance_type,) if template.instance_type else ())
    if not types:
        raise validation_error(
            "You must use a valid fully-formed launch template. The request must contain the parameter InstanceType"
        )
    return LaunchSource(
        instance_types=types,
        image_id=template.image_id,
        spot=template.spot if spot is None else spot,
        tags=template.tags,
        template_id=template.template_id,
        template_name=template.name,
        template_version=version,
        mixed=bool(instance_types),
    )


def _from_mixed(world: World, mixed: Fields) -> LaunchSource:
    part = mixed.get("LaunchTemplate") or {}
    overrides = part.get("Overrides") or []
    if any("WeightedCapacity" in each or "InstanceRequirements" in each for each in overrides):
        raise validation_error("The sandbox emulates neither weighted capacity nor attribute-based instance selection.")
    types = tuple(each["InstanceType"] for each in overrides if "InstanceType" in each)
    share = (mixed.get("InstancesDistribution") or {}).get("OnDemandPercentageAboveBaseCapacity", 100)
    specification = part.get("LaunchTemplateSpecification") or {}
    return _from_template(world, specification, instance_types=types, spot=share == 0)


def check_instance_type(name: str | None) -> None:
    """Raises AwsError for a type outside the catalogue."""
    if name is not None and name not in INSTANCE_TYPES:
        raise validation_error(f"Invalid instance type specified: {name}")
