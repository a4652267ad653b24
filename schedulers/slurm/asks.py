"""What one waiting job asks for: a row's words as a `JobDemand` without ids. Pure.

What squeue's fields mean, as found with 22.05.8: `NumNodes` is an estimate from the nodes of the moment, the number asked for
is `node=` in `tres-alloc`. `MinMemory` does not say per what, and is compared with `mem=`. GPUs come in four fields.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from daemons.errors import SchedulerUnavailable
from daemons.model import BlockedBy, Hostname, JobDemand, Shape
from schedulers.slurm.features import parse_features
from schedulers.slurm.hostlist import parse_hostlist
from schedulers.slurm.parse import parse_gres
from schedulers.slurm.reasons import blocked_by
from schedulers.slurm.rows import NOT_GIVEN, Row, nodes_asked, tres_of

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)")
_MIB: Mapping[str, float] = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3}


def parse_asks(row: Row, nodes_max: int | None) -> JobDemand:
    """The demand of one such job. `nodes_max` is the most nodes that it asked for, None if it set none.

    What headnode cannot express is blocked, with the reason why. Raises SchedulerUnavailable for words that cannot be read.
    """
    try:
        return _parse_shape(row, nodes_max)
    except (KeyError, ValueError) as err:
        raise SchedulerUnavailable(f"squeue wrote a waiting job that cannot be read ({err!r}): job {row.job!r}") from err


def _parse_shape(row: Row, nodes_max: int | None) -> JobDemand:
    nodes_min = nodes_asked(row)
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
        partitions=frozenset(row.partition.split(",")) - NOT_GIVEN,
        hostnames=frozenset(
            Hostname(name.lower()) for name in parse_hostlist("" if row.req_nodes in NOT_GIVEN else row.req_nodes)
        ),
        blocked_by=blocked_by(row.reason),
        reason=row.reason,
    )
    job = _with_features(_with_gres(_with_memory(_with_cpus(job, row), row), row), row.features)
    return _judged(job, row)


def _judged(job: JobDemand, row: Row) -> JobDemand:
    """Causes that Slurm's reason does not always tell: it may call nodes unavailable while the job also waits for another."""
    if job.blocked_by is not BlockedBy.NOTHING:
        return job
    if row.dependency not in NOT_GIVEN:
        return replace(job, blocked_by=BlockedBy.DEPENDENCY)
    if row.reservation not in NOT_GIVEN:
        return replace(job, blocked_by=BlockedBy.RESERVATION)
    if job.hostnames and len(job.hostnames) >= job.nodes_min:
        return replace(job, blocked_by=BlockedBy.NODE_LIST)
    return job


def _number(text: str) -> int:
    """A count; "N/A" and Slurm's unset 65534 are 0."""
    number = 0 if text in NOT_GIVEN else int(text)
    return 0 if number in (65534, 65535) else number


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
    total = _memory_mib(tres_of(row).get("mem", "0"))
    asked = 0 if row.min_memory in NOT_GIVEN else _memory_mib(row.min_memory)
    has_gres = any(
        gres not in NOT_GIVEN for gres in (row.gres_per_node, row.gres_per_job, row.gres_per_task, row.gres_per_socket)
    )
    if not asked and total and not has_gres:
        return replace(job, exclusive=True)  # --mem=0: all there is on each node
    if asked * _number(row.num_cpus) == total:
        return replace(job, per_task=replace(job.per_task, memory_mib=asked * job.per_task.cpus))
    if asked * nodes_asked(row) == total:
        return replace(job, per_node=replace(job.per_node, memory_mib=asked))
    return replace(job, per_task=replace(job.per_task, memory_mib=math.ceil(total / job.tasks)))


def _memory_mib(text: str) -> int:
    found = _MEMORY.fullmatch(text)
    if found is None:
        raise ValueError(f"unreadable memory {text!r}")
    return math.ceil(float(found[1]) * _MIB[found[2]])


def _with_gres(job: JobDemand, row: Row) -> JobDemand:
    """Per-socket GPUs are counted as per node: one socket's worth is the least that a node must have."""
    cpus = 0 if row.cpus_per_gres in NOT_GIVEN else parse_gres(row.cpus_per_gres)[0]
    for text in (row.gres_per_node, row.gres_per_socket):
        if text not in NOT_GIVEN:
            job = _with_cpus_per_gpu(replace(job, per_node=_added(job.per_node, text)), cpus)
    if row.gres_per_task not in NOT_GIVEN:
        per_task = _added(job.per_task, row.gres_per_task)
        job = replace(job, per_task=replace(per_task, cpus=max(per_task.cpus, per_task.gpus * cpus)))
    return _with_gres_per_job(job, row.gres_per_job, cpus) if row.gres_per_job not in NOT_GIVEN else job


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
    if text in NOT_GIVEN:
        return job
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") and job.nodes_max == 1 else text
    try:
        return replace(job, features=parse_features(bare))
    except ValueError:
        because = f"headnode cannot express its features {text!r} ({job.reason})"
        blocked = BlockedBy.UNKNOWN if job.blocked_by is BlockedBy.NOTHING else job.blocked_by
        return replace(job, blocked_by=blocked, reason=because)
