"""What a service tells systemd (sd_notify(3)): that it is ready, how its last cycle went, and that it still gets on.

Where no NOTIFY_SOCKET is set nothing is said and nothing costs anything.
"""

import asyncio
import contextlib
import functools
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

_STATUS_CHARS = 200
_NOTE_CHARS = 1000


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
    note: str = ""  # what stands behind every status until it is taken away
    when_ready: list[Callable[[], object]] = field(default_factory=list)  # called each time that it gets ready
    is_ready: bool = field(default=False, init=False)
    _begun_at: float | None = field(default=None, init=False)

    def reloads(self) -> None:
        """The configuration is read again. One that is not ready yet says nothing of it."""
        if self.is_ready:
            self.say(f"RELOADING=1\nMONOTONIC_USEC={int(self.awake() * 1e6)}\nSTATUS=reads its configuration again")

    def goes_on(self, note: str = "") -> None:
        """Nothing has come of reading it; `note` says why, with every status from now on."""
        self.note = note
        ready = "READY=1\n" if self.is_ready else ""
        self.say(f"{ready}STATUS={self._line('goes on')}")

    def begins_anew(self) -> None:
        """With another configuration. The first cycle that goes well makes the service ready again."""
        self.note, self.is_ready = "", False

    def waits(self, status: str, *, at_most_s: float) -> None:
        """It does not begin yet, and is not to be called late before so long."""
        self.say(f"EXTEND_TIMEOUT_USEC={int(at_most_s * 1e6)}\nSTATUS={self._line(status)}\nWATCHDOG=1")

    def stops(self) -> None:
        self.say("STOPPING=1\nSTATUS=stopping")

    def begins(self) -> None:
        self._begun_at = self.awake()

    def ends(self, status: str) -> None:
        """A cycle went well. The first one makes the service ready."""
        was_ready, self.is_ready = self.is_ready, True
        self._rests("" if was_ready else "READY=1\n", status)
        if not was_ready:
            for call in self.when_ready:
                call()

    def fails(self, status: str) -> None:
        """A cycle failed, and will be tried again."""
        self._rests("", status)

    def _rests(self, first: str, status: str) -> None:
        self._begun_at = None
        self.say(f"{first}STATUS={self._line(status)}\nWATCHDOG=1")

    def _line(self, status: str) -> str:
        words = " ".join(status.split())[:_STATUS_CHARS]
        return f"{words}; {' '.join(self.note.split())[:_NOTE_CHARS]}" if self.note else words

    def feed(self) -> None:
        """The loop turns; if the cycle is not overdue, say so."""
        if self._begun_at is None or self.watchdog_s is None or self.awake() - self._begun_at < self.watchdog_s:
            self.say("WATCHDOG=1")

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Feed the watchdog meanwhile."""
        feeding = asyncio.create_task(self._feed_always(self.watchdog_s / 3)) if self.watchdog_s is not None else None
        try:
            yield
        finally:
            if feeding is not None:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)

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


@functools.cache
def progress_of_process() -> Progress:
    """This process's own; there is one, whatever is entered again."""
    return progress_of(os.environ)


class _Speaker:
    """Datagrams to the manager's socket. What cannot be said at once is not said: no service waits for its manager."""

    def __init__(self, address: str) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def __call__(self, words: str) -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
            speaker.setblocking(False)
            speaker.sendto(words.encode(), self._address)
