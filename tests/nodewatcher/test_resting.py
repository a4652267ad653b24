"""nodewatcher leaves out whole looks while nothing is due; a notice, a changed row or the end of a wait is not looked at late."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from daemons.config.values import NodewatcherConfig
from daemons.errors import AwsUnavailable
from daemons.model import Instance, InstanceId, NodeState, Notice, State
from tests.fakes import BATCH, FakeGroups, hostname, instance_id
from tests.nodewatcher.cluster import Cluster

REST_S, IDLE_FOR_S = 50.0, 630.0  # no rest ends with the idle time
OPTIONS = NodewatcherConfig(idle_for_s=IDLE_FOR_S, max_ending_share=1.0)


@pytest.fixture
async def quiet() -> Cluster:
    """Two nodes with jobs, and one look at them."""
    cluster = Cluster(FakeGroups.of(1, 2), options=OPTIONS)
    for number in (1, 2):
        cluster.scheduler.work(hostname(number), str(number))
    await cluster.glance()
    assert looks(cluster) == 1
    return cluster


def looks(cluster: Cluster) -> int:
    return cluster.groups.calls["fleets"]


async def test_while_nothing_is_due_only_the_unsettled_rows_are_asked_for(quiet: Cluster) -> None:
    commands = quiet.scheduler.calls.total()
    for _ in range(4):
        await quiet.glance()
    assert (looks(quiet), quiet.rows.calls["live"], quiet.rows.calls["unsettled"]) == (1, 1, 5)
    assert quiet.scheduler.calls.total() == commands
    assert quiet.told == [{instance_id(1), instance_id(2)}] * 5, "the nodes hear of their head all the same"


async def test_a_rest_is_over_after_its_time_and_all_of_it_was_observed(quiet: Cluster) -> None:
    quiet.scheduler.finish(hostname(1))
    await quiet.glance(after_s=REST_S)
    since = quiet.row(1).idle_since
    for _ in range(9):
        await quiet.glance()
    assert looks(quiet) == 3
    assert quiet.row(1).idle_since == since is not None
    assert quiet.record().seen.unobserved_s == 0


async def test_an_idle_node_is_given_back_on_time(quiet: Cluster) -> None:
    """Passes are ten seconds apart, and its idle time is over at the beginning of one."""
    quiet.scheduler.finish(hostname(1))
    await quiet.glance(after_s=REST_S)
    await quiet.glances(IDLE_FOR_S - 10)
    assert quiet.ended == []
    assert looks(quiet) < 16, "it rested meanwhile"
    await quiet.glance()
    assert quiet.ended == [instance_id(1)]


@pytest.mark.parametrize("notice", [Notice.SPOT_INTERRUPTION, Notice.REBALANCE])
async def test_a_notice_in_the_table_is_heeded_by_the_next_glance(quiet: Cluster, notice: Notice) -> None:
    quiet.change_row(1, notice=notice, version=quiet.row(1).version + 1)
    await quiet.glance()
    assert quiet.state(1) is State.DRAINING


async def test_a_notice_that_the_node_itself_has_read_is_heeded_by_the_next_glance(quiet: Cluster) -> None:
    quiet.tells(1, spot_action="terminate")
    await quiet.glance()
    assert quiet.state(1) is State.DRAINING


async def test_what_a_node_says_of_its_load_disturbs_nobody(quiet: Cluster) -> None:
    quiet.tells(1, cpu_share=0.9)
    await quiet.glance()
    assert looks(quiet) == 1


@pytest.mark.parametrize("change", [{"state": State.TERMINATING}, {"held_until": 2e9}, {"state": State.GONE}])
async def test_a_changed_row_is_looked_at(quiet: Cluster, change: dict[str, object]) -> None:
    quiet.change_row(1, held_until=1e9)
    await quiet.glance()
    before = looks(quiet)
    quiet.change_row(1, version=quiet.row(1).version + 1, **change)
    await quiet.glance()
    assert looks(quiet) == before + 1


async def test_a_node_that_joins_is_looked_at(quiet: Cluster) -> None:
    quiet.change_row(2, state=State.READY)
    await quiet.glance()
    await quiet.glance()
    assert looks(quiet) == 2
    quiet.change_row(2, state=State.REGISTERED, version=quiet.row(2).version + 1)
    await quiet.glance()
    assert looks(quiet) == 3


async def test_there_is_no_rest_while_a_node_is_down_or_on_its_way_out(quiet: Cluster) -> None:
    quiet.scheduler.falls(hostname(1), NodeState.DOWN)
    await quiet.glance(after_s=REST_S)
    await quiet.glance()
    assert looks(quiet) == 3
    await quiet.glances(OPTIONS.down_for_s)
    assert looks(quiet) >= 3 + OPTIONS.down_for_s / 10


async def test_the_end_of_a_boot_time_is_not_slept_through(quiet: Cluster) -> None:
    quiet.change_row(2, state=State.PENDING, pending_at=quiet.now - BATCH.boot_timeout_s + 25, hostname=None)
    await quiet.glance()
    await quiet.glance()
    assert (looks(quiet), quiet.ended) == (2, [])
    await quiet.glance()
    assert quiet.ended == [instance_id(2)]


async def test_nodes_that_are_given_back_soon_are_looked_at_often() -> None:
    cluster = Cluster(FakeGroups.of(1), options=replace(OPTIONS, idle_for_s=200.0))
    for _ in range(6):
        await cluster.glance()
    assert looks(cluster) == 3


async def test_a_failed_look_is_not_rested_upon(quiet: Cluster) -> None:
    quiet.groups.unplugged = True
    with pytest.raises(AwsUnavailable):
        await quiet.glance(after_s=REST_S)
    quiet.groups.unplugged = False
    await quiet.glance()
    assert quiet.record().seen.now == quiet.now


async def test_a_look_that_was_called_for_and_failed_is_made_up_for_even_if_nothing_calls_for_it_any_more(quiet: Cluster) -> None:
    quiet.change_row(1, notice=Notice.REBALANCE)
    quiet.groups.unplugged = True
    with pytest.raises(AwsUnavailable):
        await quiet.glance()
    quiet.change_row(1, notice=None)
    quiet.groups.unplugged = False
    await quiet.glance()
    assert quiet.record().seen.now == quiet.now


async def test_a_look_that_could_not_write_all_it_wanted_is_not_rested_upon(quiet: Cluster) -> None:
    quiet.scheduler.finish(hostname(1))
    put = quiet.rows.put

    async def somebody_else_writes(rows: Sequence[Instance]) -> Mapping[InstanceId, Instance | None]:
        quiet.rows.put = put  # type: ignore[method-assign]
        quiet.change_row(1, version=quiet.row(1).version + 1)
        return await put(rows)

    quiet.rows.put = somebody_else_writes  # type: ignore[method-assign]
    await quiet.glance(after_s=REST_S)
    assert quiet.row(1).idle_since is None
    await quiet.glance()
    assert quiet.row(1).idle_since == quiet.now


async def test_a_dry_run_rests_too() -> None:
    cluster = Cluster(FakeGroups.of(1), options=replace(OPTIONS, dry_run=True))
    for _ in range(5):
        await cluster.glance()
    assert looks(cluster) == 1


@pytest.mark.parametrize(("idle_for_s", "lost_s"), [(630.0, 0.0), (100.0, 90.0)], ids=["it may rest so long", "it may not"])
async def test_a_look_may_be_late_by_a_rest_and_no_more_before_time_counts_as_unobserved(
    idle_for_s: float, lost_s: float
) -> None:
    cluster = Cluster(FakeGroups.of(1), options=replace(OPTIONS, idle_for_s=idle_for_s))
    await cluster.glance()
    await cluster.glance(after_s=100)
    assert cluster.record().seen.unobserved_s == lost_s
    assert cluster.ended == []


async def test_a_node_that_is_about_to_go_takes_no_job_once_its_administrator_lets_go_of_it(quiet: Cluster) -> None:
    quiet.scheduler.finish(hostname(1))
    quiet.scheduler.administrator_drains(hostname(1), "a fan")
    quiet.change_row(1, notice=Notice.SPOT_INTERRUPTION)
    await quiet.glance()
    assert quiet.state(1) is State.REGISTERED
    quiet.scheduler.up(hostname(1))
    await quiet.glance()
    assert quiet.ended == [instance_id(1)]


async def test_a_clock_that_was_set_back_ends_the_rest(quiet: Cluster) -> None:
    quiet.now -= 3600
    await quiet.glance()
    assert looks(quiet) == 2


async def test_without_rest_s_every_glance_is_a_look() -> None:
    cluster = Cluster(FakeGroups.of(1), options=replace(OPTIONS, rest_s=0.0))
    for _ in range(3):
        await cluster.glance()
    assert looks(cluster) == 3
