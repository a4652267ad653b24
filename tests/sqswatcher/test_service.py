"""Whole batches on stateful fakes: what the world looks like after the messages."""

import asyncio
import json
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from daemons.errors import AwsUnavailable, SchedulerUnavailable
from daemons.model import State
from daemons.ports import Place
from sqswatcher import reconcile
from sqswatcher.apply import World
from sqswatcher.service import Membership, Settings
from tests.fakes import BATCH, FakeGroups, FakePlaces, FakeQueue, FakeRows, FakeScheduler, FakeZone, hostname, instance_id

DOMAIN = "eu-west-1.compute.internal"


def compute_ready(number: int, host: int | None = None) -> str:
    event = {
        "Event": "parallelcluster:COMPUTE_READY",
        "StatusCode": "Complete",
        "Description": "",
        "EC2InstanceId": instance_id(number),
        "Slots": "8",
        "LocalHostname": f"{hostname(host or number)}.{DOMAIN}",
        "EC2InstanceType": "c5.2xlarge",
    }
    return json.dumps({"Type": "Notification", "Message": json.dumps(event)})


def notification(number: int, event: str) -> str:
    return json.dumps(
        {
            "Service": "AWS Auto Scaling",
            "Event": f"autoscaling:EC2_INSTANCE_{event}",
            "AutoScalingGroupName": BATCH.group,
            "EC2InstanceId": instance_id(number),
            "StatusCode": "InProgress",
            "Progress": 50,
            "Time": "2026-11-23T10:15:30.912Z",
            "ActivityId": "f4d8c8a1-2f0b-9a0c-ab6b-0c9b5a6f1d11",
            "Details": {"Availability Zone": "eu-west-1a"},
        }
    )


@dataclass
class Cluster:
    groups: FakeGroups
    queue: FakeQueue = field(default_factory=FakeQueue)
    rows: FakeRows = field(default_factory=FakeRows)
    zone: FakeZone = field(default_factory=FakeZone)
    scheduler: FakeScheduler = field(default_factory=FakeScheduler)
    places: FakePlaces = field(default_factory=FakePlaces)
    now: float = 1000.0

    def __post_init__(self) -> None:
        for number in range(1, 10):
            self.places.known[instance_id(number)] = Place(address=f"10.0.0.{number}", hostname=hostname(number))
        self.restart()

    def restart(self) -> None:
        world = World(
            queue=self.queue,
            rows=self.rows,
            scheduler=self.scheduler,
            groups=self.groups,
            zone=self.zone,
            fleets={BATCH.name: BATCH},
        )
        settings = Settings(
            wait_s=0,
            receivers=4,
            visibility_s=60,
            resync_s=1e9,
            resync=reconcile.Options(age_grace_s=300, max_removal_share=1),
        )
        self.service = Membership(world, places=self.places, settings=settings, clock=lambda: self.now)

    async def hears(self, *bodies: str) -> None:
        for body in bodies:
            self.queue.put(body)
        await self.service.cycle(asyncio.Event())

    async def hears_again(self) -> None:
        self.queue.time_passes()
        await self.service.cycle(asyncio.Event())

    def state(self, number: int) -> State:
        return self.rows.stored[instance_id(number)].state

    @property
    def settled(self) -> bool:
        return not self.queue.waiting and not self.queue.in_flight


async def test_a_node_that_is_ready_is_registered_recorded_and_named() -> None:
    one = Cluster(FakeGroups.of(1))
    await one.hears(notification(1, "LAUNCH"), compute_ready(1))
    assert hostname(1) in one.scheduler.known
    assert one.zone.names == {hostname(1): "10.0.0.1"}
    assert one.state(1) is State.REGISTERED
    assert one.settled


async def test_a_node_that_ended_leaves_nothing_but_a_tombstone() -> None:
    one = Cluster(FakeGroups.of(1))
    await one.hears(compute_ready(1))
    await one.hears(notification(1, "TERMINATE"))
    assert (one.scheduler.known, one.zone.names) == ({}, {})
    assert one.state(1) is State.GONE
    assert one.settled


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_reused_host_name_in_one_batch_lets_the_new_node_in_and_the_old_one_out(order: tuple[int, int]) -> None:
    two = Cluster(FakeGroups.of(1, 2))
    await two.hears(compute_ready(1, host=7))
    two.groups.forget(instance_id(1))
    bodies = [notification(1, "TERMINATE"), compute_ready(2, host=7)]
    await two.hears(*(bodies[place] for place in order))
    assert set(two.scheduler.known) == {hostname(7)}
    assert two.scheduler.addresses[hostname(7)] == "10.0.0.2"
    assert two.zone.names == {hostname(7): "10.0.0.2"}
    assert (two.state(1), two.state(2)) == (State.GONE, State.REGISTERED)


async def test_a_malformed_message_blocks_nobody_and_is_left_to_the_dead_letter_queue() -> None:
    one = Cluster(FakeGroups.of(1))
    await one.hears("{not json", compute_ready(1), "[]", "\x00")
    assert one.state(1) is State.REGISTERED
    assert len(one.queue.in_flight) == 3
    assert len(one.queue.deleted) == 1


async def test_a_stranger_is_not_let_in() -> None:
    one = Cluster(FakeGroups.of(1))
    with capture_logs() as events:
        await one.hears(compute_ready(2))
    assert (one.scheduler.known, one.zone.names) == ({}, {})
    assert instance_id(2) not in one.rows.stored
    assert one.settled
    assert any("stranger" in str(event.get("because")) for event in events)


