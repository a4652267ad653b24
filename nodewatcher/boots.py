"""Instances that never came up, where the end of one only has another launched. Pure.

Beyond its minimum a fleet shrinks by those that never come up, and jobwatcher grows it no further (`boot_failures`). At its
minimum the group launches another for each: with an image or a network that is wrong, all of them, over and over. There one is
tried at a time once it is more of the fleet than may look unhealthy.
"""

from collections.abc import Iterable, Sequence

from daemons.alarms import Alarm
from daemons.config.values import NodewatcherConfig
from daemons.model import Fleet, InstanceId, State
from nodewatcher.judge import Action, Verdict

_BOOTS = (State.PENDING, State.READY)


def boots_to_keep(
    fleet: Fleet, own: Sequence[Verdict], now: float, options: NodewatcherConfig
) -> tuple[frozenset[InstanceId], Alarm | None]:
    """Whose end waits although it never came up, and what somebody is told then. `own` are the fleet's verdicts."""
    late = sorted(_never_came_up(own), key=lambda verdict: (verdict.row.pending_at or 0.0, verdict.row.instance_id))
    going = {verdict.row.instance_id for verdict in own if verdict.row.state is State.TERMINATING}
    staying = sum(member.instance_id not in going for member in fleet.staying)
    spare = max(0, max(fleet.desired, staying) - fleet.minimum)  # so many go without another in their place
    if len(late) - spare <= max(1, int(len(fleet.staying) * options.max_unhealthy_share)):
        return frozenset(), None
    because = (
        f"{len(late)} of {len(fleet.staying)} nodes of fleet {fleet.name} never came up, and at its minimum of {fleet.minimum}"
        " others only take their place: one is tried at a time"
    )
    alarm = Alarm(key=f"fleet.never_came_up {fleet.name}", event="fleet.never_came_up", because=because, fleet=fleet.name)
    tried = 0 if _is_trying(fleet, own, now) else 1
    return frozenset(verdict.row.instance_id for verdict in late[spare + tried :]), alarm


def _never_came_up(own: Iterable[Verdict]) -> Iterable[Verdict]:
    return (verdict for verdict in own if verdict.action is Action.END and verdict.row.state in _BOOTS)


def _is_trying(fleet: Fleet, own: Sequence[Verdict], now: float) -> bool:
    """Is another on its way: to be launched, not seen yet, or booting in its time? Or does one still have to go?"""
    seen = {verdict.row.instance_id for verdict in own}
    return (
        len(fleet.staying) < fleet.desired
        or any(member.instance_id not in seen for member in fleet.staying)
        or any(verdict.row.state is State.TERMINATING for verdict in own)
        or any(
            verdict.action is Action.KEEP and verdict.row.state in _BOOTS and verdict.row.hold_ends_at(now) is None
            for verdict in own
        )
    )
