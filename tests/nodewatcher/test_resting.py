"""nodewatcher leaves out whole looks while nothing is due; a notice, a changed row or the end of a wait is not looked at late."""

from dataclasses import replace

import pytest

from daemons.config.values import NodewatcherConfig
from daemons.errors import AwsUnavailable
from daemons.model import NodeState, Notice, State
from tests.fakes import BATCH, FakeGroups, hostname, instance_id
from tests.nodewatcher.cluster import Cluster

REST_S, IDLE_FOR_S = 50.0, 600.0
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
    quiet.change_row(1, state=State.PENDING, pending_at=quiet.now - BATCH.boot_timeout_s + 25, hostname=None)
    await quiet.glance(after_s=REST_S)
    assert quiet.ended == [instance_id(1)]
    quiet.change_row(2, state=State.PENDING, pending_at=quiet.now - BATCH.boot_timeout_s + 25, hostname=None)
    await quiet.glance()
    await quiet.glance()
    assert quiet.ended == [instance_id(1)]
    await quiet.glance()
    assert quiet.ended == [instance_id(1), instance_id(2)]


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


async def test_a_clock_that_was_set_back_ends_the_rest(quiet: Cluster) -> None:
    quiet.now -= 3600
    await quiet.glance()
    assert looks(quiet) == 2


async def test_without_rest_s_every_glance_is_a_look() -> None:
    cluster = Cluster(FakeGroups.of(1), options=replace(OPTIONS, rest_s=0.0))
    for _ in range(3):
        await cluster.glance()
    assert looks(cluster) == 3
