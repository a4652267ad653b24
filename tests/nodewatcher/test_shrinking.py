from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from daemons.errors import AwsUnavailable, SchedulerUnavailable
from daemons.model import BlockedBy, Instance, InstanceId, JobDemand, JobId, NodeState, Notice, Shape, State
from daemons.ports import EndOutcome
from schedulers.base import DRAIN_MARK
from tests.fakes import BATCH, FakeGroups, hostname, instance_id
from tests.nodewatcher.cluster import IDLE_FOR_S, OPTIONS, Cluster


def cluster(*numbers: int, minimum: int = 0, maximum: int = 10, share: float = 1.0) -> Cluster:
    options = replace(OPTIONS, max_ending_share=share)
    return Cluster(groups=FakeGroups.of(*numbers, minimum=minimum, maximum=maximum), options=options)


async def test_a_node_idle_for_long_enough_is_drained_and_ended() -> None:
    one = cluster(1)
    await one.passes()
    await one.passes(after_s=IDLE_FOR_S - 1)
    assert one.groups.ended == []
    await one.passes(after_s=1)
    assert one.groups.ended == [instance_id(1)]
    assert one.state(1) is State.TERMINATING
    assert one.groups.groups[BATCH.name].desired == 0


async def test_a_restart_neither_resets_nor_jumps_the_idle_clock() -> None:
    one = cluster(1)
    await one.passes()
    one.restart()
    await one.passes(after_s=IDLE_FOR_S - 1)
    assert one.groups.ended == []
    await one.passes(after_s=1)
    assert one.groups.ended == [instance_id(1)]


async def test_work_stops_the_idle_clock() -> None:
    one = cluster(1)
    await one.passes()
    one.scheduler.work(hostname(1), "7")
    await one.passes(after_s=IDLE_FOR_S)
    one.scheduler.up(hostname(1))
    await one.passes(after_s=1)
    await one.passes(after_s=IDLE_FOR_S - 1)
    assert one.groups.ended == []


async def test_a_job_that_starts_at_the_very_moment_of_the_drain_keeps_its_node() -> None:
    one = cluster(1)
    await one.passes()
    one.scheduler.on_drain.append((hostname(1), JobId("7")))
    await one.passes(after_s=IDLE_FOR_S)
    assert one.groups.ended == []
    assert one.state(1) is State.REGISTERED
    assert NodeState.DRAIN not in one.scheduler.known[hostname(1)].states


def three_that_are_to_end() -> Cluster:
    """The first is idle for longest, and ends first."""
    three = cluster(1, 2, 3)
    for number in (1, 2, 3):
        three.change_row(number, idle_since=three.now - 1000 + number)
    return three


async def is_taken_back_and_works(one: Cluster, number: int) -> None:
    """An administrator takes a drained node back, and a job starts."""
    await one.scheduler.resume([hostname(number)])
    one.scheduler.work(hostname(number), "7")


@pytest.mark.parametrize("clock_moves_s", [30, -3600])
async def test_ends_that_take_long_are_not_asked_for_on_an_old_look(clock_moves_s: float) -> None:
    """Nor if the clock is set back while they take long."""
    three = three_that_are_to_end()
    end = three.groups.end

    async def slow_end(instance_id: InstanceId, *, relaunch: bool = False) -> EndOutcome:
        three.now += clock_moves_s
        if not three.groups.ended:
            await is_taken_back_and_works(three, 3)
        return await end(instance_id, relaunch=relaunch)

    three.groups.end = slow_end  # type: ignore[method-assign]
    await three.passes()
    assert three.groups.ended == [instance_id(1), instance_id(2)]
    assert three.state(3) is State.REGISTERED


async def test_a_look_is_as_old_as_its_first_answer() -> None:
    """The table answers long after the scheduler has."""
    three = three_that_are_to_end()
    get = three.rows.get

    async def slow_get(instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, Instance]:
        three.now += 30
        if not three.groups.ended:
            await is_taken_back_and_works(three, 3)
        return await get(instance_ids)

    three.rows.get = slow_get  # type: ignore[method-assign]
    await three.passes()
    assert three.groups.ended == [instance_id(1), instance_id(2)]
    assert three.state(3) is State.REGISTERED


