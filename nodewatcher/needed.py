"""Which empty nodes waiting jobs are about to use, by the same packing that jobwatcher asks for capacity with. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from daemons.model import BlockedBy, FleetName, Hostname, JobDemand, State
from daemons.packing import pack
from nodewatcher.observe import Observation


def needed_hostnames(seen: Observation) -> frozenset[Hostname]:
    """The empty nodes that waiting jobs will take, alone or together with nodes that have been asked for already, and those that
    waiting jobs name.

    Nodes that nobody has asked for do not count: a job on many nodes that cannot get them all, and that jobwatcher has given
    up on for now, keeps none idle.
    """
    as_large_as_asked = [replace(fleet, maximum=max(fleet.desired, fleet.minimum)) for fleet in seen.fleets]
    packed = pack(seen.demand, live=seen.nodes, coming=_coming(seen), fleets=as_large_as_asked)
    return packed.used_hosts | named_hostnames(seen.demand)


def named_hostnames(demand: Iterable[JobDemand]) -> frozenset[Hostname]:
    """The nodes that waiting jobs name: no other node can take their place, and the jobs would wait for ever."""
    return frozenset().union(*(job.hostnames for job in demand if job.blocked_by in (BlockedBy.NOTHING, BlockedBy.NODE_LIST)))


def _coming(seen: Observation) -> Mapping[FleetName, int]:
    """Of each fleet's desired capacity, what is neither up nor on its way out."""
    coming = {fleet.name: fleet.desired for fleet in seen.fleets}
    for snapshot in seen.snapshots:
        member, node = snapshot.member, snapshot.node
        if member is None or member.is_leaving:
            continue
        if snapshot.row.state in (State.DRAINING, State.TERMINATING) or (node is not None and not node.is_awaited):
            coming[snapshot.fleet] -= 1
    return {name: max(0, count) for name, count in coming.items()}
