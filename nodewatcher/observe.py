"""What is true of every node, joined by instance id. What nobody mentioned is missing here, never guessed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from daemons.model import Fleet, Hostname, Instance, InstanceId, JobDemand, Member, Node
from daemons.ports import Groups, Rows
from schedulers.base import Scheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSnapshot:
    """One live row with what Auto Scaling and the scheduler say of it; None: they have not mentioned it."""

    row: Instance
    fleet: Fleet
    member: Member | None
    node: Node | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All answers belong to the same moment, give or take the time of the calls; a call that failed fails the whole of it."""

    now: float
    fleets: tuple[Fleet, ...]
    nodes: tuple[Node, ...]
    demand: tuple[JobDemand, ...]
    snapshots: tuple[NodeSnapshot, ...]


async def observe(scheduler: Scheduler, groups: Groups, rows: Rows, *, now: float) -> Observation:
    """Ask everybody at once. Raises what any of them raises: half an answer is none."""
    fleets, live, nodes, demand = await asyncio.gather(groups.fleets(), rows.live(), scheduler.nodes(), scheduler.demand())
    return Observation(now=now, fleets=fleets, nodes=nodes, demand=demand, snapshots=join(live, fleets, nodes))


def join(live: Sequence[Instance], fleets: Sequence[Fleet], nodes: Sequence[Node]) -> tuple[NodeSnapshot, ...]:
    """A snapshot for each row of a configured fleet. Two rows that claim one hostname both go without the scheduler's word."""
    members: dict[InstanceId, Member] = {member.instance_id: member for fleet in fleets for member in fleet.members}
    by_name = {fleet.name: fleet for fleet in fleets}
    by_host: dict[Hostname, Node] = {node.hostname: node for node in nodes}
    claims: dict[Hostname, int] = {}
    for row in live:
        if row.hostname is not None:
            claims[row.hostname] = claims.get(row.hostname, 0) + 1
    return tuple(
        NodeSnapshot(
            row=row,
            fleet=by_name[row.fleet],
            member=members.get(row.instance_id),
            node=by_host.get(row.hostname) if row.hostname is not None and claims[row.hostname] == 1 else None,
        )
        for row in live
        if row.fleet in by_name
    )
