"""Takes the lease of one service, renews it, loses it, gives it back. What is decided by time is decided by this machine's own
clock, which counts suspended time and which nobody can set; two heads' clocks are never compared.

The holder relies on its lease until `lease_s`, less a margin, after it *sent* its last renewal. An observer takes over when it
has *seen* the same renewal for `lease_s`, counted from the answer that first showed it, and only if it is still that one. Sent is
before seen: so the holder has stopped, a margin earlier.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import structlog

from daemons.errors import AwsUnavailable, LeaseLost
from daemons.ha.lease import STANDS_BY, Fence, Lease, Seen, fence_key
from daemons.ha.look import looking
from daemons.notify import Progress
from daemons.ports import Leases

log = structlog.get_logger()

MARGIN_SHARE = 0.25  # of the lease: what a call that has passed the last look may take to arrive, and clocks that run unevenly
POLL_S = 1.0  # how often at least who stands by looks
_LEAST_BOUND_S = 2.0

T = TypeVar("T")


def boot_s() -> float:
    """Seconds since this machine started, those in which it slept included. Setting the time does not change it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Term:
    """One time of holding the lease, from taking to losing it. Who acts under it can never act under a later one."""

    def __init__(self, lease: Lease, *, awake: Callable[[], float]) -> None:
        self.fence = Fence(key=fence_key(lease.service), number=lease.fence)
        self._service = lease.service
        self._awake = awake
        self._held_until = float("-inf")
        self._ended = False

    @property
    def is_on(self) -> bool:
        return not self._ended and self._awake() < self._held_until

    @property
    def is_ended(self) -> bool:
        return self._ended

    def prolong(self, held_until: float) -> None:
        self._held_until = held_until

    def end(self) -> None:
        """Somebody else holds the lease by now, or soon will."""
        self._ended = True

    def check(self) -> None:
        """Raises LeaseLost unless this head still holds the lease, by a clock that nobody can set."""
        if not self.is_on:
            why = "it was taken over" if self._ended else "it was not renewed in time"
            raise LeaseLost(
                f"{self._service} is not this head's any more: {why}; nothing further is begun",
                service=self._service,
                fence=self.fence.number,
            )

    async def act(self, begin: Callable[[], Awaitable[T]]) -> T:
        """Begin this, if the lease is held; and look again wherever it leaves the process."""
        self.check()
        with looking(self.check):
            return await begin()


