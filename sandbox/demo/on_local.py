"""The local scheduler on the demo's stage."""

from collections.abc import Mapping
from pathlib import Path

from daemons.model import FleetSpec, Shape
from sandbox.aws.values import EmulatedInstance
from sandbox.demo.players import Players
from sandbox.demo.stage import Announcer, SchedulerOnStage
from sandbox.demo.story import DemoJob
from sandbox.local import LocalCluster
from sandbox.runtime import Placement
from schedulers.local.values import JobSpec


class LocalOnStage:
    """Implements `sandbox.demo.stage.SchedulerOnStage`."""

    name = "local"

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster

    def start(self) -> None:
        self._cluster.start()

    def stop(self) -> None:
        self._cluster.stop()

    def settings(self) -> Mapping[str, object]:
        return self._cluster.settings

    def submit(self, job: DemoJob, script: Path) -> None:
        self._cluster.submit(
            JobSpec(
                name=job.label,
                script=script.read_text(),
                per_node=Shape(cpus=job.cpus, memory_mib=500),
                nodes=job.nodes,
                array=tuple(range(1, job.array + 1)),
                held=job.held,
                time_limit_s=300,
            )
        )

    def waiting(self) -> frozenset[str]:
        return self._cluster.waiting()

    def counts(self) -> tuple[int, int]:
        return self._cluster.counts()

    def nodes(self) -> Mapping[str, bool]:
        return self._cluster.nodes()

    def place(self, instance_id: str) -> Placement:
        return self._cluster.place(instance_id)

    def boot(self, instance: EmulatedInstance) -> None:
        self._cluster.boot(instance)

    def kill(self, instance_id: str) -> None:
        self._cluster.kill(instance_id)


def open_scheduler(players: Players, announcer: Announcer, fleet: FleetSpec) -> SchedulerOnStage:  # noqa: ARG001  any fleet will do
    return LocalOnStage(LocalCluster(directory=players.directory, env=players.guard.env, announce=announcer))
