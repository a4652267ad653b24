"""The files in which a service keeps what it has learnt and what it decided.

In its state directory: `memory.json` what has been learnt, `last.json` the last look whether or not anything changed,
`decisions.jsonl` the decisions that are news, `decisions.jsonl.1.gz` … the older ones, compressed. All are JSON, a line a record.
"""

import contextlib
import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import structlog

from daemons.errors import ConfigError, InvalidValue
from daemons.plain import parse_json, render_json

log = structlog.get_logger()

T = TypeVar("T")

MEMORY, LAST, DECISIONS = "memory.json", "last.json", "decisions.jsonl"
_PACKED_SHARE = 0.2  # what gzip leaves of such lines, and rather less
_LEAST_PART_BYTES = 64 * 1024
_BLOCK_BYTES, _TAIL_BYTES = 256 * 1024, 8 << 20  # how the end of a history is read, and how much of it at most


class Journal:
    """Keeps the files. Its methods block: call them off the event loop. One process at a time may own a directory.

    What cannot be written is logged and lost: a full disk does not stop a service from its work.
    """

    def __init__(self, directory: Path, *, most_bytes: int, setting: str) -> None:
        """`setting` is the configuration's name for the directory, for messages. The record takes half of `most_bytes` as it is
        written and the other half compressed.
        """
        self._directory = directory
        self._setting = setting
        self._part_bytes = max(_LEAST_PART_BYTES, most_bytes // 2)
        self._packed_parts = max(1, int(most_bytes / 2 / (self._part_bytes * _PACKED_SHARE)))

    def open(self, kind: type[T], default: T) -> T:
        """Make the directory, and read what an earlier process has learnt. Raises ConfigError where that cannot be.

        A memory that cannot be read is put aside as `memory.json.unreadable`: what it knew will be learnt again.
        """
        try:
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            path = self._directory / MEMORY
            if not path.exists():
                return default
            try:
                return parse_json(kind, path.read_bytes())
            except InvalidValue as err:
                path.replace(path.with_suffix(".json.unreadable"))
                log.warning("memory.unreadable", path=str(path), **err.to_event())
                return default
        except OSError as err:
            raise ConfigError(
                f"the state directory {self._directory} cannot be used: {err.strerror or err}",
                hint=f"create it for the service's user, or set {self._setting}",
                problems=(f"{self._setting}: {err}",),
            ) from err

    def keep_memory(self, memory: Any) -> None:
        try:
            self._write(MEMORY, render_json(memory))
        except OSError as err:
            log.warning("memory.not_written", directory=str(self._directory), error=str(err))

    def keep(self, record: Any, *, is_news: bool) -> None:
        """Write the last look down, and into the history if it is news."""
        try:
            line = render_json(record)
            self._write(LAST, line)
            if is_news:
                self._append(line)
        except OSError as err:
            log.warning("record.not_written", directory=str(self._directory), error=str(err))

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


def read_last(directory: Path, kind: type[T]) -> T | None:
    """The last look, None where there has been none. Raises InvalidValue for a file that is something else."""
    path = directory / LAST
    return parse_json(kind, path.read_bytes()) if path.exists() else None


def read_records(path: Path, kind: type[T]) -> Iterator[T]:
    """The records of a file, compressed or not, oldest first, or of a directory's whole history.

    Raises InvalidValue, with the place, for a line that is no such record; a last line that was cut short is left out.
    """
    for file in _history(path):
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield parse_json(kind, line)
                except InvalidValue as err:
                    raise InvalidValue(f"{file}:{number}: {err}") from err


def _history(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    parts = sorted(path.glob(f"{DECISIONS}.*.gz"), key=lambda part: -int(part.name.split(".")[-2]))
    current = path / DECISIONS
    return [*parts, *([current] if current.exists() else [])]


def read_tail(directory: Path, kind: type[T], *, most: int) -> tuple[T, ...]:
    """The newest records of the history, oldest first: at most `most` of them, and of the file that is being written alone.

    Lines that are no such records are left out: an earlier version may have written them.
    """
    path = directory / DECISIONS
    found: list[T] = []
    lines: list[bytes] = []
    with contextlib.suppress(OSError):  # none yet, being rotated away, or not ours to read
        lines = _last_lines(path, most)
    for line in lines:
        with contextlib.suppress(InvalidValue):
            found.append(parse_json(kind, line))
    return tuple(found)


def _last_lines(path: Path, most: int) -> list[bytes]:
    """The last whole lines of a file, of its last megabytes at the most."""
    with path.open("rb") as file:
        at, data = file.seek(0, os.SEEK_END), b""
        while at > 0 and data.count(b"\n") <= most and len(data) < _TAIL_BYTES:
            size = min(_BLOCK_BYTES, at)
            at -= size
            file.seek(at)
            data = file.read(size) + data
    lines = data[: data.rfind(b"\n") + 1].splitlines()
    return (lines if at == 0 else lines[1:])[-most:]
