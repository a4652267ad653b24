"""A real Slurm on the demo's stage."""

from collections.abc import Mapping
from pathlib import Path

from daemons.model import FleetSpec
from sandbox.aws.values import EmulatedInstance
from sandbox.demo.players import Players
from sandbox.demo.stage import Announcer, SchedulerOnStage
from sandbox.demo.story import DemoJob
from sandbox.runtime import Placement
from sandbox.slurm import SlurmCluster
from schedulers.slurm import render
from schedulers.slurm.membership import DeclaredMembership
from schedulers.slurm.parse import parse_nodes

MOST_NODES = 16


class SlurmOnStage:
    """Implements `sandbox.demo.stage.SchedulerOnStage`."""

    name = "slurm"

    def __init__(self, cluster: SlurmCluster) -> None:
        self._cluster = cluster

    def start(self) -> None:
        self._cluster.start()

    def stop(self) -> None:
        self._cluster.stop()

    def settings(self) -> Mapping[str, object]:
        return self._cluster.settings

    def submit(self, job: DemoJob, script: Path) -> None:
        """One task a node, each with the job's CPUs."""
        options = [f"--job-name={job.label}", f"--nodes={job.nodes}", "--ntasks-per-node=1", f"--cpus-per-task={job.cpus}"]
        options += [f"--array=1-{job.array}"] if job.array else []
        options += ["--hold"] if job.held else []
        self._cluster.submit(*options, "--time=5", "--mem=500", script=script.read_text())

    def waiting(self) -> frozenset[str]:
        return frozenset(name for name, state in self._jobs() if state == "PENDING")

    def counts(self) -> tuple[int, int]:
        states = [state for _, state in self._jobs()]
        return states.count("PENDING"), sum(state in ("RUNNING", "CONFIGURING", "COMPLETING") for state in states)

    def nodes(self) -> Mapping[str, bool]:
        """Where nodes are declared beforehand, those that bear the mark of a registration."""
        found = parse_nodes(self._cluster.run(*render.SHOW_NODES).stdout)
        declared = not self._cluster.world.isolated
        return {
            name: node.used.cpus > 0
            for name, node in found.items()
            if name.startswith("ip-") and (not declared or node.comment.startswith(DeclaredMembership.mark))
        }

    def place(self, instance_id: str) -> Placement:
        return self._cluster.place(instance_id)

    def boot(self, instance: EmulatedInstance) -> None:
        self._cluster.boot(instance)

    def kill(self, instance_id: str) -> None:
        self._cluster.kill(instance_id)

    def _jobs(self) -> list[tuple[str, str]]:
        """(name, state) of every job, tasks of arrays one by one, in Slurm's own words."""
        done = self._cluster.run("squeue", "-h", "-a", "-r", "-t", "all", "-o", "%T %j")
        if done.returncode:
            raise OSError(f"squeue: {done.stderr.strip()}")
        return [(name, state) for state, name in (line.split(" ", 1) for line in done.stdout.splitlines())]


def open_scheduler(players: Players, announcer: Announcer, fleet: FleetSpec) -> SchedulerOnStage:
    cluster = SlurmCluster(
        directory=players.directory,
        fleets=[fleet],
        world=players.world,
        env=players.guard.env,
        announce=announcer,
        most_nodes=MOST_NODES,
        placeholders=MOST_NODES,
    )
    return SlurmOnStage(cluster)
