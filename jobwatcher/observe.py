"""What waits, what is there, what is coming, and what AWS could not give."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from daemons.model import Fleet, Instance, JobDemand, LaunchFailure, Node
from daemons.ports import Groups, Rows
from jobwatcher.memory import Memory
from schedulers.base import Scheduler

FAILURES_BACK_S = 300.0  # how far back a first look goes


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All answers belong to the same moment `now`, give or take the time of the calls; one that failed fails the whole of it."""

    now: float
    fleets: tuple[Fleet, ...]
    rows: tuple[Instance, ...]  # the live ones
    nodes: tuple[Node, ...]
    demand: tuple[JobDemand, ...]
    failures: tuple[LaunchFailure, ...] = ()  # that came to light since the last look


async def observe(
    scheduler: Scheduler, groups: Groups, rows: Rows, *, now: float, memory: Memory, told: Iterable[LaunchFailure] = ()
) -> Observation:
    """Ask everybody at once, then about the launches of fleets that lack instances. Raises what any of them raises: half an
    answer is none. `told` are failures that the last look's own calls were answered with.
    """
    fleets, live, nodes, demand = await asyncio.gather(groups.fleets(), rows.live(), scheduler.nodes(), scheduler.demand())
    lacking = [fleet for fleet in fleets if fleet.desired > len(fleet.staying) and not fleet.is_static]
    found = await asyncio.gather(*(_new_failures(groups, fleet, now, memory) for fleet in lacking))
    failures = (*told, *(failure for some in found for failure in some))
    return Observation(now=now, fleets=fleets, rows=live, nodes=nodes, demand=demand, failures=failures)


async def _new_failures(groups: Groups, fleet: Fleet, now: float, memory: Memory) -> list[LaunchFailure]:
    counted = memory.of(fleet.name)
    since = max(counted.failures_until, now - FAILURES_BACK_S)
    found = await groups.launch_failures(fleet.name, since=since)
    return [failure for failure in found if failure.activity_id not in counted.failures_counted]
