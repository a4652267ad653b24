"""Torque's nodes as headnode's. Pure."""

from collections.abc import Iterable, Sequence

from daemons.errors import InvalidValue
from daemons.model import FleetSpec, Hostname, JobId, Node, NodeState, Shape
from daemons.names import parse_hostname
from schedulers.base import DRAIN_MARK
from schedulers.torque.parse import NodeRow

PLACEHOLDER = "headnode-placeholder"  # the property of the node that stands for nodes to come
NOT_SENT = "MOM-list-not-sent"  # the first seconds of a node; it is down and offline then by nobody's word
_KIB_EACH = 1024
_TAKEN = frozenset({"job-exclusive", "job-sharing"})
_KNOWN = frozenset({"free", "job-exclusive", "job-sharing", "busy", "reserve", "offline", "down", "time-shared", NOT_SENT})


def is_placeholder(row: NodeRow) -> bool:
    return PLACEHOLDER in row.properties


def hostname_of(row: NodeRow) -> Hostname | None:
    """None for a name that cannot be one of ours."""
    try:
        return parse_hostname(row.name)
    except InvalidValue:
        return None


def by_hostname(rows: Iterable[NodeRow]) -> dict[Hostname, NodeRow]:
    """Without placeholders."""
    named = ((hostname_of(row), row) for row in rows if not is_placeholder(row))
    return {name: row for name, row in named if name is not None}


def is_offline(row: NodeRow) -> bool:
    """By somebody's word."""
    return "offline" in row.states and NOT_SENT not in row.states


def drained_by_us(row: NodeRow) -> bool:
    return is_offline(row) and row.note.startswith(DRAIN_MARK)


def jobs_of(row: NodeRow) -> frozenset[JobId]:
    """What occupies it. A node that Torque calls taken is somebody's, even if it names no job."""
    nameless = {JobId(f"a job on {row.name}")} if row.states & _TAKEN and not row.jobs else set()
    return frozenset(map(JobId, row.jobs)) | nameless


def node_of(hostname: Hostname, row: NodeRow, fleets: Sequence[FleetSpec]) -> Node:
    """Properties are features. A node with the property of some fleet's queue serves those queues, any other serves them all."""
    queues = frozenset(fleet.partition for fleet in fleets)
    return Node(
        hostname=hostname,
        states=_states(row),
        total=Shape(cpus=row.slots, memory_mib=_memory_mib(row), gpus=row.gpus),
        used=Shape(cpus=sum(row.jobs.values())),
        jobs=jobs_of(row),
        partitions=row.properties & queues or queues,
        features=row.properties,
        reason=row.note,
        drained_by_us=drained_by_us(row),
    )


def _states(row: NodeRow) -> frozenset[NodeState]:
    states: set[NodeState] = set()
    if is_offline(row):
        states.add(NodeState.DRAIN)
    if NOT_SENT in row.states or ("down" in row.states and not row.status and not row.jobs):
        states.add(NodeState.AWAITED)
    elif "down" in row.states:
        states.add(NodeState.DOWN)
    if row.jobs or row.states & {"job-exclusive", "job-sharing", "busy"}:
        states.add(NodeState.BUSY)
    if "reserve" in row.states:
        states.add(NodeState.RESERVED)
    if row.states - _KNOWN or not row.states:
        states.add(NodeState.UNKNOWN)
    return frozenset(states)


def _memory_mib(row: NodeRow) -> int:
    """What the mom has told; 0 until it has."""
    told = row.status.get("physmem", "")
    return int(told[:-2]) // _KIB_EACH if told.endswith("kb") and told[:-2].isdecimal() else 0