class Leadership:
    """Of one service on one head. `tick` does what is due; `keep` goes on doing it.

    `clock` tells the time of day, for people; `awake` is `boot_s`. Raises AwsRefused or InvalidValue where the lease cannot be
    read or written at all; no answer is not the end of anything, but of the term when its time is over.
    """

    def __init__(
        self,
        leases: Leases,
        *,
        service: str,
        name: str,
        token: str,
        lease_s: float,
        renew_s: float,
        clock: Callable[[], float],
        awake: Callable[[], float] = boot_s,
    ) -> None:
        self._leases = leases
        self._service = service
        self._name = name
        self._token = token
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._clock = clock
        self._awake = awake
        self._lease: Lease | None = None  # ours, as far as we know
        self._term: Term | None = None
        self._observed: tuple[str, int, int] | None = None
        self._observed_at = 0.0
        self._silent = 0  # answers in a row that did not come
        self._status = f"{STANDS_BY}asking who holds the lease"
        self._answered = False
        self._news = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def term(self) -> Term:
        """The term that is on. Raises LeaseLost where none is."""
        if self._term is None:
            raise LeaseLost(f"{self._service} is not this head's", service=self._service)
        self._term.check()
        return self._term

    @property
    def is_on(self) -> bool:
        return self._term is not None and self._term.is_on

    @property
    def status(self) -> str:
        """One sentence for whoever asks the manager."""
        return f"holds the lease, fence {self._lease.fence}" if self.is_on and self._lease else self._status

    async def tick(self) -> float:
        """Renew the lease, or look whether it is to be had, and take it then. In how many seconds the next tick is due."""
        before = self.is_on, self._status
        try:
            async with asyncio.timeout(max(self._renew_s, _LEAST_BOUND_S)):
                wait_s = await (self._renew(self._lease) if self._lease is not None else self._watch())
            self._silent, self._answered = 0, True
        except (AwsUnavailable, TimeoutError) as err:
            wait_s = min(self._renew_s, POLL_S)
            self._silent += 1
            if self._silent == 1:
                error = str(err) or "no answer in time"
                log.warning("lease.unanswered", service=self._service, holding=self.is_on, error=error)
            if not self.is_on:
                self._status = f"{STANDS_BY}the table does not say who holds the lease"
        if before != (self.is_on, self._status):
            self._news.set()
        return wait_s

    async def keep(self) -> None:
        """Tick for ever."""
        try:
            while True:
                wait_s = await self.tick()
                await asyncio.sleep(wait_s)
        finally:
            self._news.set()

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Keep it in a task of its own, and give it back at the end."""
        self._keeper = asyncio.create_task(self.keep())
        try:
            yield
        finally:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            await self.release()

    async def gate(self, stop: asyncio.Event, told: Progress) -> bool:
        """Wait until the lease is held, ready all the while; False if `stop` is set before. Raises what ended the keeping."""
        while not stop.is_set():
            self._news.clear()
            if self._keeper is not None and self._keeper.done():
                self._keeper.result()
            if self.is_on:
                return True
            (told.ends if self._answered else told.fails)(self._status)
            await _either(stop, self._news)
        return False

    async def release(self) -> None:
        """Give it back, so that the other head need not wait. What goes wrong here costs the other one `lease_s`, and no more."""
        lease, self._lease = self._lease, None
        if self._term is not None:
            self._term.end()
        if lease is None:
            return
        given_back = replace(lease, holder="", beat=lease.beat + 1, renewed_at=self._clock())
        try:
            async with asyncio.timeout(_LEAST_BOUND_S):
                await self._leases.renew(given_back)
        except (AwsUnavailable, TimeoutError):
            log.warning("lease.not_released", service=self._service, fence=lease.fence)
        else:
            log.info("lease.released", service=self._service, fence=lease.fence)

    async def _renew(self, lease: Lease) -> float:
        if self._term is not None and self._term.is_ended:  # the table has refused its fence: only a new one will do
            await self.release()
            return 0.0
        sent_at = self._awake()
        renewed = replace(lease, beat=lease.beat + 1, renewed_at=self._clock())
        if not await self._leases.renew(renewed):
            return await self._see_who(lease)
        self._lease = renewed
        self._hold(renewed, sent_at)
        return self._renew_s

    async def _see_who(self, lease: Lease) -> float:
        """A renewal was refused: by its own earlier attempt, of which no answer came, or because the lease is another's."""
        seen = await self._leases.read(self._service)
        if _is_mine(seen.lease, self._token):
            self._lease = seen.lease
            return 0.0
        self._lease = None
        if self._term is not None:
            self._term.end()
        holder = seen.lease.holder if seen.lease is not None else ""
        log.warning("lease.lost", service=self._service, fence=lease.fence, holder=holder, new_fence=seen.fence)
        return 0.0

    async def _watch(self) -> float:
        seen = await self._leases.read(self._service)
        if _is_mine(seen.lease, self._token):  # taken without an answer: relied on once it is renewed
            self._lease = seen.lease
            return 0.0
        left_s = self._left_s(seen.lease, self._awake())
        if left_s > 0:
            return min(self._renew_s, POLL_S, left_s)
        return await self._take(seen)

    def _left_s(self, lease: Lease | None, now: float) -> float:
        """How long this must still be seen unchanged, by an answer of just now, before it may be taken over."""
        if lease is None or not lease.is_held:
            return 0.0
        version = (lease.token, lease.fence, lease.beat)
        if version != self._observed:
            self._observed, self._observed_at = version, now
        self._status = f"{STANDS_BY}{lease.holder} holds the lease, fence {lease.fence}"
        return self._observed_at + lease.lease_s - now

    async def _take(self, seen: Seen) -> float:
        sent_at, now = self._awake(), self._clock()
        lease = Lease(
            service=self._service,
            holder=self._name,
            token=self._token,
            fence=seen.fence + 1,
            beat=1,
            lease_s=self._lease_s,
            since=now,
            renewed_at=now,
        )
        if not await self._leases.take(lease, over=seen):
            return min(self._renew_s, POLL_S)
        self._lease = lease
        self._hold(lease, sent_at)
        before = seen.lease.holder if seen.lease is not None else ""
        log.info("lease.taken", service=self._service, fence=lease.fence, after=before)
        return self._renew_s

    def _hold(self, lease: Lease, sent_at: float) -> None:
        if self._term is None or self._term.fence.number != lease.fence:
            self._term = Term(lease, awake=self._awake)
        self._term.prolong(sent_at + self._lease_s * (1 - MARGIN_SHARE))


def _is_mine(lease: Lease | None, token: str) -> bool:
    return lease is not None and lease.is_held and lease.token == token


async def _either(*events: asyncio.Event) -> None:
    """Until one of them is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
