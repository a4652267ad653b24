"""The emulated groups and instances as the sandbox's users hold them: ground truth to look at, trouble to provoke."""

from sandbox.aws.capacity import Capacity
from sandbox.aws.notices import render_scheduled_change
from sandbox.aws.shortages import Reason, Shortage
from sandbox.aws.values import Activity, EmulatedGroup, EmulatedInstance, HookWait, ScheduledEvent, iso
from sandbox.aws.world import World


class Scaling:
    """Safe to use from any thread. What it returns are values of that moment; what it changes takes effect at once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lock = world.agenda.lock
        self.capacity = Capacity(world)

    def groups(self) -> tuple[EmulatedGroup, ...]:
        """All groups, oldest first."""
        with self.lock:
            return tuple(self.world.groups.values())

    def group(self, name: str) -> EmulatedGroup:
        """Raises AwsError when there is no such group."""
        with self.lock:
            return self.world.group(name)

    def instances(self, group: str | None = None) -> tuple[EmulatedInstance, ...]:
        """All instances, or those launched by one group, terminated ones included, in the order of their launch."""
        with self.lock:
            return tuple(each for each in self.world.instances.values() if group in (None, each.group))

    def instance(self, instance_id: str) -> EmulatedInstance:
        """Raises KeyError when EC2 does not know it (any more)."""
        with self.lock:
            return self.world.instances[instance_id]

    def activities(self, group: str | None = None) -> tuple[Activity, ...]:
        """All scaling activities, or those of one group, newest first."""
        with self.lock:
            return tuple(each for each in reversed(self.world.activities.values()) if group in (None, each.group))

    def waits(self) -> tuple[HookWait, ...]:
        """The instances that lifecycle hooks hold now."""
        with self.lock:
            return tuple(self.world.waits.values())

    def interrupt_spot(self, instance_id: str, *, in_s: float = 120.0) -> None:
        """EC2 warns that it takes a Spot instance back, and does so `in_s` later. Raises KeyError for an unknown id."""
        with self.lock:
            instance = self.world.change(instance_id, interrupted_at=self.world.now + in_s)
            self.world.tell_bus("EC2 Spot Instance Interruption Warning", instance, **{"instance-action": "terminate"})
            self.world.agenda.after(in_s, lambda: self._take_back(instance_id))

    def _take_back(self, instance_id: str) -> None:
        if instance_id in self.world.instances:
            self.capacity.lifecycle.shut_down(instance_id, "Server.SpotInstanceTermination: Spot instance termination")

    def recommend_rebalance(self, instance_id: str) -> None:
        """EC2 sees a raised risk of interruption. Raises KeyError for an unknown id."""
        with self.lock:
            instance = self.world.change(instance_id, rebalance_at=self.world.now)
            self.world.tell_bus("EC2 Instance Rebalance Recommendation", instance)

    def set_scheduled_event(
        self,
        instance_id: str,
        *,
        code: str = "instance-retirement",
        description: str = "The instance is running on degraded hardware",
        in_s: float = 86_400.0,
        for_s: float = 7200.0,
    ) -> ScheduledEvent:
        """EC2 announces maintenance: in DescribeInstanceStatus and as an AWS Health event."""
        with self.lock:
            instance, now = self.world.instances[instance_id], self.world.now
            event = ScheduledEvent(
                event_id=self.world.new_resource_id("instance-event"),
                code=code,
                description=description,
                not_before=now + in_s,
                not_after=now + in_s + for_s,
            )
            self.world.change(instance_id, events=(*instance.events, event))
            ids = {"region": self.world.region, "event_id": self.world.new_id()}
            self.world.tell(render_scheduled_change(instance, event, at=now, **ids))
            return event

    def clear_scheduled_events(self, instance_id: str) -> None:
        """The maintenance is over or off."""
        with self.lock:
            self.world.change(instance_id, events=())

    def impair(self, instance_id: str, *, replace_in_s: float | None = None) -> None:
        """The instance fails its status checks; after `replace_in_s` its group replaces it (None: not by itself)."""
        with self.lock:
            self.world.change(instance_id, impaired_at=self.world.now)
            if replace_in_s is not None:
                self.world.agenda.after(replace_in_s, lambda: self._found_impaired(instance_id))

    def _found_impaired(self, instance_id: str) -> None:
        instance = self.world.instances.get(instance_id)
        if instance is not None and instance.impaired_at is not None:
            what = "an instance was taken out of service in response to an EC2 instance status checks failure."
            self.capacity.lifecycle.found_unhealthy(instance_id, f"At {iso(self.world.now)} {what}")

    def repair(self, instance_id: str) -> None:
        """The instance passes its status checks again."""
        with self.lock:
            self.world.change(instance_id, impaired_at=None)

    def terminate(self, instance_id: str, *, reason: str = "User initiated") -> None:
        """End an instance in EC2 behind its group's back. Raises KeyError for an unknown id; repeatable."""
        with self.lock:
            self.capacity.lifecycle.shut_down(instance_id, reason)

    def fail_launches(self, *, reason: Reason, instance_type: str | None = None, zone: str | None = None) -> None:
        """EC2 refuses matching launches until cleared; None matches all."""
        with self.lock:
            shortage = Shortage(reason=reason, instance_type=instance_type, zone=zone)
            self.capacity.lifecycle.shortages.append(shortage)

    def clear_launch_failures(self) -> None:
        """EC2 launches everything again; groups that are short try at once."""
        with self.lock:
            self.capacity.lifecycle.shortages.clear()
            for name in self.world.groups:
                self.capacity.settle_soon(name)

    def mark_unhealthy(self, instance_id: str) -> None:
        """A user's health check says the instance is bad. Raises AwsError unless a group holds it."""
        with self.lock:
            self.world.managed(instance_id)
            cause = "an instance was taken out of service in response to a user health-check."
            lifecycle = self.capacity.lifecycle
            lifecycle.found_unhealthy(instance_id, f"At {iso(self.world.now)} {cause}", by_user=True)
