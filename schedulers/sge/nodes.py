"""Grid Engine's hosts as nodes: what their queue instances say together, and whose drain it is. Pure.

A host's queue instances are what takes jobs; a host that is registered for nothing else than jobs has one, in its fleet's queue.
Our drain is their `d` and a note at the execution host, `headnode_drain=headnode: idle for 300 s`, which goes when the host does.
An administrator's `qmod -d` leaves no note, or another one: that is how the two are told apart.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from daemons.model import FleetName, FleetSpec, Hostname, JobId, Node, NodeState, Shape
from schedulers.base import DRAIN_MARK
from schedulers.sge import amounts
from schedulers.sge.cell import ADDRESS, DRAIN_NOTE, PLACEHOLDER_NOTE, Cell, Complex, group_name
from schedulers.sge.parse import QueueInstance, Row, Snapshot

_CLOSED = frozenset("dDsCo")  # takes no new jobs: disabled, by calendar, suspended, by calendar, orphaned
_BROKEN = frozenset("Ec")  # in error, or its configuration is ambiguous
_HELD = frozenset("aAS")  # takes no new jobs for now: load alarms, suspended for another queue's jobs
_KNOWN = _CLOSED | _BROKEN | _HELD | {"u"}
_MEANINGS: Mapping[str, str] = {
    "d": "disabled",
    "D": "disabled by its calendar",
    "s": "suspended",
    "C": "suspended by its calendar",
    "S": "suspended for the jobs of another queue",
    "o": "taken out of its queue, where jobs still run",
    "E": "in error",
    "c": "its configuration is ambiguous",
    "a": "load alarm",
    "A": "suspend alarm",
    "u": "its daemon does not answer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host with its queue instances."""

    hostname: Hostname
    instances: tuple[QueueInstance, ...]

    @property
    def printed(self) -> str:
        """Its name as Grid Engine has it, which may have a domain."""
        return self.instances[0].host

    @property
    def address(self) -> str:
        return self._fixed(ADDRESS)

    @property
    def note(self) -> str:
        return self._fixed(DRAIN_NOTE)

    @property
    def is_placeholder(self) -> bool:
        """Does it only stand for nodes to come?"""
        return self.note == PLACEHOLDER_NOTE and not self.has_slots

    @property
    def has_slots(self) -> bool:
        """Can anything run there, or does it still?"""
        return any(one.slots_total or one.slots_used or "o" in one.states for one in self.instances)

    @property
    def is_busy(self) -> bool:
        return any(one.slots_used or one.jobs for one in self.instances)

    @property
    def is_drained(self) -> bool:
        return all(_CLOSED & set(one.states) for one in self.instances)

    @property
    def is_silent(self) -> bool:
        """Has its daemon not answered for `max_unheard`?"""
        return any("u" in one.states for one in self.instances)

    @property
    def is_disabled(self) -> bool:
        """Has anybody disabled any of it?"""
        return any("d" in one.states for one in self.instances)

    @property
    def drained_by_us(self) -> bool:
        return self.is_drained and self.is_disabled and self.note.startswith(DRAIN_MARK)

    @property
    def jobs(self) -> frozenset[JobId]:
        """What occupies it. Slots in use without a job that qstat names are somebody's all the same."""
        named = {row.job for one in self.instances for row in one.jobs}
        nameless = {JobId(f"{one.slots_used} slots of {one.name}") for one in self.instances if one.slots_used and not one.jobs}
        return frozenset(named | nameless)

    @property
    def states(self) -> frozenset[NodeState]:
        letters = [set(one.states) for one in self.instances]
        states = {NodeState.BUSY} if self.is_busy else set()
        if self.is_drained:
            states.add(NodeState.DRAIN)
        if self.is_silent:
            # `max_unheard` is over by then, and Grid Engine has no stronger word than this
            states.add(NodeState.DOWN if any(one.has_reported for one in self.instances) else NodeState.AWAITED)
        if all(_BROKEN & one for one in letters):
            states.add(NodeState.DOWN)
        if all(_HELD & one for one in letters) or any(one.slots_reserved for one in self.instances):
            states.add(NodeState.RESERVED)
        if any(one - _KNOWN for one in letters):
            states.add(NodeState.UNKNOWN)
        return frozenset(states)

    @property
    def reason(self) -> str:
        """Why it takes no jobs: the note, or what the states mean."""
        if self.is_drained and self.note:
            return self.note
        letters = dict.fromkeys(letter for one in self.instances for letter in one.states)
        return ", ".join(_MEANINGS.get(letter, f"state {letter}") for letter in letters)

    def _fixed(self, name: str) -> str:
        values = (one.value for instance in self.instances for one in instance.resources if one.name == name)
        return next((value for value in values if value != "NONE"), "")


