"""Lines that cannot go yet, on disk: first in, first out, bounded. Nothing here raises for what the disk does: lines are dropped
and counted instead, because a log must never stop a service.
"""

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daemons.cloudwatch.batch import Line

_SUFFIX = ".lines"


@dataclass(slots=True, kw_only=True)
class Spool:
    """Files of whole batches, named by number, in `directory`, which is its own. When they are more than `most_bytes` the oldest
    goes. What a former process left there comes first. May be used from several threads.
    """

    directory: Path
    most_bytes: int
    dropped: int = 0  # lines, since the beginning
    _next: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _sizes: dict[int, tuple[int, int]] = field(default_factory=dict, init=False)  # by number: bytes, lines

    def __post_init__(self) -> None:
        with contextlib.suppress(OSError):
            self.directory.mkdir(parents=True, exist_ok=True)
            for path in sorted(self.directory.glob(f"*{_SUFFIX}")):
                if path.stem.isdecimal():
                    self._sizes[int(path.stem)] = (path.stat().st_size, -1)  # nobody has counted
        self._next = max(self._sizes, default=-1) + 1

    @property
    def is_empty(self) -> bool:
        return not self._sizes

    def put(self, lines: Sequence[Line]) -> None:
        """Keep a batch, and drop older ones for it if there has to be room."""
        if not lines:
            return
        data = _render(lines)
        with self._lock:
            while self._sizes and sum(size for size, _ in self._sizes.values()) + len(data) > self.most_bytes:
                self._drop(min(self._sizes))
            if len(data) > self.most_bytes or not self._write(self._next, data):
                self.dropped += len(lines)
                return
            self._sizes[self._next] = (len(data), len(lines))
            self._next += 1

    def keep(self, number: int, lines: Sequence[Line]) -> None:
        """Of that batch only these lines are left. Where that cannot be written it stays as it was."""
        data = _render(lines)
        with self._lock:
            if number in self._sizes and self._write(number, data):
                self._sizes[number] = (len(data), len(lines))

    def _write(self, number: int, data: bytes) -> bool:
        path = self._path(number)
        try:
            path.with_suffix(".new").write_bytes(data)
            path.with_suffix(".new").replace(path)
        except OSError:
            return False
        return True

    def first(self) -> tuple[int, list[Line]] | None:
        """The oldest batch and its number. One that cannot be read is dropped, and the next one is tried."""
        with self._lock:
            while self._sizes:
                number = min(self._sizes)
                try:
                    return number, list(_parse(self._path(number).read_text()))
                except (OSError, ValueError, TypeError):
                    self._drop(number)
            return None

    def done(self, number: int) -> None:
        """That batch is where it was to go."""
        with self._lock:
            self._forget(number)

    def _forget(self, number: int) -> None:
        self._sizes.pop(number, None)
        with contextlib.suppress(OSError):
            self._path(number).unlink()

    def _drop(self, number: int) -> None:
        _, lines = self._sizes[number]
        if lines < 0:
            with contextlib.suppress(OSError, ValueError):
                lines = len(self._path(number).read_text().splitlines())
        self.dropped += max(lines, 0)
        self._forget(number)

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:012d}{_SUFFIX}"


def _render(lines: Sequence[Line]) -> bytes:
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def _parse(text: str) -> Iterator[Line]:
    for line in text.splitlines():
        at_ms, words = json.loads(line)
        if not (isinstance(at_ms, int) and isinstance(words, str)):
            raise TypeError("no line of a spool")
        yield Line(at_ms, words)
