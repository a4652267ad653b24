"""Jobs that run on several nodes at once: all of them or none, and all in one partition."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from daemons.packing.rooms import Kind, Line, Room
from daemons.packing.stops import Lot, Record, Search, Stop
from daemons.packing.want import Want


class _Share(NamedTuple):
    """The first `nodes` nodes of a room for one job, and how many of its tasks each can take."""

    line: Line
    room: Room
    nodes: int
    tasks: int


class Spans:
    """The jobs of one shape, one at a time, on as many nodes of these lines as it takes, first come first used."""

    def __init__(self, want: Want, lines: Sequence[Line], record: Record) -> None:
        self._want = want
        self._search = Search(want, want.least)
        self._stops = [Stop(line, line.head) for line in lines]
        offered = {name for line in lines for name in line.sort.partitions}
        self._partitions = sorted(offered & want.demand.partitions if want.demand.partitions else offered)
        self._record = record

    def place(self, count: int) -> Iterator[Lot]:
        """Place up to `count` jobs. Fewer means that no other job of the shape will ever fit."""
        while count and (shares := self._choose()):
            self._take(shares)
            last = max(shares, key=lambda share: share.line.kind).line
            count -= 1
            yield Lot(last.kind, last.fleet, 1)

    def _choose(self) -> list[_Share]:
        """The nodes for one job, in the partition where that takes the fewest new ones; none where it fits in no partition."""
        choices = [shares for name in self._partitions if (shares := self._gather(name))]
        return min(choices, key=_newness, default=[])

    def _gather(self, partition: str) -> list[_Share]:
        """Nodes in the lines' order; if the job may not have as many as that takes, then the roomiest."""
        shares = self._enough(self._candidates(partition))
        return shares or self._enough(sorted(self._candidates(partition), key=lambda share: -share.tasks))

    def _candidates(self, partition: str) -> Iterator[_Share]:
        for stop in self._stops:
            if partition in stop.line.sort.partitions:
                for room in self._search.all_fits(stop):
                    yield _Share(stop.line, room, room.count, self._want.tasks_in(room.free))

    def _enough(self, candidates: Iterator[_Share] | Sequence[_Share]) -> list[_Share]:
        """As many of the candidates, in order, as the job needs; none if they do not suffice."""
        chosen: list[_Share] = []
        nodes = tasks = 0
        for share in candidates:
            lacking = max(self._want.demand.nodes_min - nodes, -(-(self._want.tasks - tasks) // share.tasks))
            count = min(share.nodes, lacking, self._want.nodes_max - nodes)
            if count > 0:
                chosen.append(share._replace(nodes=count))
                nodes, tasks = nodes + count, tasks + count * share.tasks
            if nodes >= self._want.demand.nodes_min and tasks >= self._want.tasks:
                return chosen
        return []

    def _take(self, shares: Sequence[_Share]) -> None:
        """Deal the job's tasks out: earlier nodes get as many as they take, as long as one is left for each node to come."""
        spanning = self._record.next_spanning()
        nodes_left, tasks_left = sum(share.nodes for share in shares), self._want.tasks
        for share in shares:
            dealt = []
            for _ in range(share.nodes):
                nodes_left -= 1
                dealt.append(min(share.tasks, tasks_left - nodes_left))
                tasks_left -= dealt[-1]
            rest: Room | None = share.room
            for tasks, alike in groupby(dealt):
                if rest is not None:
                    nodes = len(list(alike))
                    rest = self._record.take(share.line, rest, self._want, nodes=nodes, jobs=1, tasks=tasks, spanning=spanning)


def _newness(shares: Sequence[_Share]) -> tuple[int, int]:
    """How many nodes are new, and how many do not take jobs yet."""
    nodes = {kind: sum(share.nodes for share in shares if share.line.kind is kind) for kind in Kind}
    return nodes[Kind.NEW], nodes[Kind.NEW] + nodes[Kind.COMING]
