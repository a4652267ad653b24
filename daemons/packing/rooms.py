"""Free room: nodes that are alike are one value with a count, so that packing costs by what differs and not by nodes.

Rooms stand in lines. Jobs go to the first room of a line where they fit, so the order in a line is the order in which nodes
fill up. A room only ever gets smaller: where a job did not fit once, none like it ever will.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from daemons.model import Fleet, FleetName, FleetSpec, Hostname, Node, NodeState, Shape

UNCOUNTED = 1 << 60  # the memory of a node whose scheduler does not count memory

Amounts = tuple[int, ...]  # cpus, memory in MiB, gpus, then the consumables in the order of `Dimensions`


class Kind(IntEnum):
    """Where room is, in the order in which it is used up."""

    LIVE = 0
    COMING = 1
    NEW = 2


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The resources that any job or node here counts."""

    consumables: tuple[str, ...]

    @classmethod
    def of(cls, shapes: Iterable[Shape]) -> "Dimensions":
        return cls(tuple(sorted({name for shape in shapes for name, _ in shape.consumables})))

    @property
    def names(self) -> tuple[str, ...]:
        return ("cpus", "MiB of memory", "gpus", *self.consumables)

    def amounts(self, shape: Shape) -> Amounts:
        """A need: what is not asked for is 0."""
        if not self.consumables:
            return (shape.cpus, shape.memory_mib, shape.gpus)
        named = dict(shape.consumables)
        return (shape.cpus, shape.memory_mib, shape.gpus, *(named.get(name, 0) for name in self.consumables))

    def room(self, total: Shape, used: Shape | None = None) -> Amounts:
        """What is free of `total`; memory that the node does not count is not a limit."""
        free = self.amounts(total)
        if used is not None:
            free = tuple(max(0, have - use) for have, use in zip(free, self.amounts(used), strict=True))
        return free if total.memory_mib else (free[0], UNCOUNTED, *free[2:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort:
    """What decides whether a job may go to a node at all, whatever is free there."""

    partitions: frozenset[str]
    features: frozenset[str]
    has_gpus: bool
    gpu_type: str

    @classmethod
    def of_node(cls, node: Node) -> "Sort":
        total = node.total
        return cls(partitions=node.partitions, features=node.features, has_gpus=total.gpus > 0, gpu_type=total.gpu_type)

    @classmethod
    def of_fleet(cls, spec: FleetSpec) -> "Sort":
        """Its nodes carry the fleet's name as a feature besides its own."""
        return cls(
            partitions=frozenset({spec.partition}),
            features=spec.features | {spec.name},
            has_gpus=spec.shape.gpus > 0,
            gpu_type=spec.shape.gpu_type,
        )

    @property
    def order(self) -> tuple[object, ...]:
        """The plainest first, so that what is special stays free for those who ask for it; then by name."""
        return self.has_gpus, len(self.features), sorted(self.partitions), sorted(self.features), self.gpu_type


@dataclass(slots=True, kw_only=True, eq=False)
class Room:
    """`count` neighbouring nodes of a line with the same free amounts, numbered from `first`."""

    free: Amounts
    count: int
    first: int = 0
    empty: bool  # nothing was there when the packing began
    used: bool = False  # something has been put there since
    host: Hostname | None = None  # set if some job names this very node: such a node is a room by itself
    next: "Room | None" = None

    @property
    def is_whole(self) -> bool:
        """May an exclusive job have these nodes?"""
        return self.empty and not self.used

    def part(self, *, first: int, count: int) -> "Room":
        return Room(free=self.free, count=count, first=first, empty=self.empty, used=self.used, host=self.host, next=self.next)


@dataclass(slots=True, kw_only=True, eq=False)
class Line:
    """Rooms of one kind and sort, first come first filled. `head` is a room of no nodes that stands before all others.

    A line of untouched nodes `opens` into another: a node that gets its first job moves to the end of that one.
    """

    kind: Kind
    sort: Sort
    fleet: FleetName | None = None  # None for live nodes: whose they are does not matter
    hosts: tuple[Hostname, ...] = ()  # of live nodes, by number
    opens: "Line | None" = None
    fed_by: "Line | None" = None
    head: Room = field(default_factory=lambda: Room(free=(), count=0, empty=False))
    tail: Room = field(init=False)

    def __post_init__(self) -> None:
        self.tail = self.head

    def __iter__(self) -> Iterator[Room]:
        room = self.head.next
        while room is not None:
            yield room
            room = room.next

    @property
    def may_grow(self) -> bool:
        """Could rooms join its end yet?"""
        return self.fed_by is not None and self.fed_by.head.next is not None

    def append(self, room: Room) -> None:
        room.next = None
        self.tail.next = room
        self.tail = room

    def take(self, room: Room, nodes: int, free: Amounts) -> Room | None:
        """Leave `free` on the first `nodes` of the room. The untouched rest of it, None if there is none."""
        rest = None if nodes == room.count else room.part(first=room.first + nodes, count=room.count - nodes)
        if self.opens is not None:
            opened = room.part(first=room.first, count=nodes)
            opened.free, opened.used = free, True
            self.opens.append(opened)
            self.head.next = rest
            return rest
        if rest is not None:
            room.count, room.next = nodes, rest
            if self.tail is room:
                self.tail = rest
        room.free, room.used = free, True
        return rest


def live_lines(nodes: Sequence[Node], named: frozenset[Hostname], dimensions: Dimensions) -> list[Line]:
    """The nodes that would start a job now, plainest sort first; within one those with jobs before empty ones, tightest first.

    `named` are the hostnames that some job asks for or excludes.
    """
    by_sort: dict[Sort, dict[tuple[bool, Amounts, Hostname], list[Hostname]]] = {}
    for node in nodes:
        if not node.is_usable or NodeState.RESERVED in node.states:
            continue
        host = node.hostname if node.hostname in named else Hostname("")
        likeness = (node.is_empty, dimensions.room(node.total, node.used), host)
        by_sort.setdefault(Sort.of_node(node), {}).setdefault(likeness, []).append(node.hostname)
    return [_live_line(sort, by_sort[sort]) for sort in sorted(by_sort, key=lambda sort: sort.order)]


def _live_line(sort: Sort, groups: Mapping[tuple[bool, Amounts, Hostname], Sequence[Hostname]]) -> Line:
    hosts: list[Hostname] = []
    rooms = []
    for (empty, free, host), alike in sorted(groups.items()):
        rooms.append(Room(free=free, count=len(alike), first=len(hosts), empty=empty, host=host or None))
        hosts += sorted(alike)
    line = Line(kind=Kind.LIVE, sort=sort, hosts=tuple(hosts))
    for room in rooms:
        line.append(room)
    return line


def fleet_lines(fleet: FleetName, sort: Sort, kind: Kind, count: int, whole: Amounts) -> tuple[Line, Line]:
    """A line for those of `count` nodes that have got jobs (none yet), and the line of the untouched ones."""
    opened = Line(kind=kind, sort=sort, fleet=fleet)
    fresh = Line(kind=kind, sort=sort, fleet=fleet, opens=opened)
    opened.fed_by = fresh
    if count > 0:
        fresh.append(Room(free=whole, count=count, empty=True))
    return opened, fresh


def headroom(fleet: Fleet) -> int:
    """How many nodes the fleet may still be raised by; a static fleet by none."""
    return 0 if fleet.is_static else max(0, fleet.maximum - fleet.desired)
