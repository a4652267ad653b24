"""How every benchmark reports: a table for people, one JSON object for machines, and an exit code."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is promised, the limit, and what was measured; it holds where the measured is at most the limit."""

    what: str
    limit: float
    measured: float

    @property
    def holds(self) -> bool:
        return self.measured <= self.limit


def report(name: str, rows: Sequence[Mapping[str, Any]], promises: Sequence[Promise], *, as_json: bool) -> int:
    """Print it all; the exit code: 1 if a promise does not hold."""
    if as_json:
        told = [{**asdict(promise), "holds": promise.holds} for promise in promises]
        print(json.dumps({"name": name, "rows": list(rows), "promises": told}))
    else:
        _print_table(rows)
        for promise in promises:
            print(f"{'holds ' if promise.holds else 'BROKEN'}  {promise.what}: {promise.measured:g} (limit {promise.limit:g})")
    broken = [promise.what for promise in promises if not promise.holds]
    if broken:
        print(f"{name}: broken: {'; '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(rows[0]) if rows else []
    cells = [
        columns,
        *([f"{row[name]:g}" if isinstance(row[name], float) else str(row[name]) for name in columns] for row in rows),
    ]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
