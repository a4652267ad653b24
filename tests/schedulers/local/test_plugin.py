"""The contract of `schedulers.base` on a real file with real node daemons. What happened is read from the file."""

import asyncio
import sqlite3
import time
from dataclasses import replace

import pytest

from daemons.errors import SchedulerRefused, SchedulerUnavailable
from daemons.model import BlockedBy, FleetName, FleetSpec, Hostname, JobId, NodeState, Shape
from schedulers.base import DRAIN_MARK, NodeResult, Outcome
from schedulers.local import Local, LocalSettings, engine, store
from tests.schedulers.local.conftest import Cluster, spec

DONE = NodeResult(outcome=Outcome.DONE)
N1, N2 = Hostname("n1"), Hostname("n2")


async def up(scheduler: Local, cluster: Cluster, *names: str) -> None:
    await scheduler.register([spec(name, address=f"10.0.0.{place}") for place, name in enumerate(names, start=1)])
    for name in names:
        cluster.boot(name)
    deadline = time.monotonic() + 30
    while not all(node.is_usable for node in await scheduler.nodes()):
        assert time.monotonic() < deadline, "the nodes never came up"
        await asyncio.sleep(0.02)


async def test_registering_twice_partially_and_hundreds_at_once_is_registering_once(scheduler: Local) -> None:
    many = [spec(f"n{number}") for number in range(300)]
    assert set((await scheduler.register(many[:200])).values()) == {DONE}
    assert set((await scheduler.register(many)).values()) == {DONE}
    nodes = await scheduler.nodes()
    assert {node.hostname for node in nodes} == {each.hostname for each in many}
    assert all(node.states == {NodeState.AWAITED} for node in nodes)


async def test_a_known_name_with_another_address_is_replaced_unless_jobs_are_there(scheduler: Local, cluster: Cluster) -> None:
    await up(scheduler, cluster, "n1")
    job_id = cluster.submit("sleep 600")
    cluster.until(lambda: cluster.states(job_id) == ["running"], "running")
    results = await scheduler.register([spec("n1", address="10.9.9.9")])
    assert results[N1].outcome is Outcome.BUSY
    with cluster.db() as db, store.transaction(db):
        engine.cancel(db, job_id, now=time.time())
    assert await scheduler.register([spec("n1", address="10.9.9.9")]) == {N1: DONE}


async def test_deregistering_an_absent_an_idle_and_a_busy_node(scheduler: Local, cluster: Cluster) -> None:
    await up(scheduler, cluster, "n1", "n2")
    job_id = cluster.submit("sleep 600", nodes=2)
    cluster.until(lambda: cluster.states(job_id) == ["running"], "running")
    results = await scheduler.deregister([N1, Hostname("nobody")])
    assert {name: result.outcome for name, result in results.items()} == {N1: Outcome.DONE, Hostname("nobody"): Outcome.ABSENT}
    assert [node.hostname for node in await scheduler.nodes()] == [N2]
    assert cluster.states(job_id) == ["waiting"]


async def test_a_drained_node_starts_nothing_and_a_resumed_one_does(scheduler: Local, cluster: Cluster) -> None:
    await up(scheduler, cluster, "n1")
    assert await scheduler.drain([N1], reason="idle") == {N1: DONE}
    [node] = await scheduler.nodes()
    assert (node.drained_by_us, node.reason, node.is_usable) == (True, f"{DRAIN_MARK} idle", False)
    job_id = cluster.submit()
    with cluster.db() as db, store.transaction(db):
        engine.advance(db, now=time.time())
    assert cluster.states(job_id) == ["waiting"]
    assert await scheduler.resume([N1]) == {N1: DONE}
    assert await scheduler.resume([N1]) == {N1: DONE}
    cluster.until(lambda: cluster.states(job_id) == ["done"], "done")


async def test_an_administrators_drain_is_theirs(scheduler: Local, cluster: Cluster) -> None:
    await scheduler.register([spec("n1")])
    with cluster.db() as db, store.transaction(db):
        engine.set_drain(db, N1, "kernel test")
    assert (await scheduler.drain([N1], reason="idle"))[N1].outcome is Outcome.REFUSED
    assert (await scheduler.resume([N1]))[N1].outcome is Outcome.REFUSED
    [node] = await scheduler.nodes()
    assert (node.drained_by_us, node.reason) == (False, "kernel test")
    assert (await scheduler.drain([Hostname("nobody")], reason="idle"))[Hostname("nobody")].outcome is Outcome.ABSENT


