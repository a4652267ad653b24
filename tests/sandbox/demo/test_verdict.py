from dataclasses import replace

import pytest

from sandbox.demo.story import DemoJob, Marks
from sandbox.demo.verdict import Leftovers, Truth, Verdict, judge

JOBS = (
    DemoJob(label="single"),
    DemoJob(label="array", array=2),
    DemoJob(label="held", held=True, runs=False),
)
NOTHING = Leftovers(scheduler=0, table=0, dns=0, queue=0, dead_letter=0)
GOOD = Truth(
    scheduler="local",
    marks=Marks(
        starts={"single": 1, "array.1": 1, "array.2": 1, "held": 0}, ends={"single": 1, "array.1": 1, "array.2": 1, "held": 0}
    ),
    waiting=frozenset({"held"}),
    peak=3,
    final=0,
    minimum=0,
    leftovers=NOTHING,
    job_to_capacity_s=1.0,
    ready_to_registered_s=0.5,
)


def verdict(truth: Truth) -> Verdict:
    return judge(truth, JOBS, reaction_limits_s=(2.0, 2.0))


def marked(**changes: tuple[int, int]) -> Truth:
    starts = GOOD.marks.starts | {task: counts[0] for task, counts in changes.items()}
    ends = GOOD.marks.ends | {task: counts[1] for task, counts in changes.items()}
    return replace(GOOD, marks=Marks(starts=starts, ends=ends))


def test_a_good_run_passes_and_reports_what_was_promised() -> None:
    result = verdict(GOOD)
    assert result.ok
    assert result.report == {
        "scheduler": "local",
        "jobs": {"submitted": 3, "completed": 2, "killed": 0, "left_alone": 1},
        "nodes": {"peak": 3, "final": 0},
        "leftovers": {"scheduler": 0, "table": 0, "dns": 0, "queue": 0, "dead_letter": 0},
        "reaction_s": {"job_to_capacity": 1.0, "ready_to_registered": 0.5},
        "ok": True,
    }


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (marked(single=(1, 0)), "job single started 1 times and completed 0 times"),
        (marked(single=(2, 1)), "job single started 2 times"),
        (marked(**{"array.2": (0, 0)}), "job array.2 started 0 times"),
        (marked(held=(1, 1)), "job held ran"),
        (replace(GOOD, waiting=frozenset()), "job held does not wait any more"),
        (replace(GOOD, waiting=frozenset({"held", "single"})), "job single still waits"),
        (replace(GOOD, final=1), "the group holds 1 instances"),
        (replace(GOOD, leftovers=replace(NOTHING, scheduler=1)), "1 left over in the scheduler"),
        (replace(GOOD, leftovers=replace(NOTHING, table=2)), "2 left over in the table"),
        (replace(GOOD, leftovers=replace(NOTHING, dns=1)), "1 left over in the zone"),
        (replace(GOOD, leftovers=replace(NOTHING, queue=1)), "1 left over in the queue"),
        (replace(GOOD, leftovers=replace(NOTHING, dead_letter=1)), "1 left over in the dead-letter queue"),
        (replace(GOOD, job_to_capacity_s=None), "job to capacity: never happened"),
        (replace(GOOD, ready_to_registered_s=2.5), "ready to registered took 2.5 s"),
    ],
)
def test_each_broken_promise_fails_the_run_and_is_named(broken: Truth, why: str) -> None:
    result = verdict(broken)
    assert not result.ok
    assert result.report["ok"] is False
    assert any(failure.startswith(why) for failure in result.failures), result.failures


def test_a_killed_job_is_counted_as_killed_even_if_it_ran_again() -> None:
    report = verdict(marked(single=(2, 1))).report
    assert report["jobs"] == {"submitted": 3, "completed": 2, "killed": 1, "left_alone": 1}
