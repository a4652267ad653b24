"""Slurm's words for waiting jobs, recorded and made up, as demand."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons.errors import SchedulerUnavailable
from daemons.model import BlockedBy, Hostname, JobDemand
from schedulers.slurm import demand
from schedulers.slurm import rows as squeue
from schedulers.slurm.features import parse_features
from schedulers.slurm.parse import SEPARATOR
from tests.schedulers.slurm.submissions import SUBMISSIONS, Submission, bare

NOW = 1795484900.0
RECORDINGS = Path(__file__).parent / "recordings"
IDS: dict[str, str] = json.loads((RECORDINGS / "ids.json").read_text())


def recording(name: str) -> str:
    return (RECORDINGS / name).read_text()


def line(**fields: str) -> str:
    """One line of squeue: a plain job, but for `fields`."""
    plain = squeue.Row(
        job_id="7", job="7", tasks_of_array="N/A", priority="100", submitted="1795484808", eligible="1795484808",
        reason="Resources", num_nodes="1", max_nodes="1", num_cpus="1", num_tasks="1", cpus_per_task="1", min_cpus="1",
        tasks_per_node="0", min_memory="100M", tres="cpu=1,mem=100M,node=1,billing=1", gres_per_node="N/A", gres_per_job="N/A",
        gres_per_task="N/A", gres_per_socket="N/A", cpus_per_gres="N/A", partition="compute", features="(null)",
        oversubscribe="OK", dependency="(null)", reservation="(null)", req_nodes="",
    )  # fmt: skip
    return "".join(field + SEPARATOR for field in plain._replace(**fields)) + "\n"


def parsed(*lines: str, details: demand.Details | None = None) -> tuple[JobDemand, ...]:
    return demand.parse_demand(squeue.parse_rows("".join(lines)), details or demand.Details(now=NOW))


@pytest.mark.parametrize("submission", SUBMISSIONS, ids=lambda submission: submission.label)
def test_a_recorded_job_asks_for_what_its_submission_did(submission: Submission) -> None:
    job = IDS[submission.label]
    rows = [row for row in squeue.parse_rows(recording("pending.txt")) if re.fullmatch(rf"{job}([_+].*)?", row.job)]
    details = demand.Details(now=float(recording("now.txt")), nodes_max=squeue.parse_nodes_max(recording("jobs.txt")))
    assert tuple(bare(one) for one in demand.parse_demand(rows, details)) == submission.asks


def test_excluded_nodes_are_known_by_name() -> None:
    excluded = squeue.parse_excluded(recording("excluded.txt"))
    assert excluded == {IDS["excluding"]: {"bare-0", "bare-1", "other"}}
    rows = [row for row in squeue.parse_rows(recording("pending.txt")) if row.job == IDS["excluding"]]
    (job,) = demand.parse_demand(rows, demand.Details(now=NOW, excluded=excluded))
    assert job.excluded == {"bare-0", "bare-1", "other"}


def test_the_whole_recording_counts_every_job_once() -> None:
    rows = squeue.parse_rows(recording("pending.txt"))
    jobs = demand.parse_demand(rows, demand.Details())
    arrays = 10 + 20 + 4
    assert sum(job.count for job in jobs) == len(rows) - 3 + arrays
    assert [job.priority for job in jobs] == sorted((job.priority for job in jobs), reverse=True)


def test_no_waiting_job_is_no_demand() -> None:
    assert parsed() == ()


def test_neighbours_of_one_shape_are_one_value_oldest_first() -> None:
    lines = [line(job_id=str(number), job=str(number), priority=str(100 - number)) for number in range(5)]
    (job,) = parsed(*reversed(lines))
    assert (job.jobs, job.count, job.priority) == (("0", "1", "2", "3", "4"), 5, 100)


def test_another_shape_between_them_keeps_the_order_of_priorities() -> None:
    jobs = parsed(
        line(job="1", priority="9"), line(job="2", priority="8", num_tasks="2", num_cpus="2"), line(job="3", priority="7")
    )
    assert [job.jobs for job in jobs] == [("1",), ("2",), ("3",)]


def test_tasks_of_a_throttled_array_that_run_already_use_up_its_throttle() -> None:
    array = line(job_id="30", job="30_[4-20%5]", tasks_of_array="4-20%5")
    able, rest = parsed(array, details=demand.Details(now=NOW, running={"30": 3}))
    assert (able.count, able.blocked_by, rest.count, rest.blocked_by) == (2, BlockedBy.NOTHING, 15, BlockedBy.ARRAY_LIMIT)


def test_an_array_at_its_throttle_asks_for_nothing() -> None:
    array = line(job_id="30", job="30_[6-20%5]", tasks_of_array="6-20%5")
    (rest,) = parsed(array, details=demand.Details(now=NOW, running={"30": 5}))
    assert (rest.count, rest.blocked_by) == (15, BlockedBy.ARRAY_LIMIT)


def test_a_requeued_task_of_an_array_is_one_job() -> None:
    (job,) = parsed(line(job_id="35", job="30_7", tasks_of_array="7"))
    assert (job.jobs, job.count) == (("30_7",), 1)


def test_the_id_of_a_long_array_is_shortened() -> None:
    (job,) = parsed(line(job="30_[" + ",".join(map(str, range(1, 99, 2))) + "]", tasks_of_array="1-98:2"))
    assert job.jobs[0].startswith("30_[1,3,5,")
    assert job.jobs[0].endswith(",…]")


def test_nodes_that_a_job_names_are_not_to_be_bought() -> None:
    (job,) = parsed(line(req_nodes="n[1-2]", tres="cpu=2,mem=200M,node=2,billing=2", num_cpus="2", num_tasks="2"))
    assert (job.hostnames, job.blocked_by) == (frozenset({Hostname("n1"), Hostname("n2")}), BlockedBy.NODE_LIST)


def test_nodes_beside_the_named_one_may_be_bought() -> None:
    (job,) = parsed(line(req_nodes="n1", tres="cpu=3,mem=300M,node=3,billing=3", num_cpus="3", num_tasks="3", max_nodes="3"))
    assert (job.hostnames, job.nodes_min, job.blocked_by) == (frozenset({Hostname("n1")}), 3, BlockedBy.NOTHING)


def test_a_job_of_a_reservation_waits_for_the_reservation() -> None:
    (job,) = parsed(line(reservation="maintenance"))
    assert job.blocked_by is BlockedBy.RESERVATION


def test_a_reason_that_blames_nodes_does_not_hide_a_dependency() -> None:
    (job,) = parsed(line(reason="ReqNodeNotAvail, May be reserved for other job", dependency="afterok:1(unfulfilled)"))
    assert job.blocked_by is BlockedBy.DEPENDENCY


def test_a_reason_that_blames_nodes_does_not_hide_a_time_to_come() -> None:
    later, sooner = line(job="8", eligible=f"{NOW + 60:.0f}"), line(job="9", eligible=f"{NOW - 60:.0f}")
    assert [job.blocked_by for job in parsed(later, sooner)] == [BlockedBy.BEGIN_TIME, BlockedBy.NOTHING]


def test_a_job_without_priority_is_held() -> None:
    (job,) = parsed(line(priority="0"))
    assert job.blocked_by is BlockedBy.HOLD


def test_several_partitions_are_all_acceptable() -> None:
    (job,) = parsed(line(partition="compute,big"))
    assert job.partitions == {"compute", "big"}


def test_a_job_that_may_spread_or_is_throttled_needs_another_look() -> None:
    plain, spread = line(), line(num_tasks="4", num_cpus="4")
    throttled = line(job="30_[1-4%2]", tasks_of_array="1-4%2")
    assert squeue.needed_details(squeue.parse_rows(plain)) == (False, False)
    assert squeue.needed_details(squeue.parse_rows(plain + spread)) == (False, True)
    assert squeue.needed_details(squeue.parse_rows(plain + throttled)) == (True, False)


@pytest.mark.parametrize(
    "text",
    [
        "slurm_load_jobs error: Unable to contact slurm controller\n",
        line()[:40] + "\n",
        line(priority="high"),
        line(tres="node=some"),
        line(min_memory="much"),
        line(job="30_[1-x]", tasks_of_array="1-x"),
        line(req_nodes="n[1-"),
        line(gres_per_node="gres:gpu:a100:2:3:4"),
    ],
)
def test_what_cannot_be_read_is_no_answer(text: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        demand.parse_demand(squeue.parse_rows(line() + text), demand.Details())


def test_a_number_of_nodes_that_cannot_be_read_is_no_answer_either() -> None:
    with pytest.raises(SchedulerUnavailable):
        squeue.needed_details(squeue.parse_rows(line(num_tasks="2", tres="node=some")))


@pytest.mark.parametrize(
    ("text", "tasks", "throttle"),
    [("1-20%5", 20, 5), ("1-3,7,9,11", 6, None), ("0-9:3", 4, None), ("5", 1, None), ("1-100000", 100_000, None)],
)
def test_array_expressions_are_counted(text: str, tasks: int, throttle: int | None) -> None:
    assert squeue.parse_array(text) == (tasks, throttle)


@pytest.mark.parametrize(
    ("text", "alternatives"),
    [
        ("a", ["a"]),
        ("a&b", ["ab"]),
        ("a|b", ["a", "b"]),
        ("a&b|c", ["ab", "c"]),
        ("a|b&c", ["ac", "bc"]),  # from left to right, as slurmctld does
        ("(a|b)&c", ["ac", "bc"]),
        ("c&(a|b)", ["ca", "cb"]),
        ("a|a", ["a"]),
    ],
)
def test_feature_expressions(text: str, alternatives: list[str]) -> None:
    assert parse_features(text) == tuple(frozenset(letters) for letters in alternatives)


@pytest.mark.parametrize("text", ["", "a&", "|a", "(a", "a)", "a*2", "[a|b]", "a b", "()", "a&&b"])
def test_other_feature_expressions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_features(text)


@given(st.text(alphabet="ab&|()[]*, ", max_size=30))
def test_no_feature_expression_breaks_the_parser(text: str) -> None:
    try:
        alternatives = parse_features(text)
    except ValueError:
        return
    assert all(alternatives)


@given(st.text(max_size=200))
def test_no_text_is_taken_for_an_empty_queue(text: str) -> None:
    try:
        jobs = demand.parse_demand(squeue.parse_rows(text), demand.Details())
    except SchedulerUnavailable:
        return
    assert jobs or not text.strip("\n")
