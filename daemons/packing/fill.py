"""Puts jobs into rooms: live ones first, then nodes on their way, then new ones.

The outcome is the same as if each job by itself looked at each node by itself, and took the first that fits; only the cost is
another.
"""

from collections.abc import Mapping, Sequence

from daemons.model import Fleet, FleetName, Hostname
from daemons.packing.rooms import Dimensions, Kind, Line, fleet_lines
from daemons.packing.runs import Asked
from daemons.packing.singles import Singles
from daemons.packing.spans import Spans
from daemons.packing.stops import Lot, Record, Use
from daemons.packing.want import Want


class Filling:
    """The rooms as they fill up: of live nodes, and of so many nodes of each kind and fleet."""

    def __init__(
        self, live: Sequence[Line], counts: Mapping[tuple[Kind, FleetName], int], fleets: Sequence[Fleet], dimensions: Dimensions
    ) -> None:
        self._live = live
        self._counts = counts
        specs = {fleet.name: fleet.spec for fleet in fleets}
        self._lines = {(kind, name): fleet_lines(specs[name], kind, count, dimensions) for (kind, name), count in counts.items()}
        self._steps: dict[Asked, list[Singles | Spans]] = {}
        self._record = Record()

    def place(self, asked: Asked, count: int) -> list[Lot]:
        """Place up to `count` of these jobs. Those left over fit nowhere, now or later."""
        if (steps := self._steps.get(asked)) is None:
            steps = self._steps[asked] = self._plan(asked.want, asked.fleets)
        lots: list[Lot] = []
        while count and steps:
            placed = list(steps[0].place(count))
            count -= sum(lot.jobs for lot in placed)
            lots += placed
            if count:
                del steps[0]
        return lots

    def used_nodes(self, kind: Kind) -> dict[FleetName, int]:
        """How many nodes of each fleet have got jobs; fleets without any are left out."""
        used = {name: count - self._untouched(of, name) for (of, name), count in self._counts.items() if of is kind}
        return {name: count for name, count in used.items() if count > 0}

    @property
    def woken(self) -> frozenset[Hostname]:
        """The live nodes that were empty and have got jobs."""
        return frozenset(self._record.woken)

    @property
    def uses(self) -> tuple[Use, ...]:
        return tuple(self._record.uses)

    def _untouched(self, kind: Kind, fleet: FleetName) -> int:
        _, fresh = self._lines[kind, fleet]
        return sum(room.count for room in fresh)

    def _plan(self, want: Want, fleets: Sequence[Fleet]) -> list[Singles | Spans]:
        """What to try in turn. A job that may run on one node or on several starts on live nodes either way, or gets its own."""
        live = [line for line in self._live if want.may_go(line.sort)]
        more = [] if want.demand.hostnames else [*self._fleet_lines(Kind.COMING, fleets), *self._fleet_lines(Kind.NEW, fleets)]
        if not want.may_span:
            return [Singles(want, [*live, *more], self._record)] if want.fits_one_node else []
        spans = Spans(want, [*live, *more], self._record)
        if not want.fits_one_node:
            return [spans]
        return [Singles(want, live, self._record), Spans(want, live, self._record), Singles(want, more, self._record), spans]

    def _fleet_lines(self, kind: Kind, fleets: Sequence[Fleet]) -> list[Line]:
        """Nodes that have got jobs already, whichever fleet's, before untouched ones."""
        pairs = [self._lines[kind, fleet.name] for fleet in fleets]
        return [opened for opened, _ in pairs] + [fresh for _, fresh in pairs]
