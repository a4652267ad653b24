"""When the next whole look has to be, if nothing stirs before. Pure."""

from collections.abc import Iterable, Iterator, Mapping

from daemons.config.values import NodewatcherConfig
from daemons.metrics import Reading
from daemons.model import Instance, InstanceId, State
from nodewatcher.judge import Action, Cause, Verdict
from nodewatcher.observe import NodeSnapshot, Observation
from nodewatcher.plan import NodePlan

SHARE_OF_IDLE = 0.1  # of `idle_for_s`: how late a node may be seen to have become idle, or to have been busy in between


def longest_rest_s(options: NodewatcherConfig) -> float:
    """Less where nodes are given back soon after they have become idle."""
    return min(options.rest_s, options.idle_for_s * SHARE_OF_IDLE)


def next_look_at(seen: Observation, plan: NodePlan, options: NodewatcherConfig) -> float:
    """Until when each node stays as it is, whatever the time, if nobody says anything new of it. `seen.now`: look again at once.

    Never more than `longest_rest_s` away.
    """
    if seen.unobserved_s or any(map(_is_in_motion, seen.snapshots, plan.verdicts)):
        return seen.now
    booting = {one.instance_id: one.at for one in plan.memory.booting}
    timeouts = {fleet.name: fleet.spec.boot_timeout_s for fleet in seen.fleets}
    due = [seen.now + longest_rest_s(options)]
    for verdict in plan.verdicts:
        row = verdict.row
        if row.instance_id in booting:
            due.append(booting[row.instance_id] + timeouts[row.fleet])
        due += _ends_of_waits(verdict, seen.now, options)
    return max(seen.now, min(due))


def signs_of(rows: Iterable[Instance], readings: Mapping[InstanceId, Reading]) -> tuple[frozenset[object], frozenset[object]]:
    """What would show that something has stirred: rows that are not settled, and nodes that say that they are about to go."""
    return (
        frozenset((row.instance_id, row.version) for row in rows),
        frozenset(
            node for node, reading in readings.items() if reading.gone or reading.host.spot_action or reading.host.rebalance
        ),
    )


def _is_in_motion(snapshot: NodeSnapshot, verdict: Verdict) -> bool:
    """Is anything being done about it, or would anything be as soon as its scheduler's word is another? A node that AWS has
    announced to take may be kept until it is up, or until somebody's drain is over; it is to take no job then.
    """
    is_going = snapshot.notice is not None or snapshot.row.state in (State.DRAINING, State.TERMINATING)
    return verdict.action is not Action.KEEP or snapshot.is_down or is_going


def _ends_of_waits(verdict: Verdict, now: float, options: NodewatcherConfig) -> Iterator[float]:
    """When its idle time is over, and its hold. What is over already and did not end it waits for something else."""
    row = verdict.row
    if (hold_ends_at := row.hold_ends_at(now)) is not None:
        yield hold_ends_at
    if verdict.cause is Cause.IDLE and verdict.idle_since is not None and verdict.idle_since + options.idle_for_s > now:
        yield verdict.idle_since + options.idle_for_s
