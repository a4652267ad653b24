"""From waiting work to capacity: one decision a fleet, with the arithmetic in its reason. Pure.

It raises fleets, and cancels capacity that was asked for, has not come and is of no use; it never ends an instance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from daemons.alarms import Alarm, keys_of
from daemons.config.values import BudgetConfig, JobwatcherConfig
from daemons.model import BlockedBy, FleetName, Hostname, JobDemand
from daemons.packing import Cap, Packing, PackOptions, Placement, pack
from jobwatcher.alarms import plan_alarms
from jobwatcher.budget import pack_within, room_left
from jobwatcher.learn import learn
from jobwatcher.memory import Ask, Asked, FleetMemory, Memory
from jobwatcher.observe import Observation
from jobwatcher.stance import Stance, open_zones, take_stances
from jobwatcher.surplus import idle_without_demand


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    jobwatcher: JobwatcherConfig
    budget: BudgetConfig


class Action(StrEnum):
    HOLD = "hold"
    RAISE = "raise"
    CANCEL = "cancel"  # lower the desired capacity by instances that have not been launched


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do about one fleet, and the numbers that it follows from."""

    fleet: FleetName
    action: Action
    target: int  # the desired capacity from now on
    desired: int  # what has been asked for so far
    maximum: int
    held: int  # instances that are there and stay
    coming: int  # nodes that take no jobs yet, and will
    wanted: int  # new nodes that waiting work would use
    zones: tuple[str, ...] = ()  # where to launch, best first
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What becomes of some waiting jobs of one shape: `live`, `coming` and `new` are jobs, and the `rest` waits for `why`."""

    jobs: tuple[str, ...]
    count: int
    live: int = 0
    coming: int = 0
    new: Mapping[FleetName, int] | None = None
    rest: int = 0
    why: str = ""

    @property
    def sentence(self) -> str:
        """Such as "2 on live nodes, 1 on new nodes of batch; 3 wait: needs 6 nodes; …"."""
        parts = [f"{self.live} on live nodes"] if self.live else []
        parts += [f"{self.coming} on nodes that are coming"] if self.coming else []
        parts += [f"{count} on new nodes of {fleet}" for fleet, count in (self.new or {}).items()]
        rest = f"{self.rest} wait: {self.why}" if self.rest else ""
        return "; ".join(filter(None, [", ".join(parts), rest]))


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPlan:
    decisions: tuple[Decision, ...]
    answers: tuple[Answer, ...]  # in the order in which the jobs get their turn; the blocked ones at the end
    used_hosts: frozenset[Hostname]  # live nodes that stand empty and that waiting jobs are about to use
    alarms: tuple[Alarm, ...]  # everything that is wrong now; `memory.standing` has the keys of those raised before
    unknown_reasons: tuple[str, ...]  # words of the scheduler that the plugin does not know
    memory: Memory


def plan_capacity(seen: Observation, memory: Memory, options: Options) -> CapacityPlan:
    """Raise each fleet by what waiting work needs beyond the free room of live nodes and of those that are coming.

    `memory` is what the last look left; the plan's own is what this one leaves, as if nothing of the plan were done yet:
    `noted` adds what was.
    """
    learnt = learn(seen, memory, options.jobwatcher)
    stances = take_stances(seen.fleets, learnt, seen.now)
    packing, is_over_budget = _pack(seen, stances, learnt, options)
    surplus = idle_without_demand(seen, stances, packing)
    fleets = [_after_use(learnt.of(stance.name), stance, packing, surplus[stance.name], seen.now) for stance in stances]
    learnt = replace(learnt, fleets=tuple(fleets))
    decisions = tuple(_decide(stance, packing, learnt, seen.now, options.jobwatcher) for stance in stances)
    targets = {decision.fleet: decision.target for decision in decisions}
    alarms = plan_alarms(stances, targets, surplus, learnt, seen.now, options.jobwatcher, options.budget, refused=is_over_budget)
    return CapacityPlan(
        decisions=decisions,
        answers=tuple(map(_answer, packing.placements)),
        used_hosts=packing.used_hosts,
        alarms=alarms,
        unknown_reasons=tuple(sorted({job.reason for job in seen.demand if job.blocked_by is BlockedBy.UNKNOWN})),
        memory=replace(learnt, standing=keys_of(alarms)),
    )


def noted(memory: Memory, decision: Decision, now: float) -> Memory:
    """The memory once a raise has been asked for."""
    ask = Ask(at=now, nodes=decision.target - decision.desired)
    return replace(
        memory,
        fleets=tuple(
            replace(one, asked=Asked(target=decision.target, at=now), asks=(*one.asks, ask))
            if one.fleet == decision.fleet
            else one
            for one in memory.fleets
        ),
    )


def _pack(seen: Observation, stances: Sequence[Stance], memory: Memory, options: Options) -> tuple[Packing, bool]:
    caps = {stance.name: stance.cap for stance in stances if stance.cap is not None}
    fleets = [stance.fleet for stance in stances]
    coming = {stance.name: stance.coming for stance in stances}
    chosen = PackOptions(expanders=options.jobwatcher.expanders)

    def pack_it(demand: Sequence[JobDemand], limits: Mapping[FleetName, Cap]) -> Packing:
        return pack(demand, live=seen.nodes, coming=coming, fleets=fleets, caps=limits, options=chosen)

    return pack_within(room_left(stances, options.budget, memory.ledger), seen.demand, caps, pack_it)


def _after_use(memory: FleetMemory, stance: Stance, packing: Packing, surplus: int, now: float) -> FleetMemory:
    """Since when there has been something that no job has a use for."""
    unneeded = memory.unneeded_since if memory.unneeded_since is not None else now
    idle = memory.surplus_since if memory.surplus_since is not None else now
    return replace(
        memory,
        unneeded_since=unneeded if _unneeded(stance, packing) else None,
        surplus_since=idle if surplus else None,
    )


def _unneeded(stance: Stance, packing: Packing) -> int:
    """How much of what has been asked for and has not come no job would use. Instances that boot already are used first."""
    if stance.fleet.is_static:
        return 0
    used = 0 if stance.is_stopped else max(0, packing.coming_used.get(stance.name, 0) - stance.booting)
    lowest = max(stance.held, stance.fleet.minimum)
    return max(0, min(stance.unfulfilled - used, stance.shown - lowest))


def _decide(stance: Stance, packing: Packing, memory: Memory, now: float, options: JobwatcherConfig) -> Decision:
    fleet, own = stance.fleet, memory.of(stance.name)
    wanted = packing.new_nodes.get(stance.name, 0)
    reason = _arithmetic(stance, wanted)
    action, target = Action.HOLD, fleet.desired
    if wanted and not fleet.is_static:
        more, limit = _paced(wanted, own, options)
        action, target = (Action.RAISE, fleet.desired + more) if more else (Action.HOLD, fleet.desired)
        reason += f"; {limit}" if limit else ""
    elif (unneeded := _unneeded(stance, packing)) and own.unneeded_since is not None:
        waited_s = now - own.unneeded_since
        if stance.is_stopped or waited_s >= options.cancel_after_s:
            action, target = Action.CANCEL, stance.shown - unneeded
            reason += f"; {unneeded} that have not come are of use to no job" if not stance.is_stopped else ""
    if stance.cap is not None:
        reason += f"; {stance.cap.sentence}"
    return Decision(
        fleet=stance.name,
        action=action,
        target=target,
        desired=fleet.desired,
        maximum=fleet.maximum,
        held=stance.held,
        coming=stance.coming,
        wanted=wanted,
        zones=open_zones(fleet, memory.setbacks, now) if action is Action.RAISE else (),
        reason=reason,
    )


def _arithmetic(stance: Stance, wanted: int) -> str:
    fleet = stance.fleet
    if fleet.is_static:
        return f"static at {fleet.minimum}: never scaled"
    parts = [
        f"{wanted} more for waiting jobs",
        f"desired {fleet.desired}: {stance.held} there, {stance.unfulfilled} not launched yet",
    ]
    parts += [f"{stance.booting} booting"] if stance.booting else []
    parts += [f"{stance.overdue} that never came up"] if stance.overdue else []
    return "; ".join([*parts, f"maximum {fleet.maximum}"])


def _paced(wanted: int, memory: FleetMemory, options: JobwatcherConfig) -> tuple[int, str]:
    """How many of the wanted nodes to ask for now, and what keeps it from more."""
    more, limit = wanted, ""
    if more > options.max_raise:
        more, limit = options.max_raise, f"one look asks for at most {options.max_raise}"
    if options.max_raise_per_minute:
        asked = sum(ask.nodes for ask in memory.asks)
        left = max(0, options.max_raise_per_minute - asked)
        if more > left:
            more, limit = left, f"{asked} of at most {options.max_raise_per_minute} have been asked for within a minute"
    return more, limit


def _answer(placement: Placement) -> Answer:
    return Answer(
        jobs=placement.demand.jobs,
        count=placement.demand.count,
        live=placement.live,
        coming=placement.coming,
        new=placement.new or None,
        rest=placement.rest,
        why=str(placement.why) if placement.why is not None else "",
    )
