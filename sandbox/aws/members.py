"""The Auto Scaling API: the instances of groups and what happened to them. Dicts in the shapes of botocore's model."""

from sandbox.aws.catalogue import subnet_of, zone_id
from sandbox.aws.errors import AwsError, validation_error
from sandbox.aws.paging import limit, page
from sandbox.aws.scaling import Scaling
from sandbox.aws.shapes import Fields, Handler, render_activity, render_details
from sandbox.aws.shortages import Refusal
from sandbox.aws.values import EmulatedGroup, EmulatedInstance

_PAGE = 50
_MOST_IDS = 50
_MOST_LAUNCHES = 100


class MemberActions:
    """Handlers by action name; each runs under the lock and raises AwsError for what AWS would refuse."""

    def __init__(self, scaling: Scaling) -> None:
        self._scaling = scaling
        self._world = scaling.world
        self._capacity = scaling.capacity
        self._launch_tokens: dict[str, tuple[Fields, Fields]] = {}

    def handlers(self) -> dict[str, Handler]:
        """What this class answers."""
        return {
            "DescribeAutoScalingInstances": self.describe_instances,
            "DescribeScalingActivities": self.describe_activities,
            "TerminateInstanceInAutoScalingGroup": self.terminate_instance,
            "LaunchInstances": self.launch_instances,
            "SetInstanceProtection": self.set_protection,
            "SetInstanceHealth": self.set_health,
        }

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
