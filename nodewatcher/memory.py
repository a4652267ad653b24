"""What nodewatcher remembers from one look to the next, beside the idle clocks, which are in the rows. Values only."""

from dataclasses import dataclass

from daemons.model import InstanceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """Something that has been so of an instance since that time. Time in which nobody looked does not count."""

    instance_id: InstanceId
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    looked_at: float | None = None  # when the last look was; None: there has been none
    down: tuple[Since, ...] = ()  # instances that the scheduler calls down
    booting: tuple[Since, ...] = ()  # instances that take no jobs yet, since they were first seen
    standing: frozenset[str] = frozenset()  # the keys of the alarms that have been raised and are not over
