"""Why a node that stands idle stays all the same: each reason is respected, and named."""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from daemons.config.values import NodewatcherConfig, Rank
from daemons.errors import AwsUnavailable
from daemons.hours import minimum_at
from daemons.model import Hostname, Hours, Instance, InstanceId, NodeState, Notice, State
from nodewatcher.plan import unobserved_s
from schedulers.base import Results
from tests.fakes import BATCH, FakeGroups, hostname, instance_id
from tests.nodewatcher.cluster import IDLE_FOR_S, OPTIONS, Cluster


def cluster(*numbers: int, options: NodewatcherConfig = OPTIONS, **fields: object) -> Cluster:
    spec = replace(BATCH, **{name: value for name, value in fields.items() if name not in ("minimum", "maximum")})  # type: ignore[arg-type]
    bounds = {name: value for name, value in fields.items() if name in ("minimum", "maximum")}
    return Cluster(groups=FakeGroups.of(*numbers, spec=spec, **bounds), options=options)  # type: ignore[arg-type]


async def idle_long(one: Cluster) -> None:
    await one.passes()
    await one.watches(2 * IDLE_FOR_S)


async def test_as_many_idle_nodes_as_configured_stay() -> None:
    three = cluster(1, 2, 3, keep_idle=2)
    await idle_long(three)
    assert len(three.groups.ended) == 1
    kept = [three.sentence(number) for number in (1, 2, 3) if three.state(number) is State.REGISTERED]
    assert [sentence.startswith("kept: 2 idle nodes are to stay") for sentence in kept] == [True, True]


async def test_busy_nodes_are_no_spares() -> None:
    three = cluster(1, 2, 3, keep_idle=1)
    three.scheduler.work(hostname(1), "5")
    await idle_long(three)
    assert len(three.groups.ended) == 1
    assert instance_id(1) not in three.groups.ended


async def test_the_minimum_of_the_hours_holds_as_long_as_they_last() -> None:
    noon = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()  # a Tuesday
    office = Hours(days=(0, 1, 2, 3, 4), begin_min=8 * 60, end_min=18 * 60, minimum=2)
    three = cluster(1, 2, 3, hours=(office,))
    three.now = noon
    await idle_long(three)
    assert len(three.groups.ended) == 1
    assert three.sentence(3).startswith("kept: minimum of these hours 2") or three.sentence(2).startswith(
        "kept: minimum of these"
    )
    three.pass_time(6 * 3600)
    await idle_long(three)
    assert len(three.groups.ended) == 3


@pytest.mark.parametrize(
    ("when", "minimum"),
    [
        ("2026-11-24T07:59", 0),
        ("2026-11-24T08:00", 4),  # 09:00 in Berlin
        ("2026-11-24T17:00", 0),
        ("2026-11-28T12:00", 0),  # a Saturday
        ("2026-07-24T07:00", 4),  # 09:00 in Berlin, in summer
        ("2026-11-27T21:30", 7),  # Friday night
        ("2026-11-28T03:30", 7),  # which goes on on Saturday
        ("2026-11-28T21:30", 0),
    ],
)
def test_hours_are_local_and_may_go_past_midnight(when: str, minimum: int) -> None:
    day = Hours(days=(0, 1, 2, 3, 4), begin_min=9 * 60, end_min=18 * 60, minimum=4, timezone="Europe/Berlin")
    night = Hours(days=(4,), begin_min=22 * 60, end_min=5 * 60, minimum=7, timezone="Europe/Berlin")
    assert minimum_at((day, night), datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()) == minimum


async def test_a_node_that_somebody_holds_is_left_alone_until_then() -> None:
    two = cluster(1, 2)
    two.change_row(1, held_until=two.now + 600, held_by="ops", hold_reason="kernel test")
    await idle_long(two)
    assert two.groups.ended == [instance_id(2)]
    assert two.sentence(1).startswith("held by ops until 2027-01-15 08:10 UTC: kernel test")
    await two.watches(600 + IDLE_FOR_S)
    assert two.ended == [instance_id(1), instance_id(2)]


