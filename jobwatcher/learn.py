"""From what was remembered and what is seen now to what is to be remembered. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from daemons.config.values import JobwatcherConfig
from daemons.model import Fleet, Hostname, Instance, InstanceId, LaunchFailure, Member, Node, State
from jobwatcher.failures import FailureKind, classify
from jobwatcher.memory import Boot, Breaker, BreakerKind, FleetMemory, Ledger, Memory, Setback
from jobwatcher.observe import Observation

DAY_S = 86_400.0
_MINUTE_S = 60.0


def learn(seen: Observation, memory: Memory, options: JobwatcherConfig) -> Memory:
    """The memory after this look. What it says of fleets that are no longer there is forgotten."""
    memory = _in_this_time(memory, seen.now, options)
    nodes = {node.hostname: node for node in seen.nodes}
    rows = {row.instance_id: row for row in seen.rows}
    names = {fleet.name for fleet in seen.fleets}
    setbacks = [one for one in memory.setbacks if one.fleet in names and seen.now < one.until + options.backoff_most_s]
    fleets = []
    for fleet in seen.fleets:
        before = memory.of(fleet.name)
        arrived = [member for member in fleet.staying if member.instance_id not in before.known]
        failed = [(failure, classify(failure)) for failure in seen.failures if failure.fleet == fleet.name]
        after = _after_waiting(before, fleet, seen.now, options, has_arrivals=bool(arrived))
        if after.unfulfilled_since is not None and seen.now - after.unfulfilled_since >= options.fulfil_within_s:
            failed.append((_unfulfilled(fleet, seen.now, options), FailureKind.OTHER))
            after = replace(after, unfulfilled_since=None)
        after = _after_boots(after, fleet, rows, nodes, seen.now, options)
        after = _after_failures(after, failed, seen.now, options, has_arrivals=bool(arrived))
        setbacks = _with_failures(_without_recovered(setbacks, fleet, arrived), fleet, failed, seen.now, options)
        fleets.append(replace(after, known=frozenset(member.instance_id for member in fleet.staying)))
    setbacks.sort(key=lambda one: (one.fleet, one.zone, one.instance_type))
    return replace(memory, fleets=tuple(fleets), setbacks=tuple(setbacks), ledger=_spent(seen, memory.ledger))


def _in_this_time(memory: Memory, now: float, options: JobwatcherConfig) -> Memory:
    """The memory with no time in it that cannot be: where the clock was set back, nothing began later than now, and no wait that
    begins now would end later than one does.
    """

    def wait(failures: int, until: float) -> float:
        return min(until, now + back_off_s(failures, options))

    def begun(at: float | None) -> float | None:
        return None if at is None else min(at, now)

    return replace(
        memory,
        setbacks=tuple(replace(one, until=wait(one.failures, one.until)) for one in memory.setbacks),
        fleets=tuple(
            replace(
                one,
                booting=tuple(replace(boot, since=min(boot.since, now)) for boot in one.booting),
                unfulfilled_since=begun(one.unfulfilled_since),
                unneeded_since=begun(one.unneeded_since),
                surplus_since=begun(one.surplus_since),
                breakers=tuple(replace(each, until=wait(each.failures, each.until)) for each in one.breakers),
            )
            for one in memory.fleets
        ),
    )


Failed = tuple[LaunchFailure, FailureKind]


def back_off_s(failures: int, options: JobwatcherConfig) -> float:
    """How long to wait after so many failures in a row: doubled each time, up to a bound."""
    return min(options.backoff_s * 2.0 ** min(failures - 1, 30), max(options.backoff_s, options.backoff_most_s))


def _after_failures(
    memory: FleetMemory, failed: Sequence[Failed], now: float, options: JobwatcherConfig, *, has_arrivals: bool
) -> FleetMemory:
    """A configuration that cannot work opens the breaker; an instance that came shows that it can. What came last counts."""
    after = _counted(memory, [failure for failure, _ in failed if failure.activity_id])
    if has_arrivals:
        after = _closed(after, BreakerKind.CONFIGURATION)
    wrong = [failure for failure, kind in failed if kind is FailureKind.CONFIGURATION]
    if wrong:
        after = _opened(after, BreakerKind.CONFIGURATION, wrong[-1].message or wrong[-1].error_code, now, options)
    return after


def _counted(memory: FleetMemory, activities: Sequence[LaunchFailure]) -> FleetMemory:
    """Remember which scaling activities have been counted, so that each counts once."""
    newest = max((failure.at for failure in activities), default=0.0)
    if not activities or newest < memory.failures_until:
        return memory
    ids = frozenset(failure.activity_id for failure in activities if failure.at == newest)
    if newest == memory.failures_until:
        ids |= memory.failures_counted
    return replace(memory, failures_until=newest, failures_counted=ids)


def _without_recovered(setbacks: Sequence[Setback], fleet: Fleet, arrived: Iterable[Member]) -> list[Setback]:
    """A place that gave an instance has something to give again."""
    places = [(member.zone, member.instance_type or fleet.spec.instance_type) for member in arrived]
    return [one for one in setbacks if one.fleet != fleet.name or not any(one.covers(*place) for place in places)]


def _with_failures(
    setbacks: Sequence[Setback], fleet: Fleet, failed: Iterable[Failed], now: float, options: JobwatcherConfig
) -> list[Setback]:
    """However many launches failed at a place, it is one failure; while a place is left alone already, it is the same one."""
    after = {(one.fleet, one.zone, one.instance_type): one for one in setbacks}
    for failure, kind in failed:
        if kind is FailureKind.CONFIGURATION:
            continue
        is_local = kind in (FailureKind.CAPACITY, FailureKind.PRICE)
        zone = failure.zone if is_local else ""
        instance_type = (failure.instance_type or fleet.spec.instance_type) if is_local else ""
        before = after.get((fleet.name, zone, instance_type))
        message = failure.message or failure.error_code
        if before is not None and now < before.until:
            after[fleet.name, zone, instance_type] = replace(before, last_at=now, kind=kind, message=message)
            continue
        count = before.failures + 1 if before is not None else 1
        after[fleet.name, zone, instance_type] = Setback(
            fleet=fleet.name,
            zone=zone,
            instance_type=instance_type,
            kind=kind,
            failures=count,
            last_at=now,
            until=now + back_off_s(count, options),
            message=message,
        )
    return list(after.values())


def _unfulfilled(fleet: Fleet, now: float, options: JobwatcherConfig) -> LaunchFailure:
    lacking = fleet.desired - len(fleet.staying)
    message = f"{lacking} of {fleet.desired} instances did not come within {options.fulfil_within_s:g} s"
    return LaunchFailure(fleet=fleet.name, at=now, message=message)


def _after_waiting(
    memory: FleetMemory, fleet: Fleet, now: float, options: JobwatcherConfig, *, has_arrivals: bool
) -> FleetMemory:
    """How long capacity has not come, and what was asked for until Auto Scaling has taken it in."""
    since = memory.unfulfilled_since
    if fleet.desired <= len(fleet.staying) or fleet.is_static:
        since = None
    elif since is None or has_arrivals:
        since = now
    asked = memory.asked
    if asked is not None and (fleet.desired >= asked.target or now - asked.at >= options.settle_s or now < asked.at):
        asked = None
    asks = tuple(ask for ask in memory.asks if 0 <= now - ask.at < _MINUTE_S)
    return replace(memory, unfulfilled_since=since, asked=asked, asks=asks)


def _after_boots(
    memory: FleetMemory,
    fleet: Fleet,
    rows: Mapping[InstanceId, Instance],
    nodes: Mapping[Hostname, Node],
    now: float,
    options: JobwatcherConfig,
) -> FleetMemory:
    """Who is still on the way, who has made it, and who never will. As many failures in a row as configured open the breaker."""
    before = {boot.instance_id: boot for boot in memory.booting}
    staying = {member.instance_id for member in fleet.staying}
    booting, lost, has_success = [], [], False
    for instance_id in sorted(staying):
        row = rows.get(instance_id)
        if is_settled(row, nodes):
            has_success |= instance_id in before and is_up(row, nodes)
            continue
        boot = before.get(instance_id) or Boot(instance_id=instance_id, since=_begun(row, now))
        if not boot.overdue and now - boot.since > fleet.spec.boot_timeout_s:
            boot = replace(boot, overdue=True)
            lost.append(f"{instance_id} took no jobs within {fleet.spec.boot_timeout_s:g} s of its launch")
        booting.append(boot)
    lost += [
        f"{boot.instance_id} ended before it took any job"
        for boot in memory.booting
        if not boot.overdue and boot.instance_id not in staying
    ]
    failures = len(lost) if has_success else memory.boot_failures + len(lost)
    after = replace(memory, booting=tuple(booting), boot_failures=failures)
    if has_success:
        after = _closed(after, BreakerKind.BOOT)
    is_probe = any(breaker.kind is BreakerKind.BOOT for breaker in after.breakers)
    if lost and (failures >= options.boot_failures or is_probe):
        after = _opened(after, BreakerKind.BOOT, f"{failures} instances in a row never took jobs; {lost[-1]}", now, options)
    return after


def is_settled(row: Instance | None, nodes: Mapping[Hostname, Node]) -> bool:
    """Is there nothing more to wait for? Its node is up (its room is live), or it will not come (back) up by itself."""
    if row is None:
        return False
    if row.state in (State.DRAINING, State.TERMINATING):
        return True
    node = nodes.get(row.hostname) if row.hostname is not None else None
    return node is not None and not node.is_awaited


def is_up(row: Instance | None, nodes: Mapping[Hostname, Node]) -> bool:
    """Does the scheduler have its node, up and able to take jobs?"""
    node = nodes.get(row.hostname) if row is not None and row.hostname is not None else None
    return node is not None and node.is_usable


def _begun(row: Instance | None, now: float) -> float:
    """When the wait for an instance began: with its launch, if its row tells and it has not been up since."""
    if row is not None and row.state in (State.PENDING, State.READY) and row.pending_at is not None:
        return min(now, row.pending_at)
    return now


def _opened(memory: FleetMemory, kind: BreakerKind, message: str, now: float, options: JobwatcherConfig) -> FleetMemory:
    """A failure while the breaker is open anyway changes nothing but its message."""
    before = next((breaker for breaker in memory.breakers if breaker.kind is kind), None)
    if before is not None and now < before.until:
        breaker = replace(before, message=message)
    else:
        count = before.failures + 1 if before is not None else 1
        breaker = Breaker(kind=kind, failures=count, until=now + back_off_s(count, options), message=message)
    return replace(memory, breakers=(*_closed(memory, kind).breakers, breaker))


def _closed(memory: FleetMemory, kind: BreakerKind) -> FleetMemory:
    return replace(memory, breakers=tuple(breaker for breaker in memory.breakers if breaker.kind is not kind))


def _spent(seen: Observation, ledger: Ledger | None) -> Ledger:
    """What today has cost so far. Time in which nobody looked is charged at today's rate, for no longer than today."""
    day = int(seen.now // DAY_S)
    if ledger is None:
        return Ledger(day=day, spent=0.0, at=seen.now)
    since = max(ledger.at, day * DAY_S)
    hours = max(0.0, seen.now - since) / 3600
    earlier = ledger.spent if ledger.day == day else 0.0
    return Ledger(day=day, spent=earlier + hours * price_per_hour(seen.fleets), at=seen.now)


def price_per_hour(fleets: Iterable[Fleet]) -> float:
    """What the instances that there are cost an hour, as far as prices are known."""
    return sum(len(fleet.staying) * fleet.spec.price_per_hour for fleet in fleets)
