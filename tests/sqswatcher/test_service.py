"""Whole batches on stateful fakes: what the world looks like after the messages."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from daemons.errors import AwsUnavailable, SchedulerUnavailable
from daemons.model import InstanceId, NodeState, State
from daemons.ports import Place
from tests.fakes import FakeGroups, FakeQueue, hostname, instance_id
from tests.sqswatcher.cluster import Cluster, compute_ready, hook, notification


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


async def test_a_node_that_nodewatcher_gives_up_between_the_look_at_its_row_and_its_registration_is_not_registered() -> None:
    """Its ready message has come before: only the row can tell that it is on its way out by now."""
    one = Cluster(FakeGroups.of(1))
    one.scheduler.refuses.add(hostname(1))
    await one.hears(compute_ready(1))
    one.scheduler.refuses.clear()
    places = one.places.places

    async def and_meanwhile(instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, Place]:
        ready = one.rows.stored[instance_id(1)]
        one.rows.hold(replace(ready, state=State.TERMINATING, version=ready.version + 1))
        one.places.places = places  # type: ignore[method-assign]
        return await places(instance_ids)

    one.places.places = and_meanwhile  # type: ignore[method-assign]
    await one.hears_again()
    assert one.scheduler.known == {}
    assert one.state(1) is State.TERMINATING


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
    assert (many.groups.calls["fleet_of"], many.places.calls["places"]) == (1, 1)
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


async def test_the_end_of_a_busy_node_is_held_up_until_its_jobs_are_done() -> None:
    one = Cluster(FakeGroups.of(1))
    await one.hears(compute_ready(1))
    one.scheduler.work(hostname(1), "7")
    await one.hears(hook(1, "TERMINATING", "leave"))
    assert one.groups.extended_hooks == [("leave", instance_id(1))]
    assert NodeState.DRAIN in one.scheduler.known[hostname(1)].states
    assert one.state(1) is State.TERMINATING
    one.now += 50
    await one.hears()
    assert (len(one.groups.extended_hooks), one.groups.completed_hooks) == (2, [])
    one.scheduler.up(hostname(1))
    await one.hears()
    assert one.groups.completed_hooks == [("leave", instance_id(1), True)]
    assert (one.state(1), one.scheduler.known, one.settled) == (State.GONE, {}, True)


async def test_the_end_of_a_busy_node_is_held_up_no_longer_than_the_grace() -> None:
    one = Cluster(FakeGroups.of(1))
    await one.hears(compute_ready(1))
    one.scheduler.work(hostname(1), "7")
    await one.hears(hook(1, "TERMINATING", "leave"))
    one.now += 101
    await one.hears()
    assert one.groups.completed_hooks == [("leave", instance_id(1), True)]
    assert one.state(1) is State.GONE


async def test_a_hook_that_is_held_up_survives_a_restart() -> None:
    one = Cluster(FakeGroups.of(1))
    await one.hears(compute_ready(1))
    one.scheduler.work(hostname(1), "7")
    await one.hears(hook(1, "TERMINATING", "leave"))
    one.restart()
    one.scheduler.up(hostname(1))
    await one.hears_again()
    assert one.groups.completed_hooks == [("leave", instance_id(1), True)]
    assert one.settled


async def test_a_node_that_the_scheduler_refuses_for_good_is_given_back_while_its_launching_hook_waits() -> None:
    one = Cluster(FakeGroups.of(1))
    one.scheduler.refuses.add(hostname(1))
    await one.hears(hook(1, "LAUNCHING", "join"), compute_ready(1))
    assert one.groups.completed_hooks == [("join", instance_id(1), False)]
    assert one.settled


@pytest.mark.parametrize(
    "direction", [{"Origin": "EC2", "Destination": "WarmPool"}, {"Origin": "AutoScalingGroup", "Destination": "WarmPool"}]
)
async def test_a_hook_on_the_way_into_or_out_of_a_warm_pool_is_answered_and_changes_nothing(direction: dict[str, str]) -> None:
    one = Cluster(FakeGroups.of(1))
    await one.hears(compute_ready(1))
    before = dict(one.rows.stored)
    await one.hears(hook(1, "TERMINATING" if direction["Origin"] == "AutoScalingGroup" else "LAUNCHING", "pool", **direction))
    assert one.groups.completed_hooks == [("pool", instance_id(1), True)]
    assert one.rows.stored == before
    assert one.settled


async def test_jobwatcher_is_woken_when_nodes_join_or_leave_or_a_launch_failed_and_for_nothing_else() -> None:
    one = Cluster(FakeGroups.of(1, 2))
    await one.hears(notification(1, "LAUNCH"))
    assert one.rings == []
    await one.hears(compute_ready(1))
    assert one.rings == ["membership changed"]
    await one.hears(notification(2, "LAUNCH_ERROR"))
    assert one.rings == ["membership changed", "launch failed"]
    await one.hears(notification(1, "TERMINATE"))
    assert one.rings == ["membership changed", "launch failed", "membership changed"]
