"""Grid Engine's ways to write amounts: memory, counts, times, array tasks, slot ranges. Pure; ValueError for anything else."""

import math
import re
from collections.abc import Mapping

_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kKmMgGtT]?)")
_TIME = re.compile(r"(?:([0-9]*):)?(?:([0-9]*):)?([0-9]+)")
_FACTOR: Mapping[str, int] = {
    "": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40,
}  # fmt: skip
_SPAN = re.compile(r"([0-9]+)(?:-([0-9]+))?(?::([0-9]+))?")
_RANGE = re.compile(r"([0-9]*)(-?)([0-9]*)(?::([0-9]+))?")
_MIB = 1 << 20


def parse_amount(text: str) -> float:
    """`4`, `4.000000`, `2K`, `infinity`. A memory is in bytes."""
    if text.lower() in ("infinity", "inf"):
        return math.inf
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise ValueError(f"unreadable amount {text!r}")
    return float(found[1]) * _FACTOR[found[2]]


def parse_count(text: str) -> int:
    """An amount as a whole number, rounded up."""
    return math.ceil(parse_amount(text))


def parse_mib(text: str) -> int:
    """A memory in MiB, rounded up."""
    return math.ceil(parse_amount(text) / _MIB)


def parse_limit(text: str) -> float:
    """A queue's limit or what a job asks of it: seconds, `1:00:00`, or a memory; infinite for `INFINITY`."""
    if ":" not in text:
        return parse_amount(text)
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"unreadable limit {text!r}")
    high, middle, low = (int(part or 0) for part in found.groups())
    return (high * 60 + middle) * 60 + low if found[2] is not None else high * 60 + low


def is_true(text: str) -> bool:
    """A BOOL complex's value: `TRUE`, `1`, `1.000000`, ..."""
    return text.lower() in ("true", "t", "yes", "y") or (text[:1].isdigit() and parse_amount(text) != 0)


def count_tasks(text: str) -> int:
    """How many tasks of an array: `1-9:2` → 5, `3,4,8-99:1` → 94, "" → 1 for what is no array."""
    if not text:
        return 1
    count = 0
    for piece in text.split(","):
        found = _SPAN.fullmatch(piece)
        if found is None:
            raise ValueError(f"unreadable array tasks {text!r}")
        low, high, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
        if high < low or step == 0:
            raise ValueError(f"unreadable array tasks {text!r}")
        count += (high - low) // step + 1
    return count


def least_slots(text: str, multiple: int = 1) -> int | None:
    """The fewest slots of a parallel job's range that are a multiple of that: `4-16` → 4, `2,8-` → 2, and 8 for a multiple of 4.

    None if the range holds no such number.
    """
    found = [least for piece in text.split(",") if (least := _least(piece, multiple)) is not None]
    return min(found, default=None)


def _least(piece: str, multiple: int) -> int | None:
    found = _RANGE.fullmatch(piece)
    if found is None or not (found[1] or found[3]):
        raise ValueError(f"unreadable slot range {piece!r}")
    low = int(found[1] or 1)
    high = math.inf if found[2] and not found[3] else int(found[3] or low)
    step = int(found[4] or 1)
    for slots in range(low, low + step * multiple, step or 1):
        if slots % multiple == 0:
            return slots if 0 < slots <= high else None
    return None
