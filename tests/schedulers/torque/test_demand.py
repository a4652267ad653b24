"""Waiting work of a real Torque, and of requests as its manual has them, as demand."""

from pathlib import Path

import pytest

from daemons.model import BlockedBy, Hostname, JobDemand, Shape
from schedulers.torque.asks import parse_asks, parse_mib
from schedulers.torque.demand import parse_demand
from schedulers.torque.parse import JobRow, Tasks, parse_jobs, parse_tasks

RECORDINGS = Path(__file__).parent / "recordings"
PROPERTIES = frozenset({"bigmem", "compute"})
NOW = 1795443480.0  # when they were recorded


def recorded(*, now: float = NOW) -> dict[str, list[JobDemand]]:
    rows, _ = parse_jobs((RECORDINGS / "pending-qstat-x.out").read_text())
    tasks = parse_tasks((RECORDINGS / "pending-qstat-t.out").read_text())
    by_job: dict[str, list[JobDemand]] = {}
    for demand in parse_demand(rows, tasks, properties=PROPERTIES, now=now):
        for job in demand.jobs:
            by_job.setdefault(job, []).append(demand)
    return by_job


def asks(**resources: str) -> tuple[JobDemand, ...]:
    return parse_asks(JobRow(job_id="1.h", state="Q", resources=tuple(resources.items())), properties=PROPERTIES)


def test_a_recorded_queue_in_order_and_nothing_that_runs() -> None:
    found = recorded()
    assert list(found) == [f"{number}.tbhead" for number in (3, 4, 6, 8, 9, 10)] + [
        "11[].tbhead",
        "12[].tbhead",
        "13.tbhead",
        "14.tbhead",
        "15.tbhead",
    ]


def test_unlike_nodes_of_one_job_are_a_value_each() -> None:
    two, three = recorded()["3.tbhead"]
    assert (two.tasks, two.nodes_min, two.nodes_max, two.tasks_per_node, two.per_task.cpus) == (2, 2, 2, 1, 2)
    assert (three.tasks, three.nodes_min, three.per_task.cpus) == (3, 3, 6)
    assert {two.blocked_by, three.blocked_by} == {BlockedBy.NOTHING}


@pytest.mark.parametrize(
    ("job", "tasks", "cpus", "gpus", "features"),
    [
        ("4.tbhead", 4, 4, 0, ()),
        ("6.tbhead", 8, 1, 0, ()),
        ("8.tbhead", 1, 1, 3, ()),
        ("9.tbhead", 2, 2, 0, (frozenset({"bigmem"}),)),
        ("10.tbhead", 8, 16, 0, ()),
    ],
)
def test_recorded_requests(job: str, tasks: int, cpus: int, gpus: int, features: tuple[frozenset[str], ...]) -> None:
    (demand,) = recorded()[job]
    assert (demand.tasks, demand.per_task, demand.features) == (tasks, Shape(cpus=cpus, gpus=gpus), features)
    assert (demand.blocked_by, demand.partitions) == (BlockedBy.NOTHING, frozenset({"batch"}))


def test_an_array_counts_what_may_run_beside_what_runs_and_the_rest_waits_for_the_array() -> None:
    able, rest = recorded()["11[].tbhead"]
    assert (able.count, able.blocked_by) == (4, BlockedBy.NOTHING)
    assert (rest.count, rest.blocked_by) == (95, BlockedBy.ARRAY_LIMIT)
    (simple,) = recorded()["12[].tbhead"]
    assert (simple.count, simple.tasks, simple.per_task.cpus) == (3, 4, 4)


def test_why_recorded_jobs_wait() -> None:
    found = {job: demands[0].blocked_by for job, demands in recorded().items()}
    assert found["13.tbhead"] is BlockedBy.HOLD
    assert found["14.tbhead"] is BlockedBy.DEPENDENCY
    assert found["15.tbhead"] is BlockedBy.BEGIN_TIME


def array(tasks: Tasks | None, *, age_s: float, state: str = "R", request: str = "1-10") -> int:
    row = JobRow(job_id="5[].h", state=state, array=request, created_at=NOW - age_s, resources=(("nodes", "1"),))
    found = parse_demand([row], {"5": tasks} if tasks else {}, properties=(), now=NOW)
    return sum(demand.count for demand in found)


