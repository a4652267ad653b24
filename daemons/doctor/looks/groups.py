"""Groups with what they launch, whom they notify and their hooks; instance types."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from daemons.aws.batches import batches
from daemons.aws.groups import GROUPS_A_CALL
from daemons.aws.session import translated
from daemons.doctor.findings import Finding, Severity
from daemons.doctor.judges import groups as judge
from daemons.doctor.judges.permissions import is_denial
from daemons.doctor.scene import Scene
from daemons.errors import AwsRefused
from daemons.model import FleetSpec

Groups = Mapping[str, judge.GroupFacts]


async def fetch_groups(scene: Scene) -> Groups:
    """Those of the fleets that exist, by name."""
    client = await scene.clients.get("autoscaling")
    found: list[Any] = []
    for names in batches(sorted({fleet.group for fleet in scene.config.fleets}), GROUPS_A_CALL):
        with translated("describing Auto Scaling groups", ", ".join(names)):
            answer = await client.describe_auto_scaling_groups(
                AutoScalingGroupNames=names, MaxRecords=GROUPS_A_CALL, IncludeInstances=False
            )
        found += answer["AutoScalingGroups"]
    return {group["AutoScalingGroupName"]: await _group(scene, group) for group in found}


async def _group(scene: Scene, group: Any) -> judge.GroupFacts:
    name, mixed = group["AutoScalingGroupName"], group.get("MixedInstancesPolicy", {})
    part = mixed.get("LaunchTemplate", {})
    template = group.get("LaunchTemplate") or part.get("LaunchTemplateSpecification")
    (instance_type, spot), notices, hooks = await asyncio.gather(
        _launches(scene, template, group.get("LaunchConfigurationName")), _notices(scene, name), _hooks(scene, name)
    )
    overrides = part.get("Overrides", [])
    types = [one["InstanceType"] for one in overrides if "InstanceType" in one] or [instance_type]
    return judge.GroupFacts(
        name=name,
        minimum=group["MinSize"],
        maximum=group["MaxSize"],
        protects_new=group.get("NewInstancesProtectedFromScaleIn", False),
        suspended=frozenset(one["ProcessName"] for one in group.get("SuspendedProcesses", [])),
        zones=tuple(sorted(group.get("AvailabilityZones", ()))),
        health_check=group.get("HealthCheckType", "EC2"),
        has_template=template is not None,
        instance_types=tuple(dict.fromkeys(filter(None, types))),
        weights=frozenset(
            f"{one.get('InstanceType', 'any')} counts {one['WeightedCapacity']}"
            for one in overrides
            if one.get("WeightedCapacity", "1") != "1"
        ),
        spot=_bought(mixed["InstancesDistribution"]) if "InstancesDistribution" in mixed else spot,
        warm_pool="WarmPoolConfiguration" in group,
        lifetime_s=group.get("MaxInstanceLifetime", 0),
        rebalances_capacity=group.get("CapacityRebalance", False),
        notices=notices,
        hooks=hooks,
    )


def _bought(distribution: Mapping[str, Any]) -> bool | None:
    """All on Spot, all on demand, or some of both."""
    base = distribution.get("OnDemandBaseCapacity", 0)
    share = distribution.get("OnDemandPercentageAboveBaseCapacity", 100)
    return False if share == 100 else True if share == 0 and base == 0 else None


async def _launches(scene: Scene, template: Any, configuration: str | None) -> tuple[str, bool | None]:
    """The instance type, "" where it is left open, and whether it is bought as Spot."""
    if template is not None:
        client = await scene.clients.get("ec2")
        named = {key: template[key] for key in ("LaunchTemplateId", "LaunchTemplateName") if key in template}
        named.pop("LaunchTemplateName" if "LaunchTemplateId" in named else "", None)  # one of the two, never both
        with translated("looking at the launch template", next(iter(named.values()))):
            versions = [template.get("Version", "$Default")]
            answer = await client.describe_launch_template_versions(**named, Versions=versions)
        data = answer["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        return data.get("InstanceType", ""), data.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    if configuration is not None:
        client = await scene.clients.get("autoscaling")
        with translated("looking at the launch configuration", configuration):
            answer = await client.describe_launch_configurations(LaunchConfigurationNames=[configuration])
        for found in answer["LaunchConfigurations"]:
            return found["InstanceType"], bool(found.get("SpotPrice"))
    return "", None


async def _notices(scene: Scene, group: str) -> dict[str, frozenset[str]]:
    client = await scene.clients.get("autoscaling")
    found: dict[str, frozenset[str]] = {}
    request: dict[str, Any] = {"AutoScalingGroupNames": [group], "MaxRecords": 100}
    while True:
        with translated("asking whom the group notifies", group):
            page = await client.describe_notification_configurations(**request)
        for one in page["NotificationConfigurations"]:
            found[one["TopicARN"]] = found.get(one["TopicARN"], frozenset()) | {one["NotificationType"]}
        if not page.get("NextToken"):
            return found
        request["NextToken"] = page["NextToken"]


async def _hooks(scene: Scene, group: str) -> tuple[judge.HookFacts, ...]:
    client = await scene.clients.get("autoscaling")
    with translated("looking at the group's hooks", group):
        answer = await client.describe_lifecycle_hooks(AutoScalingGroupName=group)
    return tuple(
        judge.HookFacts(
            name=hook["LifecycleHookName"],
            launching=hook["LifecycleTransition"].endswith("LAUNCHING"),
            timeout_s=hook.get("HeartbeatTimeout", 3600),
            result=hook.get("DefaultResult", "ABANDON"),
            target=hook.get("NotificationTargetARN", ""),
        )
        for hook in answer["LifecycleHooks"]
    )


async def fetch_topic_arns(scene: Scene) -> tuple[str, ...]:
    """The topics that the configuration names and those that groups and hooks notify, each once."""
    groups: Groups = await scene.once("groups", fetch_groups)
    arns = [*scene.config.sqswatcher.topics]
    arns += [arn for group in groups.values() for arn in group.notices]
    arns += [hook.target for group in groups.values() for hook in group.hooks if ":sns:" in hook.target]
    return tuple(dict.fromkeys(arns))


async def fetch_maxima(scene: Scene) -> tuple[int, ...]:
    """How large each of the groups may get."""
    groups: Groups = await scene.once("groups", fetch_groups)
    return tuple(group.maximum for group in groups.values())


async def look_at_groups(scene: Scene) -> Sequence[Finding]:
    groups: Groups = await scene.once("groups", fetch_groups)
    return [finding for fleet in scene.config.fleets for finding in _judge(fleet, groups.get(fleet.group))]


def _judge(fleet: FleetSpec, group: judge.GroupFacts | None) -> Sequence[Finding]:
    if group is not None:
        return list(judge.check_group(fleet, group))
    remedy = f"make the group, or correct group of fleet {fleet.name}"
    found = "there is no such Auto Scaling group"
    return [Finding(id="group-exists", severity=Severity.ERROR, looked_at=fleet.group, found=found, remedy=remedy)]


async def look_at_types(scene: Scene) -> Sequence[Finding]:
    found = await asyncio.gather(*(_shape(scene, fleet) for fleet in scene.config.fleets))
    return [finding for some in found for finding in some]


async def _shape(scene: Scene, fleet: FleetSpec) -> Sequence[Finding]:
    """Of one fleet, whose type AWS may not know."""
    client = await scene.clients.get("ec2")
    try:
        with translated("looking at the instance type", fleet.instance_type):
            answer = await client.describe_instance_types(InstanceTypes=[fleet.instance_type])
    except AwsRefused as err:
        if is_denial(err.error_code):
            raise
        remedy = f"correct instance_type of fleet {fleet.name}"
        where = f"fleet {fleet.name}"
        return [Finding(id="fleet-instance-type", severity=Severity.ERROR, looked_at=where, found=str(err), remedy=remedy)]
    known = [_type(one) for one in answer["InstanceTypes"] if one["InstanceType"] == fleet.instance_type]
    return [finding for one in known for finding in judge.check_shape(fleet, one)]


def _type(raw: Any) -> judge.TypeFacts:
    return judge.TypeFacts(
        name=raw["InstanceType"],
        vcpus=raw["VCpuInfo"]["DefaultVCpus"],
        memory_mib=raw["MemoryInfo"]["SizeInMiB"],
        gpus=sum(one["Count"] for one in raw.get("GpuInfo", {}).get("Gpus", [])),
    )
