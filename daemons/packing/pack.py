"""Puts waiting jobs onto room: live nodes first, then nodes on their way, then new ones of the fleets that fit. Pure.

Identical jobs are placed by count and identical nodes are one room, so the cost grows with the shapes there are, not with jobs or
nodes. A job that spans nodes gets all of them or none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from daemons.model import BlockedBy, Fleet, FleetName, Hostname, JobDemand, Node, Shape
from daemons.packing.fit import added, is_single, job_amounts, jobs_a_node, may_go, scaled, tasks_a_node
from daemons.packing.rooms import Amounts, Dimensions, Kind, Room, Sort, all_rooms
from daemons.packing.why import why_not


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What becomes of one demand: how many of its jobs go where, and why the `rest` goes nowhere ("" where all are placed)."""

    demand: JobDemand
    live: int = 0
    coming: int = 0
    new: Mapping[FleetName, int] = field(default_factory=dict)  # jobs, not nodes; a job over several fleets counts with its first
    rest: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    placements: tuple[Placement, ...]
    new_nodes: Mapping[FleetName, int]  # how many more nodes each fleet is asked for; fleets without any are left out
    used_hosts: frozenset[Hostname]  # live nodes that are idle now and about to be used


def pack(
    demand: Sequence[JobDemand], *, live: Sequence[Node], coming: Mapping[FleetName, int], fleets: Sequence[Fleet]
) -> Packing:
    """Place everything, highest priority first, then the largest. The order of the arguments makes no difference.

    `coming` counts each fleet's nodes that have been asked for and take no jobs yet. Fleets listed first are preferred where
    nothing else decides between two that fit.
    """
    shapes: list[Shape] = [each for job in demand for each in (job.per_task, job.per_node)]
    shapes += [node.total for node in live] + [fleet.spec.shape for fleet in fleets]
    packer = _Packer(live, coming, fleets, Dimensions.of(shapes))
    placements = [packer.place(job) for job in sorted(demand, key=_turn)]
    return Packing(placements=tuple(placements), new_nodes=packer.new_nodes(), used_hosts=frozenset(packer.used_hosts))


def needed_hostnames(demand: Sequence[JobDemand], *, nodes: Sequence[Node], fleets: Sequence[Fleet]) -> frozenset[Hostname]:
    """The idle nodes that waiting jobs are about to use."""
    return pack(demand, live=nodes, coming={}, fleets=fleets).used_hosts


def _turn(job: JobDemand) -> tuple[object, ...]:
    """Priority first; among equals the largest first, which wastes the least, then the oldest."""
    amounts = (job.tasks * job.per_task.cpus, job.tasks * job.per_task.memory_mib + job.per_node.memory_mib)
    size = (-job.nodes_min, -job.exclusive, -amounts[0], -amounts[1])
    return -job.priority, size, job.submitted_at, job.jobs, job.tasks, job.per_task.memory_mib, job.count, job.blocked_by


