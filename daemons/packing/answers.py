"""What becomes of each demand, told to those who ask. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from daemons.model import BlockedBy, Fleet, FleetName, JobDemand
from daemons.packing.rooms import Dimensions, Kind
from daemons.packing.runs import Asked, Run
from daemons.packing.stops import Lot
from daemons.packing.why import Why, blocked, why_not


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What becomes of one demand: how many of its jobs go where, and why the `rest` goes nowhere (None: all are placed)."""

    demand: JobDemand
    live: int = 0
    coming: int = 0
    new: Mapping[FleetName, int] = field(default_factory=dict)  # jobs, not nodes; one that spans fleets counts with its last
    rest: int = 0
    why: Why | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """Makes the placements, and finds each reason once."""

    fleets: Sequence[Fleet]
    dimensions: Dimensions
    _reasons: dict[Asked | tuple[BlockedBy, str], Why] = field(default_factory=dict)

    def to_runs(self, runs: Sequence[Run], lots: Sequence[Sequence[Lot]]) -> Iterator[Placement]:
        """Where there is no room for all jobs of a run, the oldest have it."""
        for run, placed in zip(runs, lots, strict=True):
            undealt = list(reversed(placed))
            for demand in run.demands:
                rest = demand.count
                lots_here = []
                while rest and undealt:
                    kind, fleet, jobs = undealt.pop()
                    if jobs > rest:
                        undealt.append(Lot(kind, fleet, jobs - rest))
                        jobs = rest
                    lots_here.append(Lot(kind, fleet, jobs))
                    rest -= jobs
                yield self._placement(run.asked, demand, lots_here, rest)

    def to_blocked(self, demand: Sequence[JobDemand]) -> Iterator[Placement]:
        held = [job for job in demand if job.blocked_by is not BlockedBy.NOTHING]
        for job in sorted(held, key=_turn):
            key = (job.blocked_by, job.reason)
            if (why := self._reasons.get(key)) is None:
                why = self._reasons[key] = blocked(*key)
            yield Placement(demand=job, rest=job.count, why=why)

    def _placement(self, asked: Asked, demand: JobDemand, lots: Sequence[Lot], rest: int) -> Placement:
        live = coming = 0
        new: dict[FleetName, int] = {}
        for kind, fleet, jobs in lots:
            if kind is Kind.LIVE:
                live += jobs
            elif kind is Kind.COMING:
                coming += jobs
            elif fleet is not None:
                new[fleet] = new.get(fleet, 0) + jobs
        why = self._why(asked) if rest else None
        return Placement(demand=demand, live=live, coming=coming, new=new, rest=rest, why=why)

    def _why(self, asked: Asked) -> Why:
        if (why := self._reasons.get(asked)) is None:
            why = self._reasons[asked] = why_not(asked.want, self.fleets, self.dimensions)
        return why


_turn = attrgetter("priority", "submitted_at", "jobs", "count", "blocked_by", "reason")
