"""The values that all services speak in. Frozen, compared by value, units in the names; nothing here does I/O."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

InstanceId = NewType("InstanceId", str)  # "i-0c9f3a52c7de10001": the one identity; hostnames and addresses are reused
Hostname = NewType("Hostname", str)  # one lower-case DNS label, the scheduler's name of the node
FleetName = NewType("FleetName", str)
JobId = NewType("JobId", str)  # as the scheduler prints it; arrays "17_[1-20]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """An amount of each resource: what a node has, what is in use, or what is asked for. All amounts are ≥ 0.

    `memory_mib` 0 in a node means that the scheduler does not count memory there. `gpu_type` "" means any.
    """

    cpus: int = 0
    memory_mib: int = 0
    gpus: int = 0
    gpu_type: str = ""
    consumables: tuple[tuple[str, int], ...] = ()  # (name, amount) by name: licences, scratch, whatever a site counts


class Purchase(StrEnum):
    ON_DEMAND = "on-demand"
    SPOT = "spot"


class Launch(StrEnum):
    """How a fleet is asked to grow."""

    DESIRED_CAPACITY = "desired-capacity"  # Auto Scaling closes the gap in its own time, and goes on trying
    LAUNCH_INSTANCES = "launch-instances"  # at once, zone by zone, and what cannot be had is known at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """A time of the week in which a fleet keeps at least `minimum` nodes.

    From `begin_min` to `end_min`, minutes since midnight, on `days` (Monday is 0) in `timezone`. An end at or before the
    beginning is on the next day.
    """

    days: tuple[int, ...]
    begin_min: int
    end_min: int
    minimum: int
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSpec:
    """One Auto Scaling group as the operator describes it: what its instances are to the scheduler."""

    name: FleetName
    group: str  # the Auto Scaling group's name
    shape: Shape
    instance_type: str
    partition: str = "compute"  # Slurm's partition, Grid Engine's and Torque's queue
    features: frozenset[str] = frozenset()
    purchase: Purchase = Purchase.ON_DEMAND
    price_per_hour: float = 0.0  # one instance, in the account's currency; 0: unknown
    launch: Launch = Launch.DESIRED_CAPACITY
    boot_timeout_s: float = 900.0  # from an instance's launch until its node takes jobs
    keep_idle: int = 0  # so many idle nodes are not given back
    hours: tuple[Hours, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A fleet as it is now: its spec and what Auto Scaling says of its group."""

    spec: FleetSpec
    minimum: int
    desired: int
    maximum: int
    members: tuple["Member", ...] = ()
    zones: tuple[str, ...] = ()  # where it may launch; () where Auto Scaling has not said
    protects_new: bool = False  # are its new instances protected from scale-in?

    @property
    def staying(self) -> tuple["Member", ...]:
        """The members that are not on their way out: what counts towards the desired capacity."""
        return tuple(member for member in self.members if not member.is_leaving)

    @property
    def name(self) -> FleetName:
        return self.spec.name

    @property
    def is_static(self) -> bool:
        """A fleet that can have one size only is never scaled, only kept healthy."""
        return self.minimum == self.maximum


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An instance as Auto Scaling lists it in its group."""

    instance_id: InstanceId
    lifecycle: str  # AWS's own word: "Pending", "Pending:Wait", "InService", "Terminating:Wait", ...
    zone: str = ""
    healthy: bool = True
    instance_type: str = ""
    protected: bool = False  # from scale-in

    @property
    def is_leaving(self) -> bool:
        return self.lifecycle.startswith(("Terminat", "Detach"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFailure:
    """An instance that was to be launched and was not, in AWS's own words."""

    fleet: FleetName
    at: float  # seconds since the epoch, by AWS's clock
    zone: str = ""  # "": not said
    instance_type: str = ""
    error_code: str = ""  # LaunchInstances has one, a scaling activity has its text only
    message: str = ""
    activity_id: str = ""  # "" unless a scaling activity says so


class State(StrEnum):
    """Where an instance is in its life. An event only moves it forward; the one way back is DRAINING → REGISTERED."""

    PENDING = "pending"
    READY = "ready"
    REGISTERED = "registered"
    DRAINING = "draining"
    TERMINATING = "terminating"
    GONE = "gone"


class Notice(StrEnum):
    """What AWS has announced for an instance, mildest last."""

    SPOT_INTERRUPTION = "spot-interruption"
    SCHEDULED_CHANGE = "scheduled-change"
    REBALANCE = "rebalance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One row of the table. `version` counts its writes (0: never written) and guards each of them.

    Times are seconds since the epoch, None while the state has not been entered. `idle_since` is nodewatcher's idle clock.
    """

    instance_id: InstanceId
    fleet: FleetName
    state: State
    version: int = 0
    hostname: Hostname | None = None
    address: str = ""
    instance_type: str = ""
    pending_at: float | None = None
    ready_at: float | None = None
    registered_at: float | None = None
    draining_at: float | None = None
    terminating_at: float | None = None
    gone_at: float | None = None
    idle_since: float | None = None
    drain_reason: str = ""
    notice: Notice | None = None
    notice_at: float | None = None
    launch_hook: str = ""  # the lifecycle hook that waits for the registration
    terminate_hook: str = ""  # the lifecycle hook that waits for the deregistration
    held_until: float | None = None  # somebody holds the node: until then it is left alone
    held_by: str = ""
    hold_reason: str = ""

    @property
    def is_live(self) -> bool:
        return self.state is not State.GONE

    @property
    def is_settled(self) -> bool:
        """A node like any other: registered, nothing announced for it, nobody's hold on it. Its idle clock may change."""
        return self.state is State.REGISTERED and self.notice is None and self.held_until is None

    def hold_ends_at(self, now: float) -> float | None:
        """Until when somebody holds it; None: nobody does, or not any more."""
        return self.held_until if self.held_until is not None and now < self.held_until else None


