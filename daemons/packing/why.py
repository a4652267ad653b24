"""Why a job gets no room, as a value with a sentence that names the limit. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from daemons.model import BlockedBy
from daemons.packing.expander import Offer
from daemons.packing.limits import Limit
from daemons.packing.rooms import Dimensions
from daemons.packing.want import Want


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    limit: Limit
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def blocked(blocked_by: BlockedBy, reason: str) -> Why:
    return Why(limit=Limit.BLOCKED, sentence=f"blocked by {blocked_by}" + (f" ({reason})" if reason else ""))


def why_not(want: Want, offers: Sequence[Offer], dimensions: Dimensions) -> Why:
    """The first limit that keeps the job from every fleet; of several fleets' limits, those that come closest to room."""
    job = want.demand
    if job.hostnames:
        return Why(limit=Limit.HOSTS, sentence=f"it must have {_list(job.hostnames, 'and')}, where there is no room")
    serving = [offer for offer in offers if not job.partitions or job.partitions & offer.sort.partitions]
    if not serving:
        return Why(limit=Limit.PARTITION, sentence=f"no fleet serves partition {_list(job.partitions, 'or') or 'of any name'}")
    willing = [offer for offer in serving if want.may_go(offer.sort)]
    if not willing:
        return Why(limit=Limit.FEATURES, sentence=f"no fleet offers {_wishes(want)}")
    limits = [_limit(want, offer, dimensions) for offer in willing]
    closest = max((why.limit for why in limits), key=list(Limit).index)
    return Why(limit=closest, sentence="; ".join(why.sentence for why in limits if why.limit is closest))


def _limit(want: Want, offer: Offer, dimensions: Dimensions) -> Why:
    """What keeps a job that may go to nodes of the fleet from them."""
    fleet = offer.fleet
    if not offer.is_of_use(want):
        return Why(limit=Limit.SHAPE, sentence=_too_small(want, offer, dimensions))
    nodes = offer.nodes_a_job(want)
    if nodes > want.nodes_max:
        spread = f"needs {nodes} nodes of fleet {fleet.name} for its {want.tasks} tasks, and may have {want.nodes_max}"
        return Why(limit=Limit.NODES, sentence=spread)
    if nodes > fleet.maximum:
        return Why(limit=Limit.NODES, sentence=f"needs {nodes} nodes; fleet {fleet.name} may hold {fleet.maximum}")
    if fleet.is_static:
        return Why(limit=Limit.MAXIMUM, sentence=f"fleet {fleet.name} is static, and its nodes are taken")
    if (cap := offer.binding_cap) is not None:
        return Why(limit=cap.limit, sentence=cap.sentence)
    if nodes > 1:
        held = f"fleet {fleet.name} has {fleet.desired} and may hold {fleet.maximum}"
        return Why(limit=Limit.MAXIMUM, sentence=f"needs {nodes} nodes at once; {held}")
    return Why(limit=Limit.MAXIMUM, sentence=f"fleet {fleet.name} may hold no more than {fleet.maximum} nodes")


def _too_small(want: Want, offer: Offer, dimensions: Dimensions) -> str:
    """The resource that a node of the fleet lacks most, for one task if the job may spread and else for all of it."""
    need = want.least if want.may_span else want.whole_job
    lacking = [(use, have, name) for use, have, name in zip(need, offer.whole, dimensions.names, strict=True) if use > have]
    if not lacking:
        return f"has {want.tasks} tasks for one node, and may have {want.demand.tasks_per_node} on each"
    use, have, name = max(lacking, key=lambda each: each[0] / max(1, each[1]))
    return f"a node of fleet {offer.fleet.name} has {have} {name}, and it needs {use}"


def _wishes(want: Want) -> str:
    features = " or ".join("&".join(sorted(wanted)) for wanted in want.demand.features)
    types = _list(want.gpu_types(), "and")
    return " with ".join(filter(None, [f"features {features}" if features else "", f"gpu {types}" if types else ""]))


def _list(words: Iterable[str], joint: str) -> str:
    return f" {joint} ".join(sorted(set(words)))
