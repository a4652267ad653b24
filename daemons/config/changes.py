"""What differs between two readings of the configuration, and whether a running service may take the newer one. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from daemons.config.effective import effective_settings
from daemons.config.parse import Reading
from daemons.config.problems import Problem, render_value

RESTART_ONLY = ("cluster", "region", "table", "scheduler.name")  # they name another cluster; what is remembered is of this one
_HINT = "it takes a restart: systemctl restart headnode.target"
_NONE = "(none)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One setting, before and after, as the file would have it. What is secret shows as asterisks."""

    path: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.path}: {self.old} -> {self.new}"


def changes_between(old: Reading, new: Reading) -> tuple[Change, ...]:
    """Every setting that differs, in the file's order. Fleets are compared by name. Raises ConfigError for a reading that cannot
    be used.
    """
    before, after = dict(_named(old)), dict(_named(new))
    paths = [*before, *(path for path in after if path not in before)]
    pairs = ((path, before.get(path), after.get(path)) for path in paths)
    return tuple(Change(path=path, old=_shown(one), new=_shown(other)) for path, one, other in pairs if one != other)


def refusals(old: Reading, new: Reading) -> tuple[Problem, ...]:
    """Why a service that runs with `old` goes on with it: everything that is wrong with `new`, or what takes a restart."""
    if new.problems:
        return new.problems
    return tuple(
        Problem(path=change.path, wrong=f"cannot change while the service runs ({change.old} -> {change.new})", hint=_HINT)
        for change in changes_between(old, new)
        if change.path in RESTART_ONLY
    )


def _named(reading: Reading) -> Iterator[tuple[str, object]]:
    names = [spec.name for spec in reading.unwrap().fleets]
    for setting in effective_settings(reading):
        yield re.sub(r"^fleet\[(\d+)\]", lambda found: f"fleet.{names[int(found[1])]}", setting.path), setting.value


def _shown(value: object) -> str:
    return _NONE if value is None else render_value(value)
