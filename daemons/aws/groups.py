"""The Auto Scaling groups behind the fleets: read whole, grown by an absolute write, shrunk by naming one instance."""

import asyncio
import contextlib
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from daemons.aws.activities import parse_failed_launch, parse_launch_error
from daemons.aws.batches import batches
from daemons.aws.session import THROTTLES, Clients, translated
from daemons.errors import AwsRefused, AwsUnavailable
from daemons.model import Fleet, FleetName, FleetSpec, InstanceId, LaunchFailure, Member
from daemons.ports import EndOutcome, LaunchAnswer

if TYPE_CHECKING:
    from types_aiobotocore_autoscaling.client import AutoScalingClient

IDS_A_CALL = 50  # DescribeAutoScalingInstances' limit
GROUPS_A_CALL = 100
ACTIVITIES_A_CALL = 100  # newest first
LAUNCHES_A_CALL = 100
_REFUSED_ENDS = {  # in Auto Scaling's words, whole enough that no "terminating" is taken for "min"
    "no managed instance found for instance id": EndOutcome.ABSENT,
    "desiredsize equals minsize": EndOutcome.AT_MINIMUM,
    "will violate group's min size constraint": EndOutcome.AT_MINIMUM,
}


class AutoScalingGroups:
    """Implements `daemons.ports.Groups`."""

    def __init__(self, clients: Clients, *, specs: Sequence[FleetSpec]) -> None:
        self._clients = clients
        self._specs = tuple(specs)
        self._fleet_of_group = {spec.group: spec.name for spec in specs}
        self._group_of_fleet = {spec.name: spec.group for spec in specs}

    async def fleets(self) -> tuple[Fleet, ...]:
        groups: dict[str, Any] = {}
        for batch in batches(self._fleet_of_group, GROUPS_A_CALL):
            groups |= await self._describe(batch)
        if missing := [spec.group for spec in self._specs if spec.group not in groups]:
            raise AwsRefused(
                f"there is no Auto Scaling group named {', '.join(missing)}",
                error_code="GroupNotFound",
                hint="create the group, or correct fleet.group in the configuration",
            )
        return tuple(_parse_fleet(spec, groups[spec.group]) for spec in self._specs)

    async def fleet_of(self, instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, FleetName]:
        found = await asyncio.gather(*map(self._fleet_of_batch, batches(sorted(set(instance_ids)), IDS_A_CALL)))
        return {instance_id: fleet for some in found for instance_id, fleet in some.items()}

    async def raise_desired(self, fleet: Fleet, target: int) -> None:
        if not fleet.desired < target <= fleet.maximum:
            raise ValueError(f"fleet {fleet.name}: {target} is not above {fleet.desired} and within {fleet.maximum}")
        client = await self._client()
        with translated(f"raising the desired capacity to {target}", fleet.spec.group):
            await client.set_desired_capacity(AutoScalingGroupName=fleet.spec.group, DesiredCapacity=target, HonorCooldown=False)

    async def launch(self, fleet: Fleet, count: int, *, zones: Sequence[str], token: str) -> LaunchAnswer:
        """LaunchInstances takes one zone and a hundred instances a call (its API reference)."""
        launched: list[InstanceId] = []
        failures: list[LaunchFailure] = []
        for zone in zones or ("",):
            while count > len(launched):
                asked = min(count - len(launched), LAUNCHES_A_CALL)
                answer = await self._launch(fleet, asked, zone, f"{token}-{zone}-{len(launched)}")
                launched += answer.launched
                failures += answer.failures
                if len(answer.launched) < asked:
                    break
        return LaunchAnswer(launched=tuple(launched), failures=tuple(failures))

    async def _launch(self, fleet: Fleet, count: int, zone: str, token: str) -> LaunchAnswer:
        client = await self._client()
        where: dict[str, Any] = {"AvailabilityZones": [zone]} if zone else {}
        with translated(f"launching {count} instances in {zone or 'its zone'}", fleet.spec.group):
            answer: Any = await client.launch_instances(
                AutoScalingGroupName=fleet.spec.group,
                RequestedCapacity=count,
                ClientToken=hashlib.sha256(token.encode()).hexdigest(),
                RetryStrategy="none",
                **where,
            )
        return LaunchAnswer(
            launched=tuple(InstanceId(one) for some in answer.get("Instances", []) for one in some.get("InstanceIds", [])),
            failures=tuple(parse_launch_error(fleet.name, error) for error in answer.get("Errors", [])),
        )

    async def cancel_unfulfilled(self, fleet: Fleet, target: int) -> int:
        """Reads the group anew first: between the decision and this call instances may have been launched."""
        now = _parse_fleet(fleet.spec, (await self._describe([fleet.spec.group]))[fleet.spec.group])
        lowest = max(target, now.minimum, len(now.staying))
        is_safe = now.protects_new and all(member.protected for member in now.staying if member.lifecycle == "InService")
        if lowest >= now.desired or not is_safe:
            return now.desired
        client = await self._client()
        with translated(f"lowering the desired capacity to {lowest}", fleet.spec.group):
            await client.set_desired_capacity(AutoScalingGroupName=fleet.spec.group, DesiredCapacity=lowest, HonorCooldown=False)
        return lowest

    async def launch_failures(self, fleet: FleetName, *, since: float) -> tuple[LaunchFailure, ...]:
        client = await self._client()
        group = self._group_of_fleet[fleet]
        with translated("reading scaling activities", group):
            page: Any = await client.describe_scaling_activities(AutoScalingGroupName=group, MaxRecords=ACTIVITIES_A_CALL)
        found = [parse_failed_launch(fleet, activity) for activity in page["Activities"]]
        return tuple(failure for failure in reversed(found) if failure is not None and failure.at >= since)

    async def end(self, instance_id: InstanceId, *, relaunch: bool = False) -> EndOutcome:
        try:
            async for attempt in AsyncRetrying(
                stop=stop_after_attempt(4),
                wait=wait_random_exponential(multiplier=0.5, max=5),
                retry=retry_if_exception(_was_throttled),
                reraise=True,
            ):
                with attempt:
                    await self._end_once(instance_id, relaunch=relaunch)
        except AwsRefused as err:
            outcome = _refused_end(err)
            if outcome is None:
                raise
            return outcome
        return EndOutcome.ENDING

    async def _end_once(self, instance_id: InstanceId, *, relaunch: bool) -> None:
        """A call whose answer was lost may have lowered the capacity, and would lower it once more: only a throttled one, which
        did nothing, is repeated.
        """
        client: AutoScalingClient = await self._clients.once("autoscaling")
        with translated("ending the instance", instance_id):
            await client.terminate_instance_in_auto_scaling_group(
                InstanceId=instance_id, ShouldDecrementDesiredCapacity=not relaunch
            )

    async def complete_hook(self, fleet: FleetName, hook: str, instance_id: InstanceId, *, proceed: bool) -> None:
        client = await self._client()
        with _unless_over(), translated(f"answering the lifecycle hook {hook}", instance_id):
            await client.complete_lifecycle_action(
                LifecycleHookName=hook,
                AutoScalingGroupName=self._group_of_fleet[fleet],
                InstanceId=instance_id,
                LifecycleActionResult="CONTINUE" if proceed else "ABANDON",
            )

    async def extend_hook(self, fleet: FleetName, hook: str, instance_id: InstanceId) -> None:
        client = await self._client()
        with _unless_over(), translated(f"extending the lifecycle hook {hook}", instance_id):
            await client.record_lifecycle_action_heartbeat(
                LifecycleHookName=hook, AutoScalingGroupName=self._group_of_fleet[fleet], InstanceId=instance_id
            )

    async def _describe(self, names: list[str]) -> dict[str, Any]:
        client = await self._client()
        request: dict[str, Any] = {"AutoScalingGroupNames": names, "MaxRecords": GROUPS_A_CALL}
        groups: dict[str, Any] = {}
        while True:
            with translated("describing Auto Scaling groups", ", ".join(names)):
                page: Any = await client.describe_auto_scaling_groups(**request)
            for group in page["AutoScalingGroups"]:
                name = group["AutoScalingGroupName"]
                before = groups.get(name, {}).get("Instances", [])  # a group's many instances may go on over pages
                groups[name] = {**group, "Instances": [*before, *group.get("Instances", [])]}
            if not page.get("NextToken"):
                return groups
            request["NextToken"] = page["NextToken"]

    async def _fleet_of_batch(self, instance_ids: list[InstanceId]) -> dict[InstanceId, FleetName]:
        client = await self._client()
        with translated("asking which groups hold instances", ", ".join(instance_ids[:3])):
            answer = await client.describe_auto_scaling_instances(InstanceIds=instance_ids)
        return {
            InstanceId(found["InstanceId"]): self._fleet_of_group[found["AutoScalingGroupName"]]
            for found in answer["AutoScalingInstances"]
            if found["AutoScalingGroupName"] in self._fleet_of_group
        }

    async def _client(self) -> "AutoScalingClient":
        client: AutoScalingClient = await self._clients.get("autoscaling")
        return client


