"""The instance's life as a table: from a state and an event to the next state. Pure and total.

`pending → ready → registered → draining → terminating → gone`, forward only, but for `draining → registered` when work turned
up. GONE is a tombstone: nothing leads out of it.
"""

from dataclasses import replace
from enum import StrEnum

from daemons.model import FleetName, Instance, InstanceId, State


class Event(StrEnum):
    """What can happen to an instance, in the order of a life; late events are put into this order before they are applied."""

    LAUNCHED = "launched"  # Auto Scaling says so, or a launching hook waits
    READY = "ready"  # the node says that it has booted
    REGISTERED = "registered"  # the scheduler knows the node
    DRAINED = "drained"  # we have begun to drain it
    RESUMED = "resumed"  # work turned up: our drain was taken back
    ENDING = "ending"  # its end has been asked for, or a terminating hook waits
    ENDED = "ended"  # Auto Scaling or EC2 says that it is gone, and the scheduler has forgotten it


_P, _R, _REG, _D, _T, _G = State.PENDING, State.READY, State.REGISTERED, State.DRAINING, State.TERMINATING, State.GONE

# One row a state (None: no row yet), one column an event; None: the event means nothing here and changes nothing.
_TABLE: dict[State | None, dict[Event, State | None]] = {
    state: dict(zip(Event, targets, strict=True))
    for state, targets in {
        #      LAUNCHED READY REGISTERED DRAINED RESUMED ENDING ENDED
        None: (_P, _R, None, None, None, _T, _G),
        _P: (None, _R, None, None, None, _T, _G),
        _R: (None, None, _REG, None, None, _T, _G),
        _REG: (None, None, None, _D, None, _T, _G),
        _D: (None, None, None, None, _REG, _T, _G),
        _T: (None, None, None, None, None, None, _G),
        _G: (None, None, None, None, None, None, None),
    }.items()
}

_TIMES = {
    State.PENDING: "pending_at",
    State.READY: "ready_at",
    State.REGISTERED: "registered_at",
    State.DRAINING: "draining_at",
    State.TERMINATING: "terminating_at",
    State.GONE: "gone_at",
}


def next_state(state: State | None, event: Event) -> State | None:
    """Where the event leads from that state; None where it changes nothing. Defined for every pair."""
    return _TABLE[state][event]


def advance(row: Instance, event: Event, *, now: float) -> Instance:
    """The row after the event, with the time of the change; the same row where the event changes nothing."""
    state = next_state(row.state, event)
    return row if state is None else enter(row, state, now=now)


def begin(instance_id: InstanceId, fleet: FleetName, event: Event, *, now: float) -> Instance | None:
    """The first row of an instance nothing was known of; None where the event begins no life (it is not from its beginning)."""
    state = next_state(None, event)
    if state is None:
        return None
    return enter(Instance(instance_id=instance_id, fleet=fleet, state=state), state, now=now)


def enter(row: Instance, state: State, *, now: float) -> Instance:
    """The row in that state since `now`. Leaving REGISTERED, or coming back to it, forgets the idle clock."""
    changes: dict[str, object] = {"state": state, _TIMES[state]: now}
    if state is State.REGISTERED:
        changes |= {"idle_since": None, "draining_at": None, "drain_reason": ""}
    return replace(row, **changes)  # type: ignore[arg-type]  # field names come from the table above
