"""What the jobs of one shape want, worked out once for all of them. Pure arithmetic on amounts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from operator import add, attrgetter, sub
from typing import Any

from daemons.model import Hostname, JobDemand
from daemons.packing.rooms import Amounts, Dimensions, Room, Sort

_AMOUNTS = ("cpus", "memory_mib", "gpus", "gpu_type", "consumables")
_SETS = ("partitions", "features", "hostnames", "excluded")

Likeness = tuple[Any, ...]

# All that tells one job's needs from another's, flat, because a hundred thousand of them are compared.
likeness: Callable[[JobDemand], Likeness] = attrgetter(
    *("tasks", "nodes_min", "nodes_max", "tasks_per_node", "exclusive"),
    *(f"{owner}.{name}" for owner in ("per_task", "per_node") for name in _AMOUNTS),
    *_SETS,
)


def times(free: Amounts, need: Amounts) -> int:
    """How often `need`, which is not nothing, fits into `free`."""
    return min([have // use for have, use in zip(free, need, strict=True) if use])


def scaled(need: Amounts, factor: int) -> Amounts:
    return need if factor == 1 else tuple([use * factor for use in need])


def added(one: Amounts, other: Amounts) -> Amounts:
    return tuple(map(add, one, other))


def less(one: Amounts, other: Amounts) -> Amounts:
    return tuple(map(sub, one, other))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Want:
    """The needs that all jobs of one shape have in common: `demand`, without what is a job's own."""

    demand: JobDemand
    tasks: int  # of one job; no node is given for less than one task, so at least nodes_min
    per_task: Amounts
    per_node: Amounts
    least: Amounts = field(init=False)  # what a node must have free to be of any use
    whole_job: Amounts = field(init=False)  # what one job takes on one node that runs all of it

    def __post_init__(self) -> None:
        object.__setattr__(self, "least", added(self.per_task, self.per_node))
        object.__setattr__(self, "whole_job", added(scaled(self.per_task, self.tasks), self.per_node))

    @classmethod
    def of(cls, demand: JobDemand, dimensions: Dimensions) -> "Want":
        """Nothing runs on no CPU: a job that asks for none takes one on each of its nodes."""
        demand = replace(demand, jobs=(), count=1, priority=0, submitted_at=0.0, reason="")
        per_task, per_node = dimensions.amounts(demand.per_task), dimensions.amounts(demand.per_node)
        if per_task[0] + per_node[0] == 0:
            per_node = (1, *per_node[1:])
        return cls(demand=demand, tasks=max(demand.tasks, demand.nodes_min, 1), per_task=per_task, per_node=per_node)

    @property
    def order(self) -> tuple[object, ...]:
        """Something to sort different wants by."""
        plain = (each if each is not None else -1 for each in likeness(self.demand)[: -len(_SETS)])
        partitions, *names = (sorted(getattr(self.demand, name)) for name in _SETS if name != "features")
        return *plain, partitions, [sorted(wanted) for wanted in self.demand.features], *names

    @property
    def fits_one_node(self) -> bool:
        """May one node run the whole job?"""
        most = self.demand.tasks_per_node
        return self.demand.nodes_min <= 1 and (most is None or self.tasks <= most)

    @property
    def may_span(self) -> bool:
        """May several nodes run one job?"""
        return self.tasks > 1 and self.nodes_max > 1

    @property
    def nodes_max(self) -> int:
        return self.tasks if self.demand.nodes_max is None else min(self.tasks, self.demand.nodes_max)

    def may_go(self, sort: Sort) -> bool:
        """Partition, features and GPU type: may such a job go to nodes of this sort at all?"""
        demand = self.demand
        if demand.partitions and not demand.partitions & sort.partitions:
            return False
        if demand.features and not any(wanted <= sort.features for wanted in demand.features):
            return False
        types = set(self.gpu_types())
        return not types or types == {sort.gpu_type}

    def gpu_types(self) -> Iterator[str]:
        for shape in (self.demand.per_task, self.demand.per_node):
            if shape.gpus and shape.gpu_type:
                yield shape.gpu_type

    def may_have(self, room: Room) -> bool:
        """Is the room of use by the nodes that the job names, and by its being empty?"""
        demand = self.demand
        if demand.exclusive and not room.is_whole:
            return False
        return room.host not in demand.excluded and (not demand.hostnames or room.host in demand.hostnames)

    @property
    def is_picky(self) -> bool:
        """Is there more to a room than its free amounts?"""
        return bool(self.demand.exclusive or self.demand.excluded or self.demand.hostnames)

    def named(self) -> frozenset[Hostname]:
        return self.demand.hostnames | self.demand.excluded

    def jobs_in(self, free: Amounts) -> int:
        """How many whole jobs one node with that much free takes; ignores who may have it."""
        fits = times(free, self.whole_job)
        return min(fits, 1) if self.demand.exclusive else fits

    def tasks_in(self, free: Amounts) -> int:
        """How many tasks of one job a node with that much free takes."""
        left = less(free, self.per_node)
        if min(left) < 0:
            return 0
        fits = times(left, self.per_task) if any(self.per_task) else self.tasks
        return min(fits, self.tasks, self.demand.tasks_per_node or fits)

    def left_of(self, free: Amounts, *, jobs: int, tasks: int) -> Amounts:
        """What a node has left once it runs `tasks` tasks of `jobs` jobs."""
        if self.demand.exclusive:
            return (0,) * len(free)
        return less(free, added(scaled(self.per_node, jobs), scaled(self.per_task, tasks)))
