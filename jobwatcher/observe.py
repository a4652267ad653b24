"""What waits, what is there and what is coming."""

import asyncio
from dataclasses import dataclass

from daemons.model import Fleet, Instance, JobDemand, Node
from daemons.ports import Groups, Rows
from schedulers.base import Scheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All answers belong to the same moment, give or take the time of the calls; a call that failed fails the whole of it."""

    fleets: tuple[Fleet, ...]
    rows: tuple[Instance, ...]  # the live ones
    nodes: tuple[Node, ...]
    demand: tuple[JobDemand, ...]


async def observe(scheduler: Scheduler, groups: Groups, rows: Rows) -> Observation:
    """Ask everybody at once. Raises what any of them raises: half an answer is none."""
    fleets, live, nodes, demand = await asyncio.gather(groups.fleets(), rows.live(), scheduler.nodes(), scheduler.demand())
    return Observation(fleets=fleets, rows=live, nodes=nodes, demand=demand)
