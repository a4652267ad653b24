"""What to do about a batch of messages. Pure: values in, values out; the world is told only by `sqswatcher.apply`.

Messages are coalesced by instance id, the one identity there is, and put into the order of a life, because the queue keeps none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from daemons.lifecycle import Event, advance, begin, enter
from daemons.model import FleetName, FleetSpec, Hostname, Instance, InstanceId, JobId, NodeSpec, Notice, State
from daemons.ports import Received


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What one message says of one instance."""

    instance_id: InstanceId
    event: Event | None  # None: it only records a notice
    group: str = ""  # the Auto Scaling group the message names, "" where it names none
    hostname: Hostname | None = None
    instance_type: str = ""
    launch_hook: str = ""
    terminate_hook: str = ""
    passing_hook: str = ""  # a hook on the way into or out of a warm pool: it is answered, and nothing else is done
    notice: Notice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A received message and what it says. One that says nothing to act on has no happenings and a reason to be dropped."""

    received: Received
    happenings: tuple[Happening, ...] = ()
    dropped_because: str = ""
    launch_failed: bool = False  # not membership's matter, and jobwatcher's to look at
    malformed: bool = False  # left to the queue's redrive policy, which puts it into the dead-letter queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything `plan_batch` looks at."""

    now: float
    deliveries: tuple[Delivery, ...]
    rows: Mapping[InstanceId, Instance]  # of every id that the batch names, and of the holders of hostnames it brings
    fleet_of: Mapping[InstanceId, FleetName]  # Auto Scaling's word for instances that no row vouches for, and for holders
    addresses: Mapping[InstanceId, str]  # EC2's word for the instances that are ready
    holders: Mapping[Hostname, InstanceId]  # which live row has each hostname
    jobs: Mapping[Hostname, frozenset[JobId]]  # what runs on the nodes that a terminating hook holds
    terminate_grace_s: float  # how long such a hook is held for those jobs