def test_tasks_that_are_not_listed_are_done_unless_the_array_is_young() -> None:
    assert array(Tasks(waiting=3, running=1, highest=4), age_s=5) == 9
    assert array(Tasks(waiting=3, running=1, highest=4), age_s=600) == 3
    assert array(Tasks(waiting=0, running=2, highest=10), age_s=5) == 0
    assert array(None, age_s=5, state="Q") == 10
    assert array(None, age_s=5, state="C") == 0


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"nodes": "1"}, JobDemand(jobs=(), nodes_max=1, tasks_per_node=1)),
        (
            {"nodes": "bigmem:ppn=2"},
            JobDemand(jobs=(), nodes_max=1, tasks_per_node=1, per_task=Shape(cpus=2), features=(frozenset({"bigmem"}),)),
        ),
        (
            {"nodes": "2:ppn=2:gpus=1:shared"},
            JobDemand(jobs=(), tasks=2, nodes_min=2, nodes_max=2, tasks_per_node=1, per_task=Shape(cpus=2, gpus=1)),
        ),
        (
            {"nodes": "1:ppn=2+1:ppn=2"},
            JobDemand(jobs=(), tasks=2, nodes_min=2, nodes_max=2, tasks_per_node=1, per_task=Shape(cpus=2)),
        ),
        (
            {"nodes": "2", "mem": "3gb"},
            JobDemand(jobs=(), tasks=2, nodes_min=2, nodes_max=2, tasks_per_node=1, per_task=Shape(cpus=1, memory_mib=1536)),
        ),
        (
            {"nodes": "1:ppn=4", "pmem": "512mb"},
            JobDemand(jobs=(), nodes_max=1, tasks_per_node=1, per_task=Shape(cpus=4, memory_mib=2048)),
        ),
        ({"ncpus": "6"}, JobDemand(jobs=(), nodes_max=1, tasks_per_node=1, per_task=Shape(cpus=6))),
        ({"procs": "4", "mem": "4gb"}, JobDemand(jobs=(), tasks=4, per_task=Shape(cpus=1, memory_mib=1024))),
        (
            {"nodes": "1", "feature": "bigmem:ib"},
            JobDemand(jobs=(), nodes_max=1, tasks_per_node=1, features=(frozenset({"bigmem", "ib"}),)),
        ),
        ({}, JobDemand(jobs=(), nodes_max=1, tasks_per_node=1)),
    ],
)
def test_requests_of_the_manual(resources: dict[str, str], expected: JobDemand) -> None:
    assert asks(**resources) == (expected,)


@pytest.mark.parametrize("resources", [{"nodes": "n0001:ppn=2"}, {"nodes": "1:ppn=2", "host": "n0001"}])
def test_a_job_that_names_its_host_waits_for_that_one(resources: dict[str, str]) -> None:
    (demand,) = asks(**resources)
    assert (demand.hostnames, demand.blocked_by, demand.per_task.cpus) == (frozenset({Hostname("n0001")}), BlockedBy.NODE_LIST, 2)


@pytest.mark.parametrize(
    "nodes", ["", "1:ppn=x", "1:ppn=0", "0", "1++2", "1:mystery=3", "99999999999", "../../etc:ppn=2", "1:ppn=-3", "$(reboot)"]
)
def test_what_cannot_be_read_buys_nothing_and_says_so(nodes: str) -> None:
    (demand,) = asks(nodes=nodes)
    assert demand.blocked_by is BlockedBy.UNKNOWN
    assert demand.reason.startswith("its request cannot be read")


@pytest.mark.parametrize(
    ("text", "mib"), [("2gb", 2048), ("1", 1), ("1048576", 1), ("512mw", 4096), ("1500kb", 2), ("1TB", 1 << 20), ("0b", 0)]
)
def test_amounts_of_memory(text: str, mib: int) -> None:
    assert parse_mib(text) == mib


@pytest.mark.parametrize(
    ("row", "blocked_by"),
    [
        (JobRow(job_id="1.h", state="Q", comment="Not Running: User has reached queue running job limit."), BlockedBy.LIMIT),
        (
            JobRow(job_id="1.h", state="Q", comment="Not Running: Not enough of the right type of nodes are available"),
            BlockedBy.NOTHING,
        ),
        (JobRow(job_id="1.h", state="Q", comment="Not Running - PBS Error: Unknown node-attribute "), BlockedBy.NOTHING),
        (JobRow(job_id="1.h", state="H", holds="o"), BlockedBy.HOLD),
        (JobRow(job_id="1.h", state="H", holds="us", depends="afterok:2.h"), BlockedBy.HOLD),
        (JobRow(job_id="1.h", state="H", holds="s"), BlockedBy.HOLD),
        (JobRow(job_id="1.h", state="H", holds="l"), BlockedBy.ARRAY_LIMIT),
        (JobRow(job_id="1.h", state="Q", eligible_at=NOW + 5), BlockedBy.BEGIN_TIME),
        (JobRow(job_id="1.h", state="T"), BlockedBy.UNKNOWN),
    ],
)
def test_why_jobs_wait(row: JobRow, blocked_by: BlockedBy) -> None:
    (demand,) = parse_demand([row], {}, properties=(), now=NOW)
    assert demand.blocked_by is blocked_by


def test_the_highest_priority_goes_first_then_the_oldest_and_alike_neighbours_are_one() -> None:
    def job(number: int, priority: int, nodes: str = "1") -> JobRow:
        return JobRow(job_id=f"{number}.h", state="Q", priority=priority, created_at=number, resources=(("nodes", nodes),))

    rows = [job(1, 0), job(2, 0), job(3, 9), job(4, 0, "2"), job(5, 0)]
    found = parse_demand(rows, {}, properties=(), now=NOW)
    assert [(demand.jobs, demand.count) for demand in found] == [
        (("3.h", "1.h", "2.h"), 3),
        (("4.h",), 1),
        (("5.h",), 1),
    ]