def _refused_end(err: AwsRefused) -> EndOutcome | None:
    """What Auto Scaling means by a refusal, which has no code of its own; None where nobody knows: that is no outcome."""
    if err.error_code != "ValidationError":
        return None
    return next((outcome for words, outcome in _REFUSED_ENDS.items() if words in str(err).lower()), None)


def _was_throttled(err: BaseException) -> bool:
    return isinstance(err, AwsUnavailable) and err.facts.get("error_code") in THROTTLES


@contextlib.contextmanager
def _unless_over() -> Iterator[None]:
    """Nobody waits for this hook any more: there is nothing to say."""
    try:
        yield
    except AwsRefused as err:
        if err.error_code != "ValidationError" or "no active lifecycle action" not in str(err).lower():
            raise


def _parse_fleet(spec: FleetSpec, group: Mapping[str, Any]) -> Fleet:
    return Fleet(
        spec=spec,
        minimum=group["MinSize"],
        desired=group["DesiredCapacity"],
        maximum=group["MaxSize"],
        members=tuple(
            Member(
                instance_id=InstanceId(member["InstanceId"]),
                lifecycle=member["LifecycleState"],
                zone=member.get("AvailabilityZone", ""),
                healthy=member.get("HealthStatus", "Healthy").lower() == "healthy",
                instance_type=member.get("InstanceType", ""),
                protected=member.get("ProtectedFromScaleIn", False),
            )
            for member in group.get("Instances", [])
        ),
        zones=tuple(sorted(group.get("AvailabilityZones", ()))),
        protects_new=group.get("NewInstancesProtectedFromScaleIn", False),
    )