class Effect(StrEnum):
    REGISTER = "register"
    DEREGISTER = "deregister"
    LINGER = "linger"  # drain it, and keep its terminating hook waiting: jobs are about to finish there
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done for one instance, in this order: `before` is written, the effect done, `after` written, hooks answered,
    and only then the messages deleted.
    """

    instance_id: InstanceId
    fleet: FleetName
    effect: Effect = Effect.NONE
    before: Instance | None = None  # a row to write before the effect; None: nothing new to write
    after: Instance | None = None  # the state to enter once the effect is done
    messages: tuple[Received, ...] = ()
    hooks: tuple[str, ...] = ()  # lifecycle hooks to answer with CONTINUE
    because: str = ""

    @property
    def message_ids(self) -> list[str]:
        """What has led to it: the cause that every line about it names."""
        return [message.message_id for message in self.messages]

    @property
    def lasts(self) -> bool:
        """Is `after` another row than `before`?"""
        return self.effect is not Effect.LINGER


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    steps: tuple[Step, ...] = ()
    drop: tuple[tuple[Received, str], ...] = ()  # messages that mean nothing to us, and why
    postpone: tuple[tuple[Received, str], ...] = ()  # messages that cannot be acted on yet, and why


def plan_batch(seen: Observation, fleets: Mapping[FleetName, FleetSpec]) -> Plan:
    """One step for each instance that the batch names; every message is in exactly one of the plan's three parts, unless it
    names several instances, in which case it goes with each of them.
    """
    groups = {spec.group: spec.name for spec in fleets.values()}
    drop: list[tuple[Received, str]] = []
    postpone: list[tuple[Received, str]] = []
    said: dict[InstanceId, list[tuple[Happening, Received]]] = {}
    for delivery in seen.deliveries:
        if delivery.malformed:
            postpone.append((delivery.received, delivery.dropped_because))
        elif not delivery.happenings:
            drop.append((delivery.received, delivery.dropped_because))
        for happening in delivery.happenings:
            said.setdefault(happening.instance_id, []).append((happening, delivery.received))
    steps: list[Step] = []
    for instance_id, words in said.items():
        outcome = _plan_instance(instance_id, [word for word, _ in words], seen, groups)
        messages = _unique(received for _, received in words)
        match outcome:
            case _Drop(reason):
                drop += [(received, reason) for received in messages]
            case _Postpone(reason):
                postpone += [(received, reason) for received in messages]
            case Step():
                steps.append(replace(outcome, messages=messages))
    return _settle_hostnames(Plan(steps=tuple(steps), drop=tuple(drop), postpone=tuple(postpone)), seen)


@dataclass(frozen=True, slots=True)
class _Drop:
    reason: str


@dataclass(frozen=True, slots=True)
class _Postpone:
    reason: str


def _plan_instance(
    instance_id: InstanceId, words: list[Happening], seen: Observation, groups: Mapping[str, FleetName]
) -> Step | _Drop | _Postpone:
    passing = [word for word in words if word.passing_hook]
    if not passing:
        return _plan_life(instance_id, words, seen, groups)
    others = [word for word in words if not word.passing_hook]
    hooks = tuple(dict.fromkeys(word.passing_hook for word in passing))
    outcome = _plan_life(instance_id, others, seen, groups) if others else None
    if isinstance(outcome, Step):
        return replace(outcome, hooks=outcome.hooks + hooks)
    fleet = groups.get(passing[0].group)
    if fleet is None:
        return _Drop("stranger: a hook of a group that is none of ours")
    return Step(instance_id=instance_id, fleet=fleet, hooks=hooks, because="on its way into or out of a warm pool")


def _plan_life(
    instance_id: InstanceId, words: list[Happening], seen: Observation, groups: Mapping[str, FleetName]
) -> Step | _Drop | _Postpone:
    stored = seen.rows.get(instance_id)
    fleet = _fleet(instance_id, words, stored, seen, groups)
    if fleet is None:
        return _Drop("stranger: the instance is in none of our groups")
    row = _fold(instance_id, fleet, stored, words, seen.now)
    if row is None:
        return _Drop("nothing is known of the instance, and this begins no life")
    row = _with_details(row, words, fleet, seen.now)
    match row.state:
        case State.READY:
            return _plan_registration(row, seen)
        case State.GONE | State.TERMINATING if _must_leave(row, stored):
            return _leave(row, stored, seen)
    hooks = _hooks(row.launch_hook) if row.state in (State.REGISTERED, State.DRAINING) else _hooks(row.terminate_hook)
    if row.state is State.PENDING:
        hooks = ()
    before = row if row != stored else None
    return Step(instance_id=instance_id, fleet=fleet, before=before, hooks=hooks, because=f"{row.state}")


def _fleet(
    instance_id: InstanceId,
    words: Sequence[Happening],
    stored: Instance | None,
    seen: Observation,
    groups: Mapping[str, FleetName],
) -> FleetName | None:
    """The fleet an instance is in. A row vouches for its instance; for one without, Auto Scaling does, except that its end may be
    believed from the message itself: an instance that has ended is in no group any more, and a tombstone lets nobody in.
    """
    if stored is not None and stored.fleet:
        return stored.fleet
    if instance_id in seen.fleet_of:
        return seen.fleet_of[instance_id]
    ended = [word for word in words if word.event in (Event.ENDED, Event.ENDING)]
    named = (groups[word.group] for word in ended if word.group in groups)
    return next(named, stored.fleet if stored and ended else None)


def _fold(
    instance_id: InstanceId, fleet: FleetName, stored: Instance | None, words: Sequence[Happening], now: float
) -> Instance | None:
    row = stored
    order = {event: place for place, event in enumerate(Event)}
    for event in sorted((word.event for word in words if word.event), key=order.__getitem__):
        row = begin(instance_id, fleet, event, now=now) if row is None else advance(row, event, now=now)
    return row


def _with_details(row: Instance, words: Sequence[Happening], fleet: FleetName, now: float) -> Instance:
    """What the messages tell besides the state. Facts about a node are taken only while it is becoming one."""
    row = replace(row, fleet=fleet)
    for word in words:
        if word.event is Event.READY and row.state is State.READY:
            row = replace(row, hostname=word.hostname, instance_type=word.instance_type)
        if word.launch_hook:
            row = replace(row, launch_hook=word.launch_hook)
        if word.terminate_hook:
            row = replace(row, terminate_hook=word.terminate_hook)
        if word.notice and row.is_live and row.notice is not Notice.SPOT_INTERRUPTION and word.notice is not row.notice:
            row = replace(row, notice=word.notice, notice_at=now)
    return row


def _plan_registration(row: Instance, seen: Observation) -> Step | _Postpone:
    if row.hostname is None:
        return _Postpone("the node has not said its host name yet")
    address = seen.addresses.get(row.instance_id, "")
    if not address:
        return _Postpone("EC2 does not tell the instance's address yet")
    row = replace(row, address=address)
    return Step(
        instance_id=row.instance_id,
        fleet=row.fleet,
        effect=Effect.REGISTER,
        before=row,  # written even if it is as stored: whoever has moved the row meanwhile is noticed before jobs can start there
        after=enter(row, State.REGISTERED, now=seen.now),
        hooks=_hooks(row.launch_hook),
        because="ready",
    )


def _must_leave(row: Instance, stored: Instance | None) -> bool:
    """Is there still something to undo? A terminating hook waits for it; a notification says that it is time."""
    already_gone = stored is not None and stored.state is State.GONE
    return not already_gone and (row.state is State.GONE or bool(row.terminate_hook))


def _leave(row: Instance, stored: Instance | None, seen: Observation) -> Step:
    """Undo the membership, then the tombstone. A hostname that another instance has taken meanwhile is that one's."""
    hostname = stored.hostname if stored is not None else None
    if row.state is State.TERMINATING and hostname is not None and _may_linger(row, seen.jobs.get(hostname), seen):
        return Step(
            instance_id=row.instance_id,
            fleet=row.fleet,
            effect=Effect.LINGER,
            before=row if row != stored else None,
            after=row,
            hooks=_hooks(row.terminate_hook),
            because="its jobs may finish first",
        )
    ours = hostname is not None and seen.holders.get(hostname, row.instance_id) == row.instance_id
    return Step(
        instance_id=row.instance_id,
        fleet=row.fleet,
        effect=Effect.DEREGISTER if ours else Effect.NONE,
        after=row if row.state is State.GONE else enter(row, State.GONE, now=seen.now),
        hooks=_hooks(row.terminate_hook),
        because="ended",
    )


