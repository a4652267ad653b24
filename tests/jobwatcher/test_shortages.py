"""Capacity that is not to be had: what is tried instead, how long a place is left alone, and when it is tried again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemons.errors import AwsRefused
from daemons.model import Fleet, FleetName, Instance, Launch, LaunchFailure, State
from jobwatcher.failures import FailureKind, classify
from tests.fakes import BATCH, FakeGroups, hostname, instance_id
from tests.jobwatcher.cluster import Cluster

SECOND = replace(BATCH, name=FleetName("second"), group="hpc-second")
CAPACITY = (
    "We currently do not have sufficient c5.2xlarge capacity in the Availability Zone you requested (eu-west-1a). "
    "Launching EC2 instance failed."
)


def two_fleets(**fields: object) -> FakeGroups:
    groups = FakeGroups.of()
    groups.groups |= FakeGroups.of(spec=SECOND).groups
    first = groups.groups[BATCH.name]
    groups.groups[BATCH.name] = replace(first, **fields)  # type: ignore[arg-type]  # fields of Fleet
    return groups


def failed(cluster: Cluster, number: int, message: str = CAPACITY, *, zone: str = "", code: str = "") -> None:
    """Auto Scaling has tried, just now, and failed."""
    cluster.groups.failures.append(
        LaunchFailure(
            fleet=BATCH.name, at=cluster.now, zone=zone, message=message, error_code=code, activity_id=f"activity-{number}"
        )
    )


def alarms(events: Sequence[Mapping[str, object]]) -> list[object]:
    return [event["event"] for event in events if event.get("log_level") == "warning"]


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("", CAPACITY, FailureKind.CAPACITY),
        ("InsufficientInstanceCapacity", "whatever it says", FailureKind.CAPACITY),
        ("", "Insufficient capacity. Launching EC2 instance failed.", FailureKind.CAPACITY),
        ("", "There is no Spot capacity available that matches your request.", FailureKind.CAPACITY),
        ("VcpuLimitExceeded", "", FailureKind.QUOTA),
        ("", "You have requested more vCPU capacity than your current vCPU limit of 64 allows for", FailureKind.QUOTA),
        (
            "",
            "Your Spot request price of 0.001 is lower than the minimum required Spot request fulfillment price",
            FailureKind.PRICE,
        ),
        ("", "The image id '[ami-0a1b]' does not exist. Launching EC2 instance failed.", FailureKind.CONFIGURATION),
        ("", "You are not authorized to perform this operation.", FailureKind.CONFIGURATION),
        ("InvalidSubnetID.NotFound", "", FailureKind.CONFIGURATION),
        ("", "Client.InternalError: Client error on launch", FailureKind.CONFIGURATION),
        ("", "Something that nobody has seen before", FailureKind.OTHER),
        ("", "", FailureKind.OTHER),
    ],
)
def test_a_failure_is_classified_by_its_code_or_else_by_its_words(code: str, message: str, kind: FailureKind) -> None:
    assert classify(LaunchFailure(fleet=BATCH.name, at=0.0, error_code=code, message=message)) is kind


async def test_demand_goes_to_the_next_fleet_that_fits_and_what_did_not_come_is_no_longer_asked_for(tmp_path: Path) -> None:
    one = Cluster(tmp_path, two_fleets())
    one.waits(3)
    await one.look()
    assert (one.desired, one.desired_of(SECOND.name)) == (3, 0)
    failed(one, 1)
    with capture_logs() as events:
        await one.look()
    assert (one.desired, one.desired_of(SECOND.name)) == (0, 3)
    assert "capacity.short" in alarms(events)
    said = next(event["because"] for event in events if event["event"] == "capacity.short")
    assert said.startswith("fleet batch gets no c5.2xlarge (insufficient-capacity: We currently do not have sufficient")


async def test_what_has_come_meanwhile_is_never_given_back(tmp_path: Path) -> None:
    one = Cluster(tmp_path, two_fleets())
    one.waits(3)
    await one.look()
    one.groups.arrive(BATCH.name, 1, lifecycle="Pending")
    await one.look()
    failed(one, 1)
    await one.look()
    assert (one.desired, one.desired_of(SECOND.name)) == (1, 2)


async def test_a_place_is_tried_again_later_each_time_and_forgiven_as_soon_as_it_gives(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(1)
    waits_s = []
    for number in range(7):
        await one.look()
        assert one.desired == 1
        failed(one, number)
        began = one.now
        await one.look(after_s=0)
        assert one.desired == 0
        while one.desired == 0:
            await one.look(after_s=5)
        waits_s.append(one.now - began)
    assert waits_s == [60, 120, 240, 480, 960, 1800, 1800]
    one.groups.arrive(BATCH.name, 1)
    await one.look()
    one.groups.forget(instance_id(1))
    failed(one, 99)
    await one.look(after_s=0)
    began = one.now
    while one.desired == 0:
        await one.look(after_s=5)
    assert one.now - began == 60


async def test_a_clock_that_is_set_back_makes_no_wait_longer(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(1)
    one.now += 86_400
    await one.look()
    failed(one, 1)
    await one.look()
    assert one.desired == 0
    await one.look(after_s=-86_400)
    await one.look(after_s=59)
    assert one.desired == 0
    await one.look(after_s=1)
    assert one.desired == 1


async def test_many_failures_at_once_are_one(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(5)
    await one.look()
    for number in range(20):
        failed(one, number)
    await one.look(after_s=0)
    for _ in range(3):
        await one.look()
        assert one.desired == 0
    await one.look(after_s=30)
    assert one.desired == 5


async def test_one_zone_without_capacity_is_auto_scalings_matter_all_of_them_are_ours(tmp_path: Path) -> None:
    one = Cluster(tmp_path, two_fleets(zones=("a", "b")))
    one.waits(2)
    await one.look()
    failed(one, 1, zone="a")
    await one.look()
    assert (one.desired, one.desired_of(SECOND.name)) == (2, 0)
    failed(one, 2, zone="b")
    await one.look()
    assert (one.desired, one.desired_of(SECOND.name)) == (0, 2)


async def test_a_quota_holds_for_every_zone(tmp_path: Path) -> None:
    one = Cluster(tmp_path, two_fleets(zones=("a", "b")))
    one.waits(2)
    await one.look()
    failed(one, 1, "VcpuLimitExceeded", zone="a")
    await one.look()
    assert (one.desired, one.desired_of(SECOND.name)) == (0, 2)


async def test_capacity_that_silently_does_not_come_is_given_up_after_the_deadline(tmp_path: Path) -> None:
    """All-or-nothing work that gets a part of its nodes lets them go, instead of holding them for ever."""
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(1, tasks=4, nodes_min=4, nodes_max=4)
    await one.look()
    one.groups.arrive(BATCH.name, 1, 2)
    one.registered(1)
    one.registered(2)
    began = one.now
    while one.desired == 4:
        await one.look()
        assert one.now - began < 700
    assert (one.desired, one.now - began) == (2, 610)  # the deadline counts from the last that came
    with capture_logs() as events:
        await one.look()
    assert one.desired == 2
    assert not alarms(events)


async def test_a_configuration_that_cannot_work_stops_the_fleet_and_one_at_a_time_may_try(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(5)
    await one.look()
    failed(one, 1, "The image id '[ami-1]' does not exist. Launching EC2 instance failed.")
    with capture_logs() as events:
        await one.look(after_s=1)
    assert (one.desired, "fleet.stopped" in alarms(events)) == (0, True)
    await one.look(after_s=59)
    assert one.desired == 0
    await one.look(after_s=1)
    assert one.desired == 1
    await one.look()
    assert one.desired == 1
    failed(one, 2, "The image id '[ami-1]' does not exist. Launching EC2 instance failed.")
    await one.look(after_s=1)
    assert one.desired == 0
    await one.look(after_s=119)
    assert one.desired == 0
    await one.look(after_s=1)
    assert one.desired == 1
    one.groups.arrive(BATCH.name, 1)
    await one.look()
    assert one.desired == 5


async def test_a_refused_call_is_a_failed_launch_and_does_not_end_the_service(tmp_path: Path) -> None:
    class Refusing(FakeGroups):
        async def raise_desired(self, fleet: Fleet, target: int) -> None:
            if fleet.name == BATCH.name:
                raise AwsRefused("raising: not authorized", error_code="AccessDenied")
            await super().raise_desired(fleet, target)

    one = Cluster(tmp_path, Refusing(groups=two_fleets().groups))
    one.waits(2)
    await one.look()
    await one.look()
    assert (one.desired, one.desired_of(SECOND.name)) == (0, 2)


async def test_instances_that_never_take_jobs_stop_the_fleet_and_one_at_a_time_may_try(tmp_path: Path) -> None:
    spec = replace(BATCH, boot_timeout_s=100)
    one = Cluster(tmp_path, FakeGroups.of(spec=spec))
    one.waits(3)
    await one.look()
    one.groups.arrive(spec.name, 1, 2, 3)
    await one.look()
    assert one.desired == 3
    with capture_logs() as events:
        await one.look(after_s=101)
    assert one.desired == 3  # they are there, whatever they do; but no more come
    assert "fleet.stopped" in alarms(events)
    for number in (1, 2, 3):
        one.groups.forget(instance_id(number))
    one.groups.groups[spec.name] = replace(one.groups.groups[spec.name], desired=0)
    await one.look(after_s=60)
    assert one.desired == 1
    one.groups.arrive(spec.name, 4)
    await one.look()
    assert one.desired == 1
    one.registered(4)
    with capture_logs() as events:
        await one.look()
    assert one.desired == 3
    assert "alarm.ended" in [event["event"] for event in events]


async def test_an_instance_that_had_its_time_is_not_waited_for(tmp_path: Path) -> None:
    spec = replace(BATCH, boot_timeout_s=100)
    one = Cluster(tmp_path, FakeGroups.of(spec=spec))
    one.waits(1)
    await one.look()
    one.groups.arrive(spec.name, 1)
    await one.look()
    await one.look(after_s=101)
    assert one.desired == 2


async def test_a_boot_counts_from_the_launch_that_the_row_tells_of_across_restarts(tmp_path: Path) -> None:
    spec = replace(BATCH, boot_timeout_s=100)
    one = Cluster(tmp_path, FakeGroups.of(1, spec=spec))
    one.waits(1)
    row = Instance(instance_id=instance_id(1), fleet=spec.name, state=State.PENDING, pending_at=one.now)
    one.rows.hold(row)
    await one.look(after_s=60)
    assert one.desired == 1
    one.start()
    await one.look(after_s=60)
    assert one.desired == 2


async def test_what_has_been_learnt_outlives_the_process(tmp_path: Path) -> None:
    one = Cluster(tmp_path, two_fleets())
    one.waits(3)
    await one.look()
    failed(one, 1)
    await one.look()
    one.start()
    one.waits(1, job="8")
    await one.look()
    assert (one.desired, one.desired_of(SECOND.name)) == (0, 4)


@pytest.fixture
def at_once(tmp_path: Path) -> Callable[[dict[str, int]], Cluster]:
    """A fleet in zones a and b that is launched synchronously, with so much in stock."""
    spec = replace(BATCH, launch=Launch.LAUNCH_INSTANCES)

    def make(stock: dict[str, int]) -> Cluster:
        groups = FakeGroups.of(spec=spec)
        groups.groups[spec.name] = replace(groups.groups[spec.name], zones=("a", "b"))
        groups.stock = stock
        return Cluster(tmp_path, groups)

    return make


async def test_a_synchronous_launch_takes_the_zones_in_turn(at_once: Callable[[dict[str, int]], Cluster]) -> None:
    one = at_once({"a": 2})
    one.waits(5)
    await one.look()
    zones = [member.zone for member in one.groups.groups[BATCH.name].members]
    assert (one.desired, zones) == (5, ["a", "a", "b", "b", "b"])


async def test_a_synchronous_launch_knows_at_once_what_is_not_to_be_had(at_once: Callable[[dict[str, int]], Cluster]) -> None:
    one = at_once({"a": 1, "b": 1})
    one.waits(5)
    await one.look()
    assert one.desired == 2
    await one.look()
    assert (one.desired, one.groups.calls["launch"]) == (2, 1)
    one.groups.stock = {"b": 9}
    one.groups.stock["a"] = 0
    await one.look(after_s=60)
    assert one.desired == 5


async def test_what_was_launched_is_not_launched_again_while_auto_scaling_does_not_show_it(
    at_once: Callable[[dict[str, int]], Cluster],
) -> None:
    one = at_once({})
    one.waits(2)
    before = one.groups.groups[BATCH.name]
    await one.look()
    assert one.groups.launches == 2
    shown, one.groups.groups[BATCH.name] = one.groups.groups[BATCH.name], before
    await one.look()
    assert one.groups.launches == 2
    one.groups.groups[BATCH.name] = shown
    one.registered(1)
    assert hostname(1) in one.scheduler.known
    await one.look()
    assert one.groups.launches == 2
