"""What is true of every node, joined by instance id. What nobody mentioned is missing here, never guessed."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from daemons.metrics import Reading
from daemons.model import Fleet, FleetName, Hostname, Instance, InstanceId, JobDemand, Member, Node, NodeState, Notice
from daemons.ports import Checks, Groups, Rows
from schedulers.base import Scheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSnapshot:
    """One live row with what the others say of it; None: they have not mentioned it."""

    row: Instance
    member: Member | None = None
    node: Node | None = None
    reading: Reading | None = None
    impaired: bool = False  # EC2's own checks fail; asked only of nodes that are down for the scheduler

    @property
    def fleet(self) -> FleetName:
        return self.row.fleet

    @property
    def notice(self) -> Notice | None:
        """What AWS has announced, by the row's word or by what the node itself has read of it."""
        host = self.reading.host if self.reading is not None else None
        if self.row.notice is Notice.SPOT_INTERRUPTION or (host is not None and host.spot_action):
            return Notice.SPOT_INTERRUPTION
        return self.row.notice or (Notice.REBALANCE if host is not None and host.rebalance else None)

    @property
    def is_down(self) -> bool:
        """Down for the scheduler, and not because somebody drained it."""
        node = self.node
        return node is not None and NodeState.DOWN in node.states and (NodeState.DRAIN not in node.states or node.drained_by_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All answers belong to the same moment, give or take the time of the calls; a call that failed fails the whole of it.

    `unobserved_s` is how much of the time since the last look nobody can speak for: the head was asleep or off, or its clock was
    set. It is negative where the clock was set back.
    """

    now: float
    unobserved_s: float = 0.0
    fleets: tuple[Fleet, ...]
    nodes: tuple[Node, ...]
    demand: tuple[JobDemand, ...]
    snapshots: tuple[NodeSnapshot, ...]


async def observe(
    scheduler: Scheduler,
    groups: Groups,
    rows: Rows,
    checks: Checks,
    *,
    now: float,
    unobserved_s: float = 0.0,
    readings: Mapping[InstanceId, Reading] | None = None,
) -> Observation:
    """Ask everybody at once, then EC2 about nodes that are down. Raises what any of them raises: half an answer is none."""
    fleets, live, nodes, demand = await asyncio.gather(groups.fleets(), rows.live(), scheduler.nodes(), scheduler.demand())
    snapshots = join(live, fleets, nodes, readings or {})
    down = [snapshot.row.instance_id for snapshot in snapshots if snapshot.is_down]
    impaired = await checks.impaired(down) if down else frozenset[InstanceId]()
    return Observation(
        now=now,
        unobserved_s=unobserved_s,
        fleets=fleets,
        nodes=nodes,
        demand=demand,
        snapshots=_with_checks(snapshots, impaired),
    )


def join(
    live: Sequence[Instance], fleets: Sequence[Fleet], nodes: Sequence[Node], readings: Mapping[InstanceId, Reading]
) -> tuple[NodeSnapshot, ...]:
    """A snapshot for each row of a configured fleet. Two rows that claim one hostname both go without the scheduler's word."""
    members: dict[InstanceId, Member] = {member.instance_id: member for fleet in fleets for member in fleet.members}
    names = {fleet.name for fleet in fleets}
    by_host: dict[Hostname, Node] = {node.hostname: node for node in nodes}
    claims: dict[Hostname, int] = {}
    for row in live:
        if row.hostname is not None:
            claims[row.hostname] = claims.get(row.hostname, 0) + 1
    return tuple(
        NodeSnapshot(
            row=row,
            member=members.get(row.instance_id),
            node=by_host.get(row.hostname) if row.hostname is not None and claims[row.hostname] == 1 else None,
            reading=readings.get(row.instance_id),
        )
        for row in live
        if row.fleet in names
    )


def _with_checks(snapshots: Iterable[NodeSnapshot], impaired: Collection[InstanceId]) -> tuple[NodeSnapshot, ...]:
    return tuple(replace(snapshot, impaired=True) if snapshot.row.instance_id in impaired else snapshot for snapshot in snapshots)
