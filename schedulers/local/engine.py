"""What can be done to the cluster in the file. Every verb is one transaction's work; the caller tells the time."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from daemons.errors import SchedulerRefused
from daemons.model import FleetSpec, Hostname, NodeSpec
from schedulers.local import store
from schedulers.local.plan import Room, fits, is_down, plan_starts
from schedulers.local.values import ACTIVE, ENDED, Job, JobSpec, LocalNode, Task, TaskState


def submit(db: sqlite3.Connection, spec: JobSpec, *, now: float) -> int:
    """Queue a job; its id. Raises SchedulerRefused, with nothing queued, for one that no shape on offer could ever run."""
    _refuse_impossible(db, spec)
    for job_id in spec.after_ok | spec.after_any:
        if db.execute("SELECT 1 FROM jobs WHERE job_id = ?", [job_id]).fetchone() is None:
            raise SchedulerRefused(f"job {spec.name}: it is to run after job {job_id}, and there is no such job")
    cursor = db.execute("INSERT INTO jobs (spec, submitted_at) VALUES (?, ?)", [store.render_spec(spec), now])
    job_id = int(cursor.lastrowid or 0)
    tasks = [(job_id, index, str(TaskState.WAITING)) for index in spec.array or (0,)]
    db.executemany("INSERT INTO tasks (job_id, task_index, state) VALUES (?, ?, ?)", tasks)
    return job_id


def _refuse_impossible(db: sqlite3.Connection, spec: JobSpec) -> None:
    """The number of nodes is no reason: how large a fleet may get is not the scheduler's to know."""
    offers = [_offer(row) for row in db.execute("SELECT shape, partition, features FROM shapes")]
    offers += list(store.read_nodes(db))
    if offers and not any(fits(spec, Room(node=offer, free=offer.shape, empty=True)) for offer in offers):
        asked = f"{spec.per_node.cpus} cpus, {spec.per_node.memory_mib} MiB, {spec.per_node.gpus} gpus a node"
        raise SchedulerRefused(
            f"job {spec.name}: no node that could ever be here fits {asked}, partition {spec.partition or 'any'}, "
            f"features {', '.join(sorted(spec.features)) or 'none'}",
            hint="ask for less; headnode config show lists the fleets' shapes",
        )


def _offer(row: sqlite3.Row) -> LocalNode:
    features = frozenset[str](json.loads(row["features"]))
    shape = store.parse_shape(row["shape"])
    return LocalNode(hostname=Hostname("offer"), address="", shape=shape, partition=row["partition"], features=features)


def advertise(db: sqlite3.Connection, fleets: Sequence[FleetSpec]) -> None:
    """Replace the shapes on offer."""
    db.execute("DELETE FROM shapes")
    rows = [(store.render_shape(spec.shape), spec.partition, json.dumps(sorted(spec.features | {spec.name}))) for spec in fleets]
    db.executemany("INSERT INTO shapes VALUES (?, ?, ?)", rows)


def advance(db: sqlite3.Connection, *, now: float) -> None:
    """Give up lost nodes, then start what can start. Anybody may call it at any time."""
    limits = store.read_limits(db)
    for node in store.read_nodes(db):
        if is_down(node, limits, now):
            _lose(db, store.active_tasks(db, node.hostname), now=now)
    for start in plan_starts(store.read_snapshot(db), now):
        nodes = json.dumps(start.nodes)
        _change(db, start.task, "state = ?, nodes = ?, started_at = ?", [str(TaskState.STARTING), nodes, now])


def register(db: sqlite3.Connection, spec: NodeSpec) -> None:
    """Make a node known. What is known already with the same address stays as it is."""
    values = [
        spec.hostname,
        spec.address,
        store.render_shape(spec.shape),
        spec.partition,
        json.dumps(sorted(spec.features | {spec.fleet})),
    ]
    db.execute("INSERT OR IGNORE INTO nodes (hostname, address, shape, partition, features) VALUES (?, ?, ?, ?, ?)", values)


def forget(db: sqlite3.Connection, hostname: Hostname, *, now: float) -> None:
    """The node is gone. Its tasks run again where they may."""
    _lose(db, store.active_tasks(db, hostname), now=now)
    db.execute("DELETE FROM nodes WHERE hostname = ?", [hostname])


def set_drain(db: sqlite3.Connection, hostname: Hostname, reason: str | None) -> bool:
    """Drain the node, or with None take the drain back. False if there is no such node."""
    return db.execute("UPDATE nodes SET drain_reason = ? WHERE hostname = ?", [reason, hostname]).rowcount == 1


def beat(db: sqlite3.Connection, hostname: Hostname, *, now: float) -> bool:
    """The node's daemon lives. False if the node is not registered: it takes no jobs then."""
    return db.execute("UPDATE nodes SET heartbeat_at = ? WHERE hostname = ?", [now, hostname]).rowcount == 1


