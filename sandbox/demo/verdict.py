"""Judges a finished demo by what really is: the jobs' own marks, the emulated AWS, the scheduler. Pure; our logs have no say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sandbox.demo.story import DemoJob, Marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """What is still there, beyond what the fleet's minimum accounts for."""

    scheduler: int
    table: int
    dns: int
    queue: int
    dead_letter: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The ground truth at the end. Times are seconds; None where it was not seen to happen."""

    scheduler: str
    marks: Marks
    waiting: frozenset[str]  # labels of the jobs that the scheduler says still wait
    peak: int  # the most instances in service at once
    final: int
    minimum: int
    leftovers: Leftovers
    job_to_capacity_s: float | None  # from the first submission to a higher desired capacity
    ready_to_registered_s: float | None  # the longest, from a node's ready message to its being in the scheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    report: Mapping[str, object]  # what `--json` prints
    failures: tuple[str, ...]  # what was promised and is not so; () is a pass

    @property
    def ok(self) -> bool:
        return not self.failures


def judge(truth: Truth, jobs: Sequence[DemoJob], *, reaction_limits_s: tuple[float, float] | None) -> Verdict:
    """Hold the truth against the promises. `reaction_limits_s` are the limits of the two reaction times; None promises none."""
    failures = [*_judge_jobs(truth, jobs), *_judge_cluster(truth)]
    failures += _judge_reaction(truth, reaction_limits_s) if reaction_limits_s else []
    completed = [job for job in jobs if all(truth.marks.ends[task] == 1 for task in job.tasks)]
    killed = sum(max(0, truth.marks.starts[task] - truth.marks.ends[task]) for job in jobs for task in job.tasks)
    alone = [
        job for job in jobs if not job.runs and job.label in truth.waiting and not any(truth.marks.starts[t] for t in job.tasks)
    ]
    left = truth.leftovers
    report = {
        "scheduler": truth.scheduler,
        "jobs": {"submitted": len(jobs), "completed": len(completed), "killed": killed, "left_alone": len(alone)},
        "nodes": {"peak": truth.peak, "final": truth.final},
        "leftovers": {
            "scheduler": left.scheduler,
            "table": left.table,
            "dns": left.dns,
            "queue": left.queue,
            "dead_letter": left.dead_letter,
        },
        "reaction_s": {
            "job_to_capacity": _rounded(truth.job_to_capacity_s),
            "ready_to_registered": _rounded(truth.ready_to_registered_s),
        },
        "ok": not failures,
    }
    return Verdict(report=report, failures=tuple(failures))


def _judge_jobs(truth: Truth, jobs: Sequence[DemoJob]) -> list[str]:
    failures = []
    for job in jobs:
        for task in job.tasks:
            starts, ends = truth.marks.starts[task], truth.marks.ends[task]
            if job.runs and (starts, ends) != (1, 1):
                failures.append(f"job {task} started {starts} times and completed {ends} times, and should have done both once")
            if not job.runs and starts:
                failures.append(f"job {task} ran, and should have been left alone")
        if not job.runs and job.label not in truth.waiting:
            failures.append(f"job {job.label} does not wait any more, and should have been left alone")
        if job.runs and job.label in truth.waiting:
            failures.append(f"job {job.label} still waits")
    return failures


def _judge_cluster(truth: Truth) -> list[str]:
    failures = []
    if truth.final != truth.minimum:
        failures.append(f"the group holds {truth.final} instances, and its minimum is {truth.minimum}")
    places = {
        "in the scheduler": truth.leftovers.scheduler,
        "in the table": truth.leftovers.table,
        "in the zone": truth.leftovers.dns,
        "in the queue": truth.leftovers.queue,
        "in the dead-letter queue": truth.leftovers.dead_letter,
    }
    return failures + [f"{count} left over {where}" for where, count in places.items() if count]


def _judge_reaction(truth: Truth, limits_s: tuple[float, float]) -> list[str]:
    failures = []
    seen = (truth.job_to_capacity_s, truth.ready_to_registered_s)
    for what, value, limit in zip(("job to capacity", "ready to registered"), seen, limits_s, strict=True):
        if value is None:
            failures.append(f"{what}: never happened")
        elif value > limit:
            failures.append(f"{what} took {value:.1f} s, and may take {limit:.1f} s")
    return failures


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
