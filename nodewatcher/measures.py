"""What a look at the nodes is worth telling in numbers."""

from daemons.meter import note
from daemons.model import State
from nodewatcher.observe import Observation


def note_nodes(seen: Observation) -> None:
    """Note the metrics of one look. A node that the scheduler did not mention is neither idle nor busy."""
    for fleet in seen.fleets:
        own = [one for one in seen.snapshots if one.fleet == fleet.name]
        known = [one for one in own if one.node is not None and one.row.state is State.REGISTERED]
        note("Idle", sum(one.node is not None and one.node.is_idle for one in known), fleet=fleet.name)
        note("Busy", sum(one.node is not None and not one.node.is_empty for one in own), fleet=fleet.name)
        note("Draining", sum(one.row.state is State.DRAINING for one in own), fleet=fleet.name)