def nodes_of(hosts: Mapping[Hostname, Host], members: Collection[Hostname]) -> dict[Hostname, Host]:
    """Of all hosts those that are nodes: without placeholders, ours or anybody's."""
    return {name: host for name, host in hosts.items() if host.has_slots or (name in members and not host.is_placeholder)}


def hosts_of(snapshot: Snapshot) -> dict[Hostname, Host]:
    """Every host that has a queue instance, placeholders included."""
    instances: dict[Hostname, list[QueueInstance]] = {}
    for one in snapshot.instances:
        instances.setdefault(one.hostname, []).append(one)
    return {hostname: Host(hostname=hostname, instances=tuple(same)) for hostname, same in instances.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """How slots and consumables become a `Shape`."""

    cell: Cell
    fleets: Sequence[FleetSpec]
    memory: str
    gpu: str

    def node_of(self, host: Host, fleet: FleetName | None) -> Node:
        spec = next((spec for spec in self.fleets if spec.name == fleet), None)
        total = self._total(host, fleet)
        gpu_type = spec.shape.gpu_type if spec is not None and total.gpus else ""
        return Node(
            hostname=host.hostname,
            states=host.states,
            total=_typed(total, gpu_type),
            used=_typed(self._used(host), gpu_type),
            jobs=host.jobs,
            partitions=frozenset(one.queue for one in host.instances),
            features=self._features(host, fleet) | ({fleet} if fleet is not None else frozenset()),
            reason=host.reason,
            drained_by_us=host.drained_by_us,
        )

    def _total(self, host: Host, fleet: FleetName | None) -> Shape:
        """A fleet's group says exactly what its hosts have; elsewhere it is what is left and what is used."""
        slots = max(one.slots_total for one in host.instances)
        configured = self._configured(host, fleet)
        if configured:
            return self._shape(slots, configured)
        left = {one.name: one.value for instance in host.instances for one in instance.resources if one.kind in ("hc", "qc")}
        used = self._used(host)
        shape = self._shape(slots, left)
        return Shape(
            cpus=slots,
            memory_mib=shape.memory_mib + (used.memory_mib if self.memory in left else 0),
            gpus=shape.gpus + (used.gpus if self.gpu in left else 0),
        )

    def _configured(self, host: Host, fleet: FleetName | None) -> dict[str, str]:
        if fleet is None:
            return {}
        values: dict[str, str] = {}
        for one in host.instances:
            if (queue := self.cell.queues.get(one.queue)) is not None:
                values |= queue.complexes(group_name(fleet))
        return values

    def _features(self, host: Host, fleet: FleetName | None) -> frozenset[str]:
        values = self._configured(host, fleet).items()
        return frozenset(name for name, value in values if self._is_plain_bool(name) and amounts.is_true(value))

    def _is_plain_bool(self, name: str) -> bool:
        known = self.cell.complexes.get(name)
        return known is not None and known.kind == "BOOL" and not known.is_exclusive

    def _used(self, host: Host) -> Shape:
        """A consumable is charged for each slot, one of kind JOB once."""
        slots = sum(one.slots_used for one in host.instances)
        charged: dict[str, float] = {}
        for row in (row for one in host.instances for row in one.jobs):
            for name, value in (*row.requests, *row.defaults):
                known = self.cell.complexes.get(name)
                if known is not None and known.is_consumable and not known.is_exclusive:
                    charged[name] = charged.get(name, 0) + amounts.parse_amount(value) * _times(known, row)
        return self._shape(slots, {name: f"{amount:f}" for name, amount in charged.items()})

    def _shape(self, slots: int, values: Mapping[str, str]) -> Shape:
        known = {name: value for name, value in values.items() if self._is_counted(name)}
        others = {name: amounts.parse_count(value) for name, value in known.items() if name not in (self.memory, self.gpu)}
        return Shape(
            cpus=slots,
            memory_mib=amounts.parse_mib(known.get(self.memory, "0")),
            gpus=amounts.parse_count(known.get(self.gpu, "0")),
            consumables=tuple(sorted((name, amount) for name, amount in others.items() if self._is_a_fleets(name))),
        )

    def _is_counted(self, name: str) -> bool:
        known = self.cell.complexes.get(name)
        return known is not None and known.is_consumable and not known.is_exclusive

    def _is_a_fleets(self, name: str) -> bool:
        return any(name == mine for fleet in self.fleets for mine, _ in fleet.shape.consumables)


def _times(known: Complex, row: Row) -> int:
    return 1 if known.consumable == "JOB" else row.slots


def _typed(shape: Shape, gpu_type: str) -> Shape:
    return replace(shape, gpu_type=gpu_type if shape.gpus else "")
