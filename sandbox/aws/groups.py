"""The Auto Scaling API: groups and what they launch. Parameters and results are dicts in the shapes of botocore's model."""

from sandbox.aws.capacity import check_bounds, check_desired
from sandbox.aws.catalogue import subnet_of, zones_of
from sandbox.aws.errors import AwsError, validation_error
from sandbox.aws.hooks import parse_hook
from sandbox.aws.paging import limit, page
from sandbox.aws.scaling import Scaling
from sandbox.aws.shapes import Fields, Handler, render_configuration, render_group, render_tag
from sandbox.aws.sources import check_instance_type, resolve_source
from sandbox.aws.values import EmulatedGroup, EmulatedInstance, LaunchConfiguration, Tag, iso

PROCESSES = frozenset(
    {
        "Launch",
        "Terminate",
        "AddToLoadBalancer",
        "AlarmNotification",
        "AZRebalance",
        "HealthCheck",
        "InstanceRefresh",
        "ReplaceUnhealthy",
        "ScheduledActions",
    }
)
_PLAIN_MEMBERS = {
    "NewInstancesProtectedFromScaleIn": "protect_new",
    "CapacityRebalance": "capacity_rebalance",
    "DefaultCooldown": "cooldown_s",
    "HealthCheckGracePeriod": "grace_s",
    "HealthCheckType": "health_check_type",
    "VPCZoneIdentifier": "vpc_zone_identifier",
}
_PAGE = 50


