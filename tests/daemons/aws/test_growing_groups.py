"""What growing asks of Auto Scaling beyond a larger number: launches at once, failures, and capacity taken back unfulfilled."""

import asyncio
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import pytest

from daemons.aws.groups import AutoScalingGroups
from daemons.aws.session import Clients
from daemons.model import Fleet, FleetSpec
from jobwatcher.failures import FailureKind, classify
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, StackSpec, client, create_stack
from tests.fakes import BATCH

FIRST_ZONE, SECOND_ZONE = "eu-west-1a", "eu-west-1b"
AT_ONCE = replace(BATCH, group="grow-at-once")
FAILING = replace(BATCH, group="grow-failing")
CANCELLED = replace(BATCH, group="grow-cancelled")
OPEN = replace(BATCH, group="grow-open")  # its instances are not protected


@pytest.fixture(scope="module", autouse=True)
def groups_of_their_own(aws: SandboxAws) -> None:
    zones = (FIRST_ZONE, SECOND_ZONE)
    specs = [
        GroupSpec(name=spec.group, maximum=250, zones=zones, instance_type=BATCH.instance_type)
        for spec in (AT_ONCE, FAILING, CANCELLED, OPEN)
    ]
    create_stack(aws.endpoint_url, StackSpec(name="grow", groups=tuple(specs)))
    client("autoscaling", endpoint_url=aws.endpoint_url, region=aws.region).update_auto_scaling_group(
        AutoScalingGroupName=OPEN.group, NewInstancesProtectedFromScaleIn=False
    )


@pytest.fixture(autouse=True)
def no_shortage(aws: SandboxAws) -> Iterator[None]:
    yield
    aws.scaling.clear_launch_failures()


async def until(holds: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < give_up_at, what
        await asyncio.sleep(0.02)


async def fleet_of(clients: Clients, spec: FleetSpec) -> tuple[AutoScalingGroups, Fleet]:
    groups = AutoScalingGroups(clients, specs=[spec])
    (fleet,) = await groups.fleets()
    return groups, fleet


async def test_a_fleet_says_where_it_may_launch_and_whether_it_is_protected(clients: Clients) -> None:
    _, fleet = await fleet_of(clients, AT_ONCE)
    assert (fleet.zones, fleet.protects_new) == ((FIRST_ZONE, SECOND_ZONE), True)
    _, fleet = await fleet_of(clients, OPEN)
    assert not fleet.protects_new


async def test_a_launch_takes_the_zones_in_turn_and_knows_what_is_not_to_be_had(clients: Clients, aws: SandboxAws) -> None:
    groups, fleet = await fleet_of(clients, AT_ONCE)
    answer = await groups.launch(fleet, 120, zones=(FIRST_ZONE, SECOND_ZONE), token="one")
    assert (len(answer.launched), answer.failures) == (120, ())
    again = await groups.launch(fleet, 120, zones=(FIRST_ZONE, SECOND_ZONE), token="one")
    assert again.launched == answer.launched
    assert aws.scaling.group(AT_ONCE.group).desired == 120
    aws.scaling.fail_launches(reason="insufficient-capacity", zone=FIRST_ZONE)
    answer = await groups.launch(fleet, 3, zones=(FIRST_ZONE, SECOND_ZONE), token="two")
    zones = {one.zone for one in aws.scaling.instances(AT_ONCE.group) if one.instance_id in answer.launched}
    assert (len(answer.launched), zones) == (3, {SECOND_ZONE})
    (failure,) = answer.failures
    assert (failure.zone, failure.instance_type, classify(failure)) == (FIRST_ZONE, BATCH.instance_type, FailureKind.CAPACITY)
    assert aws.scaling.group(AT_ONCE.group).desired == 123


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("insufficient-capacity", FailureKind.CAPACITY),
        ("quota", FailureKind.QUOTA),
        ("configuration", FailureKind.CONFIGURATION),
    ],
)
async def test_failed_launches_are_read_from_the_scaling_activities(
    clients: Clients, aws: SandboxAws, reason: str, kind: FailureKind
) -> None:
    groups, fleet = await fleet_of(clients, FAILING)
    known = {failure.activity_id for failure in await groups.launch_failures(fleet.name, since=0)}
    aws.scaling.fail_launches(reason=reason)  # type: ignore[arg-type]  # one of its literals
    await groups.raise_desired(fleet, fleet.desired + 1)

    def failed() -> set[str]:
        return {one.activity_id for one in aws.scaling.activities(FAILING.group) if one.status == "Failed"}

    await until(lambda: bool(failed() - known), "a launch fails")
    found = [one for one in await groups.launch_failures(fleet.name, since=0) if one.activity_id not in known]
    assert {classify(failure) for failure in found} == {kind}
    assert {failure.zone for failure in found} <= {FIRST_ZONE, SECOND_ZONE, ""}
    assert await groups.launch_failures(fleet.name, since=time.time() + 3600) == ()


async def test_only_what_has_not_come_is_taken_back(clients: Clients, aws: SandboxAws) -> None:
    groups, fleet = await fleet_of(clients, CANCELLED)
    await groups.raise_desired(fleet, 2)
    await until(lambda: len(aws.scaling.instances(CANCELLED.group)) == 2, "two instances")
    aws.scaling.fail_launches(reason="insufficient-capacity")
    _, fleet = await fleet_of(clients, CANCELLED)
    await groups.raise_desired(fleet, 5)
    await until(lambda: aws.scaling.group(CANCELLED.group).desired == 5, "five are asked for")
    assert await groups.cancel_unfulfilled(fleet, 0) == 2
    assert aws.scaling.group(CANCELLED.group).desired == 2
    assert [one.state for one in aws.scaling.instances(CANCELLED.group)].count("terminated") == 0


async def test_nothing_is_taken_back_from_a_group_that_might_end_instances_for_it(clients: Clients, aws: SandboxAws) -> None:
    groups, fleet = await fleet_of(clients, OPEN)
    aws.scaling.fail_launches(reason="insufficient-capacity")
    await groups.raise_desired(fleet, 3)
    assert await groups.cancel_unfulfilled(fleet, 0) == 3
    assert aws.scaling.group(OPEN.group).desired == 3


class InPages:
    """An Auto Scaling that gives one group's instances over several answers, which stay its own."""

    def __init__(self) -> None:
        self.answers = [self._answer("i-1", following="more"), self._answer("i-2", following="")]
        self._left = iter(self.answers)

    async def get(self, _: str) -> "InPages":
        return self

    async def describe_auto_scaling_groups(self, **_: object) -> dict[str, object]:
        return next(self._left)

    @staticmethod
    def _answer(member: str, *, following: str) -> dict[str, object]:
        sizes = {"MinSize": 0, "DesiredCapacity": 2, "MaxSize": 4}
        group = {"AutoScalingGroupName": BATCH.group, "Instances": [{"InstanceId": member, "LifecycleState": "InService"}]}
        return {"AutoScalingGroups": [group | sizes], "NextToken": following}


async def test_a_group_whose_instances_come_in_pages_is_read_whole_and_the_answers_stay_as_they_were() -> None:
    scaling = InPages()
    before = copy.deepcopy(scaling.answers)
    _, fleet = await fleet_of(cast("Clients", scaling), BATCH)
    assert [member.instance_id for member in fleet.members] == ["i-1", "i-2"]
    assert scaling.answers == before
