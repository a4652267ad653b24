"""Jobs that run on one node each, placed by count."""

from collections.abc import Iterator, Sequence

from daemons.packing.rooms import Line, Room
from daemons.packing.stops import Lot, Record, Search, Stop
from daemons.packing.want import Want


class Singles:
    """The jobs of one shape, each whole on the first node of these lines where it fits."""

    def __init__(self, want: Want, lines: Sequence[Line], record: Record) -> None:
        self._want = want
        self._search = Search(want, want.whole_job)
        self._stops = [Stop(line, line.head) for line in lines]
        self._record = record

    def place(self, count: int) -> Iterator[Lot]:
        """Place up to `count` jobs. Fewer means that no other job of the shape will ever fit."""
        turn = 0
        while count and turn < len(self._stops):
            stop = self._stops[turn]
            if (room := self._search.next_fit(stop)) is not None:
                placed = self._fill(stop.line, room, count)
                count -= placed
                yield Lot(stop.line.kind, stop.line.fleet, placed)
            elif stop.line.may_grow:
                turn += 1
            else:
                del self._stops[turn]

    def _fill(self, line: Line, room: Room, wanted: int) -> int:
        """Put up to `wanted` jobs there, node by node, each as full as it gets. How many went in."""
        each = self._want.jobs_in(room.free)
        placed = min(wanted, each * room.count)
        full, over = divmod(placed, each)
        rest: Room | None = room
        for nodes, jobs in ((full, each), (min(over, 1), over)):
            if nodes and rest is not None:
                tasks = jobs * self._want.tasks
                rest = self._record.take(line, rest, self._want, nodes=nodes, jobs=jobs, tasks=tasks)
        return placed
