"""How many nodes a fleet keeps at a time of the week. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from daemons.model import Hours


def minimum_at(hours: Sequence[Hours], now: float) -> int:
    """The largest minimum of those hours that `now` falls into; 0 outside of all."""
    return max((one.minimum for one in hours if _holds(one, now)), default=0)


def _holds(hours: Hours, now: float) -> bool:
    local = datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(hours.timezone))
    minute, today = local.hour * 60 + local.minute, local.weekday()
    if hours.begin_min < hours.end_min:
        return today in hours.days and hours.begin_min <= minute < hours.end_min
    yesterday = (today - 1) % 7
    return (today in hours.days and minute >= hours.begin_min) or (yesterday in hours.days and minute < hours.end_min)
