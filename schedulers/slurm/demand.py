"""Slurm's waiting jobs as demand: the lines of `render.SHOW_PENDING` to `JobDemand` values. Pure.

What squeue's fields mean, as found with 22.05.8: `NumNodes` is an estimate from the nodes of the moment, the number asked for
is `node=` in `tres-alloc`. `MinMemory` does not say per what, and is compared with `mem=`. GPUs come in four fields.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

from daemons.errors import SchedulerUnavailable
from daemons.model import BlockedBy, Hostname, JobDemand, JobId, Shape
from schedulers.slurm.hostlist import parse_hostlist
from schedulers.slurm.parse import SEPARATOR, parse_gres
from schedulers.slurm.reasons import blocked_by
from schedulers.slurm.render import PENDING_FIELDS

_NONE = frozenset({"", "(null)", "N/A"})
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)")
_MIB = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3}
_FEATURES = re.compile(r"[A-Za-z0-9_.&|()-]+")
_SHOWN_ID_CHARS = 60


@dataclass(frozen=True, slots=True)
class _Row:
    """The fields of one line, in `render.SHOW_PENDING`'s order."""

    job: str
    tasks_of_array: str
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
    partition: str
    features: str
    oversubscribe: str
    priority: str
    reservation: str
    req_nodes: str
    submitted: str

    @property
    def shape(self) -> tuple[str, ...]:
        """Everything that says what the job asks for, and nothing that tells it from its like."""
        return (
            self.reason, self.num_nodes, self.max_nodes, self.num_cpus, self.num_tasks, self.cpus_per_task, self.min_cpus,
            self.tasks_per_node, self.min_memory, self.tres, self.gres_per_node, self.gres_per_job, self.gres_per_task,
            self.gres_per_socket, self.partition, self.features, self.oversubscribe, self.reservation, self.req_nodes,
        )  # fmt: skip


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


def parse_demand(text: str, *, excluded: Mapping[str, frozenset[Hostname]], running: Mapping[str, int]) -> tuple[JobDemand, ...]:
    """Every waiting job, highest priority first, oldest first among equals.

    `excluded` gives the nodes that a job will not have, by its printed id; `running` how many tasks of an array run already,
    by the array's id. Neighbours in this order that ask for the same come as one value, with the priority of its first.
    Raises SchedulerUnavailable for a line that cannot be read.
    """
    shapes: dict[tuple[str, ...], JobDemand] = {}
    waiting: list[_Waiting] = []
    for line in text.split("\n"):
        if line:
            row = _split(line)
            if (shape := shapes.get(row.shape)) is None:
                shape = shapes[row.shape] = _read(row)
            waiting += _waiting(row, shape, excluded.get(row.job, frozenset()), running)
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


def throttled_arrays(text: str) -> bool:
    """Is there an array of which only some tasks may run at once? Then the tasks that run already have to be counted."""
    return "%" in text


def _split(line: str) -> _Row:
    fields = line.split(SEPARATOR)
    if len(fields) != PENDING_FIELDS + 1 or fields[-1]:
        raise SchedulerUnavailable(f"squeue wrote a waiting job that cannot be read: {line[:300]!r}")
    return _Row(*fields[:-1])


def _read(row: _Row) -> JobDemand:
    """The shape of a row as a demand without ids. What headnode cannot express is blocked, with the reason why."""
    try:
        return _parse_shape(row)
    except (KeyError, ValueError) as err:
        raise SchedulerUnavailable(f"squeue wrote a waiting job that cannot be read ({err!r}): job {row.job!r}") from err


def _parse_shape(row: _Row) -> JobDemand:
    tres = dict(item.split("=", 1) for item in row.tres.split(",") if "=" in item)
    nodes_min = int(tres.get("node", "1"))
    tasks = max(_number(row.num_tasks), 1)
    tasks_per_node = _number(row.tasks_per_node) or None
    if tasks_per_node:
        nodes_min = max(nodes_min, math.ceil(tasks / tasks_per_node))
    job = JobDemand(
        jobs=(),
        tasks=tasks,
        per_task=Shape(cpus=max(_number(row.cpus_per_task), 1)),
        nodes_min=nodes_min,
        nodes_max=_nodes_max(row, nodes_min, tasks),
        tasks_per_node=tasks_per_node,
        exclusive=row.oversubscribe == "NO",
        partitions=frozenset(row.partition.split(",")) - _NONE,
        hostnames=frozenset(Hostname(name.lower()) for name in parse_hostlist("" if row.req_nodes in _NONE else row.req_nodes)),
        blocked_by=blocked_by(row.reason),
        reason=row.reason,
    )
    job = _with_features(_with_gres(_with_memory(_with_cpus(job, row), row, tres), row), row.features)
    return _judged(job, row)


def _judged(job: JobDemand, row: _Row) -> JobDemand:
    """Two causes that Slurm's reason does not tell: nodes asked for by name, and a reservation."""
    if job.blocked_by is not BlockedBy.NOTHING:
        return job
    if row.reservation not in _NONE:
        return replace(job, blocked_by=BlockedBy.RESERVATION)
    if job.hostnames and len(job.hostnames) >= job.nodes_min:
        return replace(job, blocked_by=BlockedBy.NODE_LIST)
    return job


def _number(text: str) -> int:
    """A count; "N/A" and Slurm's unset 65534 are 0."""
    number = 0 if text in _NONE else int(text)
    return 0 if number in (65534, 65535) else number


