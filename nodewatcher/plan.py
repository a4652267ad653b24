"""Which nodes to give back, and why each of the others stays. Pure.

Two looks: `plan_nodes` names who may be drained; once the scheduler has confirmed that, and said again what runs there,
`plan_endings` names who ends. Nothing that was not said leads to an end: silence is not idleness.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from daemons.model import Fleet, Hostname, Instance, InstanceId, JobId, Node, State
from nodewatcher.observe import NodeSnapshot, Observation
from schedulers.base import NodeResult, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    idle_for_s: float  # how long a node must have been idle before it is given back
    max_ending_share: float  # the greatest part of a fleet that one pass may drain (at least one node)


class Action(StrEnum):
    KEEP = "keep"
    DRAIN = "drain"  # drain it now, then look again
    RESUME = "resume"  # take our drain back
    LEAVE = "leave"  # its end is under way already: record that


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do about one node, and the sentence that says why. `idle_since` is the idle clock to store."""

    row: Instance
    action: Action
    reason: str
    idle_since: float | None = None

    @property
    def clock_changed(self) -> bool:
        return self.idle_since != self.row.idle_since


def plan_nodes(seen: Observation, options: Options, *, needed: Collection[Hostname]) -> tuple[Verdict, ...]:
    """A verdict for each node. `needed` are the hostnames that pending demand is about to use.

    Nodes that have been idle longest go first, as far as the fleet's minimum and the pass's share allow.
    """
    verdicts = [_judge(snapshot, seen.now, options, needed) for snapshot in seen.snapshots]
    return tuple(_within_bounds(verdicts, seen, options))


def _judge(snapshot: NodeSnapshot, now: float, options: Options, needed: Collection[Hostname]) -> Verdict:
    """The verdict on one node by itself."""
    row, node, member = snapshot.row, snapshot.node, snapshot.member
    if row.state in (State.PENDING, State.READY, State.TERMINATING):
        return Verdict(row=row, action=Action.KEEP, reason=f"{row.state}: not ours to judge yet", idle_since=row.idle_since)
    if member is None:
        return _keep(row, "Auto Scaling has not mentioned it: its end is not ours to ask for")
    if member.is_leaving:
        return Verdict(row=row, action=Action.LEAVE, reason=f"Auto Scaling says {member.lifecycle}")
    if node is None:
        return _keep(row, "the scheduler has not mentioned it")
    if row.state is State.DRAINING:
        return _judge_draining(snapshot, node)
    if row.notice is not None and (node.is_usable or node.drained_by_us):
        return Verdict(row=row, action=Action.DRAIN, reason=f"AWS announced a {row.notice}", idle_since=row.idle_since)
    if node.drained_by_us:
        return Verdict(row=row, action=Action.RESUME, reason="drained by an interrupted pass that did not record it")
    if not node.is_usable:
        said = node.reason or ", ".join(sorted(node.states))
        return _keep(row, f"the scheduler says {said}: an administrator's or the scheduler's matter")
    if not node.is_idle:
        return _keep(row, f"busy: {_some(node.jobs) or 'reserved or completing'}")
    return _judge_idle(snapshot, node, now, options, needed)


def _judge_idle(snapshot: NodeSnapshot, node: Node, now: float, options: Options, needed: Collection[Hostname]) -> Verdict:
    """The verdict on a node that the scheduler says is up, with nothing there."""
    since = snapshot.row.idle_since if snapshot.row.idle_since is not None else now
    idle_s = max(0.0, now - since)
    action, reason = Action.KEEP, f"idle {idle_s:.0f} s of {options.idle_for_s:.0f} s"
    if snapshot.fleet.is_static:
        reason = "kept: the fleet is static"
    elif node.hostname in needed:
        reason = "kept: waiting jobs are about to use it"
    elif idle_s >= options.idle_for_s:
        action, reason = Action.DRAIN, f"idle for {idle_s:.0f} s"
    return Verdict(row=snapshot.row, action=action, reason=reason, idle_since=since)