@pytest.mark.parametrize("state", [State.REGISTERED, State.DRAINING])
async def test_a_hold_that_comes_while_the_node_is_drained_keeps_it(state: State) -> None:
    one = cluster(1)
    one.change_row(1, state=state, idle_since=one.now - 2 * IDLE_FOR_S)
    drain = one.scheduler.drain

    async def drain_and_hold(hostnames: Collection[Hostname], *, reason: str) -> Results:
        row = one.row(1)
        one.change_row(1, held_until=one.now + 600, held_by="ops", version=row.version + 1)
        return await drain(hostnames, reason=reason)

    one.scheduler.drain = drain_and_hold  # type: ignore[method-assign]
    await one.passes()
    assert (one.groups.ended, one.row(1).held_by) == ([], "ops")
    one.scheduler.drain = drain  # type: ignore[method-assign]
    await one.passes(after_s=10)
    assert (one.groups.ended, one.state(1)) == ([], State.REGISTERED)
    assert NodeState.DRAIN not in one.scheduler.known[hostname(1)].states


async def test_a_hold_takes_back_a_drain() -> None:
    one = cluster(1)
    one.change_row(1, state=State.DRAINING, drain_reason="idle", held_until=one.now + 600)
    await one.scheduler.drain([hostname(1)], reason="idle")
    await one.passes()
    assert one.state(1) is State.REGISTERED
    assert NodeState.DRAIN not in one.scheduler.known[hostname(1)].states


async def test_time_that_nobody_observed_is_not_idle_time() -> None:
    one = cluster(1)
    await one.passes()
    one.now += 3600  # asleep: the other clock stands still
    await one.passes(after_s=10)
    assert (one.groups.ended, one.sentence(1)) == ([], "idle 10 s of 60 s")
    one.restart()
    await one.passes(after_s=7200)  # off
    assert one.groups.ended == []
    one.now -= 86_400  # somebody sets the clock
    await one.passes(after_s=10)
    assert (one.groups.ended, one.sentence(1)) == ([], "idle 30 s of 60 s")
    await one.watches(30)
    assert one.groups.ended == [instance_id(1)]


@pytest.mark.parametrize("fails", ["raises", "is stale", "is killed"])
async def test_time_that_nobody_observed_is_no_idle_time_even_if_a_clock_cannot_be_stored_at_once(fails: str) -> None:
    one = cluster(1, 2)
    await one.passes()
    one.pass_time(7200)
    put = one.rows.put

    async def fail(rows: Sequence[Instance]) -> Mapping[InstanceId, Instance | None]:
        one.rows.put = put  # type: ignore[method-assign]
        if fails == "is stale":
            one.change_row(1, notice=Notice.REBALANCE, version=one.row(1).version + 1)
            one.change_row(1, notice=None)
            return await put(rows)
        raise AwsUnavailable("throttled")

    one.rows.put = fail  # type: ignore[method-assign]
    with contextlib.suppress(AwsUnavailable):
        await one.passes()
    if fails == "is killed":
        one.restart()
    await one.watches(IDLE_FOR_S - 10)
    assert one.groups.ended == []
    await one.watches(30)
    assert one.ended == [instance_id(1), instance_id(2)]


async def test_a_clock_that_was_set_back_is_taken_into_account_once_even_if_clocks_cannot_be_stored_at_once() -> None:
    one = cluster(1)
    await one.passes()
    one.now -= 3600
    put = one.rows.put

    async def written_without_an_answer(rows: Sequence[Instance]) -> Mapping[InstanceId, Instance | None]:
        one.rows.put = put  # type: ignore[method-assign]
        await put(rows)
        raise AwsUnavailable("timed out")

    one.rows.put = written_without_an_answer  # type: ignore[method-assign]
    with pytest.raises(AwsUnavailable):
        await one.passes(after_s=10)
    await one.watches(IDLE_FOR_S - 20)
    assert one.groups.ended == []


@pytest.mark.parametrize(
    ("passed_s", "awake_s", "lost_s"),
    [
        (10, 10, 0),
        (10.4, 10, 0),
        (3610, 10, 3600),
        (-86_390, 10, -86_400),
        (300, 300, 290),
        (30, None, 0),
        (300, None, 290),
        (-50, None, -50),
    ],
)
def test_what_counts_as_observed(passed_s: float, awake_s: float | None, lost_s: float) -> None:
    assert unobserved_s(1000 + passed_s, 1000, awake_s=awake_s, longest_s=60, interval_s=10) == pytest.approx(lost_s)


def test_a_first_look_has_nothing_to_make_up_for() -> None:
    assert unobserved_s(1000, None, awake_s=None, longest_s=60, interval_s=10) == 0


METRICS = replace(OPTIONS, metrics_stale_s=30.0, busy_cpu_share=0.2, busy_gpu_share=0.1, sessions_keep=True)


