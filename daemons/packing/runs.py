"""Waiting jobs in the order in which they are placed, those that want the same together. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from daemons.model import BlockedBy, Fleet, JobDemand
from daemons.packing.expander import PackOptions, preferred_fleets
from daemons.packing.rooms import UNCOUNTED, Amounts, Dimensions
from daemons.packing.want import Likeness, Want, likeness

_PARTS = 1_000_000  # shares are whole numbers of these, so that no sum depends on the order in which it is made

_age = attrgetter("submitted_at", "jobs", "count", "reason")


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """All waiting jobs of one shape: how many there are, and the fleets whose nodes they could run on, best first."""

    want: Want
    count: int
    fleets: tuple[Fleet, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Those of one priority, oldest first."""

    asked: Asked
    demands: Sequence[JobDemand]


Alike = Mapping[tuple[int, Likeness], list[JobDemand]]


def alike_jobs(demand: Iterable[JobDemand]) -> Alike:
    """The jobs that nothing blocks, those of the same priority and shape together."""
    alike: dict[tuple[int, Likeness], list[JobDemand]] = defaultdict(list)
    for job in demand:
        if job.blocked_by is BlockedBy.NOTHING:
            alike[job.priority, likeness(job)].append(job)
    return alike


def runs_of(alike: Alike, fleets: Sequence[Fleet], dimensions: Dimensions, options: PackOptions) -> list[Run]:
    """The jobs by priority; among equals the widest first, then the largest, which wastes the least."""
    counts: Counter[Likeness] = Counter()
    for (_, key), jobs in alike.items():
        counts[key] += sum(job.count for job in jobs)
    wants = {key: Want.of(jobs[0], dimensions) for (_, key), jobs in alike.items() if counts[key] > 0}
    asked = {
        key: Asked(want, counts[key], preferred_fleets(want, counts[key], fleets, dimensions, options))
        for key, want in wants.items()
    }
    ranks = _ranks(asked, fleets, dimensions)
    ordered = sorted(alike, key=lambda place: (-place[0], ranks[place[1]]))
    return [Run(asked[place[1]], sorted(alike[place], key=_age)) for place in ordered]


def _ranks(asked: Mapping[Likeness, Asked], fleets: Sequence[Fleet], dimensions: Dimensions) -> Mapping[Likeness, int]:
    """Each shape's turn among jobs of the same priority."""
    shares = {key: _shares(each, fleets, dimensions) for key, each in asked.items()}
    weights = [sum(asked[key].count * share[place] for key, share in shares.items()) for place in range(len(dimensions.names))]

    def turn(key: Likeness) -> tuple[object, ...]:
        want = asked[key].want
        size = sum(weight * share for weight, share in zip(weights, shares[key], strict=True))
        return -want.demand.nodes_min, not want.demand.exclusive, -size, want.order

    return {key: rank for rank, key in enumerate(sorted(asked, key=turn))}


def _shares(asked: Asked, fleets: Sequence[Fleet], dimensions: Dimensions) -> Amounts:
    """The part of the largest node that one job takes of each resource; of which there is more waiting, the more it weighs."""
    wholes = [dimensions.room(fleet.spec.shape) for fleet in asked.fleets or fleets]
    largest = [max((have for have in column if have < UNCOUNTED), default=0) for column in zip(*wholes, strict=True)]
    largest = largest or [0] * len(asked.want.whole_job)
    return tuple(_PARTS * use // (have or max(use, 1)) for use, have in zip(asked.want.whole_job, largest, strict=True))
