"""The record of decisions: each with everything that it was made from, so that it can be made again.

In the state directory: `memory.json` what has been learnt, `last.json` the last look whether or not anything changed,
`decisions.jsonl` the decisions that changed something and the first of every run of equal ones, `decisions.jsonl.1.gz` … the
older ones, compressed. All are JSON lines of the same kind but the first.
"""

import gzip
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from daemons.config.values import JobwatcherConfig
from daemons.errors import ConfigError, InvalidValue
from daemons.model import Hostname
from daemons.plain import parse_json, render_json
from jobwatcher.alarms import Alarm
from jobwatcher.memory import Memory
from jobwatcher.observe import Observation
from jobwatcher.plan import Action, Answer, CapacityPlan, Decision, Options

MEMORY, LAST, DECISIONS = "memory.json", "last.json", "decisions.jsonl"
_FRESH_S = 60.0  # how old the last look on file may be while nothing changes
_PARTS = 8  # the files that the record is spread over, the open one included
_PACKED = 0.2  # what gzip leaves of such lines, and rather less


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was decided."""

    decisions: tuple[Decision, ...]
    answers: tuple[Answer, ...]
    used_hosts: frozenset[Hostname] = frozenset()
    alarms: tuple[Alarm, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One look: `seen`, `memory` and `options` are all that `plan_capacity` is given, `outcome` what it made of them."""

    version: str  # of headnode
    seen: Observation
    memory: Memory
    options: Options
    outcome: Outcome


def outcome_of(plan: CapacityPlan) -> Outcome:
    return Outcome(decisions=plan.decisions, answers=plan.answers, used_hosts=plan.used_hosts, alarms=plan.alarms)


@dataclass(frozen=True, slots=True)
class _Gist:
    """What makes two decisions equal: times and ids left aside."""

    decisions: tuple[tuple[object, ...], ...]
    answers: frozenset[str]
    alarms: frozenset[str]

    @classmethod
    def of(cls, outcome: Outcome) -> "_Gist":
        return cls(
            decisions=tuple(
                (one.fleet, one.action, one.target, one.desired, one.wanted, one.coming) for one in outcome.decisions
            ),
            answers=frozenset(answer.sentence for answer in outcome.answers),
            alarms=frozenset(alarm.key for alarm in outcome.alarms),
        )


class Recorder:
    """Keeps the files. Its methods block: call them off the event loop. One process at a time may own a directory."""

    def __init__(self, directory: Path, *, most_bytes: int) -> None:
        self._directory = directory
        self._part_bytes = max(64 * 1024, most_bytes // 2)
        self._packed_parts = max(1, min(_PARTS, int(most_bytes / 2 / (self._part_bytes * _PACKED))))
        self._gist: _Gist | None = None
        self._last: Observation | None = None

    def open(self) -> Memory:
        """Make the directory, and read what an earlier process has learnt. Raises ConfigError where that cannot be.

        A memory that cannot be read is put aside as `memory.json.unreadable`: what it knew will be learnt again.
        """
        try:
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            path = self._directory / MEMORY
            if not path.exists():
                return Memory()
            try:
                return parse_json(Memory, path.read_bytes())
            except InvalidValue:
                path.replace(path.with_suffix(".json.unreadable"))
                return Memory()
        except OSError as err:
            raise ConfigError(
                f"the state directory {self._directory} cannot be used: {err.strerror or err}",
                hint="create it for the service's user, or set jobwatcher.state_dir",
                problems=(f"jobwatcher.state_dir: {err}",),
            ) from err

    def keep_memory(self, memory: Memory) -> None:
        self._write(MEMORY, render_json(memory))

    def keep(self, record: Record) -> bool:
        """Write the record down. Whether it went into the history: it changes something, or differs from the one before."""
        gist = _Gist.of(record.outcome)
        acts = any(decision.action is not Action.HOLD for decision in record.outcome.decisions)
        is_news = gist != self._gist or (acts and not record.options.jobwatcher.dry_run)
        self._gist = gist
        if not is_news and self._last is not None and _is_like(record.seen, self._last):
            return False
        self._last = record.seen
        line = render_json(record)
        self._write(LAST, line)
        if is_news:
            self._append(line)
        return is_news

    def _write(self, name: str, text: str) -> None:
        """Replace a file in one step: who reads it sees the old or the new."""
        fresh = self._directory / f"{name}.new"
        fresh.write_text(text + "\n", encoding="utf-8")
        fresh.replace(self._directory / name)

    def _append(self, line: str) -> None:
        path = self._directory / DECISIONS
        data = f"{line}\n".encode()
        if path.exists() and path.stat().st_size + len(data) > self._part_bytes:
            self._rotate(path)
        with path.open("ab") as file:
            file.write(data)

    def _rotate(self, path: Path) -> None:
        """Compress the full file into part 1, the others one further; the last goes."""
        for number in range(self._packed_parts, 1, -1):
            older = _part(path, number - 1)
            if older.exists():
                older.replace(_part(path, number))
        fresh = path.with_name(f"{path.name}.gz.new")
        with path.open("rb") as source, gzip.open(fresh, "wb") as target:
            shutil.copyfileobj(source, target)
        fresh.replace(_part(path, 1))
        path.unlink()


def _part(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}.gz")


def _is_like(one: Observation, other: Observation) -> bool:
    """The same but for the time, and not much of that."""
    return 0 <= one.now - other.now < _FRESH_S and one == replace(other, now=one.now)


def read_last(directory: Path) -> Record | None:
    """The last look, None where there has been none. Raises InvalidValue for a file that is something else."""
    path = directory / LAST
    return parse_json(Record, path.read_bytes()) if path.exists() else None


def read_records(path: Path) -> Iterator[tuple[str, Record]]:
    """The records of a file, compressed or not, oldest first, or of a directory's whole history; each with its place.

    Raises InvalidValue, with the place, for a line that is no record; a last line that was cut short is left out.
    """
    for file in _history(path):
        number = 0
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    return
                place = f"{file}:{number}"
                try:
                    yield place, parse_json(Record, line)
                except InvalidValue as err:
                    raise InvalidValue(f"{place}: {err}") from err


def _history(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    parts = sorted(path.glob(f"{DECISIONS}.*.gz"), key=lambda part: -int(part.name.split(".")[-2]))
    current = path / DECISIONS
    return [*parts, *([current] if current.exists() else [])]


def state_directory(chosen: JobwatcherConfig) -> Path:
    """Where a jobwatcher keeps its state. One that only decides keeps its own, beside that of the one that acts."""
    return Path(chosen.state_dir, "shadow") if chosen.dry_run else Path(chosen.state_dir)
