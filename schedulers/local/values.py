"""What the local scheduler speaks of: jobs, their tasks, and nodes. Times are seconds since the epoch, told by the caller."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from daemons.model import Hostname, Shape

DEFAULT_TIME_LIMIT_S = 3600.0


class TaskState(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"  # its nodes are its own; the first of them has not picked it up yet
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # it ended with another exit code than 0, or ran into its time limit
    CANCELLED = "cancelled"
    KILLED = "killed"  # its node was lost, and it may not run twice


ACTIVE = frozenset({TaskState.STARTING, TaskState.RUNNING})
ENDED = frozenset({TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED, TaskState.KILLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What a user asks for. `per_node` is what the job takes on each of its `nodes` nodes."""

    name: str
    script: str  # the text of an executable file
    per_node: Shape = field(default_factory=lambda: Shape(cpus=1))
    nodes: int = 1
    array: tuple[int, ...] = ()  # the indices of its tasks; (): one task, not an array
    throttle: int | None = None  # how many of its tasks may run at once
    exclusive: bool = False
    partition: str = ""  # "" is any
    features: frozenset[str] = frozenset()
    priority: int = 0
    held: bool = False
    begin_at: float = 0.0
    after_ok: frozenset[int] = frozenset()  # jobs that must have ended well first
    after_any: frozenset[int] = frozenset()  # jobs that must have ended first
    time_limit_s: float = DEFAULT_TIME_LIMIT_S
    requeue: bool = True  # may it run again when its node is lost?
    output: str = ""  # a file for what it prints; "" discards it


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    job_id: int
    spec: JobSpec
    submitted_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run of a job's script, or the whole of a job that is no array (index 0)."""

    job_id: int
    index: int
    state: TaskState
    attempts: int = 0
    nodes: tuple[Hostname, ...] = ()
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None

    @property
    def key(self) -> tuple[int, int]:
        return self.job_id, self.index


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalNode:
    """A registered node. `heartbeat_at` None: its daemon has never reported."""

    hostname: Hostname
    address: str
    shape: Shape
    partition: str
    features: frozenset[str]
    heartbeat_at: float | None = None
    drain_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """After how long without a heartbeat a node counts as silent (no new jobs), and as down (its jobs are lost)."""

    silent_after_s: float = 3.0
    down_after_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The whole state at one moment. `tasks` are those that run, and of each job the next of those that wait: as many as could
    start at once. `waiting` counts them all.
    """

    jobs: tuple[Job, ...]
    tasks: tuple[Task, ...]
    waiting: Mapping[int, int]  # by job
    nodes: tuple[LocalNode, ...]
    ended_well: frozenset[int]  # ids of jobs all of whose tasks are done
    ended: frozenset[int]  # ids of jobs all of whose tasks have ended somehow
    limits: Limits