async def test_a_node_whose_own_metrics_say_busy_is_not_idle() -> None:
    four = cluster(1, 2, 3, 4, options=METRICS)
    for _ in range(14):
        four.tells(1, cpu_share=0.5)
        four.tells(2, gpu_share=0.1)
        four.tells(3, sessions=2)
        four.tells(4, cpu_share=0.1)
        await four.passes(after_s=10)
    assert four.groups.ended == [instance_id(4)]
    assert [four.sentence(number) for number in (1, 2, 3)] == [
        "busy: 50% of its CPU time, from 20% on it is not idle",
        "busy: 10% of its GPU time, from 10% on it is not idle",
        "kept: 2 people are logged in",
    ]


async def test_nothing_is_ended_without_metrics_or_on_old_ones_where_they_are_required() -> None:
    three = cluster(1, 2, 3, options=METRICS)
    three.tells(2, cpu_share=0.0)
    three.tells(3, cpu_share=0.0, gone=True)
    await idle_long(three)
    assert three.groups.ended == []
    assert three.sentence(1) == "kept: its own metrics are required, and it has sent none"
    assert three.sentence(2).startswith("kept: its own metrics are required, and the last are 1")
    assert three.sentence(3) == "kept: its own metrics are required, and its agent is gone"


async def test_what_came_before_the_clock_was_set_back_is_old() -> None:
    one = cluster(1, options=METRICS)
    one.tells(1)
    one.now -= 7200
    await idle_long(one)
    assert one.groups.ended == []
    assert one.sentence(1) == "kept: its own metrics are required, and the last came before the clock was set back"


async def test_metrics_that_have_become_old_while_the_node_was_drained_end_nobody() -> None:
    one = cluster(1, options=METRICS)
    one.change_row(1, idle_since=one.now - 2 * IDLE_FOR_S)
    one.tells(1)
    drain = one.scheduler.drain

    async def drain_for_long(hostnames: Collection[Hostname], *, reason: str) -> Results:
        one.pass_time(31)
        return await drain(hostnames, reason=reason)

    one.scheduler.drain = drain_for_long  # type: ignore[method-assign]
    await one.passes()
    assert (one.groups.ended, one.state(1)) == ([], State.REGISTERED)


async def test_somebody_who_logs_in_at_the_last_moment_keeps_the_node() -> None:
    one = cluster(1, options=METRICS)
    one.tells(1)
    await one.passes()
    for _ in range(5):
        one.tells(1)
        await one.passes(after_s=10)

    drain = one.scheduler.drain

    async def drain_and_log_in(*args: object, **kwargs: object) -> object:
        one.tells(1, sessions=1)
        return await drain(*args, **kwargs)  # type: ignore[arg-type]

    one.scheduler.drain = drain_and_log_in  # type: ignore[assignment,method-assign]
    one.pass_time(10)
    one.tells(1)
    await one.passes()
    assert (one.groups.ended, one.state(1)) == ([], State.REGISTERED)
    assert NodeState.DRAIN not in one.scheduler.known[hostname(1)].states


@pytest.mark.parametrize(
    ("rank", "first"),
    [(Rank.NEWEST, 3), (Rank.OLDEST, 1), (Rank.IDLE_LONGEST, 2), (Rank.ZONE_BALANCE, 2), (Rank.MAINTENANCE, 1), (Rank.PRICE, 1)],
)
async def test_the_ranking_decides_who_goes_first(rank: Rank, first: int) -> None:
    three = cluster(1, 2, 3, minimum=2, options=replace(OPTIONS, rank=(rank,)))
    fleet = three.groups.groups[BATCH.name]
    zones = dict(zip((1, 2, 3), "abb", strict=True))
    members = tuple(replace(member, zone=zones[place]) for place, member in enumerate(fleet.members, start=1))
    three.groups.groups[BATCH.name] = replace(fleet, members=members)
    for number, idle_s in ((1, 100), (2, 300), (3, 200)):
        three.change_row(number, idle_since=three.now - idle_s)
    await three.passes()
    assert three.groups.ended == [instance_id(first)]


async def test_no_more_than_so_many_are_on_their_way_out_at_once() -> None:
    five = cluster(1, 2, 3, 4, 5, options=replace(OPTIONS, max_ending=2))
    await idle_long(five)
    assert len(five.groups.ended) == 2
    for gone in list(five.groups.ended):
        five.groups.forget(gone)
        del five.rows.stored[gone]
    await five.passes()
    assert len(five.groups.ended) == 4


async def test_notice_by_aws_comes_before_every_bound() -> None:
    two = cluster(1, 2, minimum=2)
    two.change_row(1, notice=Notice.SPOT_INTERRUPTION)
    await two.passes()
    assert two.groups.ended == [instance_id(1)]
    assert two.groups.groups[BATCH.name].desired == 2
