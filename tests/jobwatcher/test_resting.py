"""jobwatcher leaves out whole looks while nothing but a new job could change anything, and not a moment longer."""

from dataclasses import replace
from pathlib import Path

import pytest

from daemons.config.values import JobwatcherConfig
from daemons.errors import AwsUnavailable
from daemons.model import BlockedBy
from tests.fakes import BATCH, FakeGroups, hostname
from tests.jobwatcher.cluster import Cluster

REST_S = 50.0


@pytest.fixture
async def settled(tmp_path: Path) -> Cluster:
    """Two nodes that are there and take jobs, nothing that waits, and one look at that."""
    cluster = Cluster(tmp_path, FakeGroups.of(1, 2, maximum=9))
    cluster.registered(1)
    cluster.registered(2)
    await cluster.glance()
    assert looks(cluster) == 1
    return cluster


def looks(cluster: Cluster) -> int:
    return cluster.groups.calls["fleets"]


async def test_while_nothing_waits_only_the_scheduler_is_asked(settled: Cluster) -> None:
    before = settled.scheduler.calls["demand"]
    for _ in range(4):
        await settled.glance()
    assert (looks(settled), settled.rows.calls["live"]) == (1, 1)
    assert settled.scheduler.calls["demand"] == before + 4


async def test_a_rest_is_over_after_its_time(settled: Cluster) -> None:
    await settled.glance(after_s=REST_S - 1)
    assert looks(settled) == 1
    await settled.glance(after_s=1)
    assert looks(settled) == 2


async def test_a_new_job_is_answered_by_the_next_glance(settled: Cluster) -> None:
    settled.scheduler.work(hostname(1), "1")
    settled.scheduler.work(hostname(2), "2")
    settled.waits(3)
    await settled.glance()
    assert settled.desired == 5


async def test_a_job_that_waits_for_no_room_is_looked_at_once(settled: Cluster) -> None:
    settled.waits(1, blocked_by=BlockedBy.HOLD)
    await settled.glance()
    await settled.glance()
    assert looks(settled) == 2
    settled.scheduler.waiting = []
    await settled.glance()
    assert looks(settled) == 3


async def test_who_wakes_it_gets_a_look(settled: Cluster) -> None:
    await settled.glance(is_woken=True)
    assert looks(settled) == 2


@pytest.mark.parametrize("unsettled", ["waits", "coming", "asked"])
async def test_there_is_no_rest_while_anything_is_under_way(settled: Cluster, unsettled: str) -> None:
    match unsettled:
        case "waits":
            settled.scheduler.work(hostname(1), "1")
            settled.waits(1, cpus=64)
        case "coming":
            settled.registered(2, up=False)
        case "asked":
            settled.groups.groups[BATCH.name] = replace(settled.groups.groups[BATCH.name], desired=3)
    settled.now += REST_S
    for _ in range(3):
        await settled.glance()
    assert looks(settled) == 4


async def test_a_failed_look_is_not_rested_upon(settled: Cluster) -> None:
    settled.now += REST_S
    settled.groups.unplugged = True
    with pytest.raises(AwsUnavailable):
        await settled.glance()
    settled.groups.unplugged = False
    before = settled.rows.calls["live"]
    await settled.glance()
    assert settled.rows.calls["live"] == before + 1


async def test_a_look_that_somebody_wanted_and_that_failed_is_made_up_for(settled: Cluster) -> None:
    settled.groups.unplugged = True
    with pytest.raises(AwsUnavailable):
        await settled.glance(is_woken=True)
    settled.groups.unplugged = False
    before = looks(settled)
    await settled.glance()
    assert looks(settled) == before + 1


async def test_a_clock_that_was_set_back_ends_the_rest(settled: Cluster) -> None:
    await settled.glance(after_s=-3600)
    assert looks(settled) == 2


async def test_without_rest_s_every_glance_is_a_look(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, FakeGroups.of(1), options=JobwatcherConfig(rest_s=0.0))
    cluster.registered(1)
    await cluster.glance()
    await cluster.glance()
    assert looks(cluster) == 2
