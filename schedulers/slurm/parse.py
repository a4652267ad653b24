"""Slurm's nodes: `scontrol show node --future -o -d` and the jobs that occupy them, as values. Pure.

Recorded from Slurm 22.05.8. A line that cannot be read raises SchedulerUnavailable; nothing is skipped or assumed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from daemons.errors import SchedulerUnavailable
from daemons.model import Hostname, JobId, Node, NodeState, Shape
from schedulers.base import DRAIN_MARK
from schedulers.slurm.hostlist import parse_hostlist

PLACEHOLDER = "headnode-shape-"  # begins the name of every node that only exists so that jobs queue
SEPARATOR = "\x1f"  # between the fields of squeue's lines: features hold "|", names anything printable

_FIELD = re.compile(r"(?:^|(?<= ))([A-Z][A-Za-z_]*)=")
_STAMP = r" \[[^\[\]]*@[^\[\]]*\]"
_REASON = re.compile(rf"\s*Reason=(.*?)(?:{_STAMP}|$)", re.DOTALL)
_STAMPED_REASON = re.compile(rf"\s*Reason=.*{_STAMP}", re.DOTALL)
_GRES = re.compile(r"(?P<name>[^:(]+)(?::(?P<type>[^:(]*[^:(\d][^:(]*))?(?::(?P<count>\d+))?(?P<rest>\(.*\))?")

_BASE_STATES: Mapping[str, frozenset[NodeState]] = {
    "IDLE": frozenset(),
    "ALLOCATED": frozenset({NodeState.BUSY}),
    "MIXED": frozenset({NodeState.BUSY}),
    "DOWN": frozenset({NodeState.DOWN}),
    "ERROR": frozenset({NodeState.DOWN}),
    "FUTURE": frozenset({NodeState.AWAITED}),
}
_FLAGS: Mapping[str, NodeState] = {  # the others say nothing about jobs: DYNAMIC_NORM, CLOUD, REBOOT_REQUESTED, ...
    "COMPLETING": NodeState.BUSY,
    "PERFCTRS": NodeState.BUSY,
    "DRAIN": NodeState.DRAIN,
    "FAIL": NodeState.DRAIN,
    "INVALID_REG": NodeState.DOWN,
    "NOT_RESPONDING": NodeState.SILENT,
    "RESERVED": NodeState.RESERVED,
    "MAINTENANCE": NodeState.RESERVED,
    "PLANNED": NodeState.PLANNED,
    "POWERING_UP": NodeState.AWAITED,
    "POWERED_DOWN": NodeState.DOWN,
    "POWERING_DOWN": NodeState.DOWN,
    "REBOOT_ISSUED": NodeState.DOWN,
}
_SUFFIXES: Mapping[str, str] = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "%": "POWERING_DOWN",
    "$": "MAINTENANCE",
    "@": "REBOOT_REQUESTED",
    "^": "REBOOT_ISSUED",
    "!": "POWERING_DOWN",
    "-": "PLANNED",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmNode:
    """One line of `scontrol show node`, as much of it as matters here."""

    hostname: Hostname
    address: str
    base_state: str  # IDLE, FUTURE, ...
    flags: frozenset[str]  # DRAIN, DYNAMIC_NORM, ...
    total: Shape
    used: Shape
    gres: str
    partitions: frozenset[str]
    features: frozenset[str]
    reason: str
    comment: str

    @property
    def is_placeholder(self) -> bool:
        return self.hostname.startswith(PLACEHOLDER)

    @property
    def is_future(self) -> bool:
        return self.base_state == "FUTURE"

    @property
    def is_dynamic(self) -> bool:
        return bool(self.flags & {"DYNAMIC_NORM", "DYNAMIC_FUTURE"})

    @property
    def is_drained(self) -> bool:
        return "DRAIN" in self.flags

    @property
    def drained_by_us(self) -> bool:
        return self.is_drained and self.reason.startswith(DRAIN_MARK)

    @property
    def states(self) -> frozenset[NodeState]:
        base = _BASE_STATES.get(self.base_state, frozenset({NodeState.UNKNOWN}))
        return base | {_FLAGS[flag] for flag in self.flags if flag in _FLAGS}

    def as_node(self, jobs: frozenset[JobId]) -> Node:
        return Node(
            hostname=self.hostname,
            states=self.states,
            total=self.total,
            used=self.used,
            jobs=jobs,
            partitions=self.partitions,
            features=self.features,
            reason=self.reason,
            drained_by_us=self.drained_by_us,
        )


def parse_nodes(text: str) -> dict[Hostname, SlurmNode]:
    """The nodes of `scontrol show node --future -o -d`, by name, in Slurm's order."""
    nodes: dict[Hostname, SlurmNode] = {}
    for record in _records(text):
        node = _parse_node(record)
        nodes[node.hostname] = node
    return nodes


def _records(text: str) -> Iterator[str]:
    """A record is a line, but a reason or comment may hold line breaks; a new record begins with its name only."""
    lines: list[str] = []
    for line in text.split("\n"):
        if line.startswith("NodeName="):
            if lines:
                yield "\n".join(lines)
            lines = [line]
        elif lines:
            lines.append(line)
        elif line.strip() and line.strip() != "No nodes in the system":
            raise SchedulerUnavailable(f"scontrol said something else than nodes: {line[:200]!r}")
    if lines:
        yield "\n".join(lines)