async def test_a_failed_registration_keeps_its_message_and_spoils_nobody_elses() -> None:
    two = Cluster(FakeGroups.of(1, 2))
    two.scheduler.refuses.add(hostname(1))
    await two.hears(compute_ready(1), compute_ready(2))
    assert (two.state(1), two.state(2)) == (State.READY, State.REGISTERED)
    assert len(two.queue.in_flight) == 1
    two.scheduler.refuses.clear()
    await two.hears_again()
    assert two.state(1) is State.REGISTERED
    assert two.settled


async def test_while_the_scheduler_is_silent_no_message_is_lost_and_afterwards_all_are_done() -> None:
    two = Cluster(FakeGroups.of(1, 2))
    await two.hears(compute_ready(1))
    two.scheduler.unplugged = True
    await two.hears(notification(1, "TERMINATE"), compute_ready(2))
    assert len(two.queue.in_flight) == 2
    assert two.state(1) is State.REGISTERED
    two.scheduler.unplugged = False
    await two.hears_again()
    assert (two.state(1), two.state(2)) == (State.GONE, State.REGISTERED)
    assert set(two.scheduler.known) == {hostname(2)}
    assert two.settled


async def test_a_zone_that_is_away_delays_the_registration_and_loses_nothing() -> None:
    one = Cluster(FakeGroups.of(1))
    await one.hears()
    one.zone.unplugged = True
    await one.hears(compute_ready(1))
    assert one.scheduler.known == {}
    one.zone.unplugged = False
    await one.hears_again()
    assert one.state(1) is State.REGISTERED
    assert one.settled


async def test_a_table_that_is_away_fails_the_whole_cycle_with_every_message_kept() -> None:
    one = Cluster(FakeGroups.of(1))
    await one.hears()
    one.rows.unplugged = True
    with pytest.raises(AwsUnavailable):
        await one.hears(compute_ready(1))
    assert len(one.queue.in_flight) == 1


async def test_repeated_and_late_messages_change_nothing() -> None:
    one = Cluster(FakeGroups.of(1))
    await one.hears(compute_ready(1), compute_ready(1), notification(1, "LAUNCH"))
    version = one.rows.stored[instance_id(1)].version
    await one.hears(compute_ready(1), notification(1, "LAUNCH"))
    assert one.rows.stored[instance_id(1)].version == version
    await one.hears(notification(1, "TERMINATE"))
    one.groups.forget(instance_id(1))
    await one.hears(compute_ready(1), notification(1, "LAUNCH"), notification(1, "TERMINATE"))
    assert (one.scheduler.known, one.state(1)) == ({}, State.GONE)
    assert one.settled


async def test_a_node_whose_address_is_not_known_yet_comes_again_soon() -> None:
    one = Cluster(FakeGroups.of(1))
    place = one.places.known.pop(instance_id(1))
    await one.hears(compute_ready(1))
    assert one.queue.delays_s == {"m0": 2}
    one.places.known[instance_id(1)] = place
    await one.hears_again()
    assert one.state(1) is State.REGISTERED


async def test_a_restart_remembers_who_holds_which_host_name() -> None:
    two = Cluster(FakeGroups.of(1, 2))
    await two.hears(compute_ready(1, host=7))
    two.restart()
    await two.hears(compute_ready(2, host=7))
    assert two.scheduler.addresses[hostname(7)] == "10.0.0.1"
    assert len(two.queue.in_flight) == 1


async def test_a_thousand_messages_cost_calls_by_the_batch() -> None:
    groups = FakeGroups.of(*range(1, 101), maximum=200)
    many = Cluster(groups)
    await many.service.cycle(asyncio.Event())
    for port in (many.rows.calls, many.groups.calls, many.places.calls, many.queue.calls):
        port.clear()
    for number in range(1, 101):
        many.places.known[instance_id(number)] = Place(address=f"10.1.0.{number}", hostname=hostname(number))
        many.queue.put(notification(number, "LAUNCH"))
        many.queue.put(compute_ready(number))
    await many.service.cycle(asyncio.Event())
    assert len(many.scheduler.known) == 100
    assert many.scheduler.calls["register"] == 1
    assert many.zone.calls["change"] == 1
    assert (many.rows.calls["get"], many.rows.calls["put"]) == (1, 2)
    assert (many.groups.calls["fleet_of"], many.places.calls["places"]) == (0, 1)
    assert many.queue.calls["receive"] <= 200 / 10 + 4


async def test_a_stop_while_waiting_for_messages_ends_the_wait() -> None:
    class Slow(FakeQueue):
        async def receive(self, *, wait_s: int) -> tuple[()]:
            await asyncio.sleep(3600)
            return ()

    one = Cluster(FakeGroups.of(1), queue=Slow())
    stop = asyncio.Event()
    cycle = asyncio.create_task(one.service.cycle(stop))
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(cycle, 10)


async def test_a_comparison_that_lacks_a_source_does_nothing() -> None:
    one = Cluster(FakeGroups.of(1))
    await one.hears(compute_ready(1))
    one.now += 1000
    one.scheduler.unplugged = True
    one.groups.forget(instance_id(1))
    for _ in range(2):
        with pytest.raises(SchedulerUnavailable):
            await one.service.resync()
    assert one.state(1) is State.REGISTERED


async def test_a_comparison_removes_what_it_sees_twice_that_no_message_told() -> None:
    one = Cluster(FakeGroups.of(1))
    await one.hears(compute_ready(1))
    one.now += 1000
    one.groups.forget(instance_id(1))
    await one.service.resync()
    assert one.state(1) is State.REGISTERED
    await one.service.resync()
    assert (one.state(1), one.scheduler.known, one.zone.names) == (State.GONE, {}, {})
