"""Slurm's waiting jobs as demand: the lines of `render.SHOW_PENDING` to `JobDemand` values. Pure.

What squeue's fields mean, as found with 22.05.8: `NumNodes` is an estimate from the nodes of the moment, the number asked for
is `node=` in `tres-alloc`. `MinMemory` does not say per what, and is compared with `mem=`. GPUs come in four fields.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from daemons.errors import SchedulerUnavailable
from daemons.model import BlockedBy, Hostname, JobDemand, JobId, Shape
from schedulers.slurm.features import parse_features
from schedulers.slurm.hostlist import parse_hostlist
from schedulers.slurm.parse import SEPARATOR, parse_gres
from schedulers.slurm.reasons import blocked_by
from schedulers.slurm.render import PENDING_FIELDS

_NONE = frozenset({"", "(null)", "N/A"})
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)")
_MIB = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3}
_JOB_LINE = re.compile(r"JobId=(\d+) .*? NumNodes=\d+(?:-(\d+))? ")
_SHOWN_ID_CHARS = 60


class Row(NamedTuple):  # a tuple, because there can be a hundred thousand
    """The fields of one line, in the order of `render.SHOW_PENDING`."""

    job_id: str
    job: str
    tasks_of_array: str
    priority: str
    submitted: str
    eligible: str
    # What follows says what the job asks for and why it waits; nothing of it tells a job from its like.
    reason: str
    num_nodes: str
    max_nodes: str
    num_cpus: str
    num_tasks: str
    cpus_per_task: str
    min_cpus: str
    tasks_per_node: str
    min_memory: str
    tres: str
    gres_per_node: str
    gres_per_job: str
    gres_per_task: str
    gres_per_socket: str
    cpus_per_gres: str
    partition: str
    features: str
    oversubscribe: str
    dependency: str
    reservation: str
    req_nodes: str

    @property
    def shape(self) -> tuple[str, ...]:
        return self[6:]

    @property
    def may_spread(self) -> bool:
        """Could it run on one node or on several, as far as this line says? `-N1 -n8` and `-n8` look the same here."""
        return (self.num_tasks not in {"1", "N/A"} or self.gres_per_job not in _NONE) and _nodes_asked(self) == 1


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
    waiting: list[_Waiting] = []
    for row in rows:
        key = (row.shape, details.nodes_max.get(row.job_id))
        if (shape := shapes.get(key)) is None:
            shape = shapes[key] = _read(row, key[1])
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


def parse_rows(text: str) -> list[Row]:
    """The lines of `render.SHOW_PENDING`. Raises SchedulerUnavailable unless each has all its fields."""
    return [_split(line) for line in text.split("\n") if line]


def needed_details(rows: Iterable[Row]) -> tuple[bool, bool]:
    """What else has to be asked for: the tasks of arrays that run (an array is throttled), and the most nodes that jobs asked
    for (one could spread).
    """
    return any("%" in row.tasks_of_array for row in rows), any(row.may_spread for row in rows)


def _split(line: str) -> Row:
    fields = line.split(SEPARATOR)
    if len(fields) != PENDING_FIELDS + 1 or fields[-1]:
        raise SchedulerUnavailable(f"squeue wrote a waiting job that cannot be read: {line[:300]!r}")
    return Row._make(fields[:-1])


def _read(row: Row, nodes_max: int | None) -> JobDemand:
    """The shape of a row as a demand without ids. What headnode cannot express is blocked, with the reason why."""
    try:
        return _parse_shape(row, nodes_max)
    except (KeyError, ValueError) as err:
        raise SchedulerUnavailable(f"squeue wrote a waiting job that cannot be read ({err!r}): job {row.job!r}") from err


def _parse_shape(row: Row, nodes_max: int | None) -> JobDemand:
    nodes_min = _nodes_asked(row)
    tasks = max(_number(row.num_tasks), 1)
    tasks_per_node = _number(row.tasks_per_node) or None
    if tasks_per_node:
        nodes_min = max(nodes_min, math.ceil(tasks / tasks_per_node))
    job = JobDemand(
        jobs=(),
        tasks=tasks,
        per_task=Shape(cpus=max(_number(row.cpus_per_task), 1)),
        nodes_min=nodes_min,
        nodes_max=_nodes_max(row, nodes_min, nodes_max),
        tasks_per_node=tasks_per_node,
        exclusive=row.oversubscribe == "NO",
        partitions=frozenset(row.partition.split(",")) - _NONE,
        hostnames=frozenset(Hostname(name.lower()) for name in parse_hostlist("" if row.req_nodes in _NONE else row.req_nodes)),
        blocked_by=blocked_by(row.reason),
        reason=row.reason,
    )
    job = _with_features(_with_gres(_with_memory(_with_cpus(job, row), row), row), row.features)
    return _judged(job, row)


def _judged(job: JobDemand, row: Row) -> JobDemand:
    """Causes that Slurm's reason does not always tell: it may call nodes unavailable while the job also waits for another."""
    if job.blocked_by is not BlockedBy.NOTHING:
        return job
    if row.dependency not in _NONE:
        return replace(job, blocked_by=BlockedBy.DEPENDENCY)
    if row.reservation not in _NONE:
        return replace(job, blocked_by=BlockedBy.RESERVATION)
    if job.hostnames and len(job.hostnames) >= job.nodes_min:
        return replace(job, blocked_by=BlockedBy.NODE_LIST)
    return job


