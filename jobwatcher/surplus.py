"""Nodes that stand idle although no waiting job is about to use them. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence

from daemons.model import FleetName
from daemons.packing import Packing
from jobwatcher.observe import Observation
from jobwatcher.stance import Stance


def idle_without_demand(seen: Observation, stances: Sequence[Stance], packing: Packing) -> Mapping[FleetName, int]:
    """How many nodes of each fleet do nothing for anybody, beyond the fleet's minimum. Static fleets have none."""
    fleet_of = {row.hostname: row.fleet for row in seen.rows if row.hostname is not None}
    idle: Counter[FleetName] = Counter(
        fleet_of[node.hostname]
        for node in seen.nodes
        if node.is_idle and node.hostname in fleet_of and node.hostname not in packing.used_hosts
    )
    surplus = {}
    for stance in stances:
        unused = idle[stance.name] + max(0, stance.booting - packing.coming_used.get(stance.name, 0))
        above_minimum = max(0, stance.held - stance.fleet.minimum)
        surplus[stance.name] = 0 if stance.fleet.is_static else min(unused, above_minimum)
    return surplus
