"""What keeps a fleet from growing as fast or as far as waiting work would like, and what is given back before it came."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemons.config.values import BudgetConfig, JobwatcherConfig
from daemons.errors import AwsUnavailable
from daemons.model import BlockedBy, Fleet, FleetName, FleetSpec, Node, NodeState
from daemons.packing import Expander
from tests.fakes import BATCH, FakeGroups, hostname
from tests.jobwatcher.cluster import Cluster

CHEAP = replace(BATCH, name=FleetName("cheap"), group="hpc-cheap", price_per_hour=0.5)
DEAR = replace(BATCH, name=FleetName("dear"), group="hpc-dear", price_per_hour=2.0)


def fleets(*specs: FleetSpec, maximum: int = 10) -> FakeGroups:
    groups = FakeGroups()
    for spec in specs:
        groups.groups |= FakeGroups.of(spec=spec, maximum=maximum).groups
    return groups


def sentences(events: Sequence[Mapping[str, Any]]) -> list[str]:
    return [event["because"] for event in events if event["event"] == "demand.answered"]


async def test_one_look_asks_for_no_more_than_the_batch_ceiling_and_the_next_goes_on(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of(maximum=50), options=JobwatcherConfig(max_raise=4))
    one.waits(10)
    seen = []
    for _ in range(4):
        await one.look()
        seen.append(one.desired)
    assert seen == [4, 8, 10, 10]


async def test_a_fleet_grows_no_faster_than_its_rate(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of(maximum=50), options=JobwatcherConfig(max_raise_per_minute=5))
    one.waits(12)
    seen = []
    for _ in range(14):
        await one.look()
        seen.append(one.desired)
    assert seen == [5] * 6 + [10] * 6 + [12] * 2


async def test_what_was_asked_for_counts_as_asked_while_auto_scaling_does_not_show_it(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(2)
    before = one.groups.groups[BATCH.name]
    await one.look()
    for _ in range(2):
        one.groups.groups[BATCH.name] = before
        await one.look()
        assert one.groups.calls["raise_desired"] == 1
    await one.look()
    assert (one.desired, one.groups.calls["raise_desired"]) == (2, 2)


async def test_a_call_without_an_answer_counts_as_asked(tmp_path: Path) -> None:
    class Deaf(FakeGroups):
        async def raise_desired(self, fleet: Fleet, target: int) -> None:
            self._ask("raise_desired")
            raise AwsUnavailable("no answer")

    one = Cluster(tmp_path, Deaf(groups=FakeGroups.of().groups))
    one.waits(2)
    with pytest.raises(AwsUnavailable):
        await one.look()
    await one.look()
    assert one.groups.calls["raise_desired"] == 1


async def test_capacity_that_nobody_needs_any_more_is_cancelled_before_it_comes(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(4)
    await one.look()
    one.groups.arrive(BATCH.name, 1)
    one.scheduler.waiting.clear()
    await one.look()
    assert one.desired == 4
    await one.look(after_s=59)
    assert one.desired == 4
    await one.look(after_s=1)
    assert one.desired == 1


async def test_capacity_that_is_needed_again_in_time_is_kept(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(4)
    await one.look()
    waiting = list(one.scheduler.waiting)
    one.scheduler.waiting.clear()
    await one.look(after_s=50)
    one.scheduler.waiting += waiting
    await one.look(after_s=50)
    one.scheduler.waiting.clear()
    await one.look(after_s=50)
    assert one.desired == 4


async def test_nothing_is_cancelled_below_the_minimum(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of(minimum=2, desired=4))
    for _ in range(3):
        await one.look(after_s=60)
    assert one.desired == 2


async def test_the_ceiling_of_nodes_grants_what_comes_first(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of(), budget=BudgetConfig(max_nodes=3))
    one.waits(2, job="1", priority=9)
    one.waits(1, job="2", priority=5, tasks=4, nodes_min=4, nodes_max=4)
    one.waits(5, job="3", priority=1)
    with capture_logs() as events:
        await one.look()
    assert one.desired == 2
    assert "budget.reached" in [event["event"] for event in events]
    assert "1 wait: the budget allows no more: 2 of at most 3 nodes" in sentences(events)
    one.scheduler.waiting.pop(1)
    await one.look()
    assert one.desired == 3


async def test_the_price_an_hour_bounds_the_fleets_together(tmp_path: Path) -> None:
    one = Cluster(tmp_path, fleets(CHEAP, DEAR, maximum=3), budget=BudgetConfig(max_per_hour=6.0))
    one.waits(9)
    await one.look()
    assert (one.desired_of(CHEAP.name), one.desired_of(DEAR.name)) == (3, 2)


async def test_a_spent_day_stops_what_costs_until_midnight_and_ends_nothing(tmp_path: Path) -> None:
    one = Cluster(tmp_path, fleets(CHEAP), budget=BudgetConfig(max_per_day=3.0))
    one.waits(1)
    await one.look()
    one.groups.arrive(CHEAP.name, 1)
    one.registered(1, spec=CHEAP)
    one.scheduler.work(hostname(1), "7")
    one.scheduler.waiting.clear()
    for _ in range(6):
        await one.look(after_s=3600)
    one.waits(1)
    await one.look(after_s=1)
    assert one.desired_of(CHEAP.name) == 1  # six hours at half a dollar are spent
    await one.look(after_s=6 * 3600)
    assert one.desired_of(CHEAP.name) == 2  # it was noon
    assert not one.groups.ended


async def test_soft_ceilings_warn_once_and_keep_nothing_from_growing(tmp_path: Path) -> None:
    budget = BudgetConfig(warn_nodes=1, warn_per_hour=0.75)
    one = Cluster(tmp_path, fleets(CHEAP), budget=budget)
    one.waits(2)
    with capture_logs() as events:
        await one.look()
        await one.look()
    assert one.desired_of(CHEAP.name) == 2
    warned = sorted(event["because"] for event in events if event["event"] == "budget.warned")
    assert warned == [
        "1.00 an hour is what the fleets cost; the budget warns beyond 0.75",
        "2.00 nodes are asked for; the budget warns beyond 1",
    ]


async def test_the_expanders_are_the_configurations(tmp_path: Path) -> None:
    roomy = replace(DEAR, name=FleetName("roomy"), group="hpc-roomy", shape=replace(BATCH.shape, cpus=16), price_per_hour=0.4)
    wasteful = Cluster(tmp_path / "1", fleets(CHEAP, roomy), options=JobwatcherConfig(expanders=(Expander.CHEAPEST,)))
    tight = Cluster(tmp_path / "2", fleets(CHEAP, roomy), options=JobwatcherConfig(expanders=(Expander.LEAST_WASTE,)))
    ordered = Cluster(tmp_path / "3", fleets(DEAR, CHEAP), options=JobwatcherConfig(expanders=(Expander.PRIORITY_ORDER,)))
    for one in (wasteful, tight, ordered):
        one.waits(1)
        await one.look()
    assert [wasteful.desired_of(roomy.name), tight.desired_of(CHEAP.name), ordered.desired_of(DEAR.name)] == [1, 1, 1]


async def test_nodes_that_stand_idle_without_demand_for_long_are_an_alarm(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of(1, 2, minimum=1))
    one.registered(1)
    one.registered(2)
    with capture_logs() as events:
        await one.look()
        await one.look(after_s=3590)
        assert not [event for event in events if event["event"] == "capacity.unused"]
        await one.look(after_s=20)
        await one.look()
    (alarm,) = [event for event in events if event["event"] == "capacity.unused"]
    assert alarm["because"] == "1 nodes of fleet batch have been idle without demand for more than 3600 s"
    one.scheduler.work(hostname(1), "5")
    one.scheduler.work(hostname(2), "6")
    with capture_logs() as events:
        await one.look()
    assert ("alarm.ended", "capacity.unused batch") in [(event["event"], event.get("alarm")) for event in events]


async def test_a_reason_that_nobody_knows_is_reported_once_and_never_scaled_for(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(3, blocked_by=BlockedBy.UNKNOWN, reason="Gremlins")
    with capture_logs() as events:
        await one.look()
        await one.look()
    assert [event["reason"] for event in events if event["event"] == "demand.reason_unknown"] == ["Gremlins"]
    assert one.desired == 0


async def test_a_drained_node_of_an_administrator_is_neither_room_nor_surplus(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of(1))
    one.registered(1)
    one.scheduler.administrator_drains(hostname(1), "bad memory")
    one.waits(1)
    await one.look()
    assert one.desired == 2
    node: Node = one.scheduler.known[hostname(1)]
    assert NodeState.DRAIN in node.states
