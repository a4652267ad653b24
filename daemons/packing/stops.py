"""Where the jobs of one shape look for room, and the record of what they have taken."""

from collections.abc import Iterator
from operator import le
from typing import NamedTuple

from daemons.model import FleetName, Hostname, JobDemand
from daemons.packing.rooms import Amounts, Kind, Line, Room
from daemons.packing.want import Want


class Use(NamedTuple):
    """On each of `nodes` nodes, numbered from `first` within their kind and fleet: that many jobs, with that many tasks in all.

    `spanning` is 0 for jobs that have a node each; the nodes of one job that spans several share another number.
    """

    demand: JobDemand  # stands for all that want the same
    kind: Kind
    fleet: FleetName | None
    hosts: tuple[Hostname, ...]  # of live nodes
    first: int
    nodes: int
    jobs: int
    tasks: int
    spanning: int


class Lot(NamedTuple):
    """Some jobs of one shape that went to the same kind of room. A job that spans kinds counts with the last of them."""

    kind: Kind
    fleet: FleetName | None
    jobs: int


class Search:
    """What the jobs of one shape look for: a node that has so much free and that they may have."""

    __slots__ = ("_is_plain", "_may_have", "_need")

    def __init__(self, want: Want, need: Amounts) -> None:
        self._need = need
        self._is_plain = not want.is_picky and not any(need[2:])  # CPUs and memory are all that it asks for
        self._may_have = want.may_have if want.is_picky else None

    def next_fit(self, stop: "Stop") -> Room | None:
        """The first room of that line where it is found. Full rooms on the way are taken out of the line for good."""
        is_plain, mark = self._is_plain, stop.mark
        cpus, memory = self._need[:2]
        while (room := mark.next) is not None:
            free = room.free
            if free[0] >= cpus and free[1] >= memory and (is_plain or self._is_fit(room)):
                break
            if free[0] == 0 and room.next is not None:  # the last one stays: others join the line behind it
                mark.next = room.next
            else:
                mark = room
        stop.mark = mark
        return room

    def _is_fit(self, room: Room) -> bool:
        return all(map(le, self._need, room.free)) and (self._may_have is None or self._may_have(room))

    def all_fits(self, stop: "Stop") -> Iterator[Room]:
        """All rooms of that line where it is found."""
        room = self.next_fit(stop)
        while room is not None:
            yield room
            room = self.next_fit(Stop(stop.line, room))


class Stop:
    """A line that a shape may go to, and how far it has looked: nothing up to and including `mark` fits any more."""

    __slots__ = ("line", "mark")

    def __init__(self, line: Line, mark: Room) -> None:
        self.line = line
        self.mark = mark


class Record:
    """What has been taken, in order, and which live nodes had been empty before."""

    def __init__(self) -> None:
        self.uses: list[Use] = []
        self.woken: set[Hostname] = set()
        self._spanning = 0

    def next_spanning(self) -> int:
        """A number for a job that spans several nodes."""
        self._spanning += 1
        return self._spanning

    def take(self, line: Line, room: Room, want: Want, *, nodes: int, jobs: int, tasks: int, spanning: int = 0) -> Room | None:
        """Put that much on each of the first `nodes` nodes of the room. The rest of it, None if there is none."""
        hosts = line.hosts[room.first : room.first + nodes]
        if room.empty:
            self.woken.update(hosts)
        self.uses.append(Use(want.demand, line.kind, line.fleet, hosts, room.first, nodes, jobs, tasks, spanning))
        return line.take(room, nodes, want.left_of(room.free, jobs=jobs, tasks=tasks))
