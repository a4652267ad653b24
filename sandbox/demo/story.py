"""The jobs of the demo: one of each kind that an autoscaler must get right, and two that it must leave alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemons.model import FleetName, FleetSpec, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoJob:
    """One submission. Each of its tasks leaves a line in a file when it starts and one when it ends: that is the ground truth."""

    label: str
    cpus: int = 1  # of each node's task
    nodes: int = 1
    array: int = 0  # how many tasks; 0: no array
    held: bool = False
    run_s: float = 3.0
    runs: bool = True  # False: it must be left alone

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names under which its tasks report."""
        return tuple(f"{self.label}.{index}" for index in range(1, self.array + 1)) if self.array else (self.label,)


def demo_fleet(*, maximum: int) -> tuple[FleetSpec, int]:
    spec = FleetSpec(
        name=FleetName("batch"),
        group="hpc-batch",
        shape=Shape(cpus=4, memory_mib=7_000),
        instance_type="c5.xlarge",
        partition="compute",
        features=frozenset({"c5"}),
        price_per_hour=0.17,
    )
    return spec, maximum


def demo_jobs(*, maximum: int) -> tuple[DemoJob, ...]:
    """Single jobs, an array, a multi-node job; one too large for the fleet, and one that its user holds."""
    return (
        DemoJob(label="single-a", cpus=1),
        DemoJob(label="single-b", cpus=2),
        DemoJob(label="array", cpus=2, array=6),
        DemoJob(label="three-nodes", cpus=4, nodes=3),
        DemoJob(label="too-large", cpus=4, nodes=maximum + 2, runs=False),
        DemoJob(label="held", cpus=1, held=True, runs=False),
    )


def render_script(job: DemoJob, marks: Path) -> str:
    """The job's script: it reports its start and its end, in lines that short appends write whole."""
    return "\n".join(
        [
            "#!/bin/sh",
            f"task={job.label}",
            'index="${SLURM_ARRAY_TASK_ID:-${HEADNODE_ARRAY_TASK_ID:-}}"',
            '[ -z "$index" ] || task="$task.$index"',
            f'echo "start $task $(hostname)" >> "{marks}/$task"',
            f"sleep {job.run_s}",
            f'echo "end $task" >> "{marks}/$task"',
            "",
        ]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What the tasks themselves reported: how often each started and ended."""

    starts: dict[str, int]
    ends: dict[str, int]


def read_marks(marks: Path, jobs: Sequence[DemoJob]) -> Marks:
    """Read the files that the tasks write; a task without one has not started."""
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    for task in (task for job in jobs for task in job.tasks):
        path = marks / task
        lines = path.read_text().splitlines() if path.exists() else []
        starts[task] = sum(line.startswith("start ") for line in lines)
        ends[task] = sum(line.startswith("end ") for line in lines)
    return Marks(starts=starts, ends=ends)
