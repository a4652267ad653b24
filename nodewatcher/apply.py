"""Drains, looks again, ends. What nobody confirmed is left as it is for the next pass to read again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from daemons.errors import AwsRefused, AwsUnavailable
from daemons.lifecycle import Event, advance
from daemons.model import Hostname, Instance, State
from daemons.ports import EndOutcome, Groups, Rows
from nodewatcher.plan import Action, Ending, Verdict, plan_endings
from schedulers.base import NodeResult, Outcome, Scheduler

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What nodewatcher can change."""

    scheduler: Scheduler
    groups: Groups
    rows: Rows


async def apply_verdicts(verdicts: Sequence[Verdict], world: World, *, now: float) -> None:
    """Store clocks and states, take back drains, drain, look again, end. Raises what the scheduler or AWS raises."""
    await _record(verdicts, world, now=now)
    await _resume([verdict for verdict in verdicts if verdict.action is Action.RESUME], world, now=now)
    drained = await _drain([verdict for verdict in verdicts if verdict.action is Action.DRAIN], world, now=now)
    if drained:
        await _end(await _look_again(drained, world), world, now=now)


async def _record(verdicts: Sequence[Verdict], world: World, *, now: float) -> None:
    """Write the idle clocks that started or stopped, and the ends that others began."""
    changed = [
        replace(verdict.row, idle_since=verdict.idle_since)
        for verdict in verdicts
        if verdict.action is Action.KEEP and verdict.clock_changed
    ]
    changed += [advance(verdict.row, Event.ENDING, now=now) for verdict in verdicts if verdict.action is Action.LEAVE]
    if changed:
        await world.rows.put(changed)  # a stale row is planned anew in the next cycle


async def _drain(verdicts: Sequence[Verdict], world: World, *, now: float) -> tuple[Instance, ...]:
    """Record the intent, then drain: an interrupted pass finds the row and goes on. The rows that are draining now."""
    fresh = [
        replace(advance(verdict.row, Event.DRAINED, now=now), drain_reason=verdict.reason, idle_since=verdict.idle_since)
        for verdict in verdicts
        if verdict.row.state is State.REGISTERED
    ]
    written = await world.rows.put(fresh) if fresh else {}
    drained = [row for row in written.values() if row is not None]
    for row in drained:
        log.info("node.draining", instance_id=row.instance_id, hostname=row.hostname, fleet=row.fleet, because=row.drain_reason)
    return tuple(drained) + tuple(verdict.row for verdict in verdicts if verdict.row.state is State.DRAINING)


async def _look_again(drained: Sequence[Instance], world: World) -> tuple[Ending, ...]:
    by_reason: dict[str, list[Hostname]] = {}
    for row in drained:
        if row.hostname is not None:
            by_reason.setdefault(row.drain_reason or "idle", []).append(row.hostname)
    confirmed: dict[Hostname, NodeResult] = {}
    for reason, hostnames in by_reason.items():
        confirmed |= await world.scheduler.drain(hostnames, reason=reason)
    done = [hostname for hostname, result in confirmed.items() if result.outcome is Outcome.DONE]
    jobs = await world.scheduler.jobs_on(done) if done else {}
    return plan_endings(drained, confirmed, jobs)


async def _end(endings: Sequence[Ending], world: World, *, now: float) -> None:
    back = [ending for ending in endings if ending.resume]
    for ending in endings:
        if ending.end and not await _end_one(ending.row, world, now=now):
            back.append(replace(ending, end=False, resume=True, reason="the group is at its minimum"))
        elif not ending.end and not ending.resume:
            log.info("node.not_ended", instance_id=ending.row.instance_id, because=ending.reason)
    await _resume([Verdict(row=ending.row, action=Action.RESUME, reason=ending.reason) for ending in back], world, now=now)


async def _end_one(row: Instance, world: World, *, now: float) -> bool:
    """Ask for the end of this one instance. False: refused for good, so it has to come back. No answer leaves it draining."""
    try:
        outcome = await world.groups.end(row.instance_id)
        if outcome is EndOutcome.AT_MINIMUM and row.notice is not None:
            outcome = await world.groups.end(row.instance_id, relaunch=True)  # it goes anyway: another takes its place
    except AwsUnavailable as err:
        log.warning("node.end_unknown", instance_id=row.instance_id, **err.to_event())
        return True
    except AwsRefused as err:
        log.error("node.end_refused", instance_id=row.instance_id, **err.to_event())  # noqa: TRY400  an answer, not a crash
        return False
    if outcome is EndOutcome.AT_MINIMUM:
        return False
    await world.rows.put([advance(row, Event.ENDING, now=now)])
    log.info("node.ended", instance_id=row.instance_id, hostname=row.hostname, fleet=row.fleet, because=row.drain_reason)
    return True


async def _resume(verdicts: Iterable[Verdict], world: World, *, now: float) -> None:
    """Take our drains back. One that has become somebody else's stays theirs, and the row is no longer ours to drain either."""
    rows: Mapping[Hostname, Verdict] = {verdict.row.hostname: verdict for verdict in verdicts if verdict.row.hostname}
    if not rows:
        return
    results = await world.scheduler.resume(list(rows))
    settled = [
        rows[hostname]
        for hostname, result in results.items()
        if hostname in rows and result.outcome in (Outcome.DONE, Outcome.REFUSED, Outcome.ABSENT)
    ]
    await world.rows.put(
        [advance(verdict.row, Event.RESUMED, now=now) for verdict in settled if verdict.row.state is State.DRAINING]
    )
    for verdict in settled:
        log.info("node.resumed", instance_id=verdict.row.instance_id, hostname=verdict.row.hostname, because=verdict.reason)
