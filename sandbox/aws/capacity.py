"""A group's size: what it wants, what it has, and how Auto Scaling closes the gap."""

from collections import Counter
from collections.abc import Iterable

from sandbox.aws.errors import AwsError, validation_error
from sandbox.aws.lifecycle import Lifecycle
from sandbox.aws.shortages import Refusal
from sandbox.aws.values import EmulatedGroup, EmulatedInstance, iso
from sandbox.aws.world import World

_LONGEST_RETRY = 16  # times retry_s


def plan_victims(members: Iterable[EmulatedInstance], surplus: int) -> tuple[EmulatedInstance, ...]:
    """Whom the default termination policy ends: from the zone with most instances, the oldest first.

    Protection counts from the moment an instance is in service, as AWS documents it: one that is still pending goes.
    """
    left = [each for each in members if each.counts]
    victims: list[EmulatedInstance] = []
    for _ in range(surplus):
        open_to_it = [each for each in left if not (each.protected and each.lifecycle == "InService")]
        if not open_to_it:
            break
        sizes = Counter(each.zone for each in left)
        victim = min(open_to_it, key=lambda each: (-sizes[each.zone], each.zone, each.launch_index))
        left.remove(victim)
        victims.append(victim)
    return tuple(victims)


class Capacity:
    """Sizes groups. Every change settles a little later, on the agenda, as in AWS."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.lifecycle = Lifecycle(world, self.settle_soon)
        self._settling: set[str] = set()
        self._retrying: set[str] = set()
        self._failures: Counter[str] = Counter()

    def settle_soon(self, name: str) -> None:
        """Have a group look at its size shortly; asking twice looks once."""
        if name not in self._settling:
            self._settling.add(name)
            self._world.agenda.after(self._world.timing.reaction_s, lambda: self._settle(name))

    def _retry_later(self, name: str) -> None:
        """Have a group try a failed launch again, later each time; one retry is under way at a time."""
        if name in self._retrying:
            return
        self._retrying.add(name)
        self._failures[name] += 1
        factor = min(2 ** (self._failures[name] - 1), _LONGEST_RETRY)
        self._world.agenda.after(self._world.timing.retry_s * factor, lambda: self._retry(name))

    def _retry(self, name: str) -> None:
        self._retrying.discard(name)
        self._settle(name)

    def _settle(self, name: str) -> None:
        self._settling.discard(name)
        group = self._world.groups.get(name)
        if group is None:
            return
        members = [each for each in self._world.members(name) if each.counts]
        gap = group.desired - len(members)
        if gap > 0 and "Launch" not in group.suspended and not group.deleting:
            self._fill(group, members, gap)
        elif gap < 0 and "Terminate" not in group.suspended:
            self._shrink(group, members, -gap)
        elif group.deleting and not any(self._world.members(name)):
            self.forget(name)

    def _fill(self, group: EmulatedGroup, members: list[EmulatedInstance], gap: int) -> None:
        cause = self._cause(group, len(members), "an instance was started", "increasing")
        sizes = Counter(each.zone for each in members)
        for _ in range(gap):
            launched = self._launch_somewhere(group, sizes, cause)
            if launched is None:
                self._retry_later(group.name)
                return
            sizes[launched.zone] += 1
        self._failures.pop(group.name, None)

    def _launch_somewhere(self, group: EmulatedGroup, sizes: Counter[str], cause: str) -> EmulatedInstance | None:
        """Try the emptiest zone first, then the others, and every type of the group in each."""
        for zone in sorted(group.zones, key=lambda each: (sizes[each], each)):
            for instance_type in group.source.instance_types:
                outcome = self.lifecycle.launch(group, instance_type, zone, cause)
                if isinstance(outcome, EmulatedInstance):
                    return outcome
        return None

    def _shrink(self, group: EmulatedGroup, members: list[EmulatedInstance], surplus: int) -> None:
        cause = self._cause(group, len(members), "an instance was taken out of service", "shrinking")
        for victim in plan_victims(members, surplus):
            chosen = f"  At {iso(self._world.now)} instance {victim.instance_id} was selected for termination."
            self.lifecycle.terminate(victim.instance_id, cause + chosen)

    def _cause(self, group: EmulatedGroup, held: int, what: str, direction: str) -> str:
        why = "in response to a difference between desired and actual capacity"
        change = f"{direction} the capacity from {held} to {group.desired}"
        return f"{group.causes}  At {iso(self._world.now)} {what} {why}, {change}.".strip()

    def resize(self, name: str, *, minimum: int | None = None, desired: int | None = None, maximum: int | None = None) -> None:
        """UpdateAutoScalingGroup's part about size: new bounds pull desired along unless it is given."""
        group = self._world.group(name)
        low = group.minimum if minimum is None else minimum
        high = group.maximum if maximum is None else maximum
        check_bounds(low, high)
        wanted = min(max(group.desired, low), high) if desired is None else desired
        if desired is not None:
            check_desired(desired, low, high)
        self._world.change_group(name, minimum=low, maximum=high)
        self._write_desired(
            group,
            wanted,
            "a user request update of AutoScalingGroup constraints to min: "
            f"{low}, max: {high}, desired: {wanted} changing the desired capacity",
        )

    def set_desired(self, name: str, desired: int) -> None:
        """SetDesiredCapacity: an absolute write within the group's bounds. Raises AwsError outside them."""
        group = self._world.group(name)
        if desired > group.maximum:
            limit = f"above max value {group.maximum}"
        elif desired < group.minimum:
            limit = f"below min value {group.minimum}"
        else:
            how = "a user request explicitly set group desired capacity changing the desired capacity"
            self._write_desired(group, desired, how)
            return
        raise validation_error(f"New SetDesiredCapacity value {desired} is {limit} for the AutoScalingGroup.")

    def _write_desired(self, group: EmulatedGroup, desired: int, how: str) -> None:
        causes = group.causes
        if desired != group.desired:
            causes = f"At {iso(self._world.now)} {how} from {group.desired} to {desired}."
            self._failures.pop(group.name, None)
        self._world.change_group(group.name, desired=desired, causes=causes)
        self.settle_soon(group.name)

    def end_instance(self, instance_id: str, *, decrement: bool) -> str:
        """TerminateInstanceInAutoScalingGroup; the activity's id.

        Calling it again for an instance that is on its way out decrements again: seen in public reports of groups that
        dwindled to their minimum, so callers must not.
        """
        instance = self._world.managed(instance_id)
        group = self._world.group(instance.group)
        held = group.desired
        if decrement:
            self._check_decrement(group)
            group = self._world.change_group(group.name, desired=held - 1)
        change = f", shrinking the capacity from {held} to {group.desired}" if decrement else ""
        what = "instance was taken out of service in response to a user request"
        return self.lifecycle.terminate(instance_id, f"At {iso(self._world.now)} {what}{change}.")

    def end_instances(self, name: str, instance_ids: Iterable[str], *, decrement: bool) -> list[str]:
        """The same for many instances of one group, all or none; the activities' ids."""
        group = self._world.group(name)
        wanted = list(dict.fromkeys(instance_ids))
        for instance_id in wanted:
            if self._world.managed(instance_id).group != name:
                raise validation_error(f"Instance {instance_id} is not part of Auto Scaling group {name}.")
        if decrement:
            self._check_decrement(group, by=len(wanted))
        return [self.end_instance(each, decrement=decrement) for each in wanted]

    @staticmethod
    def _check_decrement(group: EmulatedGroup, by: int = 1) -> None:
        if group.desired - by >= group.minimum:
            return
        raise validation_error(
            f"Currently, desiredSize equals minSize ({group.minimum}). Terminating instance without replacement will "
            "violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower "
            "group's min size."
        )

    def launch_now(
        self, name: str, count: int, *, zones: Iterable[str], retry: bool
    ) -> tuple[list[EmulatedInstance], list[Refusal]]:
        """LaunchInstances: start `count` at once in these zones; desired grows by what was launched, or by all with
        `retry`, which leaves the rest to the group. Raises AwsError when the group has no room.
        """
        group = self._world.group(name)
        if group.desired + count > group.maximum:
            raise validation_error(
                f"Launching {count} instances would bring the desired capacity from {group.desired} above max value "
                f"{group.maximum} for the AutoScalingGroup."
            )
        cause = f"At {iso(self._world.now)} a user request launched {count} instances synchronously."
        spread = Counter(each.zone for each in self._world.members(name) if each.counts)
        launched: list[EmulatedInstance] = []
        refusals: list[Refusal] = []
        open_zones = list(zones)
        while open_zones and len(launched) < count:
            zone = min(open_zones, key=lambda each: (spread[each], each))
            outcome = self.lifecycle.launch(group, group.source.instance_types[0], zone, cause)
            if isinstance(outcome, Refusal):
                refusals.append(outcome)
                open_zones.remove(zone)
            else:
                launched.append(outcome)
                spread[zone] += 1
        self._world.change_group(name, desired=group.desired + (count if retry else len(launched)))
        self.settle_soon(name)
        return launched, refusals

    def delete(self, name: str, *, force: bool) -> None:
        """DeleteAutoScalingGroup: only an empty group goes at once; with force its instances are ended first."""
        group = self._world.group(name)
        members = list(self._world.members(name))
        if members and not force:
            message = "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s)"
            raise AwsError("ResourceInUse", f"{message} still in the group.")
        if not members:
            self.forget(name)
            return
        self._world.change_group(name, deleting=True, minimum=0, desired=0, hooks=(), suspended=frozenset())
        cause = f"At {iso(self._world.now)} a user request force deleted AutoScalingGroup {group.name}."
        for instance in members:
            self.lifecycle.terminate(instance.instance_id, cause)

    def forget(self, name: str) -> None:
        """Drop an empty group."""
        del self._world.groups[name]
        for activity in list(self._world.activities.values()):
            if activity.group == name:
                self._world.change_activity(activity.activity_id, group_deleted=True)


def check_bounds(minimum: int, maximum: int) -> None:
    """Raises AwsError unless 0 <= minimum <= maximum."""
    if minimum < 0 or maximum < 0:
        raise validation_error("Group size limits cannot be negative.")
    if minimum > maximum:
        raise validation_error("Max bound must be greater than or equal to min bound")


def check_desired(desired: int, minimum: int, maximum: int) -> None:
    """Raises AwsError unless desired lies within the bounds."""
    if not minimum <= desired <= maximum:
        raise validation_error(
            f"Desired capacity:{desired} must be between the specified min size:{minimum} and max size:{maximum}"
        )
