"""What reading 10,000 waiting jobs and registering 100 nodes cost beyond the scheduler's own commands.

`python -m benchmarks.schedulers [--jobs N] [--only NAME] [--json]`: a real Slurm and a real Grid Engine, one after the other, in
namespaces of their own (root on Debian). Jobs are submitted one by one, of twenty shapes, by the schedulers' commands: that takes
some minutes. Torque is emulated here, and the time of an emulated command says nothing.
"""

import argparse
import asyncio
import contextlib
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.report import Promise, report
from daemons.model import FleetName, FleetSpec, Hostname, InstanceId, NodeSpec, Shape
from sandbox import gridengine, slurm
from sandbox.guard import start_guard
from sandbox.world import World, enter_private_world
from schedulers.base import Outcome, Scheduler
from schedulers.commands import Answer, Commands
from schedulers.sge import Sge, SgeSettings
from schedulers.slurm import Slurm, SlurmSettings

NODES = 100
SHAPES = 20
ROUNDS = 5
BEAT_S = 0.002
FLEET = FleetSpec(
    name=FleetName("batch"),
    group="hpc-batch",
    shape=Shape(cpus=32, memory_mib=60_000),
    instance_type="c5.9xlarge",
    features=frozenset({"c5"}),
)
HOSTS = {f"bare-{number}": f"10.81.0.{number}" for number in range(1, NODES + 1)}


@dataclass
class Watched:
    """Commands, and how long somebody waited for them; those at the same time count once."""

    commands: Commands
    calls: int = 0
    seconds: float = 0.0
    _now: int = field(default=0, repr=False)
    _since: float = field(default=0.0, repr=False)

    async def run(self, *argv: str) -> Answer:
        self.calls += 1
        self._since, self._now = self._since if self._now else time.perf_counter(), self._now + 1
        try:
            return await self.commands.run(*argv)
        finally:
            self._now -= 1
            self.seconds += 0.0 if self._now else time.perf_counter() - self._since


@dataclass(frozen=True)
class Site:
    """A running cluster with its plugin, and how one job is submitted there."""

    plugin: Scheduler
    watched: Watched
    submit: Callable[[int], object]


@contextlib.contextmanager
def slurm_site(directory: Path, world: World, env: Mapping[str, str]) -> Iterator[Site]:
    cluster = slurm.SlurmCluster(directory=directory, fleets=(FLEET,), world=world, env=env)
    cluster.start()
    try:
        settings = SlurmSettings.model_validate(cluster.settings)
        watched = Watched(Slurm.open(settings, cluster="bench", fleets=(FLEET,)).controller.commands)
        plugin = Slurm.over(watched, settings)
        yield Site(plugin, watched, lambda number: cluster.submit("-p", FLEET.partition, "-n", str(1 + number % SHAPES)))
    finally:
        cluster.stop()


@contextlib.contextmanager
def sge_site(directory: Path, world: World, env: Mapping[str, str]) -> Iterator[Site]:
    cluster = gridengine.GridEngineCluster(directory=directory, fleets=(FLEET,), world=world, env=env, bare_hosts=HOSTS)
    cluster.start()
    try:
        settings = SgeSettings.model_validate(cluster.settings)
        watched = Watched(Sge.open(settings, cluster="bench", fleets=(FLEET,)).qmaster.commands)
        plugin = Sge.over(watched, settings, (FLEET,))
        yield Site(plugin, watched, lambda number: cluster.submit("-pe", "smp", str(1 + number % SHAPES)))
    finally:
        cluster.stop()


@contextlib.asynccontextmanager
async def heartbeat() -> AsyncIterator[list[float]]:
    """How long the event loop was late for each beat, in seconds."""
    late: list[float] = []

    async def beat() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(BEAT_S)
            late.append(time.perf_counter() - began - BEAT_S)

    beating = asyncio.create_task(beat())
    await asyncio.sleep(0)
    try:
        yield late
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def measure(name: str, site: Site, jobs: int) -> dict[str, Any]:
    """Of the rounds of reading, the one with the median share of ours; of the beats, the latest."""
    watched = site.watched
    await site.plugin.advertise([FLEET])
    before = watched.calls
    results = await site.plugin.register([node_spec(*each) for each in HOSTS.items()])
    if odd := [each for each in results.values() if each.outcome is not Outcome.DONE]:
        raise RuntimeError(f"{name}: {len(odd)} of {len(results)} nodes were not registered: {odd[0]}")
    commands = watched.calls - before
    await asyncio.to_thread(submit, name, site, jobs)
    rounds: list[tuple[float, float, float]] = []
    async with heartbeat() as late:
        for _ in range(ROUNDS):
            began, waited = time.perf_counter(), watched.seconds
            demand = await site.plugin.demand()
            whole, theirs = time.perf_counter() - began, watched.seconds - waited
            rounds.append(((whole - theirs) / theirs, whole - theirs, theirs))
            if (counted := sum(each.count for each in demand)) != jobs:
                raise RuntimeError(f"{name}: {jobs} jobs wait, and {counted} were read")
    share, ours_s, theirs_s = sorted(rounds)[ROUNDS // 2]
    return {
        "scheduler": name,
        "jobs": jobs,
        "command_s": round(theirs_s, 3),
        "ours_s": round(ours_s, 3),
        "ours_per_command": round(share, 2),
        "longest_block_ms": round(max(late) * 1000, 1),
        "nodes": len(results),
        "commands_to_register": commands,
    }


def submit(name: str, site: Site, jobs: int) -> None:
    """Four at a time; says how far it is."""
    with ThreadPoolExecutor(4) as pool:
        for done, _ in enumerate(pool.map(site.submit, range(jobs)), 1):
            if done % 1000 == 0 or done == jobs:
                print(f"{name}: {done} of {jobs} jobs submitted", file=sys.stderr)


def node_spec(hostname: str, address: str) -> NodeSpec:
    return NodeSpec(
        instance_id=InstanceId("i-00000000000000000"),
        hostname=Hostname(hostname),
        address=address,
        fleet=FLEET.name,
        shape=FLEET.shape,
        partition=FLEET.partition,
        features=FLEET.features,
    )


def promises(rows: Sequence[dict[str, Any]]) -> Iterator[Promise]:
    for row in rows:
        name, jobs = row["scheduler"], row["jobs"]
        yield Promise(what=f"{name}: our time per command's, for {jobs} jobs", limit=1.0, measured=row["ours_per_command"])
        yield Promise(what=f"{name}: ms that the event loop was blocked", limit=50.0, measured=row["longest_block_ms"])
        yield Promise(what=f"{name}: commands to register {row['nodes']}", limit=5, measured=row["commands_to_register"])


SITES = {"slurm": slurm_site, "sge": sge_site}


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000, metavar="N", help="waiting jobs (10000)")
    parser.add_argument("--only", choices=sorted(SITES), help="this scheduler alone")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    world = enter_private_world()
    if reason := slurm.can_run(world, (FLEET,)) or gridengine.can_run(world):
        print(f"schedulers: cannot be measured here: {reason}", file=sys.stderr)
        return 1
    rows = []
    for name, site in SITES.items():
        if arguments.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory(prefix="hn-", ignore_cleanup_errors=True) as directory:
            Path(directory).chmod(0o755)  # the qmaster is another user
            guard = start_guard(Path(directory), f"bench-{secrets.token_hex(8)}")
            try:
                with site(Path(directory) / name, world, guard.env) as made:
                    rows.append(asyncio.run(measure(name, made, arguments.jobs)))
            finally:
                guard.close()
    return report("schedulers", rows, list(promises(rows)), as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
