"""From a parsed message to what it says of instances: the one place that knows what each kind means to membership."""

from daemons.lifecycle import Event
from daemons.model import Notice
from daemons.ports import Received
from sqswatcher.checking import Checked
from sqswatcher.messages import (
    ComputeReady,
    Launched,
    LaunchFailed,
    LaunchWaits,
    Malformed,
    Message,
    RebalanceRecommended,
    ScheduledChange,
    SpotInterruption,
    StateChanged,
    Terminated,
    TerminateFailed,
    TerminateWaits,
    TestNotification,
    Unknown,
    WarmPoolWaits,
)
from sqswatcher.parse import parse_message
from sqswatcher.plan import Delivery, Happening

_STATES = {"shutting-down": Event.ENDING, "terminated": Event.ENDED}


def read_delivery(received: Received, checked: Checked | None = None) -> Delivery:
    """Parse a message, whoever sent it, or what of it may be read. Never raises: what cannot be understood says so."""
    checked = checked or Checked(body=received.body)
    if checked.refused:
        return Delivery(received=received, dropped_because=f"refused: {checked.refused}", malformed=True)
    message = parse_message(checked.body)
    if isinstance(message, Malformed):
        return Delivery(received=received, dropped_because=f"malformed: {message.reason}", malformed=True)
    happenings = happenings_of(message)
    return Delivery(
        received=received,
        happenings=happenings,
        dropped_because="" if happenings else _nothing_to_do(message),
        launch_failed=isinstance(message, LaunchFailed),
    )


def happenings_of(message: Message) -> tuple[Happening, ...]:
    """What the message says of each instance that it is about; () where that is nothing to membership."""
    match message:
        case ComputeReady():
            return (
                Happening(
                    instance_id=message.instance_id,
                    event=Event.READY,
                    hostname=message.hostname,
                    instance_type=message.instance_type,
                ),
            )
        case Launched():
            return (Happening(instance_id=message.instance_id, event=Event.LAUNCHED, group=message.group),)
        case Terminated():
            return (Happening(instance_id=message.instance_id, event=Event.ENDED, group=message.group),)
        case LaunchWaits(hook=hook):
            return (Happening(instance_id=hook.instance_id, event=Event.LAUNCHED, group=hook.group, launch_hook=hook.name),)
        case TerminateWaits(hook=hook):
            return (Happening(instance_id=hook.instance_id, event=Event.ENDING, group=hook.group, terminate_hook=hook.name),)
        case WarmPoolWaits(hook=hook):
            return (Happening(instance_id=hook.instance_id, event=None, group=hook.group, passing_hook=hook.name),)
        case StateChanged() if message.state in _STATES:
            return (Happening(instance_id=message.instance_id, event=_STATES[message.state]),)
        case _:
            return _notices(message)


def _notices(message: Message) -> tuple[Happening, ...]:
    match message:
        case SpotInterruption():
            return (Happening(instance_id=message.instance_id, event=None, notice=Notice.SPOT_INTERRUPTION),)
        case RebalanceRecommended():
            return (Happening(instance_id=message.instance_id, event=None, notice=Notice.REBALANCE),)
        case ScheduledChange(closed=False):
            change = Notice.SCHEDULED_CHANGE
            return tuple(Happening(instance_id=one, event=None, notice=change) for one in message.instance_ids)
        case _:
            return ()


def _nothing_to_do(message: Message) -> str:
    match message:
        case Unknown():
            return f"unknown kind of message: {message.kind}"
        case LaunchFailed() | TerminateFailed():
            return f"{type(message).__name__} in {message.group}: {message.activity.message or message.activity.description}"
        case TestNotification() | StateChanged() | ScheduledChange():
            return f"{type(message).__name__}: nothing that membership has to do with"
        case _:
            return type(message).__name__
