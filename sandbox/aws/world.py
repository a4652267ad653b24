"""All that the emulation remembers, and the few ways to write it down. Held under the agenda's lock."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from sandbox.aws.agenda import Agenda, Errands
from sandbox.aws.catalogue import subnet_of
from sandbox.aws.errors import unknown_group, unknown_managed_instance
from sandbox.aws.notices import Sink, new_uuid, render_group_notice, render_instance_event, render_launch_unsuccessful
from sandbox.aws.values import (
    Activity,
    EmulatedGroup,
    EmulatedInstance,
    HookWait,
    LaunchConfiguration,
    LaunchTemplate,
)
from sandbox.runtime import NodeRuntime

_ACTIVITIES_KEPT = 20_000  # AWS keeps six weeks


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How quick the emulated AWS is; all in seconds. The defaults suit a demo: AWS takes minutes."""

    boot_s: float = 1.0  # pending → running
    shutdown_s: float = 0.2  # shutting-down → terminated
    reaction_s: float = 0.05  # a group notices that it has too few or too many
    retry_s: float = 2.0  # a group tries a failed launch again; doubled each time, 16 times that at most
    health_check_s: float = 0.3  # a group notices that an instance is gone
    keep_terminated_s: float = 300.0  # a terminated instance stays describable
    hook_scale: float = 1.0  # hooks' times are multiplied by this


@dataclass(slots=True, kw_only=True)
class World:
    """Groups, instances, running hooks and activities of one region, with everything needed to change them."""

    region: str
    account: str
    timing: Timing
    agenda: Agenda
    errands: Errands
    runtime: NodeRuntime
    tell: Sink
    random: Random
    state_change_events: bool = False
    groups: dict[str, EmulatedGroup] = field(default_factory=dict)
    instances: dict[str, EmulatedInstance] = field(default_factory=dict)
    waits: dict[str, HookWait] = field(default_factory=dict)  # by token
    activities: dict[str, Activity] = field(default_factory=dict)  # oldest first
    templates: dict[str, LaunchTemplate] = field(default_factory=dict)  # by id
    configurations: dict[str, LaunchConfiguration] = field(default_factory=dict)
    launches: int = 0

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.agenda.clock.now()

    def new_id(self) -> str:
        """A UUID."""
        return new_uuid(self.random)

    def new_resource_id(self, prefix: str) -> str:
        """`i-0c9f3a52c7de10001` and the like: never the same twice."""
        return f"{prefix}-{self.random.getrandbits(68):017x}"

    def group(self, name: str) -> EmulatedGroup:
        """Raises AwsError when there is no such group."""
        if name not in self.groups:
            raise unknown_group(name)
        return self.groups[name]

    def managed(self, instance_id: str) -> EmulatedInstance:
        """An instance that a group holds. Raises AwsError for all others."""
        instance = self.instances.get(instance_id)
        if instance is None or not instance.lifecycle:
            raise unknown_managed_instance(instance_id)
        return instance

    def members(self, group: str) -> Iterator[EmulatedInstance]:
        """The instances a group holds, in the order they were launched."""
        return (each for each in self.instances.values() if each.group == group and each.lifecycle)

    def change_group(self, name: str, **changes: Any) -> EmulatedGroup:
        """Write a group down anew."""
        self.groups[name] = replace(self.groups[name], **changes)
        return self.groups[name]

    def add(self, instance: EmulatedInstance) -> EmulatedInstance:
        """Write a new instance down; its order of launch is given here."""
        self.launches += 1
        self.instances[instance.instance_id] = replace(instance, launch_index=self.launches)
        self._tell_state(instance)
        return self.instances[instance.instance_id]

    def _tell_state(self, instance: EmulatedInstance) -> None:
        if self.state_change_events:
            self.tell_bus("EC2 Instance State-change Notification", instance, state=instance.state)

    def change(self, instance_id: str, **changes: Any) -> EmulatedInstance:
        """Write an instance down anew, telling EventBridge of a new state if that is asked for."""
        before = self.instances[instance_id]
        after = self.instances[instance_id] = replace(before, **changes)
        if after.state != before.state:
            self._tell_state(after)
        return after

    def tell_bus(self, detail_type: str, instance: EmulatedInstance, **detail: str) -> None:
        """An event of EC2 about one instance."""
        self.tell(render_instance_event(detail_type, instance, event_id=self.new_id(), at=self.now, **detail))

    def open_activity(self, group: EmulatedGroup, description: str, cause: str, **fields: Any) -> Activity:
        """Begin an activity; `fields` are those of Activity, zone among them."""
        activity = Activity(
            activity_id=self.new_id(),
            group=group.name,
            group_arn=group.arn,
            description=description,
            cause=cause[:1023],
            started_at=self.now,
            subnet=subnet_of(fields["zone"]),
            **fields,
        )
        self.activities[activity.activity_id] = activity
        if len(self.activities) > _ACTIVITIES_KEPT:
            del self.activities[next(iter(self.activities))]
        return activity

    def change_activity(self, activity_id: str | None, **changes: Any) -> Activity | None:
        """Write an activity down anew; nothing happens if it has been forgotten."""
        activity = self.activities.get(activity_id or "")
        if activity is None:
            return None
        self.activities[activity.activity_id] = replace(activity, **changes)
        return self.activities[activity.activity_id]

    def end_activity(self, activity_id: str | None, event: str) -> None:
        """An activity succeeded: close it and notify."""
        activity = self.change_activity(activity_id, status="Successful", progress=100, ended_at=self.now)
        if activity is not None:
            self.notify(activity, event)

    def notify(self, activity: Activity, event: str) -> None:
        """Publish an activity's end to the topics that asked for this kind, and failures to EventBridge."""
        group = self.groups.get(activity.group)
        if group is None:
            return
        for topic, kinds in group.notifications.items():
            if event in kinds:
                self.tell(render_group_notice(topic, event, group, activity, account=self.account, at=self.now))
        if event == "autoscaling:EC2_INSTANCE_LAUNCH_ERROR":
            ids = {"event_id": self.new_id(), "request_id": self.new_id()}
            self.tell(render_launch_unsuccessful(group, activity, at=self.now, **ids))
