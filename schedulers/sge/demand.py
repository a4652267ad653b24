"""Grid Engine's waiting jobs as demand: in order, arrays counted, those of one shape together. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from daemons.errors import SchedulerUnavailable
from daemons.model import BlockedBy, JobDemand, JobId
from schedulers.sge import amounts
from schedulers.sge.asks import Site, parse_asks
from schedulers.sge.details import Details, Verdicts
from schedulers.sge.parse import Row, Snapshot
from schedulers.waiting import Waiting, in_order

_PRIORITY_STEPS = 100_000  # Grid Engine's priorities are numbers from 0 to 1 with five digits
_SHOWN_TASKS_CHARS = 40
_NO_DETAILS = Details()


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What else has to be asked for before waiting jobs can be judged."""

    later: bool  # might some job begin later? One without priority does, or the scheduler has not seen it yet
    verdicts: bool  # does any job wait for nodes, as far as is known?
    details: tuple[str, ...]  # of these jobs, by number: arrays may be throttled


def needed_details(snapshot: Snapshot) -> Needed:
    free = [row for row in snapshot.waiting if _blocked_by(row, _NO_DETAILS) is BlockedBy.NOTHING]
    arrays = dict.fromkeys(row.job_id for row in free if row.tasks)
    return Needed(later=any(row.priority == 0 for row in free), verdicts=bool(free), details=tuple(arrays))


def examples(snapshot: Snapshot, verdicts: Verdicts) -> tuple[str, ...]:
    """Of the jobs that would exceed a resource quota one for each owner and shape: what holds for it holds for its like."""
    over = [row for row in snapshot.waiting if row.job_id in verdicts.over_rule]
    return tuple({(row.owner, row.shape): row.job_id for row in over}.values())


def parse_demand(snapshot: Snapshot, site: Site, details: Details) -> tuple[JobDemand, ...]:
    """Every waiting job, highest priority first, oldest first among equals.

    Neighbours in this order that ask for the same come as one value, with the priority of its first.
    Raises SchedulerUnavailable for a row that cannot be read.
    """
    shapes: dict[tuple[object, ...], JobDemand] = {}
    able = _able_tasks(snapshot, details)
    limits = _limits(snapshot, site, details)
    waiting: list[Waiting] = []
    for row in snapshot.waiting:
        if (shape := shapes.get(row.shape)) is None:
            shape = shapes[row.shape] = parse_asks(row, site)
        waiting += _waiting(row, shape, details, able, limits)
    return in_order(waiting)


def _able_tasks(snapshot: Snapshot, details: Details) -> dict[str, int]:
    """How many more tasks of each throttled array may start."""
    left = dict(details.jobs.throttles)
    running = {row.job for instance in snapshot.instances for row in instance.jobs}  # once, on however many hosts
    for job in running:
        number = job.partition(".")[0]
        if number in left:
            left[number] = max(left[number] - 1, 0)
    return left


def _limits(snapshot: Snapshot, site: Site, details: Details) -> dict[tuple[str, tuple[object, ...]], str]:
    """Why jobs of some owner and shape are held up by resource quotas. A quota of single hosts holds nobody up: there will be
    others. One of a queue does, where a job has no other queue.
    """
    queues = frozenset(fleet.partition for fleet in site.fleets)
    found: dict[tuple[str, tuple[object, ...]], str] = {}
    for row in snapshot.waiting:
        rules = [rule for rule in details.jobs.rules.get(row.job_id, ()) if not rule.host]
        if not rules or row.job_id not in details.verdicts.over_rule:
            continue
        mine = parse_asks(row, site).partitions or queues
        limited = {rule.queue for rule in rules}
        if "" in limited or mine <= limited:
            found[row.owner, row.shape] = f"it would exceed a limit in rule {', '.join(sorted({rule.name for rule in rules}))}"
    return found


def _waiting(
    row: Row, shape: JobDemand, details: Details, able: dict[str, int], limits: Mapping[tuple[str, tuple[object, ...]], str]
) -> Iterable[Waiting]:
    """One value, or two for an array of which only some tasks may run at once: the rest waits for the array, not for nodes."""
    try:
        tasks = amounts.count_tasks(row.tasks)
    except ValueError as err:
        raise SchedulerUnavailable(f"qstat wrote a waiting job that cannot be read ({err}): job {row.job!r}") from err
    blocked_by = _blocked_by(row, details)
    reason = row.state if blocked_by is not BlockedBy.NOTHING else shape.reason
    may = tasks
    if blocked_by is BlockedBy.NOTHING:
        blocked_by, reason = _limited(row, shape, details, limits)
        if blocked_by is BlockedBy.NOTHING and row.job_id in able:
            may = min(tasks, able[row.job_id])
            able[row.job_id] -= may  # an array may fill several rows
    throttled = f"no more than {details.jobs.throttles.get(row.job_id)} of its tasks may run at once"
    parts = ((may, blocked_by, reason), (tasks - may, BlockedBy.ARRAY_LIMIT, throttled))
    priority = round(row.priority * _PRIORITY_STEPS)
    return [
        Waiting(shape, _shown(row), count, priority, row.submitted_at, blocked, because)
        for count, blocked, because in parts
        if count
    ]


def _limited(
    row: Row, shape: JobDemand, details: Details, limits: Mapping[tuple[str, tuple[object, ...]], str]
) -> tuple[BlockedBy, str]:
    """Does the shape itself, or a limit, keep it waiting?"""
    if shape.blocked_by is not BlockedBy.NOTHING:
        return shape.blocked_by, shape.reason
    if row.job_id in details.verdicts.over_limit:
        return BlockedBy.LIMIT, "its user may not have more jobs at once"
    if row.job_id in details.verdicts.over_rule and (row.owner, row.shape) in limits:
        return BlockedBy.LIMIT, limits[row.owner, row.shape]
    return BlockedBy.NOTHING, ""


def _blocked_by(row: Row, details: Details) -> BlockedBy:
    """What a waiting job's state letters mean: `qw`, `hqw`, `Eqw`, `Rq`, `hRwq`. `d` is a job that is being deleted."""
    if "E" in row.state:
        return BlockedBy.ERROR
    if "h" in row.state or "d" in row.state:
        return BlockedBy.DEPENDENCY if row.depends else BlockedBy.HOLD
    if row.job_id in details.later:
        return BlockedBy.BEGIN_TIME
    return BlockedBy.NOTHING if set(row.state) <= set("qwR") else BlockedBy.UNKNOWN


def _shown(row: Row) -> JobId:
    """An id of bearable length: `17.1-20:1`."""
    tasks = row.tasks if len(row.tasks) <= _SHOWN_TASKS_CHARS else f"{row.tasks[:_SHOWN_TASKS_CHARS].rpartition(',')[0]},…"
    return JobId(f"{row.job_id}.{tasks}" if tasks else row.job_id)
