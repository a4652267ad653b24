"""Free room, grouped: nodes that are alike are one value with a count, so that packing costs by shapes and not by nodes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from daemons.model import Fleet, FleetName, Hostname, Node, NodeState, Shape

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

    kind: Kind
    fleet: FleetName | None  # None for a live node: whose it is does not matter
    partitions: frozenset[str]
    features: frozenset[str]
    gpu_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """`count` nodes of one sort with the same free amounts. `hosts` names them if they are live."""

    sort: Sort
    free: Amounts
    whole: bool  # nothing is there yet: an exclusive job may have it
    count: int
    hosts: tuple[Hostname, ...] = ()

    def split(self, count: int) -> tuple["Room", "Room"]:
        """The first `count` of its nodes, and the others."""
        return (
            replace(self, count=count, hosts=self.hosts[:count]),
            replace(self, count=self.count - count, hosts=self.hosts[count:]),
        )

    def joined(self, other: "Room") -> "Room":
        """These nodes and another room's, which are alike."""
        return replace(self, count=self.count + other.count, hosts=tuple(sorted(self.hosts + other.hosts)))

    def named(self, hosts: Iterable[Hostname]) -> "Room":
        """Just these of its nodes."""
        kept = tuple(hosts)
        return replace(self, count=len(kept), hosts=kept)

    def less(self, amounts: Amounts) -> "Room":
        """The same nodes once each has given these amounts away."""
        return replace(self, free=tuple(have - use for have, use in zip(self.free, amounts, strict=True)), whole=False)


@dataclass(slots=True)
class Rooms:
    """All the room there is, by sort. Rooms without a free CPU are forgotten: nothing fits there any more."""

    by_sort: dict[Sort, list[Room]] = field(default_factory=dict)

    def add(self, room: Room) -> None:
        if room.count and room.free[0] > 0:
            self.by_sort.setdefault(room.sort, []).append(room)

    def replace(self, sort: Sort, rooms: Sequence[Room]) -> None:
        """Keep these for that sort; rooms that have become alike become one."""
        alike: dict[tuple[Amounts, bool], Room] = {}
        for room in rooms:
            if not room.count or room.free[0] <= 0:
                continue
            key = (room.free, room.whole)
            alike[key] = alike[key].joined(room) if key in alike else room
        self.by_sort[sort] = list(alike.values())


def live_rooms(nodes: Sequence[Node], dimensions: Dimensions) -> Iterable[Room]:
    """The free room of the nodes that would start a job now, alike ones together, by hostname."""
    groups: dict[tuple[Sort, Amounts, bool], list[Hostname]] = {}
    for node in nodes:
        if not node.is_usable or NodeState.RESERVED in node.states:
            continue
        sort = Sort(kind=Kind.LIVE, fleet=None, partitions=node.partitions, features=node.features, gpu_type=node.total.gpu_type)
        groups.setdefault((sort, dimensions.room(node.total, node.used), node.is_empty), []).append(node.hostname)
    for (sort, free, whole), hosts in groups.items():
        yield Room(sort=sort, free=free, whole=whole, count=len(hosts), hosts=tuple(sorted(hosts)))


def fleet_room(fleet: Fleet, kind: Kind, count: int, dimensions: Dimensions) -> Room:
    """Whole nodes of a fleet that are on their way, or that could be asked for."""
    spec = fleet.spec
    sort = Sort(
        kind=kind,
        fleet=spec.name,
        partitions=frozenset({spec.partition}),
        features=spec.features | {spec.name},
        gpu_type=spec.shape.gpu_type,
    )
    return Room(sort=sort, free=dimensions.room(spec.shape), whole=True, count=count)


def all_rooms(live: Sequence[Node], coming: Mapping[FleetName, int], fleets: Sequence[Fleet], dimensions: Dimensions) -> Rooms:
    """Live nodes, those on their way, and those that the fleets' maximum still allows; a static fleet grows by none."""
    rooms = Rooms()
    for room in live_rooms(live, dimensions):
        rooms.add(room)
    for fleet in fleets:
        rooms.add(fleet_room(fleet, Kind.COMING, coming.get(fleet.name, 0), dimensions))
        headroom = 0 if fleet.is_static else max(0, fleet.maximum - fleet.desired)
        rooms.add(fleet_room(fleet, Kind.NEW, headroom, dimensions))
    return rooms
