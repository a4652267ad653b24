"""What jobwatcher remembers from one look to the next. Values only; `jobwatcher.learn` makes each from the one before."""

from dataclasses import dataclass
from enum import StrEnum

from daemons.model import FleetName, InstanceId
from jobwatcher.failures import FailureKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Setback:
    """A place that had nothing to give: it is left alone until `until`. `zone` and `instance_type` "" stand for all."""

    fleet: FleetName
    zone: str = ""
    instance_type: str = ""
    kind: FailureKind
    failures: int  # in a row; each doubles the wait
    last_at: float
    until: float
    message: str  # AWS's own words, the last time

    def covers(self, zone: str, instance_type: str) -> bool:
        return self.zone in ("", zone) and self.instance_type in ("", instance_type)


class BreakerKind(StrEnum):
    CONFIGURATION = "configuration"  # AWS says that such a launch can never work
    BOOT = "boot"  # instances start, and never take jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """A fleet that does not grow. From `until` on one instance at a time may try; success closes the breaker."""

    kind: BreakerKind
    failures: int  # how often it has been opened in a row
    until: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """An instance that does not take jobs yet. `overdue`: it has had its time, and is not waited for any more."""

    instance_id: InstanceId
    since: float
    overdue: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a fleet was asked for, until Auto Scaling is seen to have taken it in."""

    target: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """So many nodes more, at that time."""

    at: float
    nodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMemory:
    fleet: FleetName
    failures_until: float = 0.0  # AWS's time of the newest failure that has been counted
    failures_counted: frozenset[str] = frozenset()  # the activities of that time
    known: frozenset[InstanceId] = frozenset()  # the members of the last look
    booting: tuple[Boot, ...] = ()
    boot_failures: int = 0  # in a row
    asked: Asked | None = None
    asks: tuple[Ask, ...] = ()  # of the last minute
    unfulfilled_since: float | None = None  # since when capacity has been asked for and none has come
    unneeded_since: float | None = None  # since when some of that is of use to no job
    surplus_since: float | None = None  # since when nodes have stood idle without demand
    breakers: tuple[Breaker, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What has been spent in a UTC day (counted in days since the epoch), as far as prices are known, until `at`."""

    day: int
    spent: float
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """`standing` are the keys of the alarms that have been raised and not yet been over."""

    fleets: tuple[FleetMemory, ...] = ()
    setbacks: tuple[Setback, ...] = ()
    ledger: Ledger | None = None
    standing: frozenset[str] = frozenset()

    def of(self, fleet: FleetName) -> FleetMemory:
        return next((memory for memory in self.fleets if memory.fleet == fleet), FleetMemory(fleet=fleet))
