"""One instance's way through Auto Scaling and EC2: launch, hooks, service, termination."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from sandbox.aws.errors import AwsError, validation_error
from sandbox.aws.notices import render_hook_notice
from sandbox.aws.shortages import Refusal, Shortage
from sandbox.aws.values import LAUNCHING, TERMINATING, EmulatedGroup, EmulatedInstance, HookWait, iso
from sandbox.aws.world import World


class Lifecycle:
    """Moves instances. `short_of` is called with a group's name whenever the group may have to launch or end some."""

    def __init__(self, world: World, short_of: Callable[[str], None]) -> None:
        self._world = world
        self._short_of = short_of
        self.shortages: list[Shortage] = []

    def refusal(self, group: EmulatedGroup, instance_type: str, zone: str) -> Refusal | None:
        """Why EC2 would not launch this now; None if it would."""
        source = group.source
        for shortage in self.shortages:
            if refusal := shortage.refusal(instance_type, zone, image_id=source.image_id, spot=source.spot):
                return refusal
        return None

    def launch(self, group: EmulatedGroup, instance_type: str, zone: str, cause: str) -> EmulatedInstance | Refusal:
        """Start an instance, or say why not; the refusal is written down as a failed activity and notified."""
        refusal = self.refusal(group, instance_type, zone)
        instance_id = self._world.new_resource_id("i")
        if refusal is None:
            try:
                return self._place(group, instance_id, instance_type, zone, cause)
            except Exception as err:  # noqa: BLE001 - whatever plays the machines must not end the emulation
                code = "InsufficientFreeAddressesInSubnet"
                message = f"{err} Launching EC2 instance failed."
                refusal = Refusal(code=code, message=message, instance_type=instance_type, zone=zone)
        self._fail(group, refusal, cause)
        return refusal

    def _place(self, group: EmulatedGroup, instance_id: str, instance_type: str, zone: str, cause: str) -> EmulatedInstance:
        world = self._world
        placement = world.runtime.place(instance_id)
        description = f"Launching a new EC2 instance: {instance_id}"
        activity = world.open_activity(
            group, description, cause, zone=zone, status="PreInService", progress=30, instance_id=instance_id
        )
        tags = {each.key: each.value for each in group.tags if each.propagate} | dict(group.source.tags)
        tags["aws:autoscaling:groupName"] = group.name
        instance = EmulatedInstance(
            instance_id=instance_id,
            group=group.name,
            instance_type=instance_type,
            zone=zone,
            address=placement.address,
            hostname=placement.hostname,
            image_id=group.source.image_id,
            launched_at=world.now,
            activity_id=activity.activity_id,
            source=group.source,
            spot=group.source.spot,
            protected=group.protect_new,
            tags=tuple(tags.items()),
        )
        world.agenda.after(world.timing.boot_s, lambda: self._running(instance_id))
        return world.add(instance)

    def _fail(self, group: EmulatedGroup, refusal: Refusal, cause: str) -> None:
        activity = self._world.open_activity(
            group,
            f"Launching a new EC2 instance.  Status Reason: {refusal.message}",
            cause,
            zone=refusal.zone,
            status="Failed",
            status_message=refusal.message,
            progress=100,
            ended_at=self._world.now,
        )
        self._world.notify(activity, "autoscaling:EC2_INSTANCE_LAUNCH_ERROR")

    def _running(self, instance_id: str) -> None:
        instance = self._world.instances.get(instance_id)
        if instance is None or instance.state != "pending":
            return
        instance = self._world.change(instance_id, state="running", running_at=self._world.now)
        self._world.errands.run(lambda: self._boot(instance))
        if instance.lifecycle == "Pending" and not self._hold(instance, LAUNCHING):
            self._serve(instance_id)

    def _boot(self, instance: EmulatedInstance) -> None:
        try:
            self._world.runtime.boot(instance)
        except Exception as err:  # noqa: BLE001 - the machine failed to start, the emulation did not
            self.log_console(instance.instance_id, f"boot failed: {type(err).__name__}: {err}")
            with self._world.agenda.lock:
                if instance.instance_id in self._world.instances:
                    self._world.change(instance.instance_id, impaired_at=self._world.now)

    def log_console(self, instance_id: str, line: str) -> None:
        """Add a line to what GetConsoleOutput shows."""
        with self._world.agenda.lock:
            if instance := self._world.instances.get(instance_id):
                self._world.change(instance_id, console=f"{instance.console}{iso(self._world.now)} {line}\n")

    def _serve(self, instance_id: str) -> None:
        instance = self._world.change(instance_id, lifecycle="InService", served=True)
        self._world.end_activity(instance.activity_id, "autoscaling:EC2_INSTANCE_LAUNCH")

    def _hold(self, instance: EmulatedInstance, transition: str) -> bool:
        """Put the instance into every hook of this transition; whether there was one."""
        world = self._world
        group = world.groups.get(instance.group)
        hooks = [each for each in group.hooks if each.transition == transition] if group else []
        for hook in hooks:
            wait = HookWait(
                token=world.new_id(),
                instance_id=instance.instance_id,
                group=instance.group,
                hook=hook,
                deadline=world.now + hook.heartbeat_s * world.timing.hook_scale,
                limit=world.now + hook.overall_s * world.timing.hook_scale,
            )
            world.waits[wait.token] = wait
            self._expire_later(wait)
            notice = render_hook_notice(wait, account=world.account, request_id=world.new_id(), at=world.now)
            if notice:
                world.tell(notice)
        if hooks:
            launching = transition == LAUNCHING
            world.change(instance.instance_id, lifecycle="Pending:Wait" if launching else "Terminating:Wait")
            activity = instance.activity_id if launching else instance.termination_activity_id
            world.change_activity(activity, status="MidLifecycleAction", progress=60)
        return bool(hooks)

    def _expire_later(self, wait: HookWait) -> None:
        self._world.agenda.after(wait.deadline - self._world.now, lambda: self._expire(wait.token))

    def _expire(self, token: str) -> None:
        wait = self._world.waits.get(token)
        if wait is None:
            return
        if wait.deadline > self._world.now:  # a heartbeat moved it
            self._expire_later(wait)
        else:
            self.complete(wait, wait.hook.default_result)

    def waiting(self, group: str, hook: str, *, token: str | None, instance_id: str | None) -> HookWait:
        """The running action that a call names. Raises AwsError when there is none."""
        self._world.group(group)
        for wait in self._world.waits.values():
            named = wait.token == token if token else wait.instance_id == instance_id
            if named and (wait.group, wait.hook.name) == (group, hook):
                return wait
        named_by = f"token {token}" if token else f"instance ID {instance_id}"
        raise validation_error(f"No active Lifecycle Action found with {named_by}")

    def heartbeat(self, wait: HookWait) -> None:
        """Give a waiting instance another heartbeat's time, up to the overall limit."""
        extended = self._world.now + wait.hook.heartbeat_s * self._world.timing.hook_scale
        self._world.waits[wait.token] = replace(wait, deadline=min(extended, wait.limit))

    def complete(self, wait: HookWait, result: str) -> None:
        """End one hook. ABANDON ends the others too; on launch it ends the instance as well."""
        instance = self._world.instances[wait.instance_id]
        del self._world.waits[wait.token]
        if result == "ABANDON":
            self._drop_waits(wait.instance_id)
            if wait.hook.transition == LAUNCHING:
                self._abandon(instance)
                return
        if any(each.instance_id == wait.instance_id for each in self._world.waits.values()):
            return
        launching = wait.hook.transition == LAUNCHING
        self._world.change(wait.instance_id, lifecycle="Pending:Proceed" if launching else "Terminating:Proceed")
        proceed = self._proceed_launch if launching else self._proceed_termination
        self._world.agenda.after(self._world.timing.reaction_s, lambda: proceed(wait.instance_id))

    def _abandon(self, instance: EmulatedInstance) -> None:
        message = "The lifecycle action was abandoned. Launching EC2 instance failed."
        activity = self._world.change_activity(
            instance.activity_id, status="Cancelled", status_message=message, progress=100, ended_at=self._world.now
        )
        if activity is not None:
            self._world.notify(activity, "autoscaling:EC2_INSTANCE_LAUNCH_ERROR")
        why = f"instance {instance.instance_id} was taken out of service in response to a lifecycle action abandonment"
        self.terminate(instance.instance_id, f"At {iso(self._world.now)} {why}.")

    def _proceed_launch(self, instance_id: str) -> None:
        instance = self._world.instances.get(instance_id)
        if instance is not None and instance.lifecycle == "Pending:Proceed":
            self._serve(instance_id)

    def terminate(self, instance_id: str, cause: str) -> str:
        """Have the group end one of its instances; the activity's id. Repeating it returns the same activity.

        Hooks of termination hold only an instance that was in service once.
        """
        world = self._world
        instance = world.managed(instance_id)
        if instance.termination_activity_id:
            return instance.termination_activity_id
        group = world.group(instance.group)
        description = f"Terminating EC2 instance: {instance_id}"
        activity = world.open_activity(
            group, description, cause, zone=instance.zone, status="InProgress", instance_id=instance_id
        )
        if not instance.served:
            self._cancel_launch(instance)
        instance = world.change(instance_id, lifecycle="Terminating", termination_activity_id=activity.activity_id)
        if not (instance.served and self._hold(instance, TERMINATING)):
            self._proceed_termination(instance_id)
        self._short_of(instance.group)
        return activity.activity_id

    def _cancel_launch(self, instance: EmulatedInstance) -> None:
        self._drop_waits(instance.instance_id)
        activity = self._world.activities.get(instance.activity_id)
        if activity is not None and activity.ended_at is None:
            now = self._world.now
            self._world.change_activity(instance.activity_id, status="Cancelled", progress=100, ended_at=now)

    def _drop_waits(self, instance_id: str) -> None:
        for token in [each.token for each in self._world.waits.values() if each.instance_id == instance_id]:
            del self._world.waits[token]

    def _proceed_termination(self, instance_id: str) -> None:
        instance = self._world.instances.get(instance_id)
        if instance is None or not instance.lifecycle.startswith("Terminating"):
            return
        if instance.state == "terminated":
            self._leave(instance_id)
        else:
            self.shut_down(instance_id, "User initiated")

    def shut_down(self, instance_id: str, reason: str) -> None:
        """EC2 ends an instance, whoever asked. Repeatable."""
        if self._world.instances[instance_id].state not in ("pending", "running"):
            return
        self._world.change(instance_id, state="shutting-down", state_reason=reason)
        kill = partial(self._world.errands.run, partial(self._kill, instance_id))
        self._world.agenda.after(self._world.timing.shutdown_s, kill)

    def _kill(self, instance_id: str) -> None:
        with suppress(Exception):  # a machine that cannot be stopped is gone for AWS all the same
            self._world.runtime.kill(instance_id)
        with self._world.agenda.lock:
            self._terminated(instance_id)

    def _terminated(self, instance_id: str) -> None:
        world = self._world
        if instance_id not in world.instances:
            return
        instance = world.change(instance_id, state="terminated", terminated_at=world.now)
        world.agenda.after(world.timing.keep_terminated_s, lambda: self._forget(instance_id))
        if instance.lifecycle in ("Terminating", "Terminating:Proceed"):
            self._leave(instance_id)
        elif instance.lifecycle and not instance.termination_activity_id:
            world.agenda.after(world.timing.health_check_s, lambda: self._found_gone(instance_id))

    def _leave(self, instance_id: str) -> None:
        instance = self._world.change(instance_id, lifecycle="")
        self._world.end_activity(instance.termination_activity_id, "autoscaling:EC2_INSTANCE_TERMINATE")
        self._short_of(instance.group)

    def _forget(self, instance_id: str) -> None:
        instance = self._world.instances.get(instance_id)
        if instance is not None and not instance.lifecycle:
            del self._world.instances[instance_id]
        elif instance is not None:  # still held by a hook
            self._world.agenda.after(self._world.timing.keep_terminated_s, lambda: self._forget(instance_id))

    def _found_gone(self, instance_id: str) -> None:
        what = "an instance was taken out of service in response to an EC2 health check indicating it has been"
        self.found_unhealthy(instance_id, f"At {iso(self._world.now)} {what} terminated or stopped.")

    def found_unhealthy(self, instance_id: str, cause: str, *, by_user: bool = False) -> None:
        """A health check failed: mark the instance and replace it, unless these processes are suspended."""
        with suppress(AwsError):  # it left the group in the meantime
            instance = self._world.managed(instance_id)
            suspended = self._world.group(instance.group).suspended
            if "HealthCheck" in suspended and not by_user:
                return
            self._world.change(instance_id, health="Unhealthy")
            if not suspended & {"ReplaceUnhealthy", "Terminate"}:
                self.terminate(instance_id, cause)

    def look_again(self, group: str) -> None:
        """Health checks of a group whose processes were resumed."""
        for instance in list(self._world.members(group)):
            if instance.termination_activity_id:
                continue
            if instance.state in ("shutting-down", "terminated") or instance.health == "Unhealthy":
                self._found_gone(instance.instance_id)
