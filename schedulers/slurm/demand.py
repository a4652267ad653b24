"""Slurm's waiting jobs as demand: in order, arrays counted, those of one shape together. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter

from daemons.errors import SchedulerUnavailable
from daemons.model import BlockedBy, Hostname, JobDemand, JobId
from schedulers.slurm.asks import parse_asks
from schedulers.slurm.rows import NOT_GIVEN, Row, parse_array

_SHOWN_ID_CHARS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What squeue's line of a job does not say. `now` is seconds since the epoch."""

    now: float = 0.0
    excluded: Mapping[str, frozenset[Hostname]] = field(default_factory=dict)  # nodes it will not have, by its printed id
    running: Mapping[str, int] = field(default_factory=dict)  # how many tasks of an array run already, by the array's id
    nodes_max: Mapping[str, int] = field(default_factory=dict)  # most nodes asked for, by job id; absent: nobody set one


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One line's worth of jobs: a shared shape, and what is the line's own."""

    shape: JobDemand
    job: JobId
    count: int
    priority: int
    submitted_at: float
    blocked_by: BlockedBy
    excluded: frozenset[Hostname]

    @property
    def order(self) -> tuple[int, float]:
        return (-self.priority, self.submitted_at)

    @property
    def likeness(self) -> tuple[int, BlockedBy, frozenset[Hostname]]:
        """Equal for neighbours that become one value; equal shapes are the same object."""
        return (id(self.shape), self.blocked_by, self.excluded)


def parse_demand(rows: Iterable[Row], details: Details) -> tuple[JobDemand, ...]:
    """Every waiting job, highest priority first, oldest first among equals.

    Neighbours in this order that ask for the same come as one value, with the priority of its first.
    Raises SchedulerUnavailable for a row that cannot be read.
    """
    shapes: dict[tuple[tuple[str, ...], int | None], JobDemand] = {}
    waiting: list[_Waiting] = []
    for row in rows:
        key = (row.shape, details.nodes_max.get(row.job_id))
        if (shape := shapes.get(key)) is None:
            shape = shapes[key] = parse_asks(row, key[1])
        waiting += _waiting(row, shape, details)
    waiting.sort(key=attrgetter("order"))
    return tuple(_merged(list(alike)) for _, alike in groupby(waiting, key=attrgetter("likeness")))


def _merged(alike: Sequence[_Waiting]) -> JobDemand:
    first = alike[0]
    return replace(
        first.shape,
        jobs=tuple(waiting.job for waiting in alike),
        count=sum(waiting.count for waiting in alike),
        priority=first.priority,
        submitted_at=first.submitted_at,
        blocked_by=first.blocked_by,
        excluded=first.excluded,
    )


def _waiting(row: Row, shape: JobDemand, details: Details) -> Iterable[_Waiting]:
    """One value, or two for an array of which only some tasks may run at once: the rest waits for the array, not for nodes."""
    is_array = row.tasks_of_array not in NOT_GIVEN and "[" in row.job  # else a job, or a single task that was requeued
    try:
        tasks, throttle = parse_array(row.tasks_of_array) if is_array else (1, None)
        priority, submitted_at = int(row.priority), float(row.submitted)
        eligible_at = 0.0 if row.eligible in NOT_GIVEN else float(row.eligible)
    except ValueError as err:
        raise SchedulerUnavailable(f"squeue wrote a waiting job that cannot be read ({err!r}): job {row.job!r}") from err
    blocked_by, able = shape.blocked_by, tasks
    if blocked_by is BlockedBy.NOTHING:
        if priority == 0:
            blocked_by = BlockedBy.HOLD
        elif eligible_at > details.now:
            blocked_by = BlockedBy.BEGIN_TIME
        elif throttle is not None:
            able = min(tasks, max(throttle - details.running.get(row.job.partition("_")[0], 0), 0))
    parts = ((able, blocked_by), (tasks - able, BlockedBy.ARRAY_LIMIT))
    excluded = details.excluded.get(row.job, frozenset())
    return [
        _Waiting(shape, _shown(row.job), count, priority, submitted_at, blocked, excluded) for count, blocked in parts if count
    ]


def _shown(job: str) -> JobId:
    """An id of bearable length: `17_[1,3,5,…]`."""
    return JobId(job if len(job) <= _SHOWN_ID_CHARS else f"{job[:_SHOWN_ID_CHARS].rpartition(',')[0]},…]")
