"""The SQLite file: its tables, its transactions, and rows as values. Whoever opens it sees and changes one consistent state."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
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
CREATE INDEX IF NOT EXISTS tasks_by_state ON tasks (state);
"""


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
    unfinished = f"SELECT job_id FROM tasks WHERE state NOT IN ({_marks(ENDED)})"  # noqa: S608  marks only
    states = [str(state) for state in ENDED]
    jobs = db.execute(f"SELECT * FROM jobs WHERE job_id IN ({unfinished})", states)  # noqa: S608
    tasks = db.execute(f"SELECT * FROM tasks WHERE state NOT IN ({_marks(ENDED)})", states)  # noqa: S608
    wanted = [parse_job(row) for row in jobs]
    named = frozenset[int]().union(*(job.spec.after_ok | job.spec.after_any for job in wanted))
    ended, ended_well = _ended(db, named)
    return Snapshot(
        jobs=tuple(wanted),
        tasks=tuple(map(parse_task, tasks)),
        nodes=read_nodes(db),
        ended=ended,
        ended_well=ended_well,
        limits=read_limits(db),
    )


def read_nodes(db: sqlite3.Connection) -> tuple[LocalNode, ...]:
    return tuple(map(parse_node, db.execute("SELECT * FROM nodes ORDER BY hostname")))


def read_limits(db: sqlite3.Connection) -> Limits:
    found = {row["name"]: float(row["value"]) for row in db.execute("SELECT name, value FROM settings")}
    return Limits(**{name: found[name] for name in asdict(Limits()) if name in found})


def active_tasks(db: sqlite3.Connection, hostname: Hostname) -> list[Task]:
    """The tasks that occupy this node."""
    rows = db.execute(f"SELECT * FROM tasks WHERE state IN ({_marks(ACTIVE)})", [str(state) for state in ACTIVE])  # noqa: S608
    return [task for task in map(parse_task, rows) if hostname in task.nodes]


def _ended(db: sqlite3.Connection, job_ids: frozenset[int]) -> tuple[frozenset[int], frozenset[int]]:
    ended, well = set(), set()
    for job_id in job_ids:
        states = {TaskState(row["state"]) for row in db.execute("SELECT state FROM tasks WHERE job_id = ?", [job_id])}
        if states <= ENDED:
            ended.add(job_id)
        if states == {TaskState.DONE}:
            well.add(job_id)
    return frozenset(ended), frozenset(well)


def _marks(values: Iterable[object]) -> str:
    return ",".join("?" for _ in values)


def render_shape(shape: Shape) -> str:
    return json.dumps(asdict(shape))


def parse_shape(text: str) -> Shape:
    fields: dict[str, Any] = json.loads(text)
    return Shape(**{**fields, "consumables": tuple((name, amount) for name, amount in fields["consumables"])})


def render_spec(spec: JobSpec) -> str:
    plain = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in asdict(spec).items()}
    return json.dumps(plain)


def parse_job(row: sqlite3.Row) -> Job:
    fields: dict[str, Any] = json.loads(row["spec"])
    fields["per_node"] = parse_shape(json.dumps(fields["per_node"]))
    fields["array"] = tuple(fields["array"])
    for name in ("features", "after_ok", "after_any"):
        fields[name] = frozenset(fields[name])
    return Job(job_id=row["job_id"], spec=JobSpec(**fields), submitted_at=row["submitted_at"])


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