class GroupActions:
    """Handlers by action name; each runs under the lock and raises AwsError for what AWS would refuse."""

    def __init__(self, scaling: Scaling) -> None:
        self._world = scaling.world
        self._capacity = scaling.capacity

    def handlers(self) -> dict[str, Handler]:
        """What this class answers."""
        return {
            "CreateAutoScalingGroup": self.create_group,
            "UpdateAutoScalingGroup": self.update_group,
            "DeleteAutoScalingGroup": self.delete_group,
            "DescribeAutoScalingGroups": self.describe_groups,
            "SetDesiredCapacity": self.set_desired,
            "SuspendProcesses": self.suspend,
            "ResumeProcesses": self.resume,
            "CreateOrUpdateTags": self.create_tags,
            "DescribeTags": self.describe_tags,
            "CreateLaunchConfiguration": self.create_configuration,
            "DescribeLaunchConfigurations": self.describe_configurations,
        }

    def create_group(self, params: Fields) -> Fields:
        name = params["AutoScalingGroupName"]
        if name in self._world.groups:
            raise AwsError(
                "AlreadyExists", f"AutoScalingGroup by this name already exists - A group with the name {name} already exists"
            )
        low: int = params["MinSize"]
        high: int = params["MaxSize"]
        check_bounds(low, high)
        desired: int = params.get("DesiredCapacity", low)
        check_desired(desired, low, high)
        source = resolve_source(self._world, params)
        if source is None:
            raise validation_error(
                "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or "
                "MixedInstancesPolicy parameter."
            )
        arn = f"arn:aws:autoscaling:{self._world.region}:{self._world.account}:autoScalingGroup:{self._world.new_id()}"
        self._world.groups[name] = EmulatedGroup(
            name=name,
            arn=f"{arn}:autoScalingGroupName/{name}",
            minimum=low,
            desired=desired,
            maximum=high,
            zones=self._zones(params),
            source=source,
            created_at=self._world.now,
            protect_new=params.get("NewInstancesProtectedFromScaleIn", False),
            capacity_rebalance=params.get("CapacityRebalance", False),
            cooldown_s=params.get("DefaultCooldown", 300),
            grace_s=params.get("HealthCheckGracePeriod", 0),
            health_check_type=params.get("HealthCheckType", "EC2"),
            vpc_zone_identifier=params.get("VPCZoneIdentifier", ""),
            termination_policies=tuple(params.get("TerminationPolicies") or ("Default",)),
            tags=tuple(_parse_tag(each) for each in params.get("Tags", ())),
            hooks=tuple(parse_hook(each) for each in params.get("LifecycleHookSpecificationList", ())),
        )
        self._world.change_group(name, causes=self._created(desired))
        self._capacity.settle_soon(name)
        return {}

    def _created(self, desired: int) -> str:
        what = "a user request created an AutoScalingGroup changing the desired capacity"
        return f"At {iso(self._world.now)} {what} from 0 to {desired}."

    def _zones(self, params: Fields) -> tuple[str, ...]:
        known = zones_of(self._world.region)
        if wanted := params.get("AvailabilityZones"):
            if unknown := [each for each in wanted if each not in known]:
                raise validation_error(f"Invalid Availability Zone(s): {unknown}")
            return tuple(wanted)
        by_subnet = {subnet_of(each): each for each in known}
        subnets = [each.strip() for each in params.get("VPCZoneIdentifier", "").split(",") if each.strip()]
        if unknown := [each for each in subnets if each not in by_subnet]:
            raise validation_error(f"The subnet ID '{unknown[0]}' does not exist")
        if not subnets:
            raise validation_error("At least one Availability Zone or VPC Subnet is required.")
        return tuple(dict.fromkeys(by_subnet[each] for each in subnets))

    def update_group(self, params: Fields) -> Fields:
        name = params["AutoScalingGroupName"]
        self._world.group(name)
        changes: Fields = {}
        if source := resolve_source(self._world, params):
            changes["source"] = source
        if "AvailabilityZones" in params or "VPCZoneIdentifier" in params:
            changes["zones"] = self._zones(params)
        for member, field in _PLAIN_MEMBERS.items():
            if member in params:
                changes[field] = params[member]
        sizes = (params.get("MinSize"), params.get("DesiredCapacity"), params.get("MaxSize"))
        self._capacity.resize(name, minimum=sizes[0], desired=sizes[1], maximum=sizes[2])
        self._world.change_group(name, **changes)
        return {}

    def delete_group(self, params: Fields) -> Fields:
        self._capacity.delete(params["AutoScalingGroupName"], force=params.get("ForceDelete", False))
        return {}

    def describe_groups(self, params: Fields) -> Fields:
        names = params.get("AutoScalingGroupNames")
        chosen = [each for each in self._world.groups.values() if not names or each.name in names]
        chosen = [each for each in chosen if all(_matches(each, one) for one in params.get("Filters", ()))]
        most = limit(params, default=_PAGE, most=100)
        shown, token = page(chosen, operation="groups", token=params.get("NextToken"), limit=most)
        with_instances = params.get("IncludeInstances", True)
        members: dict[str, list[EmulatedInstance]] = {each.name: [] for each in shown}
        for instance in self._world.instances.values():
            if instance.lifecycle and instance.group in members:
                members[instance.group].append(instance)
        groups = [render_group(each, members[each.name] if with_instances else None) for each in shown]
        return {"AutoScalingGroups": groups, "NextToken": token}

    def set_desired(self, params: Fields) -> Fields:
        self._capacity.set_desired(params["AutoScalingGroupName"], params["DesiredCapacity"])
        return {}

    def suspend(self, params: Fields) -> Fields:
        group = self._world.group(params["AutoScalingGroupName"])
        self._world.change_group(group.name, suspended=group.suspended | _processes(params))
        return {}

    def resume(self, params: Fields) -> Fields:
        group = self._world.group(params["AutoScalingGroupName"])
        self._world.change_group(group.name, suspended=group.suspended - _processes(params))
        self._capacity.lifecycle.look_again(group.name)
        self._capacity.settle_soon(group.name)
        return {}

    def create_tags(self, params: Fields) -> Fields:
        for fields in params["Tags"]:
            group = self._world.group(fields.get("ResourceId", ""))
            tag = _parse_tag(fields)
            kept = tuple(each for each in group.tags if each.key != tag.key)
            self._world.change_group(group.name, tags=(*kept, tag))
        return {}

    def describe_tags(self, params: Fields) -> Fields:
        every = [render_tag(group.name, tag) for group in self._world.groups.values() for tag in group.tags]
        members = {"auto-scaling-group": "ResourceId", "key": "Key", "value": "Value"}
        for one in params.get("Filters", ()):
            member = members.get(one.get("Name", ""))
            if member is not None:
                every = [each for each in every if each[member] in one.get("Values", ())]
        most = limit(params, default=50, most=100)
        shown, token = page(every, operation="tags", token=params.get("NextToken"), limit=most)
        return {"Tags": list(shown), "NextToken": token}

    def create_configuration(self, params: Fields) -> Fields:
        name = params["LaunchConfigurationName"]
        if name in self._world.configurations:
            raise AwsError("AlreadyExists", f"Launch Configuration by this name already exists - {name}")
        if "InstanceType" not in params or "ImageId" not in params:
            raise validation_error(
                "Valid requests must contain either the InstanceID parameter or both the ImageId and InstanceType parameters."
            )
        check_instance_type(params["InstanceType"])
        arn = f"arn:aws:autoscaling:{self._world.region}:{self._world.account}:launchConfiguration:{self._world.new_id()}"
        self._world.configurations[name] = LaunchConfiguration(
            name=name,
            arn=f"{arn}:launchConfigurationName/{name}",
            created_at=self._world.now,
            instance_type=params["InstanceType"],
            image_id=params["ImageId"],
            spot_price=params.get("SpotPrice"),
        )
        return {}

    def describe_configurations(self, params: Fields) -> Fields:
        names = params.get("LaunchConfigurationNames")
        chosen = [each for each in self._world.configurations.values() if not names or each.name in names]
        most = limit(params, default=50, most=100)
        shown, token = page(chosen, operation="configurations", token=params.get("NextToken"), limit=most)
        return {"LaunchConfigurations": [render_configuration(each) for each in shown], "NextToken": token}


def _parse_tag(fields: Fields) -> Tag:
    return Tag(key=fields["Key"], value=fields.get("Value", ""), propagate=fields.get("PropagateAtLaunch", True))


def _matches(group: EmulatedGroup, one: Fields) -> bool:
    name, values = one.get("Name", ""), one.get("Values", ())
    if name == "tag-key":
        return any(each.key in values for each in group.tags)
    if name == "tag-value":
        return any(each.value in values for each in group.tags)
    if name.startswith("tag:"):
        return any(each.key == name[4:] and each.value in values for each in group.tags)
    raise validation_error(f"Filter type {name} is not correct. Allowed Filter types are: tag-key, tag-value, tag:<key>")


def _processes(params: Fields) -> frozenset[str]:
    chosen = frozenset(params.get("ScalingProcesses") or PROCESSES)
    if unknown := chosen - PROCESSES:
        raise validation_error(f"Unknown process types: {sorted(unknown)}")
    return chosen
