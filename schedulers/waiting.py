"""Waiting work in its order, what is alike together: the same for every scheduler that lists jobs. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

from daemons.model import BlockedBy, Hostname, JobDemand, JobId


@dataclass(frozen=True, slots=True)
class Waiting:
    """One listed job's worth of work: a shape that many share, and what is the job's own."""

    shape: JobDemand
    job: JobId
    count: int
    priority: int
    submitted_at: float
    blocked_by: BlockedBy
    reason: str = ""
    excluded: frozenset[Hostname] = frozenset()  # besides those of its shape

    @property
    def order(self) -> tuple[int, float]:
        return (-self.priority, self.submitted_at)

    @property
    def likeness(self) -> tuple[int, BlockedBy, str, frozenset[Hostname]]:
        """Equal for neighbours that become one value; equal shapes are the same object."""
        return (id(self.shape), self.blocked_by, self.reason, self.excluded)


def in_order(waiting: Iterable[Waiting]) -> tuple[JobDemand, ...]:
    """Highest priority first, oldest first among equals. Neighbours in this order that ask for the same come as one value, with
    the priority of its first.
    """
    ordered = sorted(waiting, key=attrgetter("order"))
    return tuple(_merged(list(alike)) for _, alike in groupby(ordered, key=attrgetter("likeness")))


def _merged(alike: Sequence[Waiting]) -> JobDemand:
    first = alike[0]
    return replace(
        first.shape,
        jobs=tuple(dict.fromkeys(one.job for one in alike)),
        count=sum(one.count for one in alike),
        priority=first.priority,
        submitted_at=first.submitted_at,
        blocked_by=first.blocked_by,
        reason=first.reason,
        excluded=first.shape.excluded | first.excluded,
    )