def _nodes_max(row: _Row, nodes_min: int, tasks: int) -> int | None:
    """Slurm shows an estimate where nobody gave a maximum, so for a job of several tasks that did not ask for nodes a
    `MaxNodes` that equals the estimate says nothing.
    """
    shown = _number(row.max_nodes)
    if nodes_min == 1 and (shown == _number(row.num_nodes) or shown == 0):
        return 1 if tasks == 1 and row.gres_per_job in _NONE else None
    return max(shown, nodes_min) if shown else None


def _with_cpus(job: JobDemand, row: _Row) -> JobDemand:
    """--mincpus asks for CPUs on each node beyond those of its tasks."""
    beyond = _number(row.min_cpus) - job.per_task.cpus * (job.tasks_per_node or 1)
    return replace(job, per_node=Shape(cpus=beyond)) if beyond > 0 else job


def _with_memory(job: JobDemand, row: _Row, tres: Mapping[str, str]) -> JobDemand:
    total = _memory_mib(tres.get("mem", "0"))
    asked = 0 if row.min_memory in _NONE else _memory_mib(row.min_memory)
    if not asked and total:
        if any(gres not in _NONE for gres in (row.gres_per_node, row.gres_per_job, row.gres_per_task, row.gres_per_socket)):
            return replace(job, per_node=replace(job.per_node, memory_mib=math.ceil(total / job.nodes_min)))  # --mem-per-gpu
        return replace(job, exclusive=True)  # --mem=0: all there is on each node
    if asked * _number(row.num_cpus) == total or job.nodes_min * asked != total:
        return replace(job, per_task=replace(job.per_task, memory_mib=asked * job.per_task.cpus))
    return replace(job, per_node=replace(job.per_node, memory_mib=asked))


def _memory_mib(text: str) -> int:
    found = _MEMORY.fullmatch(text)
    if found is None:
        raise ValueError(f"unreadable memory {text!r}")
    return math.ceil(float(found[1]) * _MIB[found[2]])


def _with_gres(job: JobDemand, row: _Row) -> JobDemand:
    """Per-socket GPUs are counted as per node: one socket's worth is the least that a node must have."""
    for text in (row.gres_per_node, row.gres_per_socket):
        if text not in _NONE:
            job = replace(job, per_node=_added(job.per_node, text))
    if row.gres_per_task not in _NONE:
        job = replace(job, per_task=_added(job.per_task, row.gres_per_task))
    return _with_gres_per_job(job, row.gres_per_job) if row.gres_per_job not in _NONE else job


def _added(shape: Shape, text: str) -> Shape:
    gpus, gpu_type, others = parse_gres(text)
    return replace(shape, gpus=shape.gpus + gpus, gpu_type=gpu_type or shape.gpu_type, consumables=others or shape.consumables)


def _with_gres_per_job(job: JobDemand, text: str) -> JobDemand:
    """GPUs of the whole job may come from any number of its nodes. They are dealt out to its tasks; where they do not divide
    evenly, the job is seen as one task for each GPU, with its share of CPUs and memory rounded up.
    """
    gpus, gpu_type, _ = parse_gres(text)
    if gpus and gpus % job.tasks == 0 and job.tasks > 1:
        return replace(job, per_task=replace(job.per_task, gpus=gpus // job.tasks, gpu_type=gpu_type))
    if not gpus:
        return replace(job, per_node=_added(job.per_node, text))
    share = Shape(
        cpus=math.ceil(job.per_task.cpus * job.tasks / gpus),
        memory_mib=math.ceil(job.per_task.memory_mib * job.tasks / gpus),
        gpus=1,
        gpu_type=gpu_type,
    )
    return replace(job, tasks=gpus, per_task=share, tasks_per_node=None)


def _with_features(job: JobDemand, text: str) -> JobDemand:
    """`a&b|c` is the alternatives {a, b} and {c}. Counts and groupings (`[a*2&b*1]`, parentheses) say that nodes of one job
    differ, which a JobDemand cannot express: such a job is blocked and reported, never bought nodes for.
    """
    if text in _NONE:
        return job
    plain = text.removeprefix("[").removesuffix("]") if re.fullmatch(r"\[[^\[\]&*]*\]", text) else text
    if not _FEATURES.fullmatch(plain) or "(" in plain or ")" in plain:
        because = f"features {text!r} differ between the nodes of the job, which headnode cannot express ({job.reason})"
        blocked = BlockedBy.UNKNOWN if job.blocked_by is BlockedBy.NOTHING else job.blocked_by
        return replace(job, blocked_by=blocked, reason=because)
    return replace(job, features=tuple(frozenset(words.split("&")) for words in plain.split("|")))


def _waiting(row: _Row, shape: JobDemand, excluded: frozenset[Hostname], running: Mapping[str, int]) -> Iterable[_Waiting]:
    """One value, or two for an array of which only some tasks may run at once: the rest waits for the array, not for nodes."""
    is_array = row.tasks_of_array not in _NONE and "[" in row.job  # else a job, or a single task that was requeued
    try:
        tasks, throttle = parse_array(row.tasks_of_array) if is_array else (1, None)
        priority, submitted_at = int(row.priority), float(row.submitted)
    except ValueError as err:
        raise SchedulerUnavailable(f"squeue wrote a waiting job that cannot be read ({err!r}): job {row.job!r}") from err
    able = tasks
    if throttle is not None and shape.blocked_by is BlockedBy.NOTHING:
        able = min(tasks, max(throttle - running.get(row.job.partition("_")[0], 0), 0))
    parts = ((able, shape.blocked_by), (tasks - able, BlockedBy.ARRAY_LIMIT))
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
