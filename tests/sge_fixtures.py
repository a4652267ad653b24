"""One real Grid Engine for all tests of the session, cleared before each of them."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons.model import Hostname
from sandbox.gridengine import GridEngineCluster, can_run
from sandbox.guard import start_guard
from sandbox.world import World
from tests.needs import skip_or_fail
from tests.schedulers.sge.bench import BARE_HOSTS, BATCH, BIG, GPU, Bench


@pytest.fixture(scope="session")
def sge_cluster(world: World) -> Iterator[GridEngineCluster]:
    if reason := can_run(world):
        skip_or_fail(f"no real Grid Engine: {reason}")
    directory = Path(tempfile.mkdtemp(prefix="hn-"))
    guard = start_guard(directory, f"test-{secrets.token_hex(8)}")
    cluster = GridEngineCluster(
        directory=directory,
        fleets=(BATCH, BIG, GPU),
        world=world,
        env=guard.env,
        bare_hosts=BARE_HOSTS,
        licences={"matlab": 1},
    )
    try:
        cluster.start()
        yield cluster
        cluster.stop()
    finally:
        guard.close()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def sge_bench(sge_cluster: GridEngineCluster) -> Bench:
    """A cluster with groups and placeholders and nothing else."""
    bench = Bench(cluster=sge_cluster, fleets=tuple(sge_cluster.fleets))
    await bench.clear()
    await bench.advertise()
    return bench


@pytest.fixture
async def sge_resting(sge_cluster: GridEngineCluster) -> tuple[Bench, Hostname]:
    """As `sge_bench`, with one idle node of the batch fleet, which several tests share."""
    bench = Bench(cluster=sge_cluster, fleets=tuple(sge_cluster.fleets))
    await bench.advertise()
    return bench, await bench.rest()
