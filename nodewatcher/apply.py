"""Drains, looks again, ends. What nobody confirmed is left as it is for the next pass to read again."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from daemons.config.values import NodewatcherConfig
from daemons.errors import AwsRefused, AwsUnavailable, HeadnodeError
from daemons.lifecycle import Event, advance
from daemons.meter import note
from daemons.metrics import Reading
from daemons.model import Hostname, Instance, InstanceId, NodeState, State
from daemons.ports import Checks, EndOutcome, Groups, Rows
from nodewatcher.judge import Action, Cause, Verdict, busy_by_metrics, some_jobs
from nodewatcher.needed import named_hostnames
from nodewatcher.observe import NodeSnapshot
from nodewatcher.plan import Ending, plan_endings
from schedulers.base import NodeResult, Outcome, Scheduler

log = structlog.get_logger()

LOOK_LASTS_S = 10.0  # from its beginning: a node may be ended on a look that old; a pass with many ends looks again in between

Readings = Callable[[], Mapping[InstanceId, Reading]]
Looked = Callable[[Collection[InstanceId]], Awaitable[None]]


def no_readings() -> Mapping[InstanceId, Reading]:
    """Of a cluster whose nodes tell nothing of themselves."""
    return {}


async def tell_nobody(_: Collection[InstanceId]) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What nodewatcher can ask and change. `readings` is the newest word of each node; `looked` is told after each look which
    instances are live.
    """

    scheduler: Scheduler
    groups: Groups
    rows: Rows
    checks: Checks
    readings: Readings = field(default=no_readings)
    looked: Looked = field(default=tell_nobody)


async def store_clocks(verdicts: Sequence[Verdict], world: World, *, now: float) -> bool:
    """Write the idle clocks that started, stopped or were put right, and the ends that others began. False: the rows of some have
    changed meanwhile, and their clocks are as they were.
    """
    changed = [
        replace(verdict.row, idle_since=verdict.idle_since)
        for verdict in verdicts
        if verdict.action is Action.KEEP and verdict.clock_changed
    ]
    changed += [advance(verdict.row, Event.ENDING, now=now) for verdict in verdicts if verdict.action is Action.LEAVE]
    written = await world.rows.put(changed) if changed else {}
    return all(written.get(row.instance_id) is not None for row in changed)


async def apply_verdicts(
    verdicts: Sequence[Verdict], world: World, *, now: float, options: NodewatcherConfig, clock: Callable[[], float]
) -> None:
    """Take back drains, drain, look again, end. `now` is the time of the verdicts, `clock` tells how late it has become since.
    Raises what the scheduler or AWS raises.
    """
    await _resume([verdict for verdict in verdicts if verdict.action is Action.RESUME], world, now=now)
    await _end_unused([verdict for verdict in verdicts if verdict.action is Action.END], world, now=now)
    left = await _drain([verdict for verdict in verdicts if verdict.action is Action.DRAIN], world, now=now)
    while left:
        began = clock()
        endings = await _look_again(left, world, options=options, clock=clock)
        done = await _end(endings, world, now=now, in_time=partial(_is_fresh, began, clock))
        left = tuple(ending.verdict for ending in endings[done:])


def _is_fresh(began: float, clock: Callable[[], float]) -> bool:
    """Of a look that began then: its first answer is as old. A clock that was set back meanwhile tells nothing of its age."""
    return 0 <= clock() - began < LOOK_LASTS_S


async def _end_unused(verdicts: Sequence[Verdict], world: World, *, now: float) -> None:
    """End instances that take no jobs. Their rows are moved first: one whose row is stale, as the node has just joined, stays."""
    if not verdicts:
        return
    written = await world.rows.put([_moved_to_its_end(verdict.row, now=now) for verdict in verdicts])
    moved = []
    for verdict in verdicts:
        row = written.get(verdict.row.instance_id)
        if row is None:
            continue
        if verdict.row.state is not State.TERMINATING:
            log.warning("node.never_came_up", instance_id=row.instance_id, fleet=row.fleet, console=await _console(row, world))
        moved.append(replace(verdict, row=row))
    for verdict in await _without_jobs(moved, world):
        await _ask_for_end(verdict.row, world, because=verdict.reason, relaunch=False)


def _moved_to_its_end(row: Instance, *, now: float) -> Instance:
    return replace(row, terminating_at=now) if row.state is State.TERMINATING else advance(row, Event.ENDING, now=now)


async def _without_jobs(moved: Sequence[Verdict], world: World) -> Sequence[Verdict]:
    """Those that the scheduler does not know. One that was made known to it since the rows were read is drained, and goes now if
    nothing runs there; otherwise its end is asked for again later.
    """
    known = {node.hostname for node in await world.scheduler.nodes()} if moved else set[Hostname]()
    there = [verdict.row.hostname for verdict in moved if verdict.row.hostname is not None and verdict.row.hostname in known]
    if not there:
        return moved
    confirmed = await world.scheduler.drain(there, reason="its instance is ending")
    done = [hostname for hostname in there if hostname in confirmed and confirmed[hostname].outcome is Outcome.DONE]
    jobs = await world.scheduler.jobs_on(done) if done else {}
    empty = {hostname for hostname in done if hostname in jobs and not jobs[hostname]}
    return [verdict for verdict in moved if verdict.row.hostname not in known or verdict.row.hostname in empty]


async def _console(row: Instance, world: World) -> str:
    """What the instance said last, for whoever looks for the cause. Not worth failing for."""
    try:
        return await world.checks.console_tail(row.instance_id)
    except HeadnodeError as err:
        return f"(not readable: {err})"


