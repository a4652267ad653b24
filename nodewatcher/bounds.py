"""What all the nodes of a fleet together allow: minimum, spares, and how many may be on their way out at once. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from daemons.alarms import Alarm
from daemons.config.values import NodewatcherConfig, Rank
from daemons.hours import minimum_at
from daemons.model import Fleet, FleetName, InstanceId, State
from nodewatcher.boots import boots_to_keep
from nodewatcher.judge import Action, Cause, Verdict
from nodewatcher.observe import NodeSnapshot

Key = Callable[[NodeSnapshot, Fleet], float]

_EVER = float("inf")


def _zone_size(snapshot: NodeSnapshot, fleet: Fleet) -> float:
    zone = snapshot.member.zone if snapshot.member is not None else ""
    return -sum(member.zone == zone for member in fleet.staying)


_KEYS: Mapping[Rank, Key] = {
    Rank.MAINTENANCE: lambda snapshot, _: float(snapshot.notice is None),
    Rank.IDLE_LONGEST: lambda snapshot, _: snapshot.row.idle_since if snapshot.row.idle_since is not None else _EVER,
    Rank.NEWEST: lambda snapshot, _: -(snapshot.row.registered_at or 0.0),
    Rank.OLDEST: lambda snapshot, _: snapshot.row.registered_at or 0.0,
    Rank.PRICE: lambda _, fleet: -fleet.spec.price_per_hour,
    Rank.ZONE_BALANCE: _zone_size,
}


@dataclass(slots=True)
class _Left:
    """What one fleet can still spare in this pass."""

    above_minimum: int
    surplus: int  # that the group holds beyond its desired capacity, which must not be lowered for them
    floor: int
    floor_is: str
    idle: int  # that nobody needs
    keep_idle: int
    ending: int  # how many more may be on their way out
    ending_most: int


def within_bounds(
    verdicts: Sequence[Verdict],
    snapshots: Sequence[NodeSnapshot],
    fleets: Sequence[Fleet],
    now: float,
    options: NodewatcherConfig,
) -> tuple[list[Verdict], list[Alarm]]:
    """The verdicts, one for each snapshot in the same order, with as many drains turned into keeps as the bounds ask for.

    Nodes whose drain is under way come first, so that no pass takes another's choice back; then the ranking decides.
    """
    by_name = {fleet.name: fleet for fleet in fleets}
    of_fleet: dict[FleetName, list[Verdict]] = {fleet.name: [] for fleet in fleets}
    for verdict in verdicts:
        of_fleet[verdict.row.fleet].append(verdict)
    sick = _too_many_unhealthy(of_fleet, fleets, options)
    left = {fleet.name: _left(fleet, of_fleet[fleet.name], now, options) for fleet in fleets}
    outcome, stuck = _without_restless_boots(verdicts, of_fleet, fleets, now, options)
    candidates = [place for place, verdict in enumerate(verdicts) if verdict.action is Action.DRAIN]
    ranks = [_KEYS[rank] for rank in options.rank]

    def turn(place: int) -> tuple[object, ...]:
        snapshot, fleet = snapshots[place], by_name[verdicts[place].row.fleet]
        return (
            verdicts[place].row.state is not State.DRAINING,
            *(key(snapshot, fleet) for key in ranks),
            verdicts[place].row.instance_id,
        )

    for place in sorted(candidates, key=turn):
        verdict = verdicts[place]
        alarm = sick.get(verdict.row.fleet)
        if verdict.cause is Cause.HEALTH and alarm is not None:
            outcome[place] = _kept(verdict, f"kept: {alarm.because}")
        else:
            outcome[place] = _spend(verdict, left[verdict.row.fleet])
    return outcome, [*sick.values(), *stuck]


def _without_restless_boots(
    verdicts: Sequence[Verdict],
    of_fleet: Mapping[FleetName, Sequence[Verdict]],
    fleets: Sequence[Fleet],
    now: float,
    options: NodewatcherConfig,
) -> tuple[list[Verdict], list[Alarm]]:
    """The verdicts, with those kept that never came up and whose end would only have more launched that do not."""
    kept: dict[InstanceId, str] = {}
    alarms = []
    for fleet in fleets:
        waiting, alarm = boots_to_keep(fleet, of_fleet[fleet.name], now, options)
        if alarm is not None:
            alarms.append(alarm)
            kept |= dict.fromkeys(waiting, f"kept: {alarm.because}")
    found = [
        replace(one, action=Action.KEEP, reason=f"{kept[one.row.instance_id]} ({one.reason})")
        if one.row.instance_id in kept
        else one
        for one in verdicts
    ]
    return found, alarms


def _left(fleet: Fleet, own: Sequence[Verdict], now: float, options: NodewatcherConfig) -> _Left:
    scheduled = minimum_at(fleet.spec.hours, now)
    floor, floor_is = (fleet.minimum, "minimum") if fleet.minimum >= scheduled else (scheduled, "minimum of these hours")
    most = max(1, int(len(fleet.members) * options.max_ending_share))
    most = min(most, options.max_ending) if options.max_ending else most
    under_way: set[InstanceId] = {verdict.row.instance_id for verdict in own if verdict.row.state is State.TERMINATING}
    surplus = sum(member.instance_id not in under_way for member in fleet.staying) - fleet.desired
    return _Left(
        above_minimum=fleet.desired + max(0, surplus) - floor,
        surplus=surplus,
        floor=floor,
        floor_is=floor_is,
        idle=sum(verdict.cause is Cause.IDLE for verdict in own),
        keep_idle=fleet.spec.keep_idle,
        ending=most - len(under_way),
        ending_most=most,
    )


def _spend(verdict: Verdict, left: _Left) -> Verdict:
    """Let this node go if the fleet can spare it, and count it. What AWS takes away anyway is not ours to keep."""
    if verdict.cause is Cause.NOTICE:
        return verdict
    if left.ending <= 0:
        return _kept(verdict, f"kept: {left.ending_most} nodes of the fleet may be on their way out at once ({verdict.reason})")
    if verdict.cause is Cause.HEALTH:
        left.ending -= 1
        if not verdict.relaunch and left.above_minimum <= 0:
            return replace(verdict, relaunch=True)
        left.above_minimum -= not verdict.relaunch
        return verdict
    if left.above_minimum <= 0:
        return _kept(verdict, f"kept: {left.floor_is} {left.floor} ({verdict.reason})")
    if left.idle <= left.keep_idle:
        return _kept(verdict, f"kept: {left.keep_idle} idle nodes are to stay ({verdict.reason})")
    left.ending -= 1
    left.above_minimum -= 1
    left.idle -= 1
    left.surplus -= 1
    return replace(verdict, relaunch=True) if left.surplus >= 0 else verdict


def _kept(verdict: Verdict, reason: str) -> Verdict:
    action = Action.RESUME if verdict.row.state is State.DRAINING else Action.KEEP
    return replace(verdict, action=action, reason=reason, relaunch=False)


def _too_many_unhealthy(
    of_fleet: Mapping[FleetName, Sequence[Verdict]], fleets: Sequence[Fleet], options: NodewatcherConfig
) -> Mapping[FleetName, Alarm]:
    """Where a great part of a fleet looks broken at once, rather what looks at it is."""
    alarms: dict[FleetName, Alarm] = {}
    for fleet in fleets:
        bad = sum(verdict.cause is Cause.HEALTH for verdict in of_fleet[fleet.name])
        held = len(fleet.staying)
        if bad > max(1, int(held * options.max_unhealthy_share)):
            because = (
                f"{bad} of {held} nodes of fleet {fleet.name} look unhealthy at once: check the scheduler and the network first"
            )
            key = f"fleet.unhealthy {fleet.name}"
            alarms[fleet.name] = Alarm(key=key, event="fleet.unhealthy", because=because, fleet=fleet.name)
    return alarms