async def test_the_second_look_names_the_jobs_of_every_node_asked_for(scheduler: Local, cluster: Cluster) -> None:
    await up(scheduler, cluster, "n1", "n2")
    job_id = cluster.submit("sleep 600", nodes=2)
    cluster.until(lambda: cluster.states(job_id) == ["running"], "running")
    jobs = frozenset({JobId(str(job_id))})
    assert await scheduler.jobs_on([N1, N2, Hostname("nobody")]) == {N1: jobs, N2: jobs, Hostname("nobody"): frozenset()}
    assert all(node.jobs == jobs and NodeState.BUSY in node.states for node in await scheduler.nodes())


async def test_jobs_queue_on_an_empty_cluster_and_start_when_a_node_comes(scheduler: Local, cluster: Cluster) -> None:
    job_id = cluster.submit()
    cluster.boot("n1")
    [demand] = await scheduler.demand()
    assert (demand.jobs, demand.blocked_by, demand.count) == ((JobId(str(job_id)),), BlockedBy.NOTHING, 1)
    assert cluster.states(job_id) == ["waiting"]
    await scheduler.register([spec("n1")])
    cluster.until(lambda: cluster.states(job_id) == ["done"], "done")
    assert await scheduler.demand() == ()


async def test_every_kind_of_waiting_is_told_with_its_reason(scheduler: Local, cluster: Cluster) -> None:
    plain = cluster.submit(per_node=Shape(cpus=2, memory_mib=100), nodes=3, features=frozenset({"c5"}), exclusive=True)
    cluster.submit(held=True)
    cluster.submit(after_ok=frozenset({plain}))
    cluster.submit(begin_at=time.time() + 600)
    cluster.submit(array=tuple(range(1, 101)), throttle=5)
    found = [(demand.blocked_by, demand.count) for demand in await scheduler.demand()]
    assert found == [
        (BlockedBy.NOTHING, 1),
        (BlockedBy.HOLD, 1),
        (BlockedBy.DEPENDENCY, 1),
        (BlockedBy.BEGIN_TIME, 1),
        (BlockedBy.NOTHING, 5),
        (BlockedBy.ARRAY_LIMIT, 95),
    ]
    first = (await scheduler.demand())[0]
    assert (first.nodes_min, first.nodes_max, first.tasks, first.tasks_per_node, first.exclusive) == (3, 3, 3, 1, True)
    assert (first.per_task, first.features) == (Shape(cpus=2, memory_mib=100), (frozenset({"c5"}),))


async def test_jobs_that_ask_for_the_same_are_one_value_at_the_turn_of_the_oldest(scheduler: Local, cluster: Cluster) -> None:
    small = [cluster.submit() for _ in range(3)]
    large = cluster.submit(per_node=Shape(cpus=4), priority=7)
    small.append(cluster.submit(array=(1, 2)))
    seen = [(demand.jobs, demand.count, demand.priority) for demand in await scheduler.demand()]
    assert seen == [((JobId(str(large)),), 1, 7), (tuple(JobId(str(job)) for job in small), 5, 0)]


async def test_a_hundred_thousand_waiting_tasks_are_one_value_and_start_in_order(scheduler: Local, cluster: Cluster) -> None:
    job_id = cluster.submit(array=tuple(range(1, 100_001)))
    await scheduler.register([spec("n1", cpus=3)])
    with cluster.db() as db, store.transaction(db):
        engine.beat(db, N1, now=time.time())
        engine.advance(db, now=time.time())
        assert [task.index for task in store.active_tasks(db, N1)] == [1, 2, 3]
    [demand] = await scheduler.demand()
    assert (demand.jobs, demand.count) == ((JobId(str(job_id)),), 99_997)


async def test_what_no_advertised_shape_could_ever_run_is_rejected_and_many_nodes_are_not(
    scheduler: Local, cluster: Cluster
) -> None:
    fleet = FleetSpec(
        name=FleetName("batch"),
        group="hpc-batch",
        shape=Shape(cpus=4, memory_mib=8000),
        instance_type="c5.xlarge",
        features=frozenset({"c5"}),
    )
    for _ in range(2):
        await scheduler.advertise([fleet])
    for impossible in (
        {"per_node": Shape(cpus=5)},
        {"per_node": Shape(cpus=1, memory_mib=9000)},
        {"features": frozenset({"gpu"})},
        {"partition": "night"},
    ):
        with pytest.raises(SchedulerRefused, match="no node that could ever be here"):
            cluster.submit(**impossible)
    cluster.submit(nodes=99, per_node=Shape(cpus=4))
    await scheduler.advertise([replace(fleet, shape=Shape(cpus=8))])
    cluster.submit(per_node=Shape(cpus=5, memory_mib=9000))


