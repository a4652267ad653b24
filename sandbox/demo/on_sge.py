"""A real Grid Engine on the demo's stage."""

import time
from collections.abc import Mapping
from pathlib import Path

from daemons.model import FleetSpec, JobId
from sandbox.aws.values import EmulatedInstance
from sandbox.demo.players import Players
from sandbox.demo.stage import Announcer, SchedulerOnStage
from sandbox.demo.story import DemoJob
from sandbox.gridengine import GridEngineCluster
from sandbox.runtime import Placement
from schedulers.sge.amounts import count_tasks
from schedulers.sge.nodes import hosts_of

MOST_NODES = 16
_MEMORY = "200M"  # of each slot
_ADVERTISED_S = 30.0
_INDEX = '[ "${SGE_TASK_ID:-undefined}" = undefined ] || HEADNODE_ARRAY_TASK_ID=$SGE_TASK_ID'


class SgeOnStage:
    """Implements `sandbox.demo.stage.SchedulerOnStage`."""

    name = "sge"

    def __init__(self, cluster: GridEngineCluster) -> None:
        self._cluster = cluster
        self._labels: dict[JobId, str] = {}

    def start(self) -> None:
        self._cluster.start()

    def stop(self) -> None:
        self._cluster.stop()

    def settings(self) -> Mapping[str, object]:
        return self._cluster.settings

    def submit(self, job: DemoJob, script: Path) -> None:
        """A slot a CPU: on one host, or so many on each of several."""
        self._await_advertisement()
        environment = "smp" if job.nodes == 1 else f"by{job.cpus}"
        options = ["-N", job.label, "-l", f"h_vmem={_MEMORY}"]
        options += ["-pe", environment, str(job.nodes * job.cpus)] if job.nodes * job.cpus > 1 else []
        options += ["-t", f"1-{job.array}"] if job.array else []
        options += ["-h"] if job.held else []
        first, rest = script.read_text().split("\n", 1)
        self._labels[self._cluster.submit(*options, script=f"{first}\n{_INDEX}\n{rest}")] = job.label

    def _await_advertisement(self) -> None:
        """A queue of no host takes no jobs, until sqswatcher has said at its start which fleets there are."""
        deadline = time.monotonic() + _ADVERTISED_S
        while not self._cluster.snapshot().instances:
            if time.monotonic() > deadline:
                raise OSError(f"no service has let jobs queue within {_ADVERTISED_S:g} s")
            time.sleep(0.1)

    def waiting(self) -> frozenset[str]:
        return frozenset(self._labels[JobId(row.job_id)] for row in self._cluster.snapshot().waiting)

    def counts(self) -> tuple[int, int]:
        snapshot = self._cluster.snapshot()
        running = {row.job for instance in snapshot.instances for row in instance.jobs}
        return sum(count_tasks(row.tasks) for row in snapshot.waiting), len(running)

    def nodes(self) -> Mapping[str, bool]:
        hosts = hosts_of(self._cluster.snapshot())
        return {name: host.is_busy for name, host in hosts.items() if host.has_slots}

    def place(self, instance_id: str) -> Placement:
        return self._cluster.place(instance_id)

    def boot(self, instance: EmulatedInstance) -> None:
        self._cluster.boot(instance)

    def kill(self, instance_id: str) -> None:
        self._cluster.kill(instance_id)


def open_scheduler(players: Players, announcer: Announcer, fleet: FleetSpec) -> SchedulerOnStage:
    cluster = GridEngineCluster(
        directory=players.directory,
        fleets=[fleet],
        world=players.world,
        env=players.guard.env,
        announce=announcer,
        most_nodes=MOST_NODES,
    )
    return SgeOnStage(cluster)
