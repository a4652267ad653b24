from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from daemons.model import Hostname, Shape
from schedulers.local.plan import Start, plan_starts
from schedulers.local.values import Job, JobSpec, Limits, LocalNode, Snapshot, Task, TaskState

NOW = 1000.0


def node(number: int, *, cpus: int = 4, memory_mib: int = 8000, gpus: int = 0, **fields: object) -> LocalNode:
    plain = LocalNode(
        hostname=Hostname(f"n{number}"),
        address=f"10.0.0.{number}",
        shape=Shape(cpus=cpus, memory_mib=memory_mib, gpus=gpus),
        partition="compute",
        features=frozenset({"c5"}),
        heartbeat_at=NOW,
    )
    return replace(plain, **fields)  # type: ignore[arg-type]  # fields of LocalNode


def job(number: int, *, cpus: int = 1, memory_mib: int = 0, **fields: object) -> Job:
    spec = JobSpec(name=f"job{number}", script="#!/bin/true", per_node=Shape(cpus=cpus, memory_mib=memory_mib))
    return Job(job_id=number, spec=replace(spec, **fields), submitted_at=float(number))  # type: ignore[arg-type]


def snapshot(*jobs: Job, nodes: list[LocalNode], running: dict[int, tuple[str, ...]] | None = None) -> Snapshot:
    tasks = []
    for each in jobs:
        on = (running or {}).get(each.job_id)
        for index in each.spec.array or (0,):
            task = Task(job_id=each.job_id, index=index, state=TaskState.WAITING)
            if on is not None:
                task = replace(task, state=TaskState.RUNNING, nodes=tuple(map(Hostname, on)), started_at=NOW)
            tasks.append(task)
    waiting = [task.job_id for task in tasks if task.state is TaskState.WAITING]
    return Snapshot(
        jobs=jobs,
        tasks=tuple(tasks),
        waiting=Counter(waiting),
        nodes=tuple(nodes),
        ended=frozenset(),
        ended_well=frozenset(),
        limits=Limits(),
    )


def started(starts: tuple[Start, ...]) -> dict[int, tuple[str, ...]]:
    return {start.task.job_id: start.nodes for start in starts}


def test_first_come_first_served_as_long_as_it_fits() -> None:
    assert started(plan_starts(snapshot(job(1, cpus=3), job(2, cpus=2), job(3), nodes=[node(1)]), NOW)) == {
        1: ("n1",),
        3: ("n1",),
    }


def test_priority_goes_before_age() -> None:
    seen = snapshot(job(1, cpus=4), job(2, cpus=4, priority=5), nodes=[node(1)])
    assert started(plan_starts(seen, NOW)) == {2: ("n1",)}


def test_a_job_over_several_nodes_starts_with_all_of_them_or_waits() -> None:
    wide = job(1, cpus=4, nodes=2)
    assert started(plan_starts(snapshot(wide, nodes=[node(1)]), NOW)) == {}
    assert started(plan_starts(snapshot(wide, nodes=[node(1), node(2)]), NOW)) == {1: ("n1", "n2")}


def test_nodes_that_are_drained_silent_or_were_never_heard_of_take_no_jobs() -> None:
    for off in (node(1, drain_reason="mine"), node(1, heartbeat_at=NOW - 60), node(1, heartbeat_at=None)):
        assert plan_starts(snapshot(job(1), nodes=[off]), NOW) == ()


def test_held_dependent_and_later_jobs_wait() -> None:
    waiting = (job(1, held=True), job(2, after_ok=frozenset({9})), job(3, begin_at=NOW + 1))
    assert plan_starts(snapshot(*waiting, nodes=[node(1)]), NOW) == ()


def test_an_array_starts_no_more_tasks_than_its_throttle() -> None:
    assert len(plan_starts(snapshot(job(1, array=(1, 2, 3, 4), throttle=2), nodes=[node(1)]), NOW)) == 2


def test_an_exclusive_job_has_its_node_to_itself() -> None:
    seen = snapshot(job(1), job(2, exclusive=True), nodes=[node(1), node(2)])
    assert started(plan_starts(seen, NOW)) == {1: ("n1",), 2: ("n2",)}
    assert started(plan_starts(snapshot(job(1, exclusive=True), job(2), nodes=[node(1)]), NOW)) == {1: ("n1",)}


def test_backfill_lets_a_short_job_by_and_not_one_that_would_delay_the_first() -> None:
    running, first = job(1, cpus=4, time_limit_s=100), job(2, cpus=4, nodes=2)
    on: dict[int, tuple[str, ...]] = {1: ("n1",)}
    short, long = job(3, cpus=4, time_limit_s=50), job(3, cpus=4, time_limit_s=500)
    nodes = [node(1), node(2)]
    assert started(plan_starts(snapshot(running, first, short, nodes=nodes, running=on), NOW)) == {3: ("n2",)}
    assert started(plan_starts(snapshot(running, first, long, nodes=nodes, running=on), NOW)) == {}


