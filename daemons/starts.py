"""Starts that fail in a row are held back longer each time, as systemd's own steps would do it (RestartSteps=, since 254).

The process counts them itself, in a file of its runtime directory: from before each attempt, so that one that is killed counts
too, and until it has been ready for a minute or was told to stop. Where there is no runtime directory, nothing is counted.
"""

import asyncio
import contextlib
import json
import math
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from daemons.errors import ConfigError
from daemons.lines import harmless, without_secrets
from daemons.loop import back_off_s, sleep_unless
from daemons.notify import Progress

log = structlog.get_logger()

FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 300.0
SETTLED_S = 60.0  # ready for so long, a service has come up, and what ends it then has nothing to do with its start
ATTEMPT_S = 600.0  # what the units give a start (TimeoutStartSec); a held back one has it all once the wait is over
FIRST_WAIT_SETTING = "HEADNODE_BACK_OFF_S"
_TOLD_EVERY_S = 5.0
_LARGEST = 4096
_MOST_COUNTED = 1_000_000
_BECAUSE_CHARS = 120  # a status line has room for it

Later = Callable[[float, Callable[[], None]], object]  # call that after so many seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """So many starts failed in a row. `at` is when the last one ended, or when it began if it ended without a word (`because` is
    "" then), in seconds that nobody can set.
    """

    count: int = 0
    at: float = 0.0
    because: str = ""

    def __str__(self) -> str:
        why = f"because {self.because}" if self.because else "without a word"
        return f"the last start failed {why}" if self.count == 1 else f"{self.count} starts in a row failed, the last {why}"


NONE = Failures()


def plan_wait_s(failures: Failures, *, now: float, first_s: float, jitter: float) -> float:
    """How long the next start is still held back: `first_s` after the end of the last one, doubled with each failure up to five
    minutes, spread by `jitter` (0 … 1).
    """
    if not failures.count:
        return 0.0
    wait_s = back_off_s(failures.count, period_s=first_s, jitter=jitter, ceiling_s=LONGEST_WAIT_S)
    return max(0.0, failures.at + wait_s - now)


def parse_failures(text: bytes, *, now: float) -> Failures:
    """What `render_failures` wrote. None for anything else, and for what is not of this boot: its time is still to come."""
    try:
        raw = json.loads(text)
        found = Failures(count=int(raw["failures"]), at=float(raw["at"]), because=_words(str(raw["because"])))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return NONE
    is_sound = 0 < found.count <= _MOST_COUNTED and math.isfinite(found.at) and 0 <= found.at <= now
    return found if is_sound else NONE


def render_failures(failures: Failures) -> bytes:
    return json.dumps({"failures": failures.count, "at": failures.at, "because": failures.because}).encode()


class Starts:
    """Of one process. `path` None: nothing is counted. Whatever is wrong with the file is no reason to fail: what cannot be read
    did not happen, what cannot be written is not remembered.
    """

    def __init__(
        self, path: Path | None, *, awake: Callable[[], float], jitter: Callable[[], float], first_s: float = FIRST_WAIT_S
    ) -> None:
        self._path = path
        self._awake = awake
        self._jitter = jitter
        self._first_s = first_s
        self._mine = NONE  # this attempt, as long as it counts as failed

    def failures(self) -> Failures:
        """Before this one."""
        return parse_failures(_read(self._path), now=self._awake()) if self._path else NONE

    def wait_s(self) -> float:
        """How long this one is held back."""
        return plan_wait_s(self.failures(), now=self._awake(), first_s=self._first_s, jitter=self._jitter())

    def begins(self) -> None:
        """The attempt counts as failed from now on."""
        self._keep(Failures(count=min(self.failures().count + 1, _MOST_COUNTED), at=self._awake()))

    def fails(self, because: str) -> None:
        """It has. One that was forgotten meanwhile stays so."""
        if self._mine.count:
            self._keep(replace(self._mine, at=self._awake(), because=_words(because)))

    def forget(self) -> None:
        """All of them: it came up, or was told to stop, or somebody has to look at it before it starts again."""
        self._mine = NONE
        if self._path:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _keep(self, failures: Failures) -> None:
        if self._path:
            self._mine = failures
            _write(self._path, render_failures(failures))


def starts_of(
    environ: Mapping[str, str],
    process: str,
    *,
    awake: Callable[[], float] = time.monotonic,  # one clock for all processes of a boot
    jitter: Callable[[], float] = random.random,
) -> Starts:
    """As the manager's environment says: systemd names the runtime directory. One that was started by hand has none."""
    directory = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    path = Path(directory) / f"{process}.starts" if directory.startswith("/") else None
    return Starts(path, awake=awake, jitter=jitter, first_s=_first_wait_s(environ.get(FIRST_WAIT_SETTING, "")))


async def held_back(starts: Starts, progress: Progress, wait_s: float) -> bool:
    """Wait for so long, and say why. SIGHUP ends the wait: somebody has changed something. False where SIGTERM or SIGINT did;
    everything is forgotten then, and the next start is none of these. Needs the running loop.
    """
    failures, loop = starts.failures(), asyncio.get_running_loop()
    stop, over = asyncio.Event(), asyncio.Event()

    def end() -> None:
        stop.set()
        over.set()

    for number, then in ((signal.SIGTERM, end), (signal.SIGINT, end), (signal.SIGHUP, over.set)):
        loop.add_signal_handler(number, then)
    log.warning("service.held_back", failures=failures.count, wait_s=round(wait_s, 1), because=failures.because)
    until = loop.time() + wait_s
    async with progress.watched():
        while not over.is_set() and (left_s := until - loop.time()) > 0:
            progress.waits(f"{failures}; tries again in {left_s:.0f} s", at_most_s=left_s + ATTEMPT_S)
            await sleep_unless(over, min(left_s, _TOLD_EVERY_S))
    if stop.is_set():
        progress.stops()
        starts.forget()
    return not stop.is_set()


@contextlib.contextmanager
def counted(
    starts: Starts, progress: Progress, *, is_told_to_end: Callable[[], bool], later: Later | None = None
) -> Iterator[None]:
    """What happens inside is a start, and what comes of it. It is no failure any more once the service has been ready for a
    minute, or if it ends without an error, as it was told to, or with one that only a person can mend. Needs the running loop.
    """
    call_later = later or asyncio.get_running_loop().call_later
    starts.begins()
    progress.when_ready.append(lambda: call_later(SETTLED_S, starts.forget))
    try:
        yield
    except ConfigError:
        starts.forget()
        raise
    except Exception as err:
        if is_told_to_end():  # whoever told it may start it again at once
            starts.forget()
        else:
            starts.fails(str(err) or type(err).__name__)
        raise
    else:
        starts.forget()


def _first_wait_s(text: str) -> float:
    """Anything but a number of seconds that can be meant stands for the default."""
    try:
        wait_s = float(text)
    except ValueError:
        return FIRST_WAIT_S
    return wait_s if 0 < wait_s <= LONGEST_WAIT_S else FIRST_WAIT_S


def _words(text: str) -> str:
    return harmless(without_secrets(" ".join(text.split())))[:_BECAUSE_CHARS]


def _read(path: Path) -> bytes:
    """The beginning of it; nothing where there is no such file, or something that is none."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(number, "rb", buffering=0) as file:
            return file.read(_LARGEST) or b""
    except OSError:
        return b""


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing, in place of whatever is there."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.unlink(missing_ok=True)
        number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(number, "wb") as file:
            file.write(content)
        beside.replace(path)
    except OSError as err:
        log.warning("service.starts_not_counted", path=str(path), error=str(err))
