"""The Auto Scaling API: groups, sizes and instances. Parameters and results are dicts in the shapes of botocore's model."""

from sandbox.aws.capacity import check_bounds, check_desired
from sandbox.aws.catalogue import subnet_of, zone_id, zones_of
from sandbox.aws.errors import AwsError, validation_error
from sandbox.aws.hooks import parse_hook
from sandbox.aws.paging import limit, page
from sandbox.aws.scaling import Scaling
from sandbox.aws.shapes import (
    Fields,
    Handler,
    render_activity,
    render_configuration,
    render_details,
    render_group,
    render_tag,
)
from sandbox.aws.shortages import Refusal
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
_PAGE = 50  # DescribeAutoScalingGroups and DescribeAutoScalingInstances
_MOST_IDS = 50
_MOST_LAUNCHES = 100


class ScalingActions:
    """Handlers by action name; each runs under the lock and raises AwsError for what AWS would refuse."""

    def __init__(self, scaling: Scaling) -> None:
        self._scaling = scaling
        self._world = scaling.world
        self._capacity = scaling.capacity
        self._launch_tokens: dict[str, tuple[Fields, Fields]] = {}

    def handlers(self) -> dict[str, Handler]:
        """What this class answers."""
        return {
            "CreateAutoScalingGroup": self.create_group,
            "UpdateAutoScalingGroup": self.update_group,
            "DeleteAutoScalingGroup": self.delete_group,
            "DescribeAutoScalingGroups": self.describe_groups,
            "DescribeAutoScalingInstances": self.describe_instances,
            "DescribeScalingActivities": self.describe_activities,
            "SetDesiredCapacity": self.set_desired,
            "TerminateInstanceInAutoScalingGroup": self.terminate_instance,
            "LaunchInstances": self.launch_instances,
            "SetInstanceProtection": self.set_protection,
            "SetInstanceHealth": self.set_health,
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

    def describe_instances(self, params: Fields) -> Fields:
        wanted = params.get("InstanceIds")
        if wanted and len(wanted) > _MOST_IDS:
            raise validation_error(f"The number of instance ids that may be passed in is limited to {_MOST_IDS}")
        known = self._world.instances
        candidates = [known[each] for each in wanted if each in known] if wanted else list(known.values())
        held = [each for each in candidates if each.lifecycle]
        most = limit(params, default=_PAGE, most=50)
        shown, token = page(held, operation="instances", token=params.get("NextToken"), limit=most)
        return {"AutoScalingInstances": [render_details(each) for each in shown], "NextToken": token}

    def describe_activities(self, params: Fields) -> Fields:
        name = params.get("AutoScalingGroupName")
        if name is not None and name not in self._world.groups and not params.get("IncludeDeletedGroups"):
            self._world.group(name)
        ids = params.get("ActivityIds")
        chosen = [
            each
            for each in reversed(self._world.activities.values())
            if (not ids or each.activity_id in ids)
            and (name is None or each.group == name)
            and (params.get("IncludeDeletedGroups") or not each.group_deleted)
        ]
        most = limit(params, default=100, most=100)
        shown, token = page(chosen, operation="activities", token=params.get("NextToken"), limit=most)
        return {"Activities": [render_activity(each) for each in shown], "NextToken": token}

    def set_desired(self, params: Fields) -> Fields:
        self._capacity.set_desired(params["AutoScalingGroupName"], params["DesiredCapacity"])
        return {}

    def terminate_instance(self, params: Fields) -> Fields:
        decrement = params["ShouldDecrementDesiredCapacity"]
        if "InstanceIds" in params:
            if "AutoScalingGroupName" not in params:
                raise validation_error("AutoScalingGroupName is required when using InstanceIds.")
            name = params["AutoScalingGroupName"]
            ids = self._capacity.end_instances(name, params["InstanceIds"], decrement=decrement)
            return {"Activities": [render_activity(self._world.activities[each]) for each in ids]}
        if "InstanceId" not in params:
            raise validation_error("Either InstanceId or InstanceIds must be specified.")
        activity_id = self._capacity.end_instance(params["InstanceId"], decrement=decrement)
        return {"Activity": render_activity(self._world.activities[activity_id])}

    def launch_instances(self, params: Fields) -> Fields:
        if params["ClientToken"] in self._launch_tokens:
            earlier, answer = self._launch_tokens[params["ClientToken"]]
            if earlier != params:
                raise AwsError(
                    "IdempotentParameterMismatch", "The client token was used with other parameters in an earlier call."
                )
            return answer
        group = self._world.group(params["AutoScalingGroupName"])
        if not 1 <= params["RequestedCapacity"] <= _MOST_LAUNCHES:
            raise validation_error(f"RequestedCapacity must be between 1 and {_MOST_LAUNCHES}.")
        if group.source.template_id is None:
            raise validation_error("LaunchInstances requires an Auto Scaling group with a launch template.")
        zones = self._launch_zones(group, params)
        retry = params.get("RetryStrategy", "none") == "retry-with-group-configuration"
        launched, refusals = self._capacity.launch_now(group.name, params["RequestedCapacity"], zones=zones, retry=retry)
        answer = {
            "AutoScalingGroupName": group.name,
            "ClientToken": params["ClientToken"],
            "Instances": _collect(launched),
            "Errors": [_render_refusal(each, spot=group.source.spot) for each in refusals],
        }
        self._launch_tokens[params["ClientToken"]] = (params, answer)
        return answer

    @staticmethod
    def _launch_zones(group: EmulatedGroup, params: Fields) -> tuple[str, ...]:
        wanted = set(params.get("AvailabilityZones", ())) | {
            each
            for each in group.zones
            if zone_id(each) in params.get("AvailabilityZoneIds", ()) or subnet_of(each) in params.get("SubnetIds", ())
        }
        if not wanted and len(group.zones) > 1:
            raise validation_error(
                "Either AvailabilityZones or SubnetIds must be specified for a group with multiple Availability Zones."
            )
        if outside := wanted - set(group.zones):
            raise validation_error(f"Availability Zones {sorted(outside)} are not part of the Auto Scaling group.")
        return tuple(sorted(wanted)) or group.zones

    def set_protection(self, params: Fields) -> Fields:
        ids, name = params["InstanceIds"], params["AutoScalingGroupName"]
        self._world.group(name)
        if len(ids) > _MOST_IDS:
            raise validation_error(f"The number of instance ids that may be passed in is limited to {_MOST_IDS}")
        for instance_id in ids:
            instance = self._world.managed(instance_id)
            if instance.group != name or instance.lifecycle != "InService":
                raise validation_error(
                    f"The instance {instance_id} is not in InService or EnteringStandby or Standby."
                    if instance.group == name
                    else f"The instance {instance_id} is not part of Auto Scaling group {name}."
                )
        for instance_id in ids:
            self._world.change(instance_id, protected=params["ProtectedFromScaleIn"])
        self._capacity.settle_soon(name)
        return {}

    def set_health(self, params: Fields) -> Fields:
        instance_id, status = params["InstanceId"], params["HealthStatus"]
        if status not in ("Healthy", "Unhealthy"):
            raise validation_error("Valid instance health states are: [Healthy, Unhealthy].")
        if status == "Unhealthy":
            self._scaling.mark_unhealthy(instance_id)
        else:
            self._world.managed(instance_id)
            self._world.change(instance_id, health="Healthy")
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


_PLAIN_MEMBERS = {
    "NewInstancesProtectedFromScaleIn": "protect_new",
    "CapacityRebalance": "capacity_rebalance",
    "DefaultCooldown": "cooldown_s",
    "HealthCheckGracePeriod": "grace_s",
    "HealthCheckType": "health_check_type",
    "VPCZoneIdentifier": "vpc_zone_identifier",
}


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


def _collect(instances: list[EmulatedInstance]) -> list[Fields]:
    by_place: dict[tuple[str, str, bool], list[str]] = {}
    for each in instances:
        by_place.setdefault((each.instance_type, each.zone, each.spot), []).append(each.instance_id)
    return [{**_render_place(*place), "InstanceIds": ids} for place, ids in by_place.items()]


def _render_place(instance_type: str, zone: str, spot: bool) -> Fields:
    return {
        "InstanceType": instance_type,
        "MarketType": "spot" if spot else "on-demand",
        "SubnetId": subnet_of(zone),
        "AvailabilityZone": zone,
        "AvailabilityZoneId": zone_id(zone),
    }


def _render_refusal(refusal: Refusal, *, spot: bool) -> Fields:
    place = _render_place(refusal.instance_type, refusal.zone, spot)
    return {**place, "ErrorCode": refusal.code, "ErrorMessage": refusal.message}
