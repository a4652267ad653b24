"""What a Torque job asks for (`Resource_List`), as demand. Pure. Queues are partitions; a property is a feature.

http://docs.adaptivecomputing.com/torque/6-1-3/adminGuide/torque.htm#topics/torque/2-jobs/requestingRes.htm
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from daemons.errors import InvalidValue
from daemons.model import BlockedBy, Hostname, JobDemand, Shape
from daemons.names import parse_hostname
from schedulers.torque.parse import JobRow

_SIZE = re.compile(r"(\d{1,18})(b|w|kb|kw|mb|mw|gb|gw|tb|tw)?", re.IGNORECASE)
_UNIT_BYTES = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_WORD_BYTES = 8
_MIB = 1 << 20
# What says how the node's GPUs are to be used, or whether it may be shared, and nothing about which node.
_MODES = frozenset(
    {"shared", "exclusive", "exclusive_thread", "exclusive_process", "exclusive_job", "default", "reseterr", "excl", "prohibited"}
)


class Unreadable(ValueError):
    """A request that means nothing to us: the job is told of, and no node is bought for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of `nodes=2:ppn=2:bigmem+n0001:ppn=4`: so many nodes with so much each."""

    nodes: int = 1
    slots: int = 1
    gpus: int = 0
    properties: frozenset[str] = frozenset()
    hostname: Hostname | None = None


def parse_asks(row: JobRow, *, properties: Collection[str] = ()) -> tuple[JobDemand, ...]:
    """The shapes of one job: one for each different part of its `nodes`, each without ids. `properties` are those that any
    fleet's nodes have: another first word of a part names a host. What cannot be read is one value, blocked, that says so.
    """
    asked = dict(row.resources)
    base = JobDemand(jobs=(), partitions=frozenset({row.queue}) if row.queue else frozenset(), exclusive=row.exclusive)
    try:
        parts = parse_parts(asked["nodes"], properties) if "nodes" in asked else (_without_nodes(asked),)
        total = sum(part.nodes for part in parts)
        features = _features(asked)
        shapes = [_shape(base, part, asked, total=total, features=features) for part in parts]
        if host := asked.get("host"):
            shapes = [_named(shape, parse_hostname(host)) for shape in shapes]
        if "nodes" not in asked and "procs" in asked:
            shapes = [_spread(base, shapes[0], _whole(asked["procs"]))]
    except (Unreadable, InvalidValue) as err:
        return (replace(base, blocked_by=BlockedBy.UNKNOWN, reason=f"its request cannot be read: {err}"[:200]),)
    return tuple(shapes)


def parse_parts(text: str, properties: Collection[str]) -> tuple[Part, ...]:
    """The parts of `nodes=`, equal ones together. Raises Unreadable."""
    parts: dict[Part, int] = {}
    for written in text.partition("#")[0].split("+"):
        part = _part(written.strip(), properties)
        alone = replace(part, nodes=1)
        parts[alone] = parts.get(alone, 0) + part.nodes
    return tuple(replace(part, nodes=count) for part, count in parts.items())


def parse_mib(text: str) -> int:
    """`2gb` in MiB, rounded up. Raises Unreadable."""
    if (found := _SIZE.fullmatch(text.strip())) is None:
        raise Unreadable(f"{text[:40]!r} is no amount of memory")
    unit = (found[2] or "b").lower()
    size = int(found[1]) * _UNIT_BYTES[unit[0] if unit != "w" else "b"] * (_WORD_BYTES if unit.endswith("w") else 1)
    return math.ceil(size / _MIB)


def _part(text: str, properties: Collection[str]) -> Part:
    words = [word for word in text.split(":") if word]
    if not words:
        raise Unreadable(f"a part of it is empty: {text[:40]!r}")
    part = Part()
    first = words[0]
    if first.isdecimal():
        part, words = replace(part, nodes=_whole(first)), words[1:]
    elif "=" not in first and first not in properties:
        part, words = replace(part, hostname=parse_hostname(first)), words[1:]
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            part = part if name in _MODES else replace(part, properties=part.properties | {name})
        elif name == "ppn":
            part = replace(part, slots=_whole(value))
        elif name == "gpus":
            part = replace(part, gpus=_whole(value))
        elif name == "procs":
            part = replace(part, slots=_whole(value))
        else:
            raise Unreadable(f"{word[:40]!r} is no part of a request that headnode knows")
    return part


def _without_nodes(asked: Mapping[str, str]) -> Part:
    """`ncpus` is of one node; a job that names nothing gets one slot."""
    return Part(slots=_whole(asked.get("ncpus", "1")), gpus=_whole(asked.get("gpus", "0"), least=0))


def _shape(base: JobDemand, part: Part, asked: Mapping[str, str], *, total: int, features: frozenset[str]) -> JobDemand:
    """`mem` is of the whole job, `pmem` of each process. Each of a part's nodes is one task."""
    memory_mib = max(
        math.ceil(parse_mib(asked["mem"]) / total) if "mem" in asked else 0,
        parse_mib(asked["pmem"]) * part.slots if "pmem" in asked else 0,
    )
    wanted = part.properties | features
    shape = replace(
        base,
        tasks=part.nodes,
        nodes_min=part.nodes,
        nodes_max=part.nodes,
        tasks_per_node=1,
        per_task=Shape(cpus=part.slots, memory_mib=memory_mib, gpus=part.gpus),
        features=(wanted,) if wanted else (),
    )
    return _named(shape, part.hostname) if part.hostname is not None else shape


def _named(shape: JobDemand, hostname: Hostname) -> JobDemand:
    return replace(
        shape, hostnames=frozenset({hostname}), blocked_by=BlockedBy.NODE_LIST, reason=f"it asks for {hostname} and no other"
    )


def _spread(base: JobDemand, shape: JobDemand, processes: int) -> JobDemand:
    """`procs=8`: eight slots, wherever they are."""
    each = replace(shape.per_task, cpus=1, memory_mib=math.ceil(shape.per_task.memory_mib / processes))
    return replace(base, tasks=processes, per_task=each, features=shape.features)


def _features(asked: Mapping[str, str]) -> frozenset[str]:
    """`-l feature=bigmem:ib`: all of them."""
    words = re.split(r"[:,]", asked.get("feature", "") or asked.get("features", ""))
    return frozenset(filter(None, words))


def _whole(text: str, *, least: int = 1) -> int:
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        raise Unreadable(f"{text[:40]!r} is no number of anything")
    return int(text)