def _number(text: str) -> int:
    """A count; "N/A" and Slurm's unset 65534 are 0."""
    number = 0 if text in _NONE else int(text)
    return 0 if number in (65534, 65535) else number


def _tres(row: Row) -> Mapping[str, str]:
    return dict(item.split("=", 1) for item in row.tres.split(",") if "=" in item)


def _nodes_asked(row: Row) -> int:
    return int(_tres(row).get("node", "1"))


def _nodes_max(row: Row, nodes_min: int, asked: int | None) -> int | None:
    """`MaxNodes` is what was asked for if more than one node was; else it may be an estimate, and only `asked` tells."""
    if not row.may_spread:
        return max(_number(row.max_nodes), nodes_min)
    return None if asked is None else max(asked, nodes_min)


def _with_cpus(job: JobDemand, row: Row) -> JobDemand:
    """--mincpus asks for CPUs on each node beyond those of its tasks."""
    beyond = _number(row.min_cpus) - job.per_task.cpus * (job.tasks_per_node or 1)
    return replace(job, per_node=Shape(cpus=beyond)) if beyond > 0 else job


def _with_memory(job: JobDemand, row: Row) -> JobDemand:
    """`MinMemory` times the CPUs or times the nodes makes the total; if neither does, it is given per GPU."""
    total = _memory_mib(_tres(row).get("mem", "0"))
    asked = 0 if row.min_memory in _NONE else _memory_mib(row.min_memory)
    has_gres = any(gres not in _NONE for gres in (row.gres_per_node, row.gres_per_job, row.gres_per_task, row.gres_per_socket))
    if not asked and total and not has_gres:
        return replace(job, exclusive=True)  # --mem=0: all there is on each node
    if asked * _number(row.num_cpus) == total:
        return replace(job, per_task=replace(job.per_task, memory_mib=asked * job.per_task.cpus))
    if asked * _nodes_asked(row) == total:
        return replace(job, per_node=replace(job.per_node, memory_mib=asked))
    return replace(job, per_task=replace(job.per_task, memory_mib=math.ceil(total / job.tasks)))


def _memory_mib(text: str) -> int:
    found = _MEMORY.fullmatch(text)
    if found is None:
        raise ValueError(f"unreadable memory {text!r}")
    return math.ceil(float(found[1]) * _MIB[found[2]])


def _with_gres(job: JobDemand, row: Row) -> JobDemand:
    """Per-socket GPUs are counted as per node: one socket's worth is the least that a node must have."""
    cpus = 0 if row.cpus_per_gres in _NONE else parse_gres(row.cpus_per_gres)[0]
    for text in (row.gres_per_node, row.gres_per_socket):
        if text not in _NONE:
            job = _with_cpus_per_gpu(replace(job, per_node=_added(job.per_node, text)), cpus)
    if row.gres_per_task not in _NONE:
        per_task = _added(job.per_task, row.gres_per_task)
        job = replace(job, per_task=replace(per_task, cpus=max(per_task.cpus, per_task.gpus * cpus)))
    return _with_gres_per_job(job, row.gres_per_job, cpus) if row.gres_per_job not in _NONE else job


def _with_cpus_per_gpu(job: JobDemand, cpus: int) -> JobDemand:
    """--cpus-per-gpu: the CPUs of a node's GPUs, of which one task's are counted already."""
    beyond = job.per_node.gpus * cpus - job.per_task.cpus
    return replace(job, per_node=replace(job.per_node, cpus=max(job.per_node.cpus, beyond)))


