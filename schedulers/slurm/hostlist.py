"""Slurm's way to write many host names in one word: `n[1-3,07],x9`. Pure."""

import re
from collections.abc import Iterable, Iterator

from daemons.errors import SchedulerUnavailable

_ARGUMENT_CHARS = 100_000  # Linux takes 131,072 bytes in one argument
_LIMIT = 1_000_000  # names in one expression; more is no host list but an attack or a bug
_PARTS = re.compile(r"([^,\[\]]+|\[[^\[\]]*\]|,)")


def parse_hostlist(text: str) -> tuple[str, ...]:
    """The names, in the order written. "" is none. Raises SchedulerUnavailable for what is no host list."""
    names: list[str] = []
    stems = [""]
    position = 0
    for found in _PARTS.finditer(text):
        if found.start() != position:
            break
        position = found.end()
        part = found[0]
        if part == ",":
            names += stems
            stems = [""]
        elif part[0] == "[":
            stems = [stem + number for stem in stems for number in _numbers(part[1:-1], text)]
        else:
            stems = [stem + part for stem in stems]
        if len(stems) + len(names) > _LIMIT:
            break
    if position != len(text):
        raise SchedulerUnavailable(f"Slurm wrote a host list that cannot be read: {text[:200]!r}")
    return tuple(name for name in [*names, *stems] if name)


def _numbers(inside: str, text: str) -> Iterator[str]:
    for piece in inside.split(","):
        low, dash, high = piece.partition("-")
        if not low.isascii() or not low.isdigit() or (dash and not (high.isascii() and high.isdigit())):
            raise SchedulerUnavailable(f"Slurm wrote a host list that cannot be read: {text[:200]!r}")
        if dash and int(high) - int(low) >= _LIMIT:
            raise SchedulerUnavailable(f"Slurm wrote a host list of more than {_LIMIT} names: {text[:200]!r}")
        for number in range(int(low), int(high or low) + 1):
            yield f"{number:0{len(low)}d}"


def render_hostlists(names: Iterable[str]) -> list[str]:
    """The names as comma-separated lists, each short enough for one argument of a command."""
    lists: list[str] = []
    current: list[str] = []
    size = 0
    for name in names:
        if current and size + len(name) + 1 > _ARGUMENT_CHARS:
            lists.append(",".join(current))
            current, size = [], 0
        current.append(name)
        size += len(name) + 1
    return [*lists, ",".join(current)] if current else lists