class NodeState(StrEnum):
    """What a scheduler can say of a node. A node's states are a set; none of them all means up and idle."""

    AWAITED = "awaited"  # registered, but its daemon has not reported yet: takes no jobs
    BUSY = "busy"  # some of it is allocated: a job runs, starts, completes or is suspended there
    DRAIN = "drain"  # takes no new jobs
    DOWN = "down"
    SILENT = "silent"  # its daemon has stopped answering; the scheduler has not given it up
    RESERVED = "reserved"  # held for a reservation or for maintenance: waiting jobs may not count on it
    PLANNED = "planned"  # held for a waiting job that is about to start: not idle, but room for waiting work all the same
    UNKNOWN = "unknown"  # the scheduler says something that the plugin does not know


_UNUSABLE = frozenset({NodeState.AWAITED, NodeState.DRAIN, NodeState.DOWN, NodeState.SILENT, NodeState.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What the scheduler says of one host. `jobs` are those running, starting, completing or suspended there."""

    hostname: Hostname
    states: frozenset[NodeState] = frozenset()
    total: Shape
    used: Shape = field(default_factory=Shape)
    jobs: frozenset[JobId] = frozenset()
    partitions: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()
    reason: str = ""  # why it is drained or down, in the scheduler's or the administrator's words
    drained_by_us: bool = False  # False for a node that an administrator or the scheduler itself drained

    @property
    def is_awaited(self) -> bool:
        """Registered, and its daemon has not reported yet; nobody has drained it meanwhile."""
        return NodeState.AWAITED in self.states and NodeState.DRAIN not in self.states

    @property
    def is_usable(self) -> bool:
        """Would the scheduler start a job here now, room permitting?"""
        return not self.states & _UNUSABLE

    @property
    def is_idle(self) -> bool:
        """Up, and nothing there: neither a job nor an allocation nor a reservation."""
        return self.is_usable and self.is_empty and not self.states & {NodeState.RESERVED, NodeState.PLANNED}

    @property
    def is_empty(self) -> bool:
        """Does nothing of it belong to a job, whatever it is held for?"""
        return not self.jobs and NodeState.BUSY not in self.states


class BlockedBy(StrEnum):
    """Why more nodes would not help a waiting job. NOTHING: they would."""

    NOTHING = "nothing"
    HOLD = "hold"
    DEPENDENCY = "dependency"
    BEGIN_TIME = "begin-time"
    LICENCE = "licence"
    LIMIT = "limit"  # an association, QOS, user or partition limit
    ARRAY_LIMIT = "array-limit"
    RESERVATION = "reservation"
    NODE_LIST = "node-list"  # it waits for nodes that it names, and they exist and are busy or down
    ERROR = "error"  # the job itself is in error
    UNKNOWN = "unknown"  # a reason the plugin does not know: reported once, never scaled for


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDemand:
    """One shape of waiting work, and how many of it: repeated jobs and array tasks are one value with a `count`.

    Each of the `count` jobs runs `tasks` tasks of `per_task` on `nodes_min` … `nodes_max` nodes at once (all or nothing), at
    most `tasks_per_node` on each (None: as many as fit), and needs `per_node` on each node besides. A plain one-CPU job is
    tasks=1, per_task=Shape(cpus=1). `features` lists the alternatives, any of which suffices; () asks for nothing.
    """

    jobs: tuple[JobId, ...]  # the ids, oldest first; an array is one id however many of its tasks wait
    count: int = 1
    tasks: int = 1
    per_task: Shape = field(default_factory=lambda: Shape(cpus=1))
    per_node: Shape = field(default_factory=Shape)
    nodes_min: int = 1
    nodes_max: int | None = None  # None: as many as it takes
    tasks_per_node: int | None = None
    exclusive: bool = False
    partitions: frozenset[str] = frozenset()  # empty: any
    features: tuple[frozenset[str], ...] = ()
    hostnames: frozenset[Hostname] = frozenset()  # nodes that it must have
    excluded: frozenset[Hostname] = frozenset()
    priority: int = 0  # greater goes first
    submitted_at: float = 0.0
    blocked_by: BlockedBy = BlockedBy.NOTHING
    reason: str = ""  # the scheduler's own word for why it waits


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """What a scheduler is told when a node joins. `address` is numeric; `shape` is the fleet's."""

    instance_id: InstanceId
    hostname: Hostname
    address: str
    fleet: FleetName
    shape: Shape
    partition: str
    features: frozenset[str] = frozenset()


def live_rows(rows: Iterable[Instance]) -> tuple[Instance, ...]:
    """The rows that are not tombstones (DynamoDB removes expired ones days late, so readers filter)."""
    return tuple(row for row in rows if row.is_live)
