"""What becomes of each demand, told to those who ask. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from daemons.model import BlockedBy, FleetName, JobDemand
from daemons.packing.expander import Offer
from daemons.packing.rooms import Dimensions, Kind
from daemons.packing.runs import Asked, Run
from daemons.packing.stops import Lot
from daemons.packing.why import Why, blocked, why_not

_NO_FLEET: Mapping[FleetName, int] = {}  # one for all placements without new nodes, which can be a hundred thousand


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What becomes of one demand: how many of its jobs go where, and why the `rest` goes nowhere (None: all are placed)."""

    demand: JobDemand
    live: int = 0
    coming: int = 0
    new: Mapping[FleetName, int] = field(default_factory=lambda: _NO_FLEET)  # jobs, not nodes
    rest: int = 0
    why: Why | None = None


class _Deal:
    """Lots dealt out in order."""

    def __init__(self, lots: Sequence[Lot]) -> None:
        self._lots = lots
        self._turn = 0
        self._dealt = 0  # of the lot whose turn it is

    @property
    def is_over(self) -> bool:
        return self._turn == len(self._lots)

    def next(self, jobs: int) -> list[Lot]:
        """Lots of so many jobs, or what there is left."""
        lots: list[Lot] = []
        while jobs and self._turn < len(self._lots):
            lot = self._lots[self._turn]
            took = min(jobs, lot.jobs - self._dealt)
            lots.append(lot if took == lot.jobs else Lot(lot.kind, lot.fleet, took))
            jobs -= took
            self._dealt += took
            if self._dealt == lot.jobs:
                self._turn, self._dealt = self._turn + 1, 0
        return lots


@dataclass(frozen=True, slots=True)
class Answers:
    """Makes the placements, and finds each reason once."""

    offers: Sequence[Offer]
    dimensions: Dimensions
    _reasons: dict[Asked | tuple[BlockedBy, str], Why] = field(default_factory=dict)

    def to_runs(self, runs: Sequence[Run], lots: Mapping[Asked, Sequence[Lot]]) -> Iterator[Placement]:
        """Of jobs that want the same, those of higher priority have the earlier lots, then the older ones."""
        deals = {asked: _Deal(placed) for asked, placed in lots.items()}
        for run in runs:
            deal = deals.get(run.asked)
            for demand in run.demands:
                if deal is None or deal.is_over:
                    yield Placement(demand=demand, rest=demand.count, why=self._why(run.asked))
                else:
                    yield self._placement(run.asked, demand, deal.next(demand.count))

    def to_blocked(self, demand: Sequence[JobDemand]) -> Iterator[Placement]:
        held = [job for job in demand if job.blocked_by is not BlockedBy.NOTHING]
        for job in sorted(held, key=_turn):
            key = (job.blocked_by, job.reason)
            if (why := self._reasons.get(key)) is None:
                why = self._reasons[key] = blocked(*key)
            yield Placement(demand=job, rest=job.count, why=why)

    def _placement(self, asked: Asked, demand: JobDemand, lots: Iterable[Lot]) -> Placement:
        live = coming = placed = 0
        new: dict[FleetName, int] = {}
        for kind, fleet, jobs in lots:
            placed += jobs
            if fleet is None:
                live += jobs
            elif kind is Kind.COMING:
                coming += jobs
            else:
                new[fleet] = new.get(fleet, 0) + jobs
        rest = demand.count - placed
        why = self._why(asked) if rest else None
        return Placement(demand=demand, live=live, coming=coming, new=new or _NO_FLEET, rest=rest, why=why)

    def _why(self, asked: Asked) -> Why:
        if (why := self._reasons.get(asked)) is None:
            why = self._reasons[asked] = why_not(asked.want, self.offers, self.dimensions)
        return why


_turn = attrgetter("priority", "submitted_at", "jobs", "count", "blocked_by", "reason")
