"""Waiting jobs in the order in which they are placed, those that want the same together. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, lt
from typing import NamedTuple

from daemons.model import BlockedBy, JobDemand
from daemons.packing.expander import Offer, PackOptions, preferred
from daemons.packing.rooms import UNCOUNTED, Amounts, Dimensions
from daemons.packing.want import Likeness, Want, likeness

_PARTS = 1_000_000  # shares are whole numbers of these, so that no sum depends on the order in which it is made

_age = attrgetter("submitted_at", "jobs", "count", "reason")


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """All waiting jobs of one shape: how many there are, and the fleets whose nodes they could run on, best first."""

    want: Want
    count: int
    offers: tuple[Offer, ...]


class Run(NamedTuple):  # a tuple, because there can be a hundred thousand
    """Those of one priority, oldest first."""

    asked: Asked
    demands: Sequence[JobDemand]
    jobs: int


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits and is not blocked. Among equals the widest come first, then the largest, which wastes the least."""

    shapes: Sequence[Asked]
    runs: Sequence[Run]  # by priority

    @property
    def is_contested(self) -> bool:
        """Can it matter who is placed beyond live nodes first? Not among equals that each need one node."""
        return len(self.runs) > len(self.shapes) or any(shape.want.may_span for shape in self.shapes)


Alike = Mapping[tuple[int, Likeness], list[JobDemand]]


def alike_jobs(demand: Iterable[JobDemand]) -> Alike:
    """The jobs that nothing blocks, those of the same priority and shape together."""
    alike: dict[tuple[int, Likeness], list[JobDemand]] = defaultdict(list)
    for job in demand:
        if job.blocked_by is BlockedBy.NOTHING:
            alike[job.priority, likeness(job)].append(job)
    return alike


def queue_of(alike: Alike, offers: Sequence[Offer], dimensions: Dimensions, options: PackOptions) -> Queue:
    wants: dict[Likeness, Want] = {}
    counts: Counter[Likeness] = Counter()
    runs = {place: sum([job.count for job in jobs]) for place, jobs in alike.items()}
    for (priority, key), count in runs.items():
        counts[key] += count
        if key not in wants:
            wants[key] = Want.of(alike[priority, key][0], dimensions)
    asked = {key: Asked(want, counts[key], preferred(want, max(1, counts[key]), offers, options)) for key, want in wants.items()}
    ranks = _ranks(asked, offers, dimensions)
    ordered = sorted(runs, key=lambda place: (-place[0], ranks[place[1]]))
    return Queue([asked[key] for key in ranks], [Run(asked[place[1]], _by_age(alike[place]), runs[place]) for place in ordered])


def _by_age(jobs: list[JobDemand]) -> Sequence[JobDemand]:
    """Oldest first. Mostly they come like that, and to see that is cheaper than to sort."""
    times = [job.submitted_at for job in jobs]
    return jobs if all(map(lt, times, times[1:])) else sorted(jobs, key=_age)


def _ranks(asked: Mapping[Likeness, Asked], offers: Sequence[Offer], dimensions: Dimensions) -> Mapping[Likeness, int]:
    """Each shape's turn among jobs of the same priority, in that order."""
    shares = {key: _shares(each, offers) for key, each in asked.items()}
    weights = [sum(asked[key].count * share[place] for key, share in shares.items()) for place in range(len(dimensions.names))]

    def turn(key: Likeness) -> tuple[object, ...]:
        want = asked[key].want
        size = sum(weight * share for weight, share in zip(weights, shares[key], strict=True))
        return -want.demand.nodes_min, not want.demand.exclusive, -size, want.order

    return {key: rank for rank, key in enumerate(sorted(asked, key=turn))}


def _shares(asked: Asked, offers: Sequence[Offer]) -> Amounts:
    """The part of the largest node that one job takes of each resource; of which there is more waiting, the more it weighs."""
    wholes = [offer.whole for offer in asked.offers or offers]
    largest = [max((have for have in column if have < UNCOUNTED), default=0) for column in zip(*wholes, strict=True)]
    largest = largest or [0] * len(asked.want.whole_job)
    return tuple(_PARTS * use // (have or max(use, 1)) for use, have in zip(asked.want.whole_job, largest, strict=True))
