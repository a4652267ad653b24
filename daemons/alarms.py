"""What an operator should know without asking."""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from daemons.model import FleetName

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that is wrong now, under a key that stays the same as long as it is."""

    key: str
    event: str
    because: str
    fleet: FleetName | None = None


def keys_of(alarms: Iterable[Alarm]) -> frozenset[str]:
    return frozenset(alarm.key for alarm in alarms)


def tell_alarms(alarms: Iterable[Alarm], standing: frozenset[str]) -> None:
    """One line for each alarm that is new, and for each that is over. `standing` are the keys of those told before."""
    now = tuple(alarms)
    for alarm in now:
        if alarm.key not in standing:
            log.warning(alarm.event, fleet=alarm.fleet, because=alarm.because)
    for key in sorted(standing - keys_of(now)):
        log.info("alarm.ended", alarm=key)
