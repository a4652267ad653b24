"""Which fleet is asked, where several fit. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, inf
from operator import itemgetter

from daemons.model import Fleet, FleetName
from daemons.packing.limits import Cap
from daemons.packing.rooms import UNCOUNTED, Amounts, Dimensions, Sort, headroom
from daemons.packing.want import Want


class Expander(StrEnum):
    LEAST_WASTE = "least-waste"  # the part of the new nodes that these jobs would leave empty
    CHEAPEST = "cheapest"  # what the new nodes cost an hour; a fleet of unknown price comes last
    PRIORITY_ORDER = "priority-order"  # the order of the fleets in the configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class PackOptions:
    """`expanders` decide in turn, each where those before it see no difference; in the end the configuration's order does."""

    expanders: tuple[Expander, ...] = (Expander.LEAST_WASTE, Expander.CHEAPEST, Expander.PRIORITY_ORDER)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Offer:
    """A fleet as jobs see it: where its nodes belong, and what one of them has."""

    fleet: Fleet
    place: int  # in the configuration
    sort: Sort
    whole: Amounts
    counted: tuple[int, ...]  # the places of what there is a limited amount of
    cap: Cap | None = None

    @classmethod
    def of(cls, fleet: Fleet, place: int, dimensions: Dimensions, cap: Cap | None) -> "Offer":
        whole = dimensions.room(fleet.spec.shape)
        counted = tuple(place for place, have in enumerate(whole) if 0 < have < UNCOUNTED)
        return cls(fleet=fleet, place=place, sort=Sort.of_fleet(fleet.spec), whole=whole, counted=counted, cap=cap)

    @property
    def new_nodes(self) -> int:
        """How many nodes the fleet may still be raised by; a static fleet by none."""
        return headroom(self.fleet) if self.binding_cap is None else self.binding_cap.most

    @property
    def binding_cap(self) -> Cap | None:
        """The cap, if the fleet's own bounds would allow more."""
        return self.cap if self.cap is not None and self.cap.most < headroom(self.fleet) else None

    def is_of_use(self, want: Want) -> bool:
        """Could such a job, or a part of one that spans nodes, run on a whole node?"""
        if want.may_span:
            return want.tasks_in(self.whole) > 0
        return want.fits_one_node and want.jobs_in(self.whole) > 0

    def nodes_a_job(self, want: Want) -> int:
        """How many whole nodes, if they are of use to it, one job takes."""
        if want.fits_one_node and want.jobs_in(self.whole):
            return 1
        return max(want.demand.nodes_min, ceil(want.tasks / want.tasks_in(self.whole)))

    def nodes_for(self, want: Want, count: int) -> int:
        """How many of its nodes `count` jobs take."""
        each = self.nodes_a_job(want)
        return ceil(count / want.jobs_in(self.whole)) if each == 1 else count * each


def offers_of(fleets: Sequence[Fleet], dimensions: Dimensions, caps: Mapping[FleetName, Cap]) -> list[Offer]:
    return [Offer.of(fleet, place, dimensions, caps.get(fleet.name)) for place, fleet in enumerate(fleets)]


def preferred(want: Want, count: int, offers: Sequence[Offer], options: PackOptions) -> tuple[Offer, ...]:
    """The fleets whose nodes the `count` jobs of that shape could run on, best first."""
    usable = [offer for offer in offers if want.may_go(offer.sort) and offer.is_of_use(want)]
    if len(usable) <= 1:
        return tuple(usable)
    measures = [_MEASURES[expander] for expander in options.expanders]
    ranked = []
    for offer in usable:
        nodes = offer.nodes_for(want, count)
        ranked.append(([measure(offer, want, count, nodes) for measure in measures], offer.place, offer))
    return tuple(offer for _, _, offer in sorted(ranked, key=itemgetter(0, 1)))


def _waste(offer: Offer, want: Want, count: int, nodes: int) -> float:
    """The part of the nodes that stays empty, as the mean over the resources that they have; to a thousandth."""
    filled = 0.0
    for place in offer.counted:
        use = count * want.tasks * want.per_task[place] + max(nodes, count) * want.per_node[place]
        filled += min(1.0, use / (nodes * offer.whole[place]))
    return round(1 - filled / len(offer.counted), 3)


def _price(offer: Offer, _want: Want, _count: int, nodes: int) -> float:
    return nodes * offer.fleet.spec.price_per_hour or inf


def _place(offer: Offer, _want: Want, _count: int, _nodes: int) -> float:
    return offer.place


_MEASURES: Mapping[Expander, Callable[[Offer, Want, int, int], float]] = {
    Expander.LEAST_WASTE: _waste,
    Expander.CHEAPEST: _price,
    Expander.PRIORITY_ORDER: _place,
}
