"""What may go to CloudWatch Logs in one PutLogEvents. Pure.

Its documented limits: 10,000 events and 1,048,576 bytes a call, where each event counts 26 bytes more than its text in UTF-8; in
the order of time, which spans at most 24 hours; none older than 14 days or more than 2 hours ahead; an event of 256 KiB at most.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_CUT = " … cut, {} bytes in all"


class Line(NamedTuple):  # a tuple, because there can be many
    """A log line and when it was written, in milliseconds since the epoch."""

    at_ms: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """AWS's, unless a test wants others."""

    events: int = 10_000
    size_bytes: int = 1_048_576
    overhead_bytes: int = 26
    event_bytes: int = 262_144
    span_ms: int = 24 * 3600 * 1000
    oldest_ms: int = 14 * 24 * 3600 * 1000
    ahead_ms: int = 2 * 3600 * 1000


AWS_LIMITS = Limits()


def size_of(line: Line, limits: Limits = AWS_LIMITS) -> int:
    """What the line counts for."""
    return len(line.text.encode()) + limits.overhead_bytes


def fitted(line: Line, limits: Limits = AWS_LIMITS) -> Line:
    """The line, cut if AWS would refuse it for its length; an empty one, which it would refuse too, becomes a blank. Lone
    surrogates, which no UTF-8 can hold, become question marks.
    """
    data = line.text.encode(errors="replace")
    most = limits.event_bytes - limits.overhead_bytes
    if len(data) > most:
        mark = _CUT.format(len(data)).encode()
        data = data[: max(most - len(mark), 0)] + mark
    return Line(line.at_ms, data.decode(errors="ignore") or " ")


def timely(lines: Iterable[Line], now_ms: int, limits: Limits = AWS_LIMITS) -> list[Line]:
    """Without those that AWS would refuse for their time. One from ahead, by a clock that was set back, counts as now."""
    return [
        line if line.at_ms <= now_ms + limits.ahead_ms else Line(now_ms, line.text)
        for line in lines
        if line.at_ms > now_ms - limits.oldest_ms
    ]


def take(lines: Sequence[Line], limits: Limits = AWS_LIMITS) -> int:
    """How many of these lines, from the first on, go into one call; at least one if there is any."""
    size, earliest, latest = 0, 0, 0
    for count, line in enumerate(lines):
        size += size_of(line, limits)
        earliest, latest = (min(earliest, line.at_ms), max(latest, line.at_ms)) if count else (line.at_ms, line.at_ms)
        if count and (count >= limits.events or size > limits.size_bytes or latest - earliest >= limits.span_ms):
            return count
    return len(lines)


def in_order(lines: Iterable[Line]) -> list[Line]:
    """As a call wants them: by time, and as they came among equals."""
    return sorted(lines, key=lambda line: line.at_ms)
