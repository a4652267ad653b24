"""Torque's waiting jobs as demand: in order, arrays counted, those of one shape together. Pure."""

from collections.abc import Collection, Mapping, Sequence

from daemons.model import BlockedBy, JobDemand, JobId
from schedulers.torque.asks import parse_asks
from schedulers.torque.parse import JobRow, Tasks, parse_range, task_indices
from schedulers.waiting import Waiting, in_order

_YOUNG_S = 60.0  # within this time of its submission an array may not have all of its tasks yet
_LIMIT_WORDS = ("limit", "has reached", "maximum", "quota", "policy")


def has_arrays(rows: Sequence[JobRow]) -> bool:
    """Must the tasks be asked for?"""
    return any(row.array and row.state != "C" for row in rows)


def parse_demand(
    rows: Sequence[JobRow], tasks: Mapping[str, Tasks], *, properties: Collection[str], now: float
) -> tuple[JobDemand, ...]:
    """Every waiting job, highest priority first, oldest first among equals; of a job on unlike nodes, each part is a value.

    Neighbours in this order that ask for the same come as one value, with the priority of its first.
    """
    shapes: dict[tuple[object, ...], tuple[JobDemand, ...]] = {}
    waiting: list[Waiting] = []
    for row in rows:
        if row.state in "RESC" and not row.array:
            continue
        key = (row.resources, row.queue, row.exclusive)
        if (asked := shapes.get(key)) is None:
            asked = shapes[key] = parse_asks(row, properties=properties)
        waiting += _waiting(row, asked, tasks, now)
    return in_order(waiting)


def _waiting(row: JobRow, shapes: Sequence[JobDemand], tasks: Mapping[str, Tasks], now: float) -> list[Waiting]:
    blocked_by, reason = _blocked_by(row, now)
    parts = [(1, blocked_by, reason)]
    if row.array:
        try:
            parts = _of_array(row, tasks.get(row.job_id.partition("[")[0]), blocked_by, reason, now)
        except ValueError as err:
            parts = [(1, BlockedBy.UNKNOWN, f"its array cannot be read: {err}")]
    return [
        Waiting(
            shape,
            JobId(row.job_id),
            count,
            row.priority,
            row.created_at,
            because if because is not BlockedBy.NOTHING else shape.blocked_by,
            why if because is not BlockedBy.NOTHING else shape.reason or why,
        )
        for shape in shapes
        for count, because, why in parts
        if count
    ]


def _of_array(
    row: JobRow, listed: Tasks | None, blocked_by: BlockedBy, reason: str, now: float
) -> list[tuple[int, BlockedBy, str]]:
    """How many of its tasks wait, and for what. A task that is not listed is done, or, in a young array, not made yet."""
    total, limit = parse_range(row.array)
    if listed is None:
        waiting, running = (total if row.state != "C" else 0), 0
    else:
        unborn = 0
        if now - row.created_at < _YOUNG_S:
            unborn = sum(1 for index in task_indices(row.array.partition("%")[0]) if index > listed.highest)
        waiting, running = listed.waiting + unborn, listed.running
    if blocked_by is not BlockedBy.NOTHING or limit is None:
        return [(waiting, blocked_by, reason)]
    able = min(waiting, max(limit - running, 0))
    throttled = f"no more than {limit} of its tasks may run at once"
    return [(able, blocked_by, reason), (waiting - able, BlockedBy.ARRAY_LIMIT, throttled)]


def _blocked_by(row: JobRow, now: float) -> tuple[BlockedBy, str]:
    """What a waiting job's state and holds mean (`qstat -f`: Q, H, W, T; holds u, o, s, l). An array is `R` while tasks wait."""
    holds = set(row.holds) - {"n", "l"}
    if holds & {"u", "o"}:
        return BlockedBy.HOLD, f"held ({row.holds})"
    if "s" in holds:
        return (BlockedBy.DEPENDENCY, row.depends[:80]) if row.depends else (BlockedBy.HOLD, "held by the system")
    if row.eligible_at > now or row.state == "W":
        return BlockedBy.BEGIN_TIME, "it is not to start yet"
    if row.state == "H" and "l" in row.holds:
        return BlockedBy.ARRAY_LIMIT, "its array's limit"
    if row.state not in ("Q", "R"):
        return BlockedBy.UNKNOWN, f"state {row.state[:8]}"
    comment = row.comment.removeprefix("Not Running: ")
    if row.comment.startswith("Not Running") and any(word in comment.lower() for word in _LIMIT_WORDS):
        return BlockedBy.LIMIT, comment[:120]
    return BlockedBy.NOTHING, comment[:120] if row.comment.startswith("Not Running") else ""
