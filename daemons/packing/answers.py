"""What becomes of each demand, told to those who ask. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from daemons.model import BlockedBy, FleetName, JobDemand
from daemons.packing.expander import Offer
from daemons.packing.rooms import Dimensions, Kind
from daemons.packing.runs import Asked, Run
from daemons.packing.stops import Lot
from daemons.packing.why import Why, blocked, why_not

_NO_FLEET: Mapping[FleetName, int] = {}  # one for all placements without new nodes, which can be a hundred thousand


class Placement(NamedTuple):  # a tuple, because there can be a hundred thousand
    """What becomes of one demand: how many of its jobs go where, and why the `rest` goes nowhere (None: all are placed)."""

    demand: JobDemand
    live: int = 0
    coming: int = 0
    new: Mapping[FleetName, int] = _NO_FLEET  # jobs, not nodes
    rest: int = 0
    why: Why | None = None


class _Given(NamedTuple):
    """How many jobs got which room."""

    jobs: int = 0
    live: int = 0
    coming: int = 0
    new: Mapping[FleetName, int] = _NO_FLEET

    def and_(self, lot: Lot) -> "_Given":
        jobs = self.jobs + lot.jobs
        if lot.fleet is None:
            return self._replace(jobs=jobs, live=self.live + lot.jobs)
        if lot.kind is Kind.COMING:
            return self._replace(jobs=jobs, coming=self.coming + lot.jobs)
        return self._replace(jobs=jobs, new={**self.new, lot.fleet: self.new.get(lot.fleet, 0) + lot.jobs})


_NOTHING = _Given()


class _Deal:
    """Lots dealt out in order. Those who get the same share one value."""

    def __init__(self, lots: Sequence[Lot]) -> None:
        self._lots = lots
        self._turn = 0
        self._left = lots[0].jobs if lots else 0  # of the lot whose turn it is
        self._given: dict[int, _Given] = {}  # to those who were content with this lot alone, by what they wanted

    def next(self, jobs: int) -> _Given:
        """Lots of so many jobs, or what there is left."""
        if jobs < self._left:
            self._left -= jobs
            if (given := self._given.get(jobs)) is None:
                given = self._given[jobs] = _NOTHING.and_(self._lots[self._turn]._replace(jobs=jobs))
            return given
        given = _NOTHING
        while given.jobs < jobs and self._turn < len(self._lots):
            took = min(jobs - given.jobs, self._left)
            given = given.and_(self._lots[self._turn]._replace(jobs=took))
            self._left -= took
            if not self._left:
                self._open_next()
        return given

    def _open_next(self) -> None:
        self._turn += 1
        self._left = self._lots[self._turn].jobs if self._turn < len(self._lots) else 0
        self._given = {}


@dataclass(frozen=True, slots=True)
class Answers:
    """Makes the placements, and finds each reason once."""

    offers: Sequence[Offer]
    dimensions: Dimensions
    _reasons: dict[Asked | tuple[BlockedBy, str], Why] = field(default_factory=dict)

    def to_runs(self, runs: Sequence[Run], lots: Mapping[Asked, Sequence[Lot]]) -> Iterator[Placement]:
        """Of jobs that want the same, those of higher priority have the earlier lots, then the older ones."""
        deals = {asked: _Deal(placed) for asked, placed in lots.items()}
        for asked, demands, _ in runs:
            deal = deals.get(asked, _Deal(()))
            for demand in demands:
                jobs, live, coming, new = deal.next(demand.count)
                rest = demand.count - jobs
                why = self._why(asked) if rest else None
                yield Placement(demand, live, coming, new, rest, why)

    def to_blocked(self, demand: Sequence[JobDemand]) -> Iterator[Placement]:
        held = [job for job in demand if job.blocked_by is not BlockedBy.NOTHING]
        for job in sorted(held, key=_turn):
            key = (job.blocked_by, job.reason)
            if (why := self._reasons.get(key)) is None:
                why = self._reasons[key] = blocked(*key)
            yield Placement(demand=job, rest=job.count, why=why if job.count else None)

    def _why(self, asked: Asked) -> Why:
        if (why := self._reasons.get(asked)) is None:
            why = self._reasons[asked] = why_not(asked.want, self.offers, self.dimensions)
        return why


_turn = attrgetter("priority", "submitted_at", "jobs", "count", "blocked_by", "reason")
