"""What a queue message can say. Values only; `sqswatcher.parse` makes them."""

from dataclasses import dataclass

from daemons.model import Hostname, InstanceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What Auto Scaling says of something that it did or tried. `status` is its own word, known to us or not."""

    activity_id: str = ""
    status: str = ""  # a *successful* launch reads "InProgress": the kind of the message tells success, never this
    message: str = ""
    cause: str = ""
    description: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    instance_id: InstanceId
    group: str
    activity: Activity
    at: float | None  # the message's own time in seconds since the epoch, None where it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFailed:
    instance_id: InstanceId | None  # None: there never was an instance
    group: str
    activity: Activity
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminated:
    instance_id: InstanceId
    group: str
    activity: Activity
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminateFailed:
    instance_id: InstanceId | None
    group: str
    activity: Activity
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TestNotification:
    """What Auto Scaling sends when notifications or a hook are set up. Nothing happened."""

    __test__ = False  # not a test, whatever its name makes of it

    group: str
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A lifecycle hook that waits for an answer."""

    instance_id: InstanceId
    group: str
    name: str
    token: str
    metadata: str = ""  # the hook's own NotificationMetadata
    origin: str = ""  # where the instance comes from, where it goes: "EC2", "AutoScalingGroup", "WarmPool", "" in old messages
    destination: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchWaits:
    hook: Hook
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminateWaits:
    hook: Hook
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmPoolWaits:
    """An instance on its way into a warm pool: neither the beginning nor the end of its service, though the hook waits too."""

    hook: Hook
    returns: bool  # True: it was in service until now (a TERMINATING that ends nothing); False: it is new
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotInterruption:
    """EC2 takes the instance back two minutes after `at`."""

    instance_id: InstanceId
    action: str  # "terminate", "stop", "hibernate"
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RebalanceRecommended:
    instance_id: InstanceId
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged:
    instance_id: InstanceId
    state: str  # EC2's own word: "pending", "running", "shutting-down", "terminated", "stopping", "stopped"
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledChange:
    """AWS will do something to these instances: retire, reboot, move them. `closed`: it is over, or was called off."""

    instance_ids: tuple[InstanceId, ...]
    code: str  # "AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED", ...
    description: str
    starts_at: float | None
    ends_at: float | None
    closed: bool
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeReady:
    """A compute node says that it has booted. `hostname` is the first label of its name."""

    instance_id: InstanceId
    hostname: Hostname
    slots: int
    instance_type: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Well formed, and of a kind that means nothing to us."""

    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """Not a message: `reason` says why, `kind` what it seemed to be; `excerpt` is its beginning, safe to log."""

    reason: str
    kind: str = ""
    excerpt: str = ""


Message = (
    Launched
    | LaunchFailed
    | Terminated
    | TerminateFailed
    | TestNotification
    | LaunchWaits
    | TerminateWaits
    | WarmPoolWaits
    | SpotInterruption
    | RebalanceRecommended
    | StateChanged
    | ScheduledChange
    | ComputeReady
    | Unknown
    | Malformed
)
