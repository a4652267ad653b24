"""Does a job fit, and how often? Pure arithmetic on amounts."""

from daemons.model import JobDemand
from daemons.packing.rooms import Amounts, Dimensions, Room, Sort


def times(free: Amounts, need: Amounts) -> int:
    """How often `need` fits into `free`; a need of nothing fits as often as there are CPUs."""
    return min((have // use for have, use in zip(free, need, strict=True) if use), default=free[0])


def scaled(need: Amounts, factor: int) -> Amounts:
    return tuple(use * factor for use in need)


def added(one: Amounts, other: Amounts) -> Amounts:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def may_go(demand: JobDemand, sort: Sort) -> bool:
    """Partition, features and GPU type: may such a job go to nodes of this sort at all?"""
    if demand.partitions and not demand.partitions & sort.partitions:
        return False
    if demand.features and not any(wanted <= sort.features for wanted in demand.features):
        return False
    wanted_types = {shape.gpu_type for shape in (demand.per_task, demand.per_node) if shape.gpus and shape.gpu_type}
    return not wanted_types or wanted_types == {sort.gpu_type}


def is_single(demand: JobDemand) -> bool:
    """Does one job of this demand go onto one node?"""
    return demand.nodes_min <= 1 and (demand.tasks <= 1 or demand.nodes_max == 1)


def job_amounts(demand: JobDemand, dimensions: Dimensions) -> Amounts:
    """What one job takes on one node that runs all of its tasks."""
    return added(scaled(dimensions.amounts(demand.per_task), demand.tasks), dimensions.amounts(demand.per_node))


def jobs_a_node(demand: JobDemand, room: Room, need: Amounts) -> int:
    """How many whole single-node jobs one node of the room takes."""
    if demand.exclusive:
        return int(room.whole and times(room.free, need) > 0)
    if demand.tasks_per_node is not None and demand.tasks > demand.tasks_per_node:
        return 0
    return times(room.free, need)


def tasks_a_node(demand: JobDemand, room: Room, dimensions: Dimensions) -> int:
    """How many tasks of one job a node of the room takes; 0: the job cannot have that node."""
    if demand.exclusive and not room.whole:
        return 0
    fixed = dimensions.amounts(demand.per_node)
    left = tuple(have - use for have, use in zip(room.free, fixed, strict=True))
    if min(left) < 0:
        return 0
    fits = times(left, dimensions.amounts(demand.per_task))
    return min(fits, demand.tasks, demand.tasks_per_node or fits)
