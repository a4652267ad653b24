"""One real Slurm for all tests of the session, cleared before each of them."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.guard import start_guard
from sandbox.slurm import SlurmCluster, can_run
from sandbox.world import World
from tests.e2e.scene import FLEETS
from tests.needs import skip_or_fail
from tests.schedulers.slurm.bench import BATCH, GPU, Bench


@pytest.fixture(scope="session")
def slurm_cluster(world: World) -> Iterator[SlurmCluster]:
    fleets = (BATCH, GPU, *FLEETS) if world.isolated else (BATCH,)
    if reason := can_run(world, fleets):
        skip_or_fail(f"no real Slurm: {reason}")
    directory = Path(tempfile.mkdtemp(prefix="hn-"))  # a short path: sockets' names are bounded
    guard = start_guard(directory, f"test-{secrets.token_hex(8)}")
    cluster = SlurmCluster(directory=directory, fleets=fleets, world=world, env=guard.env, options=("Licenses=matlab:1",))
    try:
        cluster.start()
        yield cluster
        cluster.stop()
    finally:
        guard.close()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def bench(slurm_cluster: SlurmCluster) -> Bench:
    """A cluster with placeholders and nothing else."""
    bench = Bench(cluster=slurm_cluster, fleets=(BATCH, GPU) if slurm_cluster.world.isolated else (BATCH,))
    bench.clear()
    await bench.slurm.advertise(bench.fleets)
    return bench


@pytest.fixture
def dynamic(bench: Bench) -> Bench:
    """As `bench`, for what needs namespaces."""
    if not bench.cluster.world.isolated:
        skip_or_fail(f"no dynamic nodes: {bench.cluster.world.reason}")
    return bench
