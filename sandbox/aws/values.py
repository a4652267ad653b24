"""What the emulation knows: groups, instances, hooks and activities, as frozen values. Times are Unix seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

InstanceState = Literal["pending", "running", "shutting-down", "terminated"]
STATE_CODES: Mapping[str, int] = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48}

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
NOTIFICATION_TYPES = (
    "autoscaling:EC2_INSTANCE_LAUNCH",
    "autoscaling:EC2_INSTANCE_LAUNCH_ERROR",
    "autoscaling:EC2_INSTANCE_TERMINATE",
    "autoscaling:EC2_INSTANCE_TERMINATE_ERROR",
    "autoscaling:TEST_NOTIFICATION",
)


def iso(at: float, *, timespec: Literal["seconds", "milliseconds"] = "seconds") -> str:
    """`2026-11-23T10:15:02Z`, the form AWS writes times in."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A tag of a group; `propagate` copies it to the instances launched from then on."""

    key: str
    value: str
    propagate: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTemplate:
    """A launch template; the emulation keeps only the first version of each."""

    template_id: str
    name: str
    created_at: float
    instance_type: str | None
    image_id: str = "ami-0a1b2c3d4e5f60718"
    spot: bool = False
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchConfiguration:
    """The predecessor of launch templates, which old clusters still use."""

    name: str
    arn: str
    created_at: float
    instance_type: str
    image_id: str
    spot_price: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSource:
    """What a group launches: the instance types in order of preference, and where they were written down."""

    instance_types: tuple[str, ...]
    image_id: str
    spot: bool = False
    tags: tuple[tuple[str, str], ...] = ()
    template_id: str | None = None
    template_name: str | None = None
    template_version: str | None = None  # as the group wrote it: a number, $Latest or $Default
    configuration: str | None = None
    mixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A lifecycle hook; `heartbeat_s` is AWS's figure, before the sandbox's time scale."""

    name: str
    transition: str
    heartbeat_s: int = 3600
    default_result: str = "ABANDON"
    target_arn: str | None = None
    role_arn: str | None = None
    metadata: str | None = None

    @property
    def overall_s(self) -> int:
        """The longest a hook holds an instance, however often it is extended."""
        return min(48 * 3600, 100 * self.heartbeat_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookWait:
    """One instance held by one hook until `deadline`, which heartbeats move up to `limit`."""

    token: str
    instance_id: str
    group: str
    hook: Hook
    deadline: float
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledEvent:
    """Maintenance that EC2 announced for one instance (DescribeInstanceStatus, AWS Health)."""

    event_id: str
    code: str  # instance-retirement, instance-stop, instance-reboot, system-reboot, system-maintenance
    description: str
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedGroup:
    """One Auto Scaling group. `causes` say, in AWS's words, why desired is what it is."""

    name: str
    arn: str
    minimum: int
    desired: int
    maximum: int
    zones: tuple[str, ...]
    source: LaunchSource
    created_at: float
    protect_new: bool = False
    capacity_rebalance: bool = False
    cooldown_s: int = 300
    grace_s: int = 0
    health_check_type: str = "EC2"
    vpc_zone_identifier: str = ""
    termination_policies: tuple[str, ...] = ("Default",)
    suspended: frozenset[str] = frozenset()
    notifications: Mapping[str, frozenset[str]] = field(default_factory=dict)  # topic ARN → notification types
    hooks: tuple[Hook, ...] = ()
    tags: tuple[Tag, ...] = ()
    deleting: bool = False
    causes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedInstance:
    """One EC2 instance of a group. `lifecycle` is Auto Scaling's word for it, "" once the group has let it go."""

    instance_id: str
    group: str
    instance_type: str
    zone: str
    address: str
    hostname: str
    image_id: str
    launched_at: float
    activity_id: str
    source: LaunchSource
    spot: bool = False
    state: InstanceState = "pending"
    state_reason: str = ""
    lifecycle: str = "Pending"
    health: str = "Healthy"
    protected: bool = False
    served: bool = False  # it was in service once
    tags: tuple[tuple[str, str], ...] = ()
    running_at: float | None = None
    terminated_at: float | None = None
    impaired_at: float | None = None
    interrupted_at: float | None = None  # when EC2 will take a Spot instance back
    rebalance_at: float | None = None  # when EC2 recommended to move off it
    events: tuple[ScheduledEvent, ...] = ()
    console: str = ""
    launch_index: int = 0
    termination_activity_id: str | None = None

    @property
    def counts(self) -> bool:
        """Whether the group counts it against its desired capacity."""
        return self.lifecycle.startswith(("Pending", "InService"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """A line of DescribeScalingActivities."""

    activity_id: str
    group: str
    group_arn: str
    description: str
    cause: str
    started_at: float
    status: str
    zone: str
    subnet: str
    ended_at: float | None = None
    status_message: str = ""
    progress: int = 0
    instance_id: str | None = None
    group_deleted: bool = False
