"""Slurm's waiting jobs as demand: in order, arrays counted, those of one shape together. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from daemons.errors import SchedulerUnavailable
from daemons.model import BlockedBy, Hostname, JobDemand, JobId
from schedulers.slurm.asks import parse_asks
from schedulers.slurm.rows import NOT_GIVEN, Row, parse_array
from schedulers.waiting import Waiting, in_order

_SHOWN_ID_CHARS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What squeue's line of a job does not say. `now` is seconds since the epoch."""

    now: float = 0.0
    excluded: Mapping[str, frozenset[Hostname]] = field(default_factory=dict)  # nodes it will not have, by its printed id
    running: Mapping[str, int] = field(default_factory=dict)  # how many tasks of an array run already, by the array's id
    nodes_max: Mapping[str, int] = field(default_factory=dict)  # most nodes asked for, by job id; absent: nobody set one


def parse_demand(rows: Iterable[Row], details: Details) -> tuple[JobDemand, ...]:
    """Every waiting job, highest priority first, oldest first among equals.

    Neighbours in this order that ask for the same come as one value, with the priority of its first.
    Raises SchedulerUnavailable for a row that cannot be read.
    """
    shapes: dict[tuple[tuple[str, ...], int | None], JobDemand] = {}
    waiting: list[Waiting] = []
    for row in rows:
        key = (row.shape, details.nodes_max.get(row.job_id))
        if (shape := shapes.get(key)) is None:
            shape = shapes[key] = parse_asks(row, key[1])
        waiting += _waiting(row, shape, details)
    return in_order(waiting)


def _waiting(row: Row, shape: JobDemand, details: Details) -> Iterable[Waiting]:
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
        Waiting(shape, _shown(row.job), count, priority, submitted_at, blocked, shape.reason, excluded)
        for count, blocked in parts
        if count
    ]


def _shown(job: str) -> JobId:
    """An id of bearable length: `17_[1,3,5,…]`."""
    return JobId(job if len(job) <= _SHOWN_ID_CHARS else f"{job[:_SHOWN_ID_CHARS].rpartition(',')[0]},…]")