def test_a_job_that_waits_for_nodes_that_are_not_there_delays_nobody() -> None:
    seen = snapshot(job(1, cpus=4, nodes=9), job(2, time_limit_s=1e6), nodes=[node(1)])
    assert started(plan_starts(seen, NOW)) == {2: ("n1",)}


jobs = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.sampled_from([0, 1000, 9000]),
        st.integers(1, 3),
        st.booleans(),
        st.sampled_from([10.0, 1000.0]),
        st.integers(0, 2),
        st.booleans(),
    ),
    max_size=12,
)


@given(jobs, st.integers(0, 4))
def test_nothing_is_ever_oversubscribed_and_held_jobs_never_start(asked: list[tuple[object, ...]], count: int) -> None:
    all_jobs = tuple(
        job(number, cpus=cpus, memory_mib=memory, nodes=wide, exclusive=alone, time_limit_s=limit, priority=first, held=held)  # type: ignore[arg-type]
        for number, (cpus, memory, wide, alone, limit, first, held) in enumerate(asked, start=1)
    )
    nodes = [node(number) for number in range(1, count + 1)]
    starts = plan_starts(snapshot(*all_jobs, nodes=nodes), NOW)
    by_id = {each.job_id: each.spec for each in all_jobs}
    for each in nodes:
        here = [by_id[start.task.job_id] for start in starts if each.hostname in start.nodes]
        assert sum(spec.per_node.cpus for spec in here) <= each.shape.cpus
        assert sum(spec.per_node.memory_mib for spec in here) <= each.shape.memory_mib
        assert len(here) == 1 or not any(spec.exclusive for spec in here)
    for start in starts:
        assert len(set(start.nodes)) == by_id[start.task.job_id].nodes
        assert not by_id[start.task.job_id].held


arrays = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 6), st.none() | st.integers(1, 3), st.integers(1, 2)),
    max_size=8,
)


@given(arrays, st.lists(st.integers(0, 4), max_size=4))
def test_arrays_keep_to_their_throttle_and_no_gpu_is_given_twice(asked: list[tuple[int, ...]], gpus: list[int]) -> None:
    all_jobs = tuple(
        job(
            number,
            per_node=Shape(cpus=1, gpus=gpu),
            nodes=wide,
            array=tuple(range(1, size + 1)),
            throttle=throttle,
            time_limit_s=limit,
        )
        for number, (gpu, wide, size, throttle, limit) in enumerate(asked, start=1)
    )
    nodes = [node(number, gpus=held) for number, held in enumerate(gpus, start=1)]
    starts = plan_starts(snapshot(*all_jobs, nodes=nodes), NOW)
    assert len({start.task.key for start in starts}) == len(starts)
    by_id = {each.job_id: each.spec for each in all_jobs}
    for each in nodes:
        here = [by_id[start.task.job_id].per_node for start in starts if each.hostname in start.nodes]
        assert sum(shape.gpus for shape in here) <= each.shape.gpus
        assert sum(shape.cpus for shape in here) <= each.shape.cpus
    for job_id, spec in by_id.items():
        mine = [start for start in starts if start.task.job_id == job_id]
        assert spec.throttle is None or len(mine) <= spec.throttle
        assert all(len(set(start.nodes)) == spec.nodes for start in mine)
        assert [start.task.index for start in mine] == sorted(start.task.index for start in mine)


@given(jobs)
def test_backfill_never_delays_the_first_job_that_waits(asked: list[tuple[object, ...]]) -> None:
    """Let everything that started run for its whole time limit: the first waiting job starts no later than without the others."""
    all_jobs = [
        job(number, cpus=cpus, memory_mib=memory, nodes=wide, exclusive=alone, time_limit_s=limit)  # type: ignore[arg-type]
        for number, (cpus, memory, wide, alone, limit, _, _) in enumerate(asked, start=1)
    ]
    nodes = [node(1), node(2), node(3)]
    starts = started(plan_starts(snapshot(*all_jobs, nodes=nodes), NOW))
    first = next((each for each in all_jobs if each.job_id not in starts), None)
    if first is None:
        return
    before = [each for each in all_jobs if each.job_id < first.job_id]
    assert _start_of(first, all_jobs, starts, nodes) <= _start_of(first, before, starts, nodes)


def _start_of(first: Job, present: list[Job], starts: dict[int, tuple[str, ...]], nodes: list[LocalNode]) -> float:
    """When `first` fits once the started ones among `present` have run for their whole time limit, one after the other."""
    running = {each.job_id: starts[each.job_id] for each in present if each.job_id in starts}
    for at in sorted({NOW, *(NOW + each.spec.time_limit_s for each in present)}):
        left = [each for each in present if each.job_id in running and NOW + each.spec.time_limit_s > at]
        fresh = [replace(each, heartbeat_at=at) for each in nodes]
        seen = snapshot(*left, first, nodes=fresh, running={each.job_id: running[each.job_id] for each in left})
        if first.job_id in started(plan_starts(seen, at)):
            return at
    return float("inf")
