"""Commands and slurm.conf lines for nodes. Pure; every word that goes in has been validated as a name or a number before."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from daemons.errors import InvalidValue
from daemons.model import FleetSpec, NodeSpec, Shape
from daemons.names import parse_address, parse_fleet_name, parse_hostname, parse_word
from schedulers.base import DRAIN_MARK
from schedulers.slurm.hostlist import render_hostlists
from schedulers.slurm.parse import PLACEHOLDER, SEPARATOR

NOWHERE = "192.0.2.1"  # an address for documentation (RFC 5737): placeholders are never contacted, and it must be numeric
RUNNING_STATES = "R,CF,CG,S,SO,ST,RS,SI"
_FIELDS = (
    "JobID", "JobArrayID", "ArrayTaskID", "PriorityLong", "SubmitTime", "EligibleTime",
    "Reason", "NumNodes", "MaxNodes", "NumCPUs", "NumTasks", "cpus-per-task", "MinCpus", "ntperNode", "MinMemory", "tres-alloc",
    "tres-per-node", "tres-per-job", "tres-per-task", "tres-per-socket", "cpus-per-tres", "Partition", "Feature", "OverSubscribe",
    "Dependency", "Reservation", "ReqNodes",
)  # fmt: skip
PENDING_FIELDS = len(_FIELDS)

SHOW_NODES = ("scontrol", "show", "node", "--future", "-o", "-d")
SHOW_CONFIG = ("scontrol", "show", "config")
SHOW_PARTITIONS = ("scontrol", "show", "partition", "-o")
PING = ("scontrol", "ping")
SHOW_RUNNING = ("squeue", "-h", "-a", "-t", RUNNING_STATES, "-o", f"%i{SEPARATOR}%N")
SHOW_RUNNING_ARRAYS = ("squeue", "-h", "-a", "-t", RUNNING_STATES, "-o", "%F")
SHOW_PENDING = ("squeue", "-h", "-a", "-t", "PD", "--noconvert", "-O", ",".join(f"{field}:{SEPARATOR}" for field in _FIELDS))
SHOW_JOBS = ("scontrol", "show", "job", "-o", "-a")
SHOW_EXCLUDED = ("squeue", "-h", "-a", "-t", "PD", "-o", f"%i{SEPARATOR}%x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What nodes that can be made by one command have in common."""

    shape: Shape
    features: frozenset[str]

    @property
    def gres(self) -> str:
        return render_gres(self.shape)

    def words(self) -> list[str]:
        """`CPUs=4 RealMemory=8000 …`, the same for scontrol, slurm.conf and `slurmd --conf`."""
        words = [f"CPUs={self.shape.cpus}"]
        if self.shape.memory_mib:
            words.append(f"RealMemory={self.shape.memory_mib}")
        if self.features:
            words.append(f"Feature={','.join(sorted(parse_word(feature) for feature in self.features))}")
        if self.gres:
            words.append(f"Gres={self.gres}")
        return words


def kind_of(item: NodeSpec | FleetSpec) -> Kind:
    """A node's kind. Its fleet and partition are features too, so that `NodeSet=… Feature=…` can select by them."""
    fleet = item.fleet if isinstance(item, NodeSpec) else item.name
    return Kind(shape=item.shape, features=item.features | {parse_fleet_name(fleet), parse_word(item.partition)})


def render_gres(shape: Shape) -> str:
    """`gpu:a100:2,nvme:4`, "" for none. Consumables are Slurm's other generic resources; slurm.conf's GresTypes names them."""
    gpus = [":".join(["gpu", *([parse_word(shape.gpu_type)] if shape.gpu_type else []), str(shape.gpus)])] if shape.gpus else []
    return ",".join(gpus + [f"{parse_word(name)}:{amount}" for name, amount in shape.consumables if amount])


def render_create(kind: Kind, nodes: Sequence[NodeSpec]) -> list[tuple[str, ...]]:
    """Commands that create these nodes of one kind, few and in order: names and addresses pair up by position."""
    commands: list[tuple[str, ...]] = []
    rest = list(nodes)
    for names in render_hostlists(parse_hostname(node.hostname) for node in nodes):
        batch, rest = rest[: names.count(",") + 1], rest[names.count(",") + 1 :]
        addresses = ",".join(parse_address(node.address) for node in batch)
        commands.append(("scontrol", "create", f"NodeName={names}", "State=FUTURE", f"NodeAddr={addresses}", *kind.words()))
        commands += render_gres_update(kind, names)
    return commands


def render_gres_update(kind: Kind, names: str) -> list[tuple[str, ...]]:
    """A GPU's type given to `create` is lost when slurmctld restarts (22.05.8); one given by `update` is kept."""
    return [("scontrol", "update", f"NodeName={names}", f"Gres={kind.gres}")] if kind.shape.gpu_type else []


def render_update(names: Iterable[str], *words: str) -> list[tuple[str, ...]]:
    return [("scontrol", "update", f"NodeName={hosts}", *words) for hosts in render_hostlists(names)]


def render_wake(names: Iterable[str]) -> list[tuple[str, ...]]:
    """A slurmd reports once, when it starts. One that reported to an older node of that name is not heard of again while the new
    one is FUTURE: RESUME makes slurmctld ask it. A node whose slurmd does not answer yet takes no job.
    """
    return render_update(names, "State=RESUME")


def render_delete(names: Iterable[str]) -> list[tuple[str, ...]]:
    return [("scontrol", "delete", f"NodeName={hosts}") for hosts in render_hostlists(names)]


def render_reason(reason: str) -> str:
    """`headnode: <reason>`, as `render_words` has it."""
    return f"{DRAIN_MARK} {render_words(reason)}".rstrip()


def render_words(reason: str) -> str:
    """A reason without what Slurm takes for syntax or cuts at."""
    plain = "".join(char if char.isprintable() and char not in "\"'[]" else " " for char in reason)
    return " ".join(plain.split())[:200]


def placeholder_stem(kind: Kind) -> str:
    """The beginning of the placeholders' names, which says what they are: another kind has another name."""
    return f"{PLACEHOLDER}{hashlib.sha256(' '.join(kind.words()).encode()).hexdigest()[:8]}-"


def render_placeholders(kind: Kind, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Commands that create placeholders. One address serves all of them."""
    commands: list[tuple[str, ...]] = []
    for hosts in render_hostlists(names):
        commands.append(("scontrol", "create", f"NodeName={hosts}", "State=FUTURE", f"NodeAddr={NOWHERE}", *kind.words()))
        commands += render_gres_update(kind, hosts)
    return commands


def render_conf(kind: Kind, names: str, *, address: str = NOWHERE, port: str = "") -> str:
    """The line that declares such nodes in slurm.conf; `names`, `address` and `port` may be host lists that pair up."""
    words = [f"NodeName={names}", "State=FUTURE", f"NodeAddr={address}", *([f"Port={port}"] if port else []), *kind.words()]
    if any(char.isspace() for word in words for char in word):
        raise InvalidValue(f"{names!r} cannot be written into slurm.conf")
    return " ".join(words)