async def test_a_silent_scheduler_ends_nobody_however_long_it_lasts() -> None:
    one = cluster(1, 2)
    one.scheduler.work(hostname(2), "7")
    await one.passes()
    one.scheduler.unplugged = True
    for _ in range(5):
        with pytest.raises(SchedulerUnavailable):
            await one.passes(after_s=10 * IDLE_FOR_S)
    assert one.groups.ended == []
    assert NodeState.DRAIN not in one.scheduler.known[hostname(1)].states


async def test_a_node_that_the_scheduler_does_not_mention_is_not_idle() -> None:
    one = cluster(1)
    await one.passes()
    del one.scheduler.known[hostname(1)]
    await one.passes(after_s=10 * IDLE_FOR_S)
    assert one.groups.ended == []


async def test_two_rows_that_claim_one_host_name_are_both_left_alone() -> None:
    one = cluster(1, 2)
    one.rows.hold(replace(one.rows.stored[instance_id(2)], hostname=hostname(1)))
    for _ in range(3):
        await one.passes(after_s=IDLE_FOR_S)
    assert one.groups.ended == []


@pytest.mark.parametrize(
    "state", [NodeState.DOWN, NodeState.SILENT, NodeState.AWAITED, NodeState.RESERVED, NodeState.PLANNED, NodeState.UNKNOWN]
)
async def test_a_node_that_is_anything_but_up_and_idle_is_kept(state: NodeState) -> None:
    one = cluster(1)
    one.scheduler.known[hostname(1)] = replace(one.scheduler.known[hostname(1)], states=frozenset({state}))
    for _ in range(3):
        await one.passes(after_s=IDLE_FOR_S)
    assert one.groups.ended == []


async def test_an_administrators_drain_is_left_alone() -> None:
    one = cluster(1)
    await one.passes()
    one.scheduler.administrator_drains(hostname(1), "kernel test")
    await one.passes(after_s=10 * IDLE_FOR_S)
    assert one.groups.ended == []
    assert one.scheduler.known[hostname(1)].reason == "kernel test"


async def test_the_minimum_is_kept_and_the_longest_idle_go_first() -> None:
    three = cluster(1, 2, 3, minimum=1)
    three.scheduler.work(hostname(3), "7")
    await three.passes()
    three.scheduler.up(hostname(3))
    await three.passes(after_s=1)
    await three.passes(after_s=IDLE_FOR_S)
    await three.passes(after_s=IDLE_FOR_S)
    assert three.groups.ended == [instance_id(1), instance_id(2)]
    assert three.state(3) is State.REGISTERED


async def test_a_static_fleet_is_never_shrunk() -> None:
    two = cluster(1, 2, minimum=2, maximum=2)
    for _ in range(3):
        await two.passes(after_s=IDLE_FOR_S)
    assert two.groups.ended == []


async def test_one_pass_ends_no_more_than_its_share_and_says_so() -> None:
    four = cluster(1, 2, 3, 4, share=0.5)
    await four.passes()
    with capture_logs() as events:
        await four.passes(after_s=IDLE_FOR_S)
    assert len(four.groups.ended) == 2
    assert any(
        str(event.get("because", "")).startswith("kept: 2 nodes of the fleet may be on their way out at once") for event in events
    )
    await four.passes(after_s=1)
    assert len(four.groups.ended) == 2
    gone = four.groups.ended[0]
    four.groups.forget(gone)
    del four.rows.stored[gone]
    four.groups.forget(four.groups.ended[1])
    del four.rows.stored[four.groups.ended[1]]
    await four.passes(after_s=1)
    assert len(four.groups.ended) == 3


async def test_a_node_that_waiting_jobs_are_about_to_use_is_kept() -> None:
    two = cluster(1, 2)
    two.scheduler.waiting.append(JobDemand(jobs=(JobId("7"),), per_task=Shape(cpus=8)))
    await two.passes()
    await two.passes(after_s=IDLE_FOR_S)
    assert len(two.groups.ended) == 1