def pick_up(db: sqlite3.Connection, hostname: Hostname, *, now: float) -> list[tuple[Job, Task]]:
    """The tasks that this node is to start now, as the first of their nodes; they run from now on, one attempt more."""
    picked = []
    for task in store.active_tasks(db, hostname):
        if task.state is TaskState.STARTING and task.nodes[0] == hostname:
            _change(db, task, "state = ?, started_at = ?, attempts = attempts + 1", [str(TaskState.RUNNING), now])
            picked.append((find_job(db, task.job_id), replace(task, state=TaskState.RUNNING, attempts=task.attempts + 1)))
    return picked


def abandon(db: sqlite3.Connection, hostname: Hostname, *, kept: Collection[tuple[int, int]], now: float) -> None:
    """What ran on this node, as the first of its nodes, and its daemon knows nothing of any more, is lost."""
    mine = (task for task in store.active_tasks(db, hostname) if task.state is TaskState.RUNNING and task.nodes[0] == hostname)
    _lose(db, [task for task in mine if task.key not in kept], now=now)


def finish(db: sqlite3.Connection, task: Task, *, exit_code: int, now: float) -> bool:
    """Record how a running task ended. False if that attempt is not the task's any more: it was cancelled, or given up."""
    current = find_task(db, task.job_id, task.index)
    if current is None or current.state is not TaskState.RUNNING or current.attempts != task.attempts:
        return False
    state = TaskState.DONE if exit_code == 0 else TaskState.FAILED
    _change(db, task, "state = ?, exit_code = ?, ended_at = ?", [str(state), exit_code, now])
    return True


def hold(db: sqlite3.Connection, job_id: int, *, held: bool) -> None:
    """Keep the waiting tasks of a job from starting, or let them. Raises SchedulerRefused for an unknown job."""
    job = find_job(db, job_id)
    db.execute("UPDATE jobs SET spec = ? WHERE job_id = ?", [store.render_spec(replace(job.spec, held=held)), job_id])


def cancel(db: sqlite3.Connection, job_id: int, *, now: float) -> int:
    """End a job's tasks, waiting or running; the nodes' daemons kill what runs. How many there were."""
    find_job(db, job_id)
    states = [str(state) for state in TaskState if state not in ENDED]
    marks = ",".join("?" for _ in states)
    query = f"UPDATE tasks SET state = ?, ended_at = ? WHERE job_id = ? AND state IN ({marks})"  # noqa: S608  marks only
    return db.execute(query, [str(TaskState.CANCELLED), now, job_id, *states]).rowcount


def find_job(db: sqlite3.Connection, job_id: int) -> Job:
    row = db.execute("SELECT * FROM jobs WHERE job_id = ?", [job_id]).fetchone()
    if row is None:
        raise SchedulerRefused(f"there is no job {job_id}", hint="headnode local queue --all lists them")
    return store.parse_job(row)


def find_task(db: sqlite3.Connection, job_id: int, index: int) -> Task | None:
    row = db.execute("SELECT * FROM tasks WHERE job_id = ? AND task_index = ?", [job_id, index]).fetchone()
    return store.parse_task(row) if row is not None else None


def tasks_of(db: sqlite3.Connection, job_ids: Collection[int] | None = None) -> list[Task]:
    """All tasks, ended ones included, in the order of their jobs; of these jobs only, where named."""
    tasks = map(store.parse_task, db.execute("SELECT * FROM tasks ORDER BY job_id, task_index"))
    return [task for task in tasks if job_ids is None or task.job_id in job_ids]


def jobs_of(db: sqlite3.Connection) -> dict[int, Job]:
    return {job.job_id: job for job in map(store.parse_job, db.execute("SELECT * FROM jobs ORDER BY job_id"))}


def _lose(db: sqlite3.Connection, tasks: Iterable[Task], *, now: float) -> None:
    """Their node is lost: they wait again where they may, and were killed otherwise. Attempts that began stay counted."""
    for task in tasks:
        if task.state not in ACTIVE:
            continue
        if find_job(db, task.job_id).spec.requeue:
            _change(db, task, "state = ?, nodes = '[]', started_at = NULL", [str(TaskState.WAITING)])
        else:
            _change(db, task, "state = ?, ended_at = ?", [str(TaskState.KILLED), now])


def _change(db: sqlite3.Connection, task: Task, assignments: str, values: Sequence[object]) -> None:
    """`assignments` is this module's own text; the values are bound."""
    query = f"UPDATE tasks SET {assignments} WHERE job_id = ? AND task_index = ?"  # noqa: S608
    db.execute(query, [*values, task.job_id, task.index])
