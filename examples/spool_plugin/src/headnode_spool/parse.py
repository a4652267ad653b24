"""What `spool` answers, read as a whole or not at all. Pure.

What the scheduler says is hostile until it has become a value: pydantic refuses what is missing, of another kind, or cut off.
"""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, ValidationError

from daemons.errors import SchedulerUnavailable
from daemons.model import BlockedBy, Hostname, JobDemand, JobId, Node, NodeState, Shape
from schedulers.base import DRAIN_MARK
from schedulers.waiting import Waiting, in_order


class NodeRow(BaseModel):
    """One node, as `spool nodes` shows it."""

    model_config = ConfigDict(frozen=True)

    name: str
    address: str
    cpus: int
    queue: str
    features: frozenset[str]
    up: bool
    drained: str | None
    jobs: tuple[str, ...]


class JobRow(BaseModel):
    """One job, as `spool jobs` shows it; `node` is None while it waits."""

    model_config = ConfigDict(frozen=True)

    id: str
    cpus: int
    queue: str
    feature: str
    priority: int
    held: bool
    node: str | None


class _Nodes(BaseModel):
    nodes: tuple[NodeRow, ...]


class _Jobs(BaseModel):
    jobs: tuple[JobRow, ...]


def parse_nodes(text: str) -> Mapping[Hostname, NodeRow]:
    """`spool nodes`, by name. Raises SchedulerUnavailable for anything but a whole answer."""
    try:
        return {Hostname(row.name): row for row in _Nodes.model_validate_json(text).nodes}
    except ValidationError as err:
        raise SchedulerUnavailable("spool nodes gave no usable answer", problems=_problems(err)) from err


def parse_jobs(text: str) -> tuple[JobRow, ...]:
    """`spool jobs`. Raises SchedulerUnavailable for anything but a whole answer."""
    try:
        return _Jobs.model_validate_json(text).jobs
    except ValidationError as err:
        raise SchedulerUnavailable("spool jobs gave no usable answer", problems=_problems(err)) from err


def node_of(row: NodeRow, jobs: Sequence[JobRow]) -> Node:
    """A node as headnode has it. `jobs` are all there are."""
    here = [job for job in jobs if job.node == row.name]
    states = {NodeState.AWAITED: not row.up, NodeState.BUSY: bool(row.jobs), NodeState.DRAIN: row.drained is not None}
    return Node(
        hostname=Hostname(row.name),
        states=frozenset(state for state, holds in states.items() if holds),
        total=Shape(cpus=row.cpus),
        used=Shape(cpus=sum(job.cpus for job in here)),
        jobs=frozenset(map(JobId, row.jobs)),
        partitions=frozenset({row.queue}),
        features=row.features,
        reason=row.drained or "",
        drained_by_us=is_ours(row),
    )


def is_ours(row: NodeRow) -> bool:
    """Did headnode drain it, or somebody else?"""
    return row.drained is not None and row.drained.startswith(DRAIN_MARK)


def demand_of(jobs: Sequence[JobRow]) -> tuple[JobDemand, ...]:
    """What waits, what more nodes would not help included."""
    shapes: dict[tuple[int, str, str], JobDemand] = {}
    waiting: list[Waiting] = []
    for job in jobs:
        if job.node is not None:
            continue
        shape = shapes.setdefault(
            (job.cpus, job.queue, job.feature),
            JobDemand(
                jobs=(),
                per_task=Shape(cpus=job.cpus),
                partitions=frozenset({job.queue}),
                features=(frozenset({job.feature}),) if job.feature else (),
            ),
        )
        why = BlockedBy.HOLD if job.held else BlockedBy.NOTHING
        waiting.append(Waiting(shape, JobId(job.id), 1, job.priority, float(job.id), why, "held" if job.held else ""))
    return in_order(waiting)


def _problems(err: ValidationError) -> tuple[str, ...]:
    return tuple(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in err.errors()[:5])
