"""What a service tells systemd (sd_notify(3)): that it is ready, how its last cycle went, and that it still gets on.

Where no NOTIFY_SOCKET is set nothing is said and nothing costs anything.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

_STATUS_CHARS = 200


def _say_nothing(_: str) -> None:
    pass


@dataclass(slots=True, kw_only=True)
class Progress:
    """Of a service that runs cycles. The watchdog is fed while nothing is to be done and during a cycle that has not taken longer
    than the watchdog waits: a loop that is frozen or a cycle that never ends lets it bite. `watchdog_s` None: there is none.
    """

    say: Callable[[str], None] = _say_nothing
    watchdog_s: float | None = None
    awake: Callable[[], float] = time.monotonic  # seconds that nobody can set
    _begun_at: float | None = field(default=None, init=False)
    _is_ready: bool = field(default=False, init=False)

    def begins(self) -> None:
        self._begun_at = self.awake()

    def ends(self, status: str) -> None:
        """A cycle went well. The first one makes the service ready."""
        ready = "" if self._is_ready else "READY=1\n"
        self._is_ready = True
        self._rests(ready, status)

    def fails(self, status: str) -> None:
        """A cycle failed, and will be tried again."""
        self._rests("", status)

    def _rests(self, first: str, status: str) -> None:
        self._begun_at = None
        self.say(f"{first}STATUS={' '.join(status.split())[:_STATUS_CHARS]}\nWATCHDOG=1")

    def feed(self) -> None:
        """The loop turns; if the cycle is not overdue, say so."""
        if self._begun_at is None or self.watchdog_s is None or self.awake() - self._begun_at < self.watchdog_s:
            self.say("WATCHDOG=1")

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Feed the watchdog until the end, and say that it is the end."""
        feeding = asyncio.create_task(self._feed_always(self.watchdog_s / 3)) if self.watchdog_s is not None else None
        try:
            yield
        finally:
            if feeding is not None:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
            self.say("STOPPING=1\nSTATUS=stopping")

    async def _feed_always(self, period_s: float) -> None:
        while True:
            self.feed()
            await asyncio.sleep(period_s)


def progress_of(environ: Mapping[str, str], *, pid: int | None = None) -> Progress:
    """To the manager that started this process, as its environment says; silent where there is none."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return Progress()
    mine = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid() if pid is None else pid))
    period_us = environ.get("WATCHDOG_USEC", "")
    watchdog_s = int(period_us) / 1e6 if mine and period_us.isascii() and period_us.isdecimal() and int(period_us) else None
    return Progress(say=_Speaker(address), watchdog_s=watchdog_s)


class _Speaker:
    """Datagrams to the manager's socket. What cannot be said at once is not said: no service waits for its manager."""

    def __init__(self, address: str) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def __call__(self, words: str) -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
            speaker.setblocking(False)
            speaker.sendto(words.encode(), self._address)
