"""Stateful stand-ins for the ports and a scheduler. They hold state, can be unplugged, and count what they were asked."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict

from daemons.errors import AwsUnavailable, SchedulerUnavailable
from daemons.ha.lease import Lease, Seen
from daemons.model import (
    Fleet,
    FleetName,
    FleetSpec,
    Hostname,
    Instance,
    InstanceId,
    JobDemand,
    JobId,
    LaunchFailure,
    Member,
    Node,
    NodeSpec,
    NodeState,
    Shape,
)
from daemons.ports import EndOutcome, LaunchAnswer, Place, Received, Records
from schedulers.base import DRAIN_MARK, NodeResult, Outcome, Scheduler

BATCH = FleetSpec(
    name=FleetName("batch"),
    group="hpc-batch",
    shape=Shape(cpus=8, memory_mib=16_000),
    instance_type="c5.2xlarge",
    partition="compute",
)


def instance_id(number: int) -> InstanceId:
    return InstanceId(f"i-{number:017x}")


def hostname(number: int) -> Hostname:
    return Hostname(f"ip-10-0-0-{number}")


class Killed(Exception):
    """The process that asks is killed before it has its answer."""


@dataclass
class Pluggable:
    """Something that can stop answering. With a `fuse` of n, n more calls are answered, and whoever makes the next is killed."""

    unplugged: bool = False
    fuse: int | None = None
    calls: Counter[str] = field(default_factory=Counter)

    def _ask(self, verb: str) -> None:
        self.calls[verb] += 1
        self.fuse = burn(self.fuse)
        if self.unplugged:
            raise AwsUnavailable(f"{verb}: unplugged")


def burn(fuse: int | None) -> int | None:
    """The fuse after a call. Raises Killed where it has burnt down."""
    if fuse == 0:
        raise Killed
    return None if fuse is None else fuse - 1


@dataclass
class FakeQueue(Pluggable):
    """Messages wait in `waiting`, are in `in_flight` once received, and gone once deleted; a postponed one waits again."""

    waiting: list[Received] = field(default_factory=list)
    in_flight: dict[str, Received] = field(default_factory=dict)
    delays_s: dict[str, int] = field(default_factory=dict)
    deleted: list[Received] = field(default_factory=list)

    def put(self, body: str) -> None:
        number = len(self.waiting) + len(self.in_flight) + len(self.deleted)
        self.waiting.append(Received(message_id=f"m{number}", receipt=f"r{number}", body=body))

    def time_passes(self) -> None:
        """Every message in flight becomes visible again."""
        self.waiting += [replace(message, receives=message.receives + 1) for message in self.in_flight.values()]
        self.in_flight.clear()

    async def receive(self, *, wait_s: int) -> tuple[Received, ...]:
        self._ask("receive")
        batch, self.waiting = self.waiting[:10], self.waiting[10:]
        self.in_flight |= {message.message_id: message for message in batch}
        return tuple(batch)

    async def delete(self, messages: Sequence[Received]) -> None:
        self._ask("delete")
        for message in messages:
            if self.in_flight.pop(message.message_id, None):
                self.deleted.append(message)

    async def postpone(self, messages: Sequence[Received], delay_s: int) -> None:
        self._ask("postpone")
        self.delays_s |= {message.message_id: delay_s for message in messages}


@dataclass
class FakeRows(Pluggable):
    stored: dict[InstanceId, Instance] = field(default_factory=dict)

    def hold(self, *rows: Instance) -> None:
        self.stored |= {row.instance_id: replace(row, version=max(row.version, 1)) for row in rows}

    async def get(self, instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, Instance]:
        self._ask("get")
        return {one: self.stored[one] for one in instance_ids if one in self.stored}

    async def put(self, rows: Sequence[Instance]) -> Mapping[InstanceId, Instance | None]:
        if not rows:
            return {}
        self._ask("put")
        answers: dict[InstanceId, Instance | None] = {}
        for row in rows:
            current = self.stored[row.instance_id].version if row.instance_id in self.stored else 0
            answers[row.instance_id] = replace(row, version=row.version + 1) if current == row.version else None
        self.stored |= {key: row for key, row in answers.items() if row is not None}
        return answers

    async def live(self) -> tuple[Instance, ...]:
        self._ask("live")
        return tuple(row for row in self.stored.values() if row.is_live)

    async def all(self) -> tuple[Instance, ...]:
        self._ask("all")
        return tuple(self.stored.values())

    async def unsettled(self) -> tuple[Instance, ...]:
        self._ask("unsettled")
        return tuple(row for row in self.stored.values() if row.is_live and not row.is_settled)


@dataclass
class FakeZone(Pluggable):
    names: dict[Hostname, str] = field(default_factory=dict)

    async def change(self, records: Records, *, await_sync: bool) -> None:
        self._ask("change")
        for name, address in records.deletes.items():
            if self.names.get(name) == address:
                del self.names[name]
        self.names |= records.upserts

    async def records(self) -> Mapping[Hostname, str]:
        self._ask("records")
        return dict(self.names)


@dataclass
class FakeGroups(Pluggable):
    """Auto Scaling groups with their members. `ended` lists the instances whose end was asked for, in order."""

    groups: dict[FleetName, Fleet] = field(default_factory=dict)
    ended: list[InstanceId] = field(default_factory=list)
    completed_hooks: list[tuple[str, InstanceId, bool]] = field(default_factory=list)
    extended_hooks: list[tuple[str, InstanceId]] = field(default_factory=list)
    stock: dict[str, int] = field(default_factory=dict)  # what a zone has to give at once; a zone without a word has enough
    failures: list[LaunchFailure] = field(default_factory=list)
    launches: int = 0

    def arrive(self, name: FleetName, *numbers: int, zone: str = "a", lifecycle: str = "InService") -> None:
        """Auto Scaling has launched these, as it was asked to."""
        fleet = self.groups[name]
        new = tuple(Member(instance_id=instance_id(number), lifecycle=lifecycle, zone=zone) for number in numbers)
        self.groups[name] = replace(fleet, members=(*fleet.members, *new))

    @classmethod
    def of(cls, *numbers: int, spec: FleetSpec = BATCH, minimum: int = 0, maximum: int = 10, desired: int | None = None) -> Self:
        members = tuple(Member(instance_id=instance_id(number), lifecycle="InService", zone="a") for number in numbers)
        wanted = len(numbers) if desired is None else desired
        return cls(groups={spec.name: Fleet(spec=spec, minimum=minimum, desired=wanted, maximum=maximum, members=members)})

    def forget(self, one: InstanceId) -> None:
        """The instance is in no group any more."""
        for name, fleet in self.groups.items():
            members = tuple(member for member in fleet.members if member.instance_id != one)
            self.groups[name] = replace(fleet, members=members)

    async def fleets(self) -> tuple[Fleet, ...]:
        self._ask("fleets")
        return tuple(self.groups.values())

    async def fleet_of(self, instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, FleetName]:
        self._ask("fleet_of")
        return {
            member.instance_id: name
            for name, fleet in self.groups.items()
            for member in fleet.members
            if member.instance_id in instance_ids
        }

    async def raise_desired(self, fleet: Fleet, target: int) -> None:
        self._ask("raise_desired")
        if not fleet.desired < target <= fleet.maximum:
            raise ValueError(target)
        self.groups[fleet.name] = replace(self.groups[fleet.name], desired=target)

    async def launch(self, fleet: Fleet, count: int, *, zones: Sequence[str], token: str) -> LaunchAnswer:
        """As many as each zone has to give (`stock`; without a word as many as asked for), in new instances."""
        self._ask("launch")
        current = self.groups[fleet.name]
        launched: list[Member] = []
        failures = []
        for zone in zones or ("",):
            lacking = count - len(launched)
            given = min(lacking, self.stock.get(zone, lacking))
            launched += [self._launched(len(launched) + number, zone) for number in range(given)]
            if given < lacking:
                said = f"no {fleet.spec.instance_type} in {zone}"
                failures.append(
                    LaunchFailure(fleet=fleet.name, at=0.0, zone=zone, error_code="InsufficientInstanceCapacity", message=said)
                )
            if zone in self.stock:
                self.stock[zone] -= given
        self.launches += len(launched)
        self.groups[fleet.name] = replace(current, desired=current.desired + len(launched), members=(*current.members, *launched))
        return LaunchAnswer(launched=tuple(one.instance_id for one in launched), failures=tuple(failures))

    def _launched(self, number: int, zone: str) -> Member:
        return Member(instance_id=instance_id(0xAA0000 + self.launches + number), lifecycle="Pending", zone=zone)

    async def cancel_unfulfilled(self, fleet: Fleet, target: int) -> int:
        self._ask("cancel_unfulfilled")
        current = self.groups[fleet.name]
        lowest = max(target, current.minimum, len(current.staying))
        if lowest < current.desired:
            self.groups[fleet.name] = replace(current, desired=lowest)
        return self.groups[fleet.name].desired

    async def launch_failures(self, fleet: FleetName, *, since: float) -> tuple[LaunchFailure, ...]:
        self._ask("launch_failures")
        return tuple(failure for failure in self.failures if failure.fleet == fleet and failure.at >= since)

    async def end(self, instance_id: InstanceId, *, relaunch: bool = False) -> EndOutcome:
        self._ask("end")
        for name, fleet in self.groups.items():
            if any(member.instance_id == instance_id for member in fleet.members):
                if fleet.desired <= fleet.minimum and not relaunch:
                    return EndOutcome.AT_MINIMUM
                members = tuple(
                    replace(member, lifecycle="Terminating") if member.instance_id == instance_id else member
                    for member in fleet.members
                )
                self.groups[name] = replace(fleet, desired=fleet.desired - (not relaunch), members=members)
                self.ended.append(instance_id)
                return EndOutcome.ENDING
        return EndOutcome.ABSENT

    async def complete_hook(self, fleet: FleetName, hook: str, instance_id: InstanceId, *, proceed: bool) -> None:
        self._ask("complete_hook")
        self.completed_hooks.append((hook, instance_id, proceed))

    async def extend_hook(self, fleet: FleetName, hook: str, instance_id: InstanceId) -> None:
        self._ask("extend_hook")
        self.extended_hooks.append((hook, instance_id))


@dataclass
class FakePlaces(Pluggable):
    known: dict[InstanceId, Place] = field(default_factory=dict)

    async def places(self, instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, Place]:
        self._ask("places")
        return {one: self.known[one] for one in instance_ids if one in self.known}


@dataclass
class FakeChecks(Pluggable):
    bad: set[InstanceId] = field(default_factory=set)
    consoles: dict[InstanceId, str] = field(default_factory=dict)

    async def impaired(self, instance_ids: Collection[InstanceId]) -> frozenset[InstanceId]:
        self._ask("impaired")
        return frozenset(self.bad & set(instance_ids))

    async def console_tail(self, instance_id: InstanceId) -> str:
        self._ask("console_tail")
        return self.consoles.get(instance_id, "")


@dataclass
class FakeLeases(Pluggable):
    """One lease a service. Where `deaf`, writes take effect, and nobody hears of it."""

    held: dict[str, Seen] = field(default_factory=dict)
    deaf: bool = False

    def holder(self, service: str) -> str:
        lease = self.held.get(service, Seen()).lease
        return lease.holder if lease is not None else ""

    async def read(self, service: str) -> Seen:
        self._ask("read")
        return self.held.get(service, Seen())

    async def take(self, lease: Lease, *, over: Seen) -> bool:
        self._ask("take")
        current = self.held.get(lease.service, Seen())
        if current.lease != over.lease or lease.fence <= current.fence:
            return False
        return self._write(lease)

    async def renew(self, lease: Lease) -> bool:
        self._ask("renew")
        current = self.held.get(lease.service, Seen()).lease
        if current is None or (current.token, current.fence) != (lease.token, lease.fence) or current.beat >= lease.beat:
            return False
        return self._write(lease)

    def _write(self, lease: Lease) -> bool:
        self.held[lease.service] = Seen(lease=lease, fence=lease.fence)
        if self.deaf:
            raise AwsUnavailable("written: no answer")
        return True


class FakeSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FakeScheduler(Scheduler):
    """A scheduler in memory. `work` puts a job on a node; `refuses` makes the registration of a host be refused."""

    name: ClassVar[str] = "fake"
    Settings: ClassVar[type[BaseModel]] = FakeSettings

    def __init__(self) -> None:
        self.known: dict[Hostname, Node] = {}
        self.addresses: dict[Hostname, str] = {}
        self.waiting: list[JobDemand] = []
        self.refuses: set[Hostname] = set()
        self.unplugged = False
        self.fuse: int | None = None
        self.advertised: tuple[FleetSpec, ...] = ()
        self.calls: Counter[str] = Counter()
        self.on_drain: list[tuple[Hostname, JobId]] = []  # jobs that slip in at the very moment of the drain
        self.kills_who_registers = False  # once it is done
        self.holds_on = False  # to the jobs of nodes that are down, whatever it is asked for
        self.waits_on_drain: list[JobDemand] = []  # jobs that are submitted then, and wait

    @classmethod
    def open(cls, settings: BaseModel, *, cluster: str, fleets: Sequence[FleetSpec]) -> Self:
        return cls()

    def _ask(self, verb: str) -> None:
        self.calls[verb] += 1
        self.fuse = burn(self.fuse)
        if self.unplugged:
            raise SchedulerUnavailable(f"{verb}: unplugged")

    def up(self, name: Hostname, *, shape: Shape = BATCH.shape, partition: str = "compute") -> None:
        self.known[name] = Node(hostname=name, total=shape, partitions=frozenset({partition}))

    def work(self, name: Hostname, *jobs: str) -> None:
        node = self.known[name]
        self.known[name] = replace(
            node, states=node.states | {NodeState.BUSY}, jobs=node.jobs | set(map(JobId, jobs)), used=node.total
        )

    def finish(self, name: Hostname) -> None:
        """Every job there is over."""
        node = self.known[name]
        self.known[name] = replace(node, states=node.states - {NodeState.BUSY}, jobs=frozenset(), used=Shape())

    def falls(self, name: Hostname, *states: NodeState) -> None:
        """The scheduler says that of the node besides what it said before."""
        node = self.known[name]
        self.known[name] = replace(node, states=node.states | set(states))

    def administrator_drains(self, name: Hostname, reason: str) -> None:
        node = self.known[name]
        self.known[name] = replace(node, states=node.states | {NodeState.DRAIN}, reason=reason)

    async def demand(self) -> tuple[JobDemand, ...]:
        self._ask("demand")
        return tuple(self.waiting)

    async def nodes(self) -> tuple[Node, ...]:
        self._ask("nodes")
        return tuple(self.known.values())

    async def jobs_on(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, frozenset[JobId]]:
        self._ask("jobs_on")
        return {name: self.known[name].jobs if name in self.known else frozenset() for name in hostnames}

    async def register(self, nodes: Sequence[NodeSpec]) -> Mapping[Hostname, NodeResult]:
        self._ask("register")
        results = {}
        for spec in nodes:
            if spec.hostname in self.refuses:
                results[spec.hostname] = NodeResult(outcome=Outcome.REFUSED, detail="no such shape")
                continue
            if spec.hostname not in self.known or self.addresses.get(spec.hostname) != spec.address:
                self.up(spec.hostname, shape=spec.shape, partition=spec.partition)
            self.addresses[spec.hostname] = spec.address
            results[spec.hostname] = NodeResult(outcome=Outcome.DONE)
        if self.kills_who_registers:
            self.kills_who_registers = False
            raise Killed
        return results

    async def deregister(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, NodeResult]:
        self._ask("deregister")
        return {name: NodeResult(outcome=Outcome.DONE if self.known.pop(name, None) else Outcome.ABSENT) for name in hostnames}

    async def requeue(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, NodeResult]:
        self._ask("requeue")
        for name in hostnames:
            if name in self.known and not self.holds_on:
                self.waiting += [JobDemand(jobs=(job,), per_task=Shape(cpus=8)) for job in sorted(self.known[name].jobs)]
                self.finish(name)
        return await super().requeue(hostnames)

    async def drain(self, hostnames: Collection[Hostname], *, reason: str) -> Mapping[Hostname, NodeResult]:
        self._ask("drain")
        results = {}
        for name in hostnames:
            node = self.known.get(name)
            if node is None:
                results[name] = NodeResult(outcome=Outcome.ABSENT)
            elif NodeState.DRAIN in node.states and not node.drained_by_us:
                results[name] = NodeResult(outcome=Outcome.REFUSED, detail=node.reason)
            else:
                states = node.states | {NodeState.DRAIN}
                self.known[name] = replace(node, states=states, reason=f"{DRAIN_MARK} {reason}", drained_by_us=True)
                results[name] = NodeResult(outcome=Outcome.DONE)
        for name, job in self.on_drain:
            if name in self.known:
                self.work(name, job)
        self.on_drain.clear()
        self.waiting += self.waits_on_drain
        self.waits_on_drain.clear()
        return results

    async def resume(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, NodeResult]:
        self._ask("resume")
        results = {}
        for name in hostnames:
            node = self.known.get(name)
            if node is None:
                results[name] = NodeResult(outcome=Outcome.ABSENT)
            elif NodeState.DRAIN in node.states and not node.drained_by_us:
                results[name] = NodeResult(outcome=Outcome.REFUSED, detail=node.reason)
            else:
                self.known[name] = replace(node, states=node.states - {NodeState.DRAIN}, reason="", drained_by_us=False)
                results[name] = NodeResult(outcome=Outcome.DONE)
        return results

    async def advertise(self, fleets: Sequence[FleetSpec]) -> None:
        self._ask("advertise")
        self.advertised = tuple(fleets)