def _may_linger(row: Instance, jobs: frozenset[JobId] | None, seen: Observation) -> bool:
    since = row.terminating_at if row.terminating_at is not None else seen.now
    return bool(jobs) and seen.now - since < seen.terminate_grace_s


def _settle_hostnames(plan: Plan, seen: Observation) -> Plan:
    """A hostname has one holder at a time. A node that brings one which another live row still has takes it over if that row's
    instance is in no group any more (its notification is late or lost), and waits otherwise.
    """
    leaving = {step.instance_id for step in plan.steps if step.after and step.after.state is State.GONE}
    planned = {step.instance_id for step in plan.steps}  # whose own messages are in this batch: the next one settles it
    steps: list[Step] = []
    postpone = list(plan.postpone)
    taken: dict[Hostname, InstanceId] = {}
    for step in plan.steps:
        hostname = step.after.hostname if step.effect is Effect.REGISTER and step.after else None
        if hostname is None:
            steps.append(step)
            continue
        holder = taken.get(hostname) or seen.holders.get(hostname, step.instance_id)
        evict = holder not in leaving and holder != step.instance_id
        if evict and (holder in seen.fleet_of or holder not in seen.rows or holder in planned):
            postpone += [(received, f"host name {hostname} is held by {holder}") for received in step.messages]
            continue
        if evict:
            steps.append(_evict(seen.rows[holder], seen.now))
            leaving.add(holder)
        taken[hostname] = step.instance_id
        steps.append(step)
    return replace(plan, steps=tuple(steps), postpone=tuple(postpone))


def _evict(row: Instance, now: float) -> Step:
    return Step(
        instance_id=row.instance_id,
        fleet=row.fleet,
        effect=Effect.DEREGISTER,
        after=enter(row, State.GONE, now=now),
        because="its host name is another instance's now, and no group holds it",
    )


def node_spec(row: Instance, spec: FleetSpec) -> NodeSpec:
    """What the scheduler is told of a row that has a hostname and an address: the shape is the fleet's, never the message's."""
    if row.hostname is None:
        raise ValueError(f"row {row.instance_id} has no host name")
    return NodeSpec(
        instance_id=row.instance_id,
        hostname=row.hostname,
        address=row.address,
        fleet=spec.name,
        shape=spec.shape,
        partition=spec.partition,
        features=spec.features,
    )


def _hooks(name: str) -> tuple[str, ...]:
    return (name,) if name else ()


def _unique(messages: Iterable[Received]) -> tuple[Received, ...]:
    return tuple({received.message_id: received for received in messages}.values())