async def test_a_lost_nodes_jobs_run_again_or_were_killed_and_their_attempts_are_counted(
    scheduler: Local, cluster: Cluster
) -> None:
    await up(scheduler, cluster, "n1")
    again, once = cluster.submit("sleep 600"), cluster.submit("sleep 600", requeue=False)
    cluster.until(lambda: cluster.states(again) + cluster.states(once) == ["running", "running"], "running")
    cluster.kill("n1")
    await scheduler.register([spec("n2")])
    cluster.boot("n2")
    cluster.until(lambda: cluster.states(again) == ["running"] and cluster.tasks(again)[0].nodes == (N2,), "running on n2")
    assert cluster.states(once) == ["killed"]
    assert (cluster.tasks(again)[0].attempts, cluster.tasks(once)[0].attempts) == (2, 1)
    states = {node.hostname: node.states for node in await scheduler.nodes()}
    assert states[N1] == {NodeState.DOWN}


async def test_the_jobs_of_the_last_node_wait_again_though_no_daemon_is_left_to_notice(
    scheduler: Local, cluster: Cluster
) -> None:
    await up(scheduler, cluster, "n1")
    again, once = cluster.submit("sleep 600"), cluster.submit("sleep 600", requeue=False)
    cluster.until(lambda: cluster.states(again) + cluster.states(once) == ["running", "running"], "running")
    cluster.kill("n1")
    deadline = time.monotonic() + 30
    while not (demand := await scheduler.demand()):
        assert time.monotonic() < deadline, "the job never waits again"
        await asyncio.sleep(0.05)
    assert [(each.jobs, each.blocked_by) for each in demand] == [((JobId(str(again)),), BlockedBy.NOTHING)]
    assert (cluster.states(again), cluster.states(once)) == (["waiting"], ["killed"])
    [node] = await scheduler.nodes()
    assert node.states == {NodeState.DOWN}
    assert not node.jobs


async def test_a_node_that_stops_beating_is_silent_before_it_is_down(cluster: Cluster) -> None:
    now = [1000.0]
    scheduler = Local(LocalSettings(file=cluster.file), clock=lambda: now[0])
    await scheduler.register([spec("n1")])
    with cluster.db() as db, store.transaction(db):
        engine.beat(db, N1, now=1000.0)
    seen = []
    for at in (1000.0, 1002.5, 1003.5):
        now[0] = at
        seen.append((await scheduler.nodes())[0].states)
    assert seen == [frozenset(), {NodeState.SILENT}, {NodeState.DOWN}]


async def test_silence_is_an_error_and_never_an_empty_answer(scheduler: Local, cluster: Cluster) -> None:
    cluster.submit()
    with cluster.db() as db, store.transaction(db):
        with pytest.raises(SchedulerUnavailable, match="locked"):
            await scheduler.register([spec("n1")])
        with pytest.raises(SchedulerUnavailable, match="locked"):
            await scheduler.jobs_on([N1])
    cluster.file.write_bytes(b"no database" * 1000)
    for question in (scheduler.demand, scheduler.nodes):
        with pytest.raises(SchedulerUnavailable):
            await question()
    cluster.file.unlink()
    for path in cluster.directory.glob("local.db-*"):
        path.unlink()
    for question in (scheduler.demand, scheduler.nodes):
        with pytest.raises(SchedulerUnavailable):
            await question()
    assert not cluster.file.exists()


async def test_the_event_loop_goes_on_while_the_file_is_locked(scheduler: Local, cluster: Cluster) -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.005)

    heart = asyncio.create_task(beat())
    with cluster.db() as db, store.transaction(db), pytest.raises(SchedulerUnavailable):
        await scheduler.register([spec("n1")])
    heart.cancel()
    assert beats >= 10  # the call waited for 0.2 s


async def test_a_transaction_that_fails_leaves_nothing(cluster: Cluster) -> None:
    def half(db: sqlite3.Connection) -> None:
        with store.transaction(db):
            engine.register(db, spec("n1"))
            db.execute("INSERT INTO tasks (job_id, task_index, state) VALUES (1, 1, NULL)")

    with cluster.db() as db, pytest.raises(sqlite3.IntegrityError):
        half(db)
    with cluster.db() as db:
        assert store.read_nodes(db) == ()
