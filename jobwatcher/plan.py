"""From waiting work to capacity: one decision a fleet, with the arithmetic in its reason. Pure. It only ever raises."""

from collections.abc import Mapping
from dataclasses import dataclass

from daemons.model import Fleet, FleetName, Hostname, Node, State
from daemons.packing import Packing, Placement, pack
from jobwatcher.observe import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do about one fleet. `target` None holds the desired capacity as it is."""

    fleet: Fleet
    target: int | None
    coming: int  # instances asked for that take no jobs yet
    wanted: int  # new instances that waiting work would use
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What becomes of some waiting jobs of one shape, in a sentence."""

    jobs: tuple[str, ...]
    count: int
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPlan:
    decisions: tuple[Decision, ...]
    answers: tuple[Answer, ...]


def plan_capacity(seen: Observation) -> CapacityPlan:
    """Raise each fleet by what waiting work needs beyond the free room of live nodes and of those that are coming."""
    coming = coming_nodes(seen)
    packing = pack(seen.demand, live=seen.nodes, coming=coming, fleets=seen.fleets)
    return CapacityPlan(
        decisions=tuple(_decide(fleet, coming[fleet.name], packing) for fleet in seen.fleets),
        answers=tuple(map(_answer, packing.placements)),
    )


def coming_nodes(seen: Observation) -> Mapping[FleetName, int]:
    """How many nodes of each fleet have been asked for and will take jobs, but do not yet: neither launched, nor booted, nor up.

    Of the desired capacity, the members whose node is up are there already, and those whose node is drained, down or on its way
    out will offer nothing. Everything else is on its way.
    """
    nodes = {node.hostname: node for node in seen.nodes}
    rows = {row.instance_id: row for row in seen.rows}
    coming = {}
    for fleet in seen.fleets:
        staying = [rows.get(member.instance_id) for member in fleet.members if not member.is_leaving]
        settled = sum(row is not None and _is_settled(row.state, row.hostname, nodes) for row in staying)
        coming[fleet.name] = max(0, fleet.desired - settled)
    return coming


def _is_settled(state: State, hostname: Hostname | None, nodes: Mapping[Hostname, Node]) -> bool:
    """Is there nothing more to wait for? Its node is up (its room is live), or it will not come (back) up by itself."""
    if state in (State.DRAINING, State.TERMINATING):
        return True
    node = nodes.get(hostname) if hostname is not None else None
    return node is not None and not node.is_awaited


def _decide(fleet: Fleet, coming: int, packing: Packing) -> Decision:
    wanted = packing.new_nodes.get(fleet.name, 0)
    target = min(fleet.desired + wanted, fleet.maximum)
    arithmetic = f"{wanted} more for waiting jobs; desired {fleet.desired}, of which {coming} coming; maximum {fleet.maximum}"
    raises = target > fleet.desired and not fleet.is_static
    return Decision(fleet=fleet, target=target if raises else None, coming=coming, wanted=wanted, reason=arithmetic)


def _answer(placement: Placement) -> Answer:
    """The placement in a sentence, such as "2 on live nodes, 1 on new nodes of batch; 3 wait: needs 6 nodes; …"."""
    parts = [f"{placement.live} on live nodes"] if placement.live else []
    parts += [f"{placement.coming} on nodes that are coming"] if placement.coming else []
    parts += [f"{count} on new nodes of {fleet}" for fleet, count in placement.new.items()]
    placed = ", ".join(parts)
    rest = f"{placement.rest} wait: {placement.why}" if placement.rest else ""
    return Answer(jobs=placement.demand.jobs, count=placement.demand.count, sentence="; ".join(filter(None, [placed, rest])))