@pytest.mark.parametrize(
    ("blocked_by", "stays"), [(BlockedBy.NODE_LIST, True), (BlockedBy.NOTHING, True), (BlockedBy.HOLD, False)]
)
async def test_a_node_that_a_waiting_job_names_is_kept_for_it(blocked_by: BlockedBy, stays: bool) -> None:
    two = cluster(1, 2)
    named = JobDemand(jobs=(JobId("7"),), hostnames=frozenset({hostname(2)}), blocked_by=blocked_by)
    two.scheduler.waiting.append(named)
    await two.passes()
    await two.watches(2 * IDLE_FOR_S)
    assert (instance_id(2) not in two.ended) is stays
    assert instance_id(1) in two.ended


async def test_a_node_that_a_job_names_while_it_is_drained_is_taken_back() -> None:
    two = cluster(1, 2)
    named = JobDemand(jobs=(JobId("7"),), hostnames=frozenset({hostname(2)}), blocked_by=BlockedBy.NODE_LIST)
    await two.passes()
    two.scheduler.waits_on_drain.append(named)
    await two.watches(IDLE_FOR_S)
    assert two.ended == [instance_id(1)]
    assert two.state(2) is State.REGISTERED


async def test_a_drain_that_was_interrupted_before_its_end_is_gone_on_with() -> None:
    one = cluster(1)
    await one.passes()
    one.groups.unplugged = False
    row = replace(one.rows.stored[instance_id(1)], state=State.DRAINING, drain_reason="idle for 60 s")
    one.rows.hold(row)
    await one.passes()
    assert one.groups.ended == [instance_id(1)]


async def test_a_drain_that_nobody_recorded_is_taken_back() -> None:
    one = cluster(1)
    node = one.scheduler.known[hostname(1)]
    drained = replace(node, states=frozenset({NodeState.DRAIN}), reason=f"{DRAIN_MARK} idle", drained_by_us=True)
    one.scheduler.known[hostname(1)] = drained
    await one.passes()
    assert one.scheduler.known[hostname(1)].is_usable
    assert one.state(1) is State.REGISTERED


async def test_auto_scaling_being_away_ends_the_pass_before_anything_is_drained() -> None:
    one = cluster(1)
    await one.passes()
    one.groups.unplugged = True
    with pytest.raises(AwsUnavailable):
        await one.passes(after_s=IDLE_FOR_S)
    assert one.scheduler.known[hostname(1)].is_usable


async def test_an_instance_whose_end_was_asked_for_is_not_ended_twice() -> None:
    one = cluster(1)
    await one.passes()
    await one.passes(after_s=IDLE_FOR_S)
    one.rows.hold(replace(one.rows.stored[instance_id(1)], state=State.DRAINING))
    await one.passes(after_s=1)
    assert one.groups.ended == [instance_id(1)]
    assert one.state(1) is State.TERMINATING


async def test_a_quiet_cycle_asks_a_constant_number_of_questions_and_writes_nothing() -> None:
    many = cluster(*range(1, 9))
    for number in range(1, 9):
        many.scheduler.work(hostname(number), f"{number}")
    await many.passes()
    for port in (many.groups.calls, many.rows.calls, many.scheduler.calls):
        port.clear()
    await many.passes(after_s=10)
    assert (dict(many.groups.calls), dict(many.rows.calls)) == ({"fleets": 1}, {"live": 1})
    assert dict(many.scheduler.calls) == {"nodes": 1, "demand": 1}


def announced(one: Cluster, number: int, notice: Notice) -> None:
    one.rows.hold(replace(one.rows.stored[instance_id(number)], notice=notice, notice_at=one.now))


@pytest.mark.parametrize("notice", Notice)
async def test_an_announced_node_starts_nothing_more_and_ends_once_it_is_empty(notice: Notice) -> None:
    one = cluster(1)
    one.scheduler.work(hostname(1), "7")
    announced(one, 1, notice)
    for _ in range(3):
        await one.passes(after_s=1)
    assert NodeState.DRAIN in one.scheduler.known[hostname(1)].states
    assert (one.groups.ended, one.state(1)) == ([], State.DRAINING)
    node = one.scheduler.known[hostname(1)]
    one.scheduler.known[hostname(1)] = replace(node, states=frozenset({NodeState.DRAIN}), jobs=frozenset(), used=Shape())
    await one.passes(after_s=1)
    assert one.groups.ended == [instance_id(1)]


async def test_an_announced_node_does_not_wait_to_be_idle_for_long() -> None:
    one = cluster(1)
    announced(one, 1, Notice.REBALANCE)
    await one.passes()
    assert one.groups.ended == [instance_id(1)]


