"""The Auto Scaling groups behind the fleets: read whole, grown by an absolute write, shrunk by naming one instance."""

import asyncio
import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from daemons.aws.batches import batches
from daemons.aws.session import Clients, translated
from daemons.errors import AwsRefused
from daemons.model import Fleet, FleetName, FleetSpec, InstanceId, Member
from daemons.ports import EndOutcome

if TYPE_CHECKING:
    from types_aiobotocore_autoscaling.client import AutoScalingClient

IDS_A_CALL = 50  # DescribeAutoScalingInstances' limit
GROUPS_A_CALL = 100


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

    async def end(self, instance_id: InstanceId, *, relaunch: bool = False) -> EndOutcome:
        client = await self._client()
        try:
            with translated("ending the instance", instance_id):
                await client.terminate_instance_in_auto_scaling_group(
                    InstanceId=instance_id, ShouldDecrementDesiredCapacity=not relaunch
                )
        except AwsRefused as err:
            if err.error_code != "ValidationError":
                raise
            if "not found" in str(err).lower():
                return EndOutcome.ABSENT
            if "min" in str(err).lower():
                return EndOutcome.AT_MINIMUM
            raise
        return EndOutcome.ENDING

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
                if group["AutoScalingGroupName"] in groups:  # a group's many instances may go on over pages
                    groups[group["AutoScalingGroupName"]]["Instances"] += group["Instances"]
                else:
                    groups[group["AutoScalingGroupName"]] = group
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
            )
            for member in group.get("Instances", [])
        ),
    )