def _added(shape: Shape, text: str) -> Shape:
    gpus, gpu_type, others = parse_gres(text)
    return replace(shape, gpus=shape.gpus + gpus, gpu_type=gpu_type or shape.gpu_type, consumables=others or shape.consumables)


def _with_gres_per_job(job: JobDemand, text: str, cpus_per_gpu: int) -> JobDemand:
    """GPUs of the whole job may come from any number of its nodes. They are dealt out to its tasks; where they do not divide
    evenly, the job is seen as one task for each GPU, with its share of CPUs and memory rounded up.
    """
    gpus, gpu_type, _ = parse_gres(text)
    if gpus and gpus % job.tasks == 0 and job.tasks > 1:
        each = gpus // job.tasks
        cpus = max(job.per_task.cpus, each * cpus_per_gpu)
        return replace(job, per_task=replace(job.per_task, cpus=cpus, gpus=each, gpu_type=gpu_type))
    if not gpus:
        return replace(job, per_node=_added(job.per_node, text))
    share = Shape(
        cpus=max(math.ceil(job.per_task.cpus * job.tasks / gpus), cpus_per_gpu),
        memory_mib=math.ceil(job.per_task.memory_mib * job.tasks / gpus),
        gpus=1,
        gpu_type=gpu_type,
    )
    return replace(job, tasks=gpus, per_task=share, tasks_per_node=None)


def _with_features(job: JobDemand, text: str) -> JobDemand:
    """Counts (`[a*2&b*1]`) and same-on-all-nodes choices of several (`[a|b]` on many nodes) say that the nodes of a job depend on
    each other, which a JobDemand cannot express: such a job is blocked and reported, never bought nodes for.
    """
    if text in _NONE:
        return job
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") and job.nodes_max == 1 else text
    try:
        return replace(job, features=parse_features(bare))
    except ValueError:
        because = f"headnode cannot express its features {text!r} ({job.reason})"
        blocked = BlockedBy.UNKNOWN if job.blocked_by is BlockedBy.NOTHING else job.blocked_by
        return replace(job, blocked_by=blocked, reason=because)


def _waiting(row: Row, shape: JobDemand, details: Details) -> Iterable[_Waiting]:
    """One value, or two for an array of which only some tasks may run at once: the rest waits for the array, not for nodes."""
    is_array = row.tasks_of_array not in _NONE and "[" in row.job  # else a job, or a single task that was requeued
    try:
        tasks, throttle = parse_array(row.tasks_of_array) if is_array else (1, None)
        priority, submitted_at = int(row.priority), float(row.submitted)
        eligible_at = 0.0 if row.eligible in _NONE else float(row.eligible)
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


def parse_array(text: str) -> tuple[int, int | None]:
    """`1-3,7,9-21:2%5` → how many tasks, and how many of them may run at once. Raises ValueError."""
    tasks, percent, throttle = text.partition("%")
    count = 0
    for piece in tasks.split(","):
        span, _, step = piece.partition(":")
        low, _, high = span.partition("-")
        count += (int(high or low) - int(low)) // int(step or 1) + 1
    return count, int(throttle) if percent else None


def _shown(job: str) -> JobId:
    """An id of bearable length: `17_[1,3,5,…]`."""
    return JobId(job if len(job) <= _SHOWN_ID_CHARS else f"{job[:_SHOWN_ID_CHARS].rpartition(',')[0]},…]")


def parse_excluded(text: str) -> dict[str, frozenset[Hostname]]:
    """`squeue -o '%i<SEPARATOR>%x'`: the nodes that each waiting job will not have; jobs without such are left out."""
    found: dict[str, frozenset[Hostname]] = {}
    for line in text.split("\n"):
        job, separator, nodes = line.partition(SEPARATOR)
        if line and not separator:
            raise SchedulerUnavailable(f"squeue wrote a waiting job that cannot be read: {line[:200]!r}")
        if nodes not in _NONE:
            found[job] = frozenset(Hostname(name.lower()) for name in parse_hostlist(nodes))
    return found


def parse_running_arrays(text: str) -> dict[str, int]:
    """`squeue -o %F`: how many of each array's tasks occupy nodes."""
    counts: dict[str, int] = {}
    for job in text.split():
        counts[job] = counts.get(job, 0) + 1
    return counts


def parse_nodes_max(text: str) -> dict[str, int]:
    """`scontrol show job -o`: the most nodes that each job asked for, `NumNodes=1-4`; jobs that set none are left out."""
    found = (_JOB_LINE.match(line) for line in text.split("\n"))
    return {match[1]: int(match[2]) for match in found if match is not None and match[2]}
