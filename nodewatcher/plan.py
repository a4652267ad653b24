"""Which nodes to give back or to replace, and why each of the others stays. Pure.

Two looks: `plan_nodes` names who may be drained; once the scheduler has confirmed that, and said again what runs there,
`plan_endings` names who ends.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from daemons.alarms import Alarm, keys_of
from daemons.config.values import NodewatcherConfig
from daemons.model import BlockedBy, FleetName, Hostname, InstanceId, JobId, State
from nodewatcher.bounds import within_bounds
from nodewatcher.judge import Bench, Cause, Verdict, judge, some_jobs
from nodewatcher.memory import Memory, Since
from nodewatcher.needed import needed_hostnames
from nodewatcher.observe import NodeSnapshot, Observation
from schedulers.base import NodeResult, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """`verdicts` has one for each snapshot, in their order; `memory` is what this look leaves."""

    verdicts: tuple[Verdict, ...]
    alarms: tuple[Alarm, ...]
    memory: Memory


def plan_nodes(seen: Observation, memory: Memory, options: NodewatcherConfig) -> NodePlan:
    """A verdict for each node: what becomes of it, and the sentence that says why."""
    down = _since(memory.down, (one for one in seen.snapshots if one.is_down), seen)
    booting = _booting(memory, seen)
    bench = Bench(
        now=seen.now,
        unobserved_s=seen.unobserved_s,
        options=options,
        fleets={fleet.name: fleet for fleet in seen.fleets},
        known={node.hostname for node in seen.nodes},
        needed=needed_hostnames(seen),
        in_demand=_in_demand(seen),
        down_since=down,
        booting_since=booting,
    )
    alone = [judge(snapshot, bench) for snapshot in seen.snapshots]
    verdicts, alarms = within_bounds(alone, seen.snapshots, seen.fleets, seen.now, options)
    learnt = Memory(looked_at=seen.now, down=_kept(down), booting=_kept(booting), standing=keys_of(alarms))
    return NodePlan(verdicts=tuple(verdicts), alarms=tuple(alarms), memory=learnt)


def unobserved_s(now: float, looked_at: float | None, *, awake_s: float | None, longest_s: float, interval_s: float) -> float:
    """How much of the time since the last look nobody can speak for. Negative if the clock was set back.

    `awake_s` is what a clock that sleeps with the machine and cannot be set says has passed, None if this process has not looked
    before. A look that is more than `longest_s` late counts as one after `interval_s`.
    """
    if looked_at is None:
        return 0.0
    passed_s = now - looked_at
    seen_s = awake_s if awake_s is not None else max(0.0, passed_s)
    counted_s = seen_s if seen_s <= longest_s else interval_s
    lost_s = passed_s - counted_s
    return lost_s if abs(lost_s) > 1.0 else 0.0


def _since(before: Iterable[Since], now_so: Iterable[NodeSnapshot], seen: Observation) -> Mapping[InstanceId, float]:
    """Since when it has been so of each of these."""
    known = {one.instance_id: min(seen.now, one.at + seen.unobserved_s) for one in before}
    return {one.row.instance_id: known.get(one.row.instance_id, seen.now) for one in now_so}


def _booting(memory: Memory, seen: Observation) -> Mapping[InstanceId, float]:
    """Since when each instance that takes no jobs yet has been waited for: since its launch, where its row tells."""
    waiting = [
        one
        for one in seen.snapshots
        if one.row.state in (State.PENDING, State.READY)
        or (one.row.state is State.REGISTERED and one.node is not None and one.node.is_awaited)
    ]
    found = dict(_since(memory.booting, waiting, seen))
    known = {one.instance_id for one in memory.booting}
    for one in waiting:
        row = one.row
        if row.instance_id not in known and row.state is not State.REGISTERED and row.pending_at is not None:
            found[row.instance_id] = min(seen.now, row.pending_at)
    return found


def _kept(since: Mapping[InstanceId, float]) -> tuple[Since, ...]:
    return tuple(Since(instance_id=one, at=since[one]) for one in sorted(since))


def _in_demand(seen: Observation) -> frozenset[FleetName]:
    """The fleets in whose partition a job waits that nothing but room keeps from starting."""
    waiting = [job for job in seen.demand if job.blocked_by is BlockedBy.NOTHING]
    wanted = frozenset[str]().union(*(job.partitions for job in waiting))
    anywhere = any(not job.partitions for job in waiting)
    return frozenset(fleet.name for fleet in seen.fleets if anywhere or fleet.spec.partition in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The second look at one drained node: end it, or take the drain back; with neither, its fate waits for a clear word."""

    verdict: Verdict
    end: bool = False
    resume: bool = False
    reason: str


def plan_endings(
    drained: Sequence[Verdict],
    confirmed: Mapping[Hostname, NodeResult],
    jobs: Mapping[Hostname, frozenset[JobId]],
    kept_by: Mapping[InstanceId, str],
    moved: Collection[InstanceId] = (),
) -> tuple[Ending, ...]:
    """Who ends. A node ends only if the scheduler confirmed its drain and then named it with no job.

    The verdicts' rows are the drained ones; `kept_by` says of a node why its newest metrics, or a job that waits for this very
    node, keep it. `moved` are those whose rows others have written since: a hold, a notice, an end. They are judged anew.
    """
    return tuple(
        Ending(verdict=one, reason="its row has changed meanwhile")
        if one.row.instance_id in moved
        else _ending(one, confirmed, jobs, kept_by)
        for one in drained
        if one.row.hostname is not None
    )


def _ending(
    verdict: Verdict,
    confirmed: Mapping[Hostname, NodeResult],
    jobs: Mapping[Hostname, frozenset[JobId]],
    kept_by: Mapping[InstanceId, str],
) -> Ending:
    row, hostname = verdict.row, verdict.row.hostname
    if hostname is None or hostname not in confirmed:
        return Ending(verdict=verdict, reason="the scheduler has not confirmed the drain")
    result = confirmed[hostname]
    if result.outcome is not Outcome.DONE:
        resume = result.outcome in (Outcome.REFUSED, Outcome.BUSY)
        return Ending(verdict=verdict, resume=resume, reason=f"drain {result.outcome}: {result.detail}")
    if hostname not in jobs:
        return Ending(verdict=verdict, reason="the scheduler has not said what runs there")
    if jobs[hostname] and verdict.cause is Cause.NOTICE:
        return Ending(verdict=verdict, reason=f"its jobs may finish as long as it lasts: {some_jobs(jobs[hostname])}")
    if jobs[hostname] and verdict.requeue:
        return Ending(verdict=verdict, reason=f"the scheduler does not let go of {some_jobs(jobs[hostname])}")
    if jobs[hostname]:
        return Ending(verdict=verdict, resume=True, reason=f"work turned up: {some_jobs(jobs[hostname])}")
    if verdict.cause is Cause.IDLE and (because := kept_by.get(row.instance_id)):
        return Ending(verdict=verdict, resume=True, reason=because)
    return Ending(verdict=verdict, end=True, reason=row.drain_reason)
