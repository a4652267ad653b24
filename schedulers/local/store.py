"""The SQLite file: its tables, its transactions, and rows as values. Whoever opens it sees and changes one consistent state."""

import contextlib
import functools
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from daemons.model import Hostname, Shape
from schedulers.local.values import ACTIVE, ENDED, Job, JobSpec, Limits, LocalNode, Snapshot, Task, TaskState

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS shapes (shape TEXT NOT NULL, partition TEXT NOT NULL, features TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS nodes (
    hostname TEXT PRIMARY KEY, address TEXT NOT NULL, shape TEXT NOT NULL, partition TEXT NOT NULL, features TEXT NOT NULL,
    heartbeat_at REAL, drain_reason TEXT);
CREATE TABLE IF NOT EXISTS jobs (job_id INTEGER PRIMARY KEY AUTOINCREMENT, spec TEXT NOT NULL, submitted_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (
    job_id INTEGER NOT NULL REFERENCES jobs, task_index INTEGER NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, nodes TEXT NOT NULL DEFAULT '[]', started_at REAL, ended_at REAL,
    exit_code INTEGER, PRIMARY KEY (job_id, task_index));
CREATE INDEX IF NOT EXISTS tasks_by_state ON tasks (state, job_id, task_index);
"""
_IN_STATE = "SELECT * FROM tasks WHERE state = ?"
_AT_ONCE = 100  # of one job; more where there are more CPUs


def create(file: Path, limits: Limits | None = None) -> None:
    """Make the file, or leave the one that is there as it is but for `limits`. Raises sqlite3.Error."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None, timeout=10)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(_TABLES)
        if limits is not None:
            rows = [(name, repr(value)) for name, value in asdict(limits).items()]
            db.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)


def connect(file: Path, *, timeout_s: float) -> sqlite3.Connection:
    """Open the existing file. Raises sqlite3.Error where it is not there, is no database, or is locked for too long."""
    db = sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=timeout_s)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA synchronous = NORMAL")
    return db


@contextlib.contextmanager
def transaction(db: sqlite3.Connection, *, writes: bool = True) -> Iterator[sqlite3.Connection]:
    """All of it or nothing. With `writes` nobody else writes meanwhile, so that what was read stays true."""
    db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
    try:
        yield db
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def read_snapshot(db: sqlite3.Connection) -> Snapshot:
    """Everything that is not over, and what is known of the rest."""
    nodes = read_nodes(db)
    waiting = count_waiting(db)
    at_once = max(_AT_ONCE, sum(node.shape.cpus for node in nodes))
    active = [parse_task(row) for state in ACTIVE for row in db.execute(_IN_STATE, [str(state)])]
    jobs = [_job(db, job_id) for job_id in sorted({*waiting, *(task.job_id for task in active)})]
    named = frozenset[int]().union(*(job.spec.after_ok | job.spec.after_any for job in jobs))
    ended, ended_well = _ended(db, named)
    return Snapshot(
        jobs=tuple(jobs),
        tasks=(*active, *(task for job_id in waiting for task in _next_tasks(db, job_id, at_once))),
        waiting=waiting,
        nodes=nodes,
        ended=ended,
        ended_well=ended_well,
        limits=read_limits(db),
    )


def count_waiting(db: sqlite3.Connection) -> dict[int, int]:
    """How many tasks of each job wait; jobs without one are left out."""
    query = "SELECT job_id, COUNT(*) AS tasks FROM tasks WHERE state = ? GROUP BY job_id"
    return {row["job_id"]: row["tasks"] for row in db.execute(query, [str(TaskState.WAITING)])}


def _next_tasks(db: sqlite3.Connection, job_id: int, at_once: int) -> Iterator[Task]:
    query = f"{_IN_STATE} AND job_id = ? ORDER BY task_index LIMIT ?"
    return map(parse_task, db.execute(query, [str(TaskState.WAITING), job_id, at_once]))


def _job(db: sqlite3.Connection, job_id: int) -> Job:
    return parse_job(db.execute("SELECT * FROM jobs WHERE job_id = ?", [job_id]).fetchone())


def read_nodes(db: sqlite3.Connection) -> tuple[LocalNode, ...]:
    return tuple(map(parse_node, db.execute("SELECT * FROM nodes ORDER BY hostname")))


def read_limits(db: sqlite3.Connection) -> Limits:
    found = {row["name"]: float(row["value"]) for row in db.execute("SELECT name, value FROM settings")}
    return Limits(**{name: found[name] for name in asdict(Limits()) if name in found})


def active_tasks(db: sqlite3.Connection, hostname: Hostname) -> list[Task]:
    """The tasks that occupy this node."""
    rows = (row for state in ACTIVE for row in db.execute(f"{_IN_STATE} AND nodes LIKE ?", [str(state), f'%"{hostname}"%']))
    return [task for task in map(parse_task, rows) if hostname in task.nodes]


def _ended(db: sqlite3.Connection, job_ids: frozenset[int]) -> tuple[frozenset[int], frozenset[int]]:
    ended, well = set(), set()
    for job_id in job_ids:
        rows = db.execute("SELECT DISTINCT state FROM tasks WHERE job_id = ?", [job_id])
        states = {TaskState(row["state"]) for row in rows}
        if states <= ENDED:
            ended.add(job_id)
        if states == {TaskState.DONE}:
            well.add(job_id)
    return frozenset(ended), frozenset(well)


def render_shape(shape: Shape) -> str:
    return json.dumps(asdict(shape))


@functools.lru_cache(maxsize=1024)  # nodes and jobs have few shapes
def parse_shape(text: str) -> Shape:
    fields: dict[str, Any] = json.loads(text)
    return Shape(**{**fields, "consumables": tuple((name, amount) for name, amount in fields["consumables"])})


def render_spec(spec: JobSpec) -> str:
    plain = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in asdict(spec).items()}
    return json.dumps(plain)


def parse_job(row: sqlite3.Row) -> Job:
    return Job(job_id=row["job_id"], spec=_parse_spec(row["spec"]), submitted_at=row["submitted_at"])


@functools.lru_cache(maxsize=1024)  # every look at the queue reads the same specs again, and repeated jobs share one
def _parse_spec(text: str) -> JobSpec:
    fields: dict[str, Any] = json.loads(text)
    fields["per_node"] = parse_shape(json.dumps(fields["per_node"]))
    fields["array"] = tuple(fields["array"])
    for name in ("features", "after_ok", "after_any"):
        fields[name] = frozenset(fields[name])
    return JobSpec(**fields)


def parse_task(row: sqlite3.Row) -> Task:
    return Task(
        job_id=row["job_id"],
        index=row["task_index"],
        state=TaskState(row["state"]),
        attempts=row["attempts"],
        nodes=tuple(Hostname(name) for name in json.loads(row["nodes"])),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        exit_code=row["exit_code"],
    )


def parse_node(row: sqlite3.Row) -> LocalNode:
    return LocalNode(
        hostname=Hostname(row["hostname"]),
        address=row["address"],
        shape=parse_shape(row["shape"]),
        partition=row["partition"],
        features=frozenset(json.loads(row["features"])),
        heartbeat_at=row["heartbeat_at"],
        drain_reason=row["drain_reason"],
    )