def _judge_draining(snapshot: NodeSnapshot, node: Node) -> Verdict:
    """A drain that an earlier pass began: go on with it, unless work turned up or somebody else has taken it over."""
    row = snapshot.row
    if row.notice is not None:  # it goes whatever we do: nothing new may start there
        return Verdict(row=row, action=Action.DRAIN, reason=f"AWS announced a {row.notice}", idle_since=row.idle_since)
    if node.jobs:
        return Verdict(row=row, action=Action.RESUME, reason=f"work turned up: {_some(node.jobs)}")
    if snapshot.fleet.is_static:
        return Verdict(row=row, action=Action.RESUME, reason="the fleet is static")
    return Verdict(row=row, action=Action.DRAIN, reason=row.drain_reason or "draining", idle_since=row.idle_since)


def _keep(row: Instance, reason: str) -> Verdict:
    """Kept, and not idle as far as anybody knows: the clock begins anew."""
    return Verdict(row=row, action=Action.KEEP, reason=reason)


def _within_bounds(verdicts: Sequence[Verdict], seen: Observation, options: Options) -> Iterable[Verdict]:
    """The verdicts, with as many drains turned into keeps as the fleets' minimum and the pass's share ask for."""
    left = {fleet.name: _limit(fleet, options) for fleet in seen.fleets}
    outcome: dict[InstanceId, Verdict] = {}
    for verdict in sorted(verdicts, key=lambda verdict: _turn(verdict.row)):
        final = verdict
        if verdict.action is Action.DRAIN and verdict.row.notice is None:
            count, why = left[verdict.row.fleet]
            left[verdict.row.fleet] = (count - 1, why)
            if count <= 0:
                back = Action.RESUME if verdict.row.state is State.DRAINING else Action.KEEP
                final = replace(verdict, action=back, reason=f"kept: {why} ({verdict.reason})")
        outcome[verdict.row.instance_id] = final
    return [outcome[verdict.row.instance_id] for verdict in verdicts]


def _limit(fleet: Fleet, options: Options) -> tuple[int, str]:
    """How many nodes of the fleet this pass may drain, and what sets that limit."""
    above_minimum = max(0, fleet.desired - fleet.minimum)
    held = sum(not member.is_leaving for member in fleet.members)
    share = max(1, int(held * options.max_ending_share))
    if above_minimum <= share:
        return above_minimum, f"minimum {fleet.minimum}"
    return share, f"this pass may end {share} of {held} nodes"


def _turn(row: Instance) -> tuple[bool, float, str]:
    """Who goes first: drains under way, then the longest idle, then by id."""
    return row.state is not State.DRAINING, row.idle_since if row.idle_since is not None else float("inf"), row.instance_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The second look at one drained node: end it, or take the drain back; with neither, its fate waits for a clear word."""

    row: Instance
    end: bool = False
    resume: bool = False
    reason: str


def plan_endings(
    drained: Sequence[Instance], confirmed: Mapping[Hostname, NodeResult], jobs: Mapping[Hostname, frozenset[JobId]]
) -> tuple[Ending, ...]:
    """Who ends. A node ends only if the scheduler confirmed its drain and then named it with no job."""
    return tuple(_ending(row, confirmed, jobs) for row in drained if row.hostname is not None)


def _ending(row: Instance, confirmed: Mapping[Hostname, NodeResult], jobs: Mapping[Hostname, frozenset[JobId]]) -> Ending:
    hostname = row.hostname
    if hostname is None or hostname not in confirmed:
        return Ending(row=row, reason="the scheduler has not confirmed the drain")
    result = confirmed[hostname]
    if result.outcome is not Outcome.DONE:
        resume = result.outcome in (Outcome.REFUSED, Outcome.BUSY)
        return Ending(row=row, resume=resume, reason=f"drain {result.outcome}: {result.detail}")
    if hostname not in jobs:
        return Ending(row=row, reason="the scheduler has not said what runs there")
    if jobs[hostname] and row.notice is not None:
        return Ending(row=row, reason=f"its jobs may finish as long as it lasts: {_some(jobs[hostname])}")
    if jobs[hostname]:
        return Ending(row=row, resume=True, reason=f"work turned up: {_some(jobs[hostname])}")
    return Ending(row=row, end=True, reason=row.drain_reason)


def _some(jobs: Iterable[JobId], most: int = 3) -> str:
    """A few of the jobs, for a sentence."""
    names = sorted(jobs)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"job {', '.join(names[:most])}{rest}" if names else ""
