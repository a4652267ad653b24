"""Where each fleet stands: what it holds, what is coming, and whether it may grow. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from daemons.model import Fleet, FleetName
from daemons.packing import Cap, Limit
from jobwatcher.failures import FailureKind
from jobwatcher.memory import Breaker, BreakerKind, FleetMemory, Memory, Setback

_NOTHING = {BreakerKind.CONFIGURATION: "cannot launch", BreakerKind.BOOT: "starts instances that come to nothing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stance:
    """One fleet. `fleet.desired` is what it has been asked for, even if Auto Scaling does not show that yet."""

    fleet: Fleet
    shown: int  # the desired capacity as Auto Scaling shows it
    held: int  # instances that are there and stay
    booting: int  # those of them that take no jobs yet, and may yet
    overdue: int  # those of them that never did, and had their time
    is_stopped: bool  # what has been asked for and has not come is not waited for
    cap: Cap | None

    @property
    def unfulfilled(self) -> int:
        """Capacity that has been asked for and has not been launched."""
        return max(0, self.fleet.desired - self.held)

    @property
    def coming(self) -> int:
        """Nodes that have been asked for and will take jobs, but do not yet."""
        return self.booting + (0 if self.is_stopped else self.unfulfilled)

    @property
    def name(self) -> FleetName:
        return self.fleet.name


def take_stances(fleets: Iterable[Fleet], memory: Memory, now: float) -> tuple[Stance, ...]:
    """Where each fleet stands, given a memory that has learnt from this look."""
    return tuple(_take(fleet, memory.of(fleet.name), memory.setbacks, now) for fleet in fleets)


def _take(fleet: Fleet, memory: FleetMemory, setbacks: Iterable[Setback], now: float) -> Stance:
    desired = max(fleet.desired, memory.asked.target if memory.asked is not None else 0)
    held = len(fleet.staying)
    booting = sum(not boot.overdue for boot in memory.booting)
    open_breakers = [breaker for breaker in memory.breakers if now < breaker.until]
    short = shortage(fleet, setbacks, now)
    cap: Cap | None = None
    if open_breakers:
        cap = _stopped(fleet, open_breakers[0])
    elif short:
        cap = _short(fleet, short)
    elif memory.breakers:
        cap = _probing(fleet, memory.breakers[0], outstanding=max(0, desired - held) + booting)
    return Stance(
        fleet=replace(fleet, desired=desired),
        shown=fleet.desired,
        held=held,
        booting=booting,
        overdue=len(memory.booting) - booting,
        is_stopped=bool(open_breakers or short),
        cap=cap,
    )


def shortage(fleet: Fleet, setbacks: Iterable[Setback], now: float) -> tuple[Setback, ...]:
    """The setbacks in force that leave the fleet no place to launch; () if it has one."""
    in_force = [one for one in setbacks if one.fleet == fleet.name and now < one.until]
    types = {fleet.spec.instance_type, *(one.instance_type for one in in_force if one.instance_type)}
    places = [(zone, instance_type) for zone in fleet.zones or ("",) for instance_type in types]
    is_short = bool(in_force) and all(any(one.covers(*place) for one in in_force) for place in places)
    return tuple(in_force) if is_short else ()


def open_zones(fleet: Fleet, setbacks: Iterable[Setback], now: float) -> tuple[str, ...]:
    """The zones that may have something to give: those where the fleet has most instances first, so that jobs stay together."""
    in_force = [one for one in setbacks if one.fleet == fleet.name and now < one.until]
    held = [member.zone for member in fleet.staying]
    good = [zone for zone in fleet.zones if not any(one.covers(zone, fleet.spec.instance_type) for one in in_force)]
    return tuple(sorted(good, key=lambda zone: (-held.count(zone), zone)))


def clock(at: float) -> str:
    """A time of day for a sentence: 12:03:05 UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def _stopped(fleet: Fleet, breaker: Breaker) -> Cap:
    return Cap(most=0, limit=Limit.BREAKER, sentence=f"{_trouble(fleet, breaker)}; it tries one again at {clock(breaker.until)}")


def _probing(fleet: Fleet, breaker: Breaker, *, outstanding: int) -> Cap:
    what = "waits for the one that it tries" if outstanding else "tries one"
    return Cap(most=max(0, 1 - outstanding), limit=Limit.BREAKER, sentence=f"{_trouble(fleet, breaker)}; it {what}")


def _trouble(fleet: Fleet, breaker: Breaker) -> str:
    return f"fleet {fleet.name} {_NOTHING[breaker.kind]} ({breaker.message.rstrip('.')})"


def _short(fleet: Fleet, setbacks: tuple[Setback, ...]) -> Cap:
    until = min(one.until for one in setbacks)
    zones = ", ".join(sorted({one.zone for one in setbacks if one.zone}))
    newest = max(setbacks, key=lambda one: (one.last_at, one.zone))
    kind = "" if newest.kind is FailureKind.OTHER else f"{newest.kind}: "
    where = f" in {zones}" if zones else ""
    why = f"{kind}{newest.message.rstrip('.')}"
    sentence = f"fleet {fleet.name} gets no {fleet.spec.instance_type}{where} ({why}); it is tried again at {clock(until)}"
    return Cap(most=0, limit=Limit.SHORTAGE, sentence=sentence)
