"""Puts jobs into rooms: live ones first, then nodes on their way, then new ones.

The outcome is the same as if each job by itself looked at each node by itself, and took the first that fits; only the cost is
another.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from daemons.model import FleetName, Hostname
from daemons.packing.expander import Offer
from daemons.packing.rooms import Kind, Line, fleet_lines
from daemons.packing.runs import Asked
from daemons.packing.singles import Singles
from daemons.packing.spans import Spans
from daemons.packing.stops import Lot, Record, Use
from daemons.packing.want import Want


class _Steps(NamedTuple):
    """How the jobs of one shape look for room, in turn; a step that has found none is left out for good."""

    live: list[Singles | Spans]
    anywhere: list[Singles | Spans]


class Filling:
    """The rooms as they fill up: of live nodes, and of so many nodes of each kind and fleet."""

    def __init__(self, live: Sequence[Line], counts: Mapping[tuple[Kind, FleetName], int], offers: Sequence[Offer]) -> None:
        self._live = live
        self._counts = counts
        self._lines = {
            (kind, offer.fleet.name): fleet_lines(offer.fleet.name, offer.sort, kind, counts[kind, offer.fleet.name], offer.whole)
            for offer in offers
            for kind in (Kind.COMING, Kind.NEW)
        }
        self._steps: dict[Asked, _Steps] = {}
        self._record = Record()
        self.lots: dict[Asked, list[Lot]] = defaultdict(list)  # where the jobs of each shape went, in their order

    def start(self, asked: Asked, count: int) -> int:
        """Place up to `count` of these jobs wholly on live nodes. How many were placed; others like the rest never will be."""
        return self._go(asked, count, self._steps_of(asked).live)

    def place(self, asked: Asked, count: int) -> int:
        """Place up to `count` of these jobs anywhere. How many were placed; others like the rest never will be."""
        started = self.start(asked, count)
        return started + self._go(asked, count - started, self._steps_of(asked).anywhere)

    def _go(self, asked: Asked, count: int, steps: list[Singles | Spans]) -> int:
        left = count
        while left and steps:
            for lot in steps[0].place(left):
                self.lots[asked].append(lot)
                left -= lot.jobs
            if left:
                del steps[0]
        return count - left

    def could_hold(self, asked: Asked) -> bool:
        """Might one such job have a place beyond live nodes, if there were no others?"""
        nodes = sum(self._counts[kind, offer.fleet.name] for offer in asked.offers for kind in (Kind.COMING, Kind.NEW))
        if asked.want.may_span:
            nodes += sum(len(line.hosts) for line in self._live)
        return nodes >= asked.want.demand.nodes_min and not asked.want.demand.hostnames

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

    def _steps_of(self, asked: Asked) -> _Steps:
        if (steps := self._steps.get(asked)) is None:
            steps = self._steps[asked] = self._plan(asked.want, [offer.fleet.name for offer in asked.offers])
        return steps

    def _plan(self, want: Want, fleets: Sequence[FleetName]) -> _Steps:
        """A job that may run on one node or on several rather starts on several live ones than it waits for one of its own."""
        live = [line for line in self._live if want.may_go(line.sort)]
        more = [] if want.demand.hostnames else [*self._fleet_lines(Kind.COMING, fleets), *self._fleet_lines(Kind.NEW, fleets)]
        steps = _Steps([], [])
        if want.fits_one_node:
            steps.live.append(Singles(want, live, self._record))
            steps.anywhere.append(Singles(want, more, self._record))
        if want.may_span:
            steps.live.append(Spans(want, live, self._record))
            steps.anywhere.append(Spans(want, [*live, *more], self._record))
        return steps

    def _fleet_lines(self, kind: Kind, fleets: Sequence[FleetName]) -> list[Line]:
        """Nodes that have got jobs already, whichever fleet's, before untouched ones."""
        pairs = [self._lines[kind, fleet] for fleet in fleets if self._counts[kind, fleet] > 0]
        return [opened for opened, _ in pairs] + [fresh for _, fresh in pairs]