class _Packer:
    """The rooms as they fill up."""

    def __init__(
        self, live: Sequence[Node], coming: Mapping[FleetName, int], fleets: Sequence[Fleet], dimensions: Dimensions
    ) -> None:
        self._dimensions = dimensions
        self._fleets = {fleet.name: fleet for fleet in fleets}
        self._order = {fleet.name: place for place, fleet in enumerate(fleets)}
        self._rooms = all_rooms(live, coming, fleets, dimensions)
        self._headroom = {fleet.name: 0 if fleet.is_static else max(0, fleet.maximum - fleet.desired) for fleet in fleets}
        self._coming = coming
        self.used_hosts: set[Hostname] = set()

    def new_nodes(self) -> dict[FleetName, int]:
        """How many of the possible nodes are not whole any more."""
        untouched: dict[FleetName, int] = {}
        for sort, rooms in self._rooms.by_sort.items():
            if sort.kind is Kind.NEW and sort.fleet is not None:
                untouched[sort.fleet] = untouched.get(sort.fleet, 0) + sum(room.count for room in rooms if room.whole)
        asked = {name: headroom - untouched.get(name, 0) for name, headroom in self._headroom.items()}
        return {name: count for name, count in asked.items() if count > 0}

    def place(self, job: JobDemand) -> Placement:
        if job.blocked_by is not BlockedBy.NOTHING:
            return Placement(
                demand=job, rest=job.count, why=f"blocked by {job.blocked_by}" + (f" ({job.reason})" if job.reason else "")
            )
        counts = self._place_singles(job) if is_single(job) else self._place_spanning(job)
        placed = sum(counts.values())
        new = {sort.fleet: count for sort, count in counts.items() if sort.kind is Kind.NEW and sort.fleet is not None}
        rest = job.count - placed
        return Placement(
            demand=job,
            live=sum(count for sort, count in counts.items() if sort.kind is Kind.LIVE),
            coming=sum(count for sort, count in counts.items() if sort.kind is Kind.COMING),
            new=new,
            rest=rest,
            why=why_not(job, self._fleets.values(), self._dimensions) if rest else "",
        )

    def _sorts(self, job: JobDemand, need: Amounts) -> list[Sort]:
        """Where the job may go: live, coming, new; new ones by the fleet that wastes the least."""
        sorts = [sort for sort in self._rooms.by_sort if may_go(job, sort) and (not job.hostnames or sort.kind is Kind.LIVE)]
        return sorted(sorts, key=lambda sort: (sort.kind, self._waste(job, need, sort), self._place_of(sort)))

    def _place_of(self, sort: Sort) -> tuple[object, ...]:
        order = self._order.get(sort.fleet, -1) if sort.fleet is not None else -1
        return order, sorted(sort.partitions), sorted(sort.features), sort.gpu_type

    def _waste(self, job: JobDemand, need: Amounts, sort: Sort) -> float:
        """The part of a new node that stays empty when it is full of such jobs; the same for all other room."""
        if sort.kind is not Kind.NEW or sort.fleet is None:
            return 0.0
        whole = self._dimensions.room(self._fleets[sort.fleet].spec.shape)
        fits = max(1, min((have // use for have, use in zip(whole, need, strict=True) if use), default=1))
        used = [min(1.0, use * min(fits, job.count) / have) for have, use in zip(whole[:3], need[:3], strict=True) if have]
        return round(1.0 - sum(used) / len(used), 6)

    def _place_singles(self, job: JobDemand) -> dict[Sort, int]:
        need = job_amounts(job, self._dimensions)
        left, counts = job.count, {}
        for sort in self._sorts(job, need):
            kept: list[Room] = []
            before = left
            for room in _tightest_first(self._rooms.by_sort[sort], need):
                usable, others = _allowed(room, job)
                kept.append(others)
                each = jobs_a_node(job, usable, need) if usable.count and left else 0
                if each == 0:
                    kept.append(usable)
                    continue
                took, rooms = self._fill(job, usable, each, left, need)
                left -= took
                kept += rooms
            self._rooms.replace(sort, kept)
            if before > left:
                counts[sort] = before - left
            if not left:
                break
        return counts

    def _fill(self, job: JobDemand, room: Room, each: int, wanted: int, need: Amounts) -> tuple[int, list[Room]]:
        """Put up to `wanted` jobs, `each` a node, into the room. How many went in, and the rooms that it has become."""
        took = min(wanted, each * room.count)
        full, over = divmod(took, each)
        filled, rest = room.split(full)
        rooms = [self._use(job, filled, scaled(need, each))]
        if over:
            partly, rest = rest.split(1)
            rooms.append(self._use(job, partly, scaled(need, over)))
        return took, [*rooms, rest]

    def _use(self, job: JobDemand, room: Room, amounts: Amounts) -> Room:
        if room.whole:
            self.used_hosts.update(room.hosts)
        return room.less(room.free if job.exclusive else amounts)

    def _place_spanning(self, job: JobDemand) -> dict[Sort, int]:
        """Jobs over several nodes, one at a time, each in one partition with all of its nodes or none."""
        counts: dict[Sort, int] = {}
        partitions = sorted(job.partitions) or sorted({name for sort in self._rooms.by_sort for name in sort.partitions})
        for _ in range(job.count):
            chosen = next(filter(None, (self._choose(job, partition) for partition in partitions)), None)
            if chosen is None:
                break
            self._take(job, chosen)
            last = chosen[-1][0].sort
            counts[last] = counts.get(last, 0) + 1
        return counts

    def _choose(self, job: JobDemand, partition: str) -> list[tuple[Room, int, int]] | None:
        """(room, how many of its nodes, tasks that each can take) for one job; None where it does not fit."""
        need = added(self._dimensions.amounts(job.per_task), self._dimensions.amounts(job.per_node))
        candidates = []
        for sort in self._sorts(job, need):
            if partition in sort.partitions:
                for room in self._rooms.by_sort[sort]:
                    usable, _ = _allowed(room, job)
                    if usable.count and (tasks := tasks_a_node(job, usable, self._dimensions)):
                        candidates.append((usable, tasks))
        most = job.nodes_max or job.tasks
        return _gather(candidates, job, most) or _gather(sorted(candidates, key=_roomiest), job, most)

    def _take(self, job: JobDemand, chosen: Sequence[tuple[Room, int, int]]) -> None:
        """Use the chosen nodes: tasks are dealt out evenly, as far as each node can take them."""
        nodes_left, tasks_left = sum(count for _, count, _ in chosen), job.tasks
        fixed, each = self._dimensions.amounts(job.per_node), self._dimensions.amounts(job.per_task)
        for room, count, limit in chosen:
            kept = [other for other in self._rooms.by_sort[room.sort] if not _is_of(other, room)]
            rest = next(other for other in self._rooms.by_sort[room.sort] if _is_of(other, room))
            for _ in range(count):
                tasks = min(limit, -(-tasks_left // nodes_left))
                one, rest = _take_one(rest, room)
                kept.append(self._use(job, one, added(fixed, scaled(each, tasks))))
                tasks_left -= tasks
                nodes_left -= 1
            self._rooms.replace(room.sort, [*kept, rest])


def _tightest_first(rooms: Iterable[Room], need: Amounts) -> list[Room]:
    """Rooms with the least left over of what the job asks for most, first: large holes stay for large jobs."""
    asked = [place for place, use in enumerate(need) if use]
    return sorted(rooms, key=lambda room: (*(room.free[place] for place in asked), room.whole, room.hosts))


def _allowed(room: Room, job: JobDemand) -> tuple[Room, Room]:
    """The nodes of a room that the job may have by name, and the others."""
    if not room.hosts or not (job.hostnames or job.excluded):
        return room, room.split(0)[0]
    may = [host for host in room.hosts if (not job.hostnames or host in job.hostnames) and host not in job.excluded]
    return room.named(may), room.named(host for host in room.hosts if host not in may)


def _gather(candidates: Sequence[tuple[Room, int]], job: JobDemand, most: int) -> list[tuple[Room, int, int]] | None:
    """Take candidates in order until the job has its nodes and all of its tasks; None where `most` nodes do not suffice."""
    chosen: list[tuple[Room, int, int]] = []
    nodes = tasks = 0
    for room, limit in candidates:
        lacking = max(job.nodes_min - nodes, -(-(job.tasks - tasks) // limit))
        count = min(room.count, lacking, most - nodes)
        if count > 0:
            chosen.append((room, count, limit))
            nodes, tasks = nodes + count, tasks + count * limit
        if nodes >= job.nodes_min and tasks >= job.tasks:
            return chosen
    return None


def _roomiest(candidate: tuple[Room, int]) -> tuple[int, Kind]:
    room, tasks = candidate
    return -tasks, room.sort.kind


def _is_of(room: Room, allowed: Room) -> bool:
    """Is `allowed` this room, or some of its nodes? Within a sort no two rooms are alike."""
    return (room.free, room.whole) == (allowed.free, allowed.whole)


def _take_one(room: Room, allowed: Room) -> tuple[Room, Room]:
    """One node of the room, by name where only some are allowed, and what is left of it."""
    host = next((name for name in room.hosts if name in allowed.hosts), None)
    if host is None:
        return room.split(1)
    return room.named([host]), room.named(name for name in room.hosts if name != host)
