"""At-once wake-ups: a datagram on a UNIX socket, or a message on a topic, means "look now" and nothing else.

Whoever can ring can only make a service look earlier than it would have, and no more often than once a quiet time: so anybody on
the head node may, and nothing that is sent is believed beyond a word for the log.
"""

import asyncio
import contextlib
import re
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog

from daemons.errors import HeadnodeError

log = structlog.get_logger()

LONGEST_WORD = 64
_MOST_WORDS = 16
_DATAGRAM = 512
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.:=/+-]{0,63}")
_UNREADABLE = "something unreadable"


class WakeSocketUnusable(HeadnodeError):
    """The wake-up socket cannot be made. The service polls as ever."""

    code = "wake-socket-unusable"


class NobodyListens(HeadnodeError):
    """There is no service to wake at that socket."""

    code = "nobody-listens"


def parse_word(payload: bytes) -> str:
    """What somebody said when they rang, as a word for the log. Never raises: what is no such word says so."""
    try:
        text = payload[:_DATAGRAM].decode("ascii").strip()
    except UnicodeDecodeError:
        return _UNREADABLE
    return text if _WORD.fullmatch(text) else _UNREADABLE


class Wakeups:
    """Collects rings, and lets through one wake-up a quiet time, however many ring."""

    def __init__(self, *, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._rung = asyncio.Event()
        self._words: list[str] = []
        self._woken_at = float("-inf")
        self.was_rung = False  # is that why the last wait ended?

    def ring(self, word: str) -> None:
        """Wake whoever waits, or will wait next. Call it from the loop's thread."""
        if word not in self._words and len(self._words) < _MOST_WORDS:
            self._words.append(word)
        self._rung.set()

    async def wait(self, period_s: float, stop: asyncio.Event) -> tuple[str, ...]:
        """Wait for the period, or less if somebody rings or has rung since the last wait, or if `stop` is set.

        The words of those who rang, () if nobody did. Never shorter than the quiet time after the last wake-up, but for `stop`.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + period_s
        await _first_of(period_s, self._rung, stop)
        self.was_rung = self._rung.is_set()
        if self.was_rung:
            quiet_until = min(until, self._woken_at + self._quiet_s)
            await _first_of(quiet_until - loop.time(), stop)
            self._woken_at = loop.time()
        words, self._words = tuple(self._words), []
        self._rung.clear()
        return words


async def _first_of(period_s: float, *events: asyncio.Event) -> None:
    """Wait until one of these is set, for so long at most."""
    if period_s <= 0 or any(event.is_set() for event in events):
        return
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=period_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


class _Ears(asyncio.DatagramProtocol):
    def __init__(self, ring: Callable[[str], None]) -> None:
        self._ring = ring

    def datagram_received(self, data: bytes, _addr: object) -> None:
        self._ring(parse_word(data))


@contextlib.asynccontextmanager
async def listen_datagrams(path: Path, ring: Callable[[str], None]) -> AsyncIterator[None]:
    """Call `ring` with a word for each datagram that comes to the socket at `path`, to which everybody on this machine may write.

    A socket that a dead process left is replaced. Raises WakeSocketUnusable where it cannot be made, or somebody listens there.
    """
    end = _bind(path)
    mine = _identity(path)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Ears(ring), sock=end)
    try:
        yield
    finally:
        transport.close()
        if _identity(path) == mine:  # not a successor's
            path.unlink()  # noqa: ASYNC240  a directory entry in memory


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _bind(path: Path) -> socket.socket:
    if _is_heard(path):
        raise WakeSocketUnusable(f"somebody listens at {path} already", hint="is another jobwatcher running?")
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.setblocking(False)
    try:
        if path.exists() and stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
        end.bind(str(path))
        path.chmod(0o666)
    except (OSError, ValueError) as err:
        end.close()
        raise WakeSocketUnusable(
            f"the wake-up socket {path} cannot be made: {err}",
            hint="create its directory for the service's user, or set jobwatcher.wake_socket",
        ) from err
    return end


def _is_heard(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as knock:
        knock.setblocking(False)
        try:
            knock.connect(str(path))
        except OSError:
            return False
        return True


def poke(path: Path, word: str) -> None:
    """Ring at that socket. A listener that has more rings waiting than it can hold is awake anyway. Raises NobodyListens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.setblocking(False)
        try:
            end.sendto(word.encode("ascii", "replace")[:LONGEST_WORD], str(path))
        except BlockingIOError:
            return
        except OSError as err:
            raise NobodyListens(f"nobody listens at {path}: {err.strerror or err}", hint="is jobwatcher running?") from err
