"""What an administrator has configured: complexes, queues, parallel environments, host groups, as qconf shows them. Pure.

Read with SGE_SINGLE_LINE=1, so that no value goes on in a second line. Recorded from Grid Engine 8.1.9.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from daemons.errors import SchedulerUnavailable
from daemons.model import FleetName, Hostname
from schedulers.base import DRAIN_MARK
from schedulers.sge.parse import first_label

GROUP_PREFIX = "@headnode-"  # begins the name of every host group of ours: @headnode-<fleet>
ADDRESS = "headnode_address"  # complex: a node's numeric address, at its execution host
DRAIN_NOTE = "headnode_drain"  # complex: why a node is drained and by whom, at its execution host
PLACEHOLDER_NOTE = f"{DRAIN_MARK} placeholder"  # such a note at the host that stands for nodes to come

_COLUMNS = 8
_OPERATORS = frozenset({"==", "!=", ">=", "<=", ">", "<", "EXCL"})
_OBJECTS = frozenset({"qname", "pe_name", "group_name", "hostname"})
_OVERRIDE = re.compile(r"\[([^=\[\]]+)=([^\[\]]*)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Complex:
    """One line of `qconf -sc`: a resource that jobs can ask for or hosts can have."""

    name: str
    kind: str  # INT, MEMORY, BOOL, ...
    operator: str
    requestable: str
    consumable: str  # NO; YES: for each slot; JOB: once
    default: str
    line: str  # as it was written, to write it again

    @property
    def is_consumable(self) -> bool:
        return self.consumable != "NO"

    @property
    def is_exclusive(self) -> bool:
        return self.operator == "EXCL"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelEnvironment:
    name: str
    slots: int  # how many may be in use altogether
    rule: str  # $pe_slots, $fill_up, $round_robin or how many slots on each host


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A queue's value and what differs from it at some hosts or groups of hosts: `0,[@headnode-batch=4],[head=0]`."""

    default: str
    overrides: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A cluster queue, as much of it as matters here."""

    name: str
    hosts: tuple[str, ...]  # hosts and groups of hosts
    settings: Mapping[str, Setting]

    @property
    def environments(self) -> frozenset[str]:
        """The parallel environments of any of its hosts."""
        setting = self.settings.get("pe_list", Setting(default=""))
        return frozenset(name for text in (setting.default, *setting.overrides.values()) for name in words(text))

    def slots(self, where: str) -> str | None:
        """What is set for that host or group, None for nothing of its own."""
        return self.settings.get("slots", Setting(default="")).overrides.get(where)

    def complexes(self, where: str) -> dict[str, str]:
        """The complexes set for that host or group."""
        return parse_values(self.settings.get("complex_values", Setting(default="")).overrides.get(where, ""))

    def names(self, where: str) -> bool:
        """Does anything of it name that host or group?"""
        return where in self.hosts or any(where in setting.overrides for setting in self.settings.values())

    def overridden(self) -> frozenset[str]:
        """Every host or group for which something is set."""
        return frozenset(where for setting in self.settings.values() for where in setting.overrides)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The configuration at one moment."""

    complexes: Mapping[str, Complex]
    queues: Mapping[str, Queue]
    environments: Mapping[str, ParallelEnvironment]
    groups: Mapping[str, tuple[str, ...]]  # hosts as Grid Engine prints them

    @property
    def our_groups(self) -> dict[str, tuple[str, ...]]:
        """The groups of fleets, whether or not those are still configured."""
        return {name: hosts for name, hosts in self.groups.items() if is_ours(name)}

    def members(self) -> dict[Hostname, FleetName]:
        """Every host in a group of ours, and the fleet that it is in."""
        return members_of(self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolls:
    """Who is on which list: the hosts whose daemons the qmaster listens to, the names of all groups, and some of the groups."""

    administrative: frozenset[Hostname]
    names: frozenset[str]
    groups: Mapping[str, tuple[str, ...]]


def members_of(groups: Mapping[str, tuple[str, ...]]) -> dict[Hostname, FleetName]:
    """Every host in a group of ours, and the fleet that it is in."""
    return {
        first_label(host): FleetName(group.removeprefix(GROUP_PREFIX))
        for group, hosts in groups.items()
        if is_ours(group)
        for host in hosts
    }


def is_ours(group: str) -> bool:
    """Is it a fleet's?"""
    return group.startswith(GROUP_PREFIX)


def group_name(fleet: str) -> str:
    return f"{GROUP_PREFIX}{fleet}"


def parse_cell(text: str) -> Cell:
    """The answer of `qconf -sc -sq '*' -sp PE … -shgrp GROUP …`. Raises SchedulerUnavailable for what cannot be read."""
    try:
        objects = list(_objects(text))
        return Cell(
            complexes={one.name: one for one in _complexes(text)},
            queues={one["qname"]: _queue(one) for one in objects if "qname" in one},
            environments={one["pe_name"]: _environment(one) for one in objects if "pe_name" in one},
            groups={one["group_name"]: words(one["hostlist"]) for one in objects if "group_name" in one},
        )
    except (KeyError, ValueError) as err:
        raise SchedulerUnavailable(f"qconf wrote a configuration that cannot be read: {err!r}") from err


def parse_rolls(text: str) -> Rolls:
    """The answer of `qconf -sh -shgrpl -shgrp GROUP …`: hosts, names of groups, and then the groups."""
    lines = text.split("\n")
    lists = next((at for at, line in enumerate(lines) if line.startswith("group_name ")), len(lines))
    head = [line.strip() for line in lines[:lists] if line.strip()]
    hosts = [name for name in head if not name.startswith("@")]
    if not hosts or any(" " in name for name in head):  # the qmaster's own host is always there
        raise SchedulerUnavailable(f"qconf wrote lists of hosts that cannot be read: {text[:200]!r}")
    try:
        groups = {one["group_name"]: words(one["hostlist"]) for one in _objects("\n".join(lines[lists:]))}
    except KeyError as err:
        raise SchedulerUnavailable(f"qconf wrote a host group without {err}: {text[-200:]!r}") from err
    names = frozenset(name for name in head if name.startswith("@"))
    return Rolls(administrative=frozenset(map(first_label, hosts)), names=names, groups=groups)


def words(text: str) -> tuple[str, ...]:
    """A list, parted by blanks or commas; NONE is empty."""
    return tuple(word for word in re.split(r"[ ,]+", text.strip()) if word and word != "NONE")


def parse_values(text: str) -> dict[str, str]:
    """`h_vmem=7000M,gpu=2`; NONE is empty. Raises ValueError."""
    if text in ("", "NONE"):
        return {}
    pairs = [item.partition("=") for item in text.split(",")]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError(f"unreadable values {text!r}")
    return {name: value for name, _, value in pairs}


def _objects(text: str) -> Iterator[dict[str, str]]:
    """Queues, environments and groups: lines of a name and a value, of which the first says what it is."""
    current: dict[str, str] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(" ")
        if name in _OBJECTS and not _is_complex(line):
            if current:
                yield current
            current = {name: value.strip()}
        elif current and name:
            current[name] = value.strip()
    if current:
        yield current


def _complexes(text: str) -> Iterator[Complex]:
    for line in text.split("\n"):
        if _is_complex(line):
            name, _, kind, operator, requestable, consumable, default, _ = line.split()
            yield Complex(
                name=name,
                kind=kind,
                operator=operator,
                requestable=requestable,
                consumable=consumable,
                default=default,
                line=line.strip(),
            )


def _is_complex(line: str) -> bool:
    columns = line.split()
    return len(columns) == _COLUMNS and columns[3] in _OPERATORS and not line.startswith("#")


def _queue(values: Mapping[str, str]) -> Queue:
    return Queue(
        name=values["qname"],
        hosts=words(values["hostlist"]),
        settings={name: _setting(value) for name, value in values.items() if name not in ("qname", "hostlist")},
    )


def _setting(text: str) -> Setting:
    default, _, _ = text.partition(",[")
    return Setting(default=default, overrides={found[1]: found[2] for found in _OVERRIDE.finditer(text[len(default) :])})


def _environment(values: Mapping[str, str]) -> ParallelEnvironment:
    return ParallelEnvironment(name=values["pe_name"], slots=int(values["slots"]), rule=values["allocation_rule"])