def _parse_node(record: str) -> SlurmNode:
    fixed, _, free = record.partition(" ExtSensorsJoules=")  # what follows it may be written by anybody
    fields = _fields(fixed)
    free = free.partition(" ExtSensorsTemp=")[2].partition(" ")[2]
    try:
        base_state, *flags = _state_words(fields["State"])
        return SlurmNode(
            hostname=Hostname(fields["NodeName"].lower()),
            address=fields.get("NodeAddr", ""),
            base_state=base_state,
            flags=frozenset(flags),
            total=_shape(fields["CPUTot"], fields["RealMemory"], fields.get("Gres", "")),
            used=_shape(fields["CPUAlloc"], fields["AllocMem"], fields.get("GresUsed", "")),
            gres=_nothing(fields.get("Gres", "")),
            partitions=frozenset(_words(fields.get("Partitions", ""))),
            features=frozenset(_words(fields.get("AvailableFeatures", ""))),
            reason=_reason(free),
            comment=_comment(free),
        )
    except (KeyError, ValueError) as err:
        raise SchedulerUnavailable(f"scontrol wrote a node that cannot be read ({err!r}): {record[:300]!r}") from err


def _fields(text: str) -> dict[str, str]:
    """`Name=value Name=value`, where a value may hold blanks (OS does)."""
    found = list(_FIELD.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {match[1]: text[match.end() : end].strip() for match, end in zip(found, ends, strict=True)}


def _state_words(text: str) -> list[str]:
    words: list[str] = []
    for word in text.split("+"):
        bare = word.rstrip("".join(_SUFFIXES))
        words += [bare, *(_SUFFIXES[suffix] for suffix in word[len(bare) :])]
    return words


def _reason(free: str) -> str:
    """`Reason=idle [root@2026-11-23T10:00:00]`: without who and when."""
    found = _REASON.match(free)
    return " ".join(found[1].split()) if found else ""


def _comment(free: str) -> str:
    """What follows the reason's last stamp, so that a reason which mentions `Comment=` is not taken for a comment."""
    rest = _STAMPED_REASON.sub("", free, count=1)
    return rest.partition("Comment=")[2].partition(" Extra=")[0].strip()


def _nothing(text: str) -> str:
    return "" if text in {"(null)", "N/A", "None"} else text


def _words(text: str) -> list[str]:
    return [word for word in _nothing(text).split(",") if word]


def _shape(cpus: str, memory: str, gres: str) -> Shape:
    gpus, gpu_type, others = parse_gres(gres)
    memory_mib = int(memory)
    return Shape(
        cpus=int(cpus),
        memory_mib=0 if memory_mib <= 1 else memory_mib,  # 1 is Slurm's "not set"
        gpus=gpus,
        gpu_type=gpu_type,
        consumables=others,
    )


def parse_gres(text: str) -> tuple[int, str, tuple[tuple[str, int], ...]]:
    """`gpu:a100:2(S:0),nvme:4` → 2, "a100", (("nvme", 4),). Several types of GPU are added up and the type is "" then.

    Takes what a node has (`Gres`), what is in use (`GresUsed`) and what a job asks for (`gres:gpu:2`, `gres/gpu=2`).
    """
    gpus, types = 0, set()
    others: dict[str, int] = {}
    for item in re.split(r",(?![^(]*\))", _nothing(text)):
        if not item:
            continue
        found = _GRES.fullmatch(item.removeprefix("gres:").removeprefix("gres/").replace("=", ":"))
        if found is None:
            raise ValueError(f"unreadable gres {item!r}")
        count = 1 if found["count"] is None else int(found["count"])
        if found["name"] == "gpu":
            gpus += count
            types.add(found["type"] or "")
        else:
            others[found["name"]] = others.get(found["name"], 0) + count
    return gpus, types.pop() if len(types) == 1 and gpus else "", tuple(sorted(others.items()))


def parse_running(text: str) -> dict[Hostname, frozenset[JobId]]:
    """`squeue -o '%i<SEPARATOR>%N'` of the jobs that occupy nodes: which jobs are on which node."""
    jobs: dict[Hostname, set[JobId]] = {}
    for line in text.split("\n"):
        job, separator, nodes = line.partition(SEPARATOR)
        if not line:
            continue
        if not separator or not job:
            raise SchedulerUnavailable(f"squeue wrote a running job that cannot be read: {line[:200]!r}")
        for hostname in parse_hostlist(_nothing(nodes)):
            jobs.setdefault(Hostname(hostname.lower()), set()).add(JobId(job))
    return {hostname: frozenset(ids) for hostname, ids in jobs.items()}


def parse_ping(text: str) -> bool:
    """Does `scontrol ping` say that a controller is up? `Slurmctld(primary) at vm is UP`."""
    return any(line.rstrip().endswith(" UP") for line in text.split("\n"))


def parse_config(text: str) -> Mapping[str, str]:
    """`scontrol show config`: `Name = value` lines."""
    pairs: Iterable[tuple[str, str, str]] = (line.partition("=") for line in text.split("\n"))
    return {name.strip(): value.strip() for name, separator, value in pairs if separator}


def parse_partitions(text: str) -> frozenset[str]:
    """The names in `scontrol show partition -o`."""
    return frozenset(re.findall(r"^PartitionName=(\S+)", text, re.MULTILINE))
