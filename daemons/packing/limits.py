"""What stands between a job and its room."""

from dataclasses import dataclass
from enum import StrEnum


class Limit(StrEnum):
    """From what is furthest from room to what is closest."""

    BLOCKED = "blocked"  # the scheduler would not start it, however many nodes there are
    HOSTS = "hosts"  # it must have nodes that it names
    PARTITION = "partition"
    FEATURES = "features"  # or the type of its GPUs
    SHAPE = "shape"  # no node is large enough
    NODES = "nodes"  # it needs more nodes at once than there may be
    MAXIMUM = "maximum"  # there may be no more nodes than there are
    BUDGET = "budget"  # more nodes would cost more than is allowed
    BREAKER = "breaker"  # the fleet's last instances came to nothing
    SHORTAGE = "shortage"  # AWS has none to give at present


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """No more than `most` new nodes of a fleet for now, whatever its maximum; and why, in a sentence."""

    most: int
    limit: Limit
    sentence: str