async def test_an_announced_node_of_a_fleet_at_its_minimum_is_replaced() -> None:
    static = cluster(1, 2, minimum=2, maximum=2)
    announced(static, 1, Notice.SCHEDULED_CHANGE)
    await static.passes()
    assert static.groups.ended == [instance_id(1)]
    assert static.groups.groups[BATCH.name].desired == 2


async def test_an_administrators_drain_of_an_announced_node_is_still_theirs() -> None:
    one = cluster(1)
    one.scheduler.administrator_drains(hostname(1), "kernel test")
    announced(one, 1, Notice.SPOT_INTERRUPTION)
    await one.passes()
    assert one.groups.ended == []


steps = st.lists(
    st.tuples(st.sampled_from(["work", "finish", "race", "drain", "notice", "silence", "time"]), st.integers(1, 4)),
    min_size=1,
    max_size=40,
)


@given(steps)
async def test_whatever_happens_no_busy_node_is_ever_ended(story: list[tuple[str, int]]) -> None:
    four = cluster(1, 2, 3, 4, minimum=1)
    for what, number in story:
        name = hostname(number)
        four.scheduler.unplugged = what == "silence"
        match what:
            case "work" if four.scheduler.known[name].is_idle:
                four.scheduler.work(name, f"{number}")
            case "finish" if four.scheduler.known[name].is_usable:
                four.scheduler.up(name)
            case "race":
                four.scheduler.on_drain.append((name, JobId("race")))
            case "drain" if four.scheduler.known[name].is_usable:
                four.scheduler.administrator_drains(name, "mine")
            case "notice":
                announced(four, number, Notice.SPOT_INTERRUPTION)
        ended = len(four.groups.ended)
        try:
            await four.passes(after_s=IDLE_FOR_S / 2)
        except SchedulerUnavailable:
            assert what == "silence"
        for one in four.groups.ended[ended:]:
            victim = four.rows.stored[one].hostname
            assert victim is not None
            assert not four.scheduler.known[victim].jobs
            assert four.scheduler.known[victim].reason.startswith(DRAIN_MARK)
    assert four.groups.groups[BATCH.name].desired >= 1


async def test_nodes_for_an_all_or_nothing_job_are_kept_as_long_as_the_others_are_asked_for_and_no_longer() -> None:
    two = cluster(1, 2)
    two.groups.groups[BATCH.name] = replace(two.groups.groups[BATCH.name], desired=4)
    two.scheduler.waiting.append(JobDemand(jobs=(JobId("7"),), tasks=4, nodes_min=4, per_task=Shape(cpus=8)))
    await two.passes()
    await two.passes(after_s=2 * IDLE_FOR_S)
    assert two.groups.ended == []
    two.groups.groups[BATCH.name] = replace(two.groups.groups[BATCH.name], desired=2)
    await two.passes(after_s=IDLE_FOR_S)
    assert sorted(two.groups.ended) == [instance_id(1), instance_id(2)]


async def test_nodes_beyond_a_desired_capacity_that_somebody_lowered_are_given_back_without_lowering_it_further() -> None:
    """Auto Scaling ends none of its own accord where all are protected from scale-in."""
    cluster = Cluster(FakeGroups.of(1, 2, 3, minimum=1, desired=2))
    await cluster.watches(IDLE_FOR_S + 10)
    await cluster.watches(IDLE_FOR_S + 10)
    [fleet] = cluster.groups.groups.values()
    assert len(cluster.ended) == 2
    assert fleet.desired == fleet.minimum == len(fleet.staying)
    assert cluster.sentence(_left(cluster)).startswith("kept: minimum 1")


async def test_an_instance_on_its_way_out_that_still_shows_is_no_surplus() -> None:
    cluster = Cluster(FakeGroups.of(1, 2, desired=1))
    cluster.change_row(1, state=State.TERMINATING, terminating_at=cluster.now)
    await cluster.watches(IDLE_FOR_S + 10)
    [fleet] = cluster.groups.groups.values()
    assert (cluster.ended, fleet.desired) == ([instance_id(2)], 0)


def _left(cluster: Cluster) -> int:
    [fleet] = cluster.groups.groups.values()
    [member] = fleet.staying
    return int(member.instance_id.removeprefix("i-"), 16)