async def _drain(verdicts: Sequence[Verdict], world: World, *, now: float) -> tuple[Verdict, ...]:
    """Record the intent, then drain: an interrupted pass finds the row and goes on. The verdicts with their draining rows."""
    fresh = {
        verdict.row.instance_id: replace(
            advance(verdict.row, Event.DRAINED, now=now), drain_reason=verdict.reason, idle_since=verdict.idle_since
        )
        for verdict in verdicts
        if verdict.row.state is State.REGISTERED
    }
    written = await world.rows.put(list(fresh.values())) if fresh else {}
    drained = []
    for verdict in verdicts:
        if verdict.row.state is State.DRAINING:
            drained.append(verdict)
        elif (row := written.get(verdict.row.instance_id)) is not None:
            drained.append(replace(verdict, row=row))
            log.info(
                "node.draining", instance_id=row.instance_id, hostname=row.hostname, fleet=row.fleet, because=row.drain_reason
            )
    return tuple(drained)


async def _look_again(
    drained: Sequence[Verdict], world: World, *, options: NodewatcherConfig, clock: Callable[[], float]
) -> tuple[Ending, ...]:
    by_reason: dict[str, list[Hostname]] = {}
    for verdict in drained:
        if verdict.row.hostname is not None:
            by_reason.setdefault(verdict.row.drain_reason or "idle", []).append(verdict.row.hostname)
    confirmed: dict[Hostname, NodeResult] = {}
    for reason, hostnames in by_reason.items():
        confirmed |= await world.scheduler.drain(hostnames, reason=reason)
    done = [hostname for hostname, result in confirmed.items() if result.outcome is Outcome.DONE]
    drained = await _requeue_lost(drained, done, world)
    named = named_hostnames(await world.scheduler.demand()) if done else frozenset()
    jobs = await world.scheduler.jobs_on(done) if done else {}
    readings = world.readings()
    stored = await world.rows.get([verdict.row.instance_id for verdict in drained])
    kept_by, moved = {}, set()
    for verdict in drained:
        row = verdict.row
        because = busy_by_metrics(NodeSnapshot(row=row, reading=readings.get(row.instance_id)), clock(), options)
        if because := because or ("a waiting job names it" if row.hostname in named else ""):
            kept_by[row.instance_id] = because
        if (current := stored.get(row.instance_id)) is None or current.version != row.version:
            moved.add(row.instance_id)
    return plan_endings(drained, confirmed, jobs, kept_by, moved)


async def _requeue_lost(drained: Sequence[Verdict], done: Collection[Hostname], world: World) -> Sequence[Verdict]:
    """Have the jobs of lost nodes wait again. One that is up again by the scheduler's newest word is not lost: it keeps them."""
    lost = {verdict.row.hostname for verdict in drained if verdict.requeue and verdict.row.hostname in done}
    if not lost:
        return drained
    nodes = await world.scheduler.nodes()
    down = {
        node.hostname: node for node in nodes if node.hostname in lost and NodeState.DOWN in node.states and node.drained_by_us
    }
    if down:
        results = await world.scheduler.requeue(list(down))
        for hostname, node in down.items():
            outcome = results[hostname].outcome if hostname in results else Outcome.UNKNOWN
            log.warning("node.jobs_requeued", hostname=hostname, jobs=some_jobs(node.jobs), outcome=outcome)
    return [replace(verdict, requeue=False) if verdict.row.hostname in lost - down.keys() else verdict for verdict in drained]


async def _end(endings: Sequence[Ending], world: World, *, now: float, in_time: Callable[[], bool]) -> int:
    """Do what the second look says, of as many as it is `in_time` for and at least one. How many that were."""
    back = []
    done = 0
    for ending in endings:
        if done and not in_time():
            break
        done += 1
        if ending.resume:
            back.append(ending)
        elif ending.end and not await _end_one(ending.verdict, world, now=now):
            back.append(replace(ending, end=False, resume=True, reason="its end was refused, or the group is at its minimum"))
        elif not ending.end:
            log.info("node.not_ended", instance_id=ending.verdict.row.instance_id, because=ending.reason)
    resumed = [replace(ending.verdict, action=Action.RESUME, reason=ending.reason) for ending in back]
    await _resume(resumed, world, now=now)
    return done


async def _end_one(verdict: Verdict, world: World, *, now: float) -> bool:
    """Ask for the end of this one instance. False: refused for good, so it has to come back. No answer leaves it draining."""
    row = verdict.row
    goes_anyway = verdict.cause in (Cause.NOTICE, Cause.HEALTH)
    try:
        outcome = await world.groups.end(row.instance_id, relaunch=verdict.relaunch)
        if outcome is EndOutcome.AT_MINIMUM and goes_anyway:
            outcome = await world.groups.end(row.instance_id, relaunch=True)  # another takes its place
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
    note("Ended", fleet=row.fleet)
    return True


async def _ask_for_end(row: Instance, world: World, *, because: str, relaunch: bool) -> None:
    """The end of an instance that nothing can be running on. What is refused or unanswered is asked for again later."""
    try:
        if await world.groups.end(row.instance_id, relaunch=relaunch) is EndOutcome.AT_MINIMUM:
            await world.groups.end(row.instance_id, relaunch=True)
    except (AwsUnavailable, AwsRefused) as err:
        log.warning("node.end_unknown", instance_id=row.instance_id, **err.to_event())
    else:
        log.info("node.ended", instance_id=row.instance_id, hostname=row.hostname, fleet=row.fleet, because=because)
        note("Ended", fleet=row.fleet)


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
