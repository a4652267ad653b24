"""Which fleet is asked, where several fit. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, inf

from daemons.model import Fleet
from daemons.packing.rooms import UNCOUNTED, Amounts, Dimensions, Sort
from daemons.packing.want import Want, added, scaled


class Expander(StrEnum):
    LEAST_WASTE = "least-waste"  # the part of the new nodes that these jobs would leave empty
    CHEAPEST = "cheapest"  # what the new nodes cost an hour; a fleet of unknown price comes last
    PRIORITY_ORDER = "priority-order"  # the order of the fleets in the configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class PackOptions:
    """`expanders` decide in turn, each where those before it see no difference; in the end the configuration's order does."""

    expanders: tuple[Expander, ...] = (Expander.LEAST_WASTE, Expander.CHEAPEST, Expander.PRIORITY_ORDER)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """What running all jobs of a shape on new nodes of one fleet would take."""

    fleet: Fleet
    place: int  # in the configuration
    whole: Amounts
    nodes: int
    used: Amounts


def preferred_fleets(
    want: Want, count: int, fleets: Sequence[Fleet], dimensions: Dimensions, options: PackOptions
) -> tuple[Fleet, ...]:
    """The fleets whose nodes the `count` jobs of that shape could run on, best first."""
    willing = [(place, fleet) for place, fleet in enumerate(fleets) if want.may_go(Sort.of_fleet(fleet.spec))]
    offers = [offer for place, fleet in willing if (offer := _offer(want, count, fleet, place, dimensions)) is not None]
    offers.sort(key=lambda offer: (*(_MEASURES[expander](offer) for expander in options.expanders), offer.place))
    return tuple(offer.fleet for offer in offers)


def is_of_use(want: Want, whole: Amounts) -> bool:
    """Could such a job, or a part of one that spans nodes, run on a whole node with these amounts?"""
    if want.may_span:
        return want.tasks_in(whole) > 0
    return want.fits_one_node and want.jobs_in(whole) > 0


def nodes_a_job(want: Want, whole: Amounts) -> int:
    """How many whole nodes with these amounts, which are of use to it, one job takes."""
    if want.fits_one_node and want.jobs_in(whole):
        return 1
    return max(want.demand.nodes_min, ceil(want.tasks / want.tasks_in(whole)))


def _offer(want: Want, count: int, fleet: Fleet, place: int, dimensions: Dimensions) -> _Offer | None:
    whole = dimensions.room(fleet.spec.shape)
    if not is_of_use(want, whole):
        return None
    each = nodes_a_job(want, whole)
    nodes = ceil(count / want.jobs_in(whole)) if each == 1 else count * each
    tasks = scaled(want.per_task, want.tasks * count)
    return _Offer(fleet=fleet, place=place, whole=whole, nodes=nodes, used=added(tasks, scaled(want.per_node, each * count)))


def _waste(offer: _Offer) -> float:
    """The part of the nodes that stays empty, as the mean over the resources that they have."""
    had = [(use, have * offer.nodes) for use, have in zip(offer.used, offer.whole, strict=True) if 0 < have < UNCOUNTED]
    return round(1 - sum(min(1.0, use / have) for use, have in had) / len(had), 3)


def _price(offer: _Offer) -> float:
    return offer.nodes * offer.fleet.spec.price_per_hour or inf


def _place(offer: _Offer) -> float:
    return offer.place


_MEASURES: Mapping[Expander, Callable[[_Offer], float]] = {
    Expander.LEAST_WASTE: _waste,
    Expander.CHEAPEST: _price,
    Expander.PRIORITY_ORDER: _place,
}
