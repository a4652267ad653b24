"""Takes lines from anywhere, at once, and brings them to CloudWatch Logs in its own time."""

import asyncio
import contextlib
import itertools
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from daemons.cloudwatch.batch import AWS_LIMITS, Limits, Line, fitted, in_order, size_of, take, timely
from daemons.cloudwatch.spool import Spool
from daemons.errors import HeadnodeError
from daemons.loop import back_off_s, sleep_unless


class LogStore(Protocol):
    """One stream of CloudWatch Logs."""

    async def put(self, lines: Sequence[Line]) -> int:
        """Store them, in the order of time; how many AWS refused, for their time. Makes group and stream where there are none.
        Raises HeadnodeError if it is not known whether they are there; what is put again may be there twice.
        """
        ...


@dataclass(slots=True, kw_only=True)
class Shipper:
    """`offer` may be called from any thread and never waits. Lines go every `period_s`, sooner when there is a batch. What
    AWS does not take goes to the spool, and so does what exceeds `memory_bytes`, and at the end everything that has not gone.
    A burst that brings more than `burst_bytes` before the disk has had a turn is cut, and what is cut is counted.
    """

    store: LogStore
    spool: Spool
    clock_ms: Callable[[], int]
    period_s: float = 2.0
    memory_bytes: int = 4 << 20
    burst_bytes: int = 8 << 20
    limits: Limits = AWS_LIMITS
    jitter: Callable[[], float] = random.random
    sent: int = 0
    refused: int = 0  # by AWS, for their time, or too old to be tried
    _fresh: list[Line] = field(default_factory=list, init=False)  # offered since somebody took them over
    _lines: deque[Line] = field(default_factory=deque, init=False)  # taken over, and older than those
    _count: int = field(default=0, init=False)  # of both
    _size: int = field(default=0, init=False)
    _cut: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)  # never held for long: who logs takes it
    _popping: threading.Lock = field(default_factory=threading.Lock, init=False)  # one at a time takes lines away
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _full: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _pressed: asyncio.Event = field(default_factory=asyncio.Event, init=False)  # memory holds more than it should

    @property
    def dropped(self) -> int:
        """Lines that nobody will see there."""
        return self.spool.dropped + self.refused + self._cut

    def offer(self, text: str) -> None:
        line = fitted(Line(self.clock_ms(), text), self.limits)
        size = size_of(line, self.limits)
        with self._lock:
            if self._size > self.burst_bytes:
                self._cut += 1
                return
            self._fresh.append(line)
            self._count += 1
            self._size += size
            is_full = self._size >= self.limits.size_bytes or self._count >= self.limits.events
            is_pressed = self._size > self.memory_bytes
        for event, happened in ((self._full, is_full), (self._pressed, is_pressed)):
            if happened and self._loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop has ended: what is here goes to the spool
                    self._loop.call_soon_threadsafe(event.set)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then one more try for what is left, and the rest into the spool."""
        self._loop = asyncio.get_running_loop()
        relieving = asyncio.create_task(self._relieve_always())
        failures = 0
        try:
            while not stop.is_set():
                await self._wait(stop)
                self._full.clear()
                while self._has_lines() and not stop.is_set():
                    if await self._send_one():
                        failures = 0
                        continue
                    failures += 1
                    await sleep_unless(stop, back_off_s(failures, period_s=1.0, jitter=self.jitter()))
            while self._has_lines() and await self._send_one():
                pass
        finally:
            self._loop = None
            relieving.cancel()
            await asyncio.gather(relieving, return_exceptions=True)
            self._relieve(down_to_bytes=0)

    async def _relieve_always(self) -> None:
        while True:
            await self._pressed.wait()
            self._pressed.clear()
            await asyncio.to_thread(self._relieve, down_to_bytes=self.memory_bytes)

    async def _wait(self, stop: asyncio.Event) -> None:
        waits = [asyncio.create_task(stop.wait()), asyncio.create_task(self._full.wait())]
        await asyncio.wait(waits, timeout=self.period_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    def _has_lines(self) -> bool:
        return self._count > 0 or not self.spool.is_empty

    async def _send_one(self) -> bool:
        """One batch, the oldest: from the spool, if anything is there. False if AWS was not to be had."""
        if (spooled := await asyncio.to_thread(self.spool.first)) is not None:
            return await self._send_spooled(*spooled)
        batch = self._pop()
        try:
            all_gone = await self._put(batch)
        except BaseException:  # given up in the middle: whether AWS has them nobody knows, and lost they must not be
            self.spool.put(batch)
            raise
        if not all_gone:
            await asyncio.to_thread(self.spool.put, batch)
        return all_gone

    async def _send_spooled(self, number: int, lines: list[Line]) -> bool:
        count = len(lines)
        all_gone = await self._put(lines)
        if all_gone:
            await asyncio.to_thread(self.spool.done, number)
        elif len(lines) < count:
            await asyncio.to_thread(self.spool.keep, number, lines)
        return all_gone

    async def _put(self, lines: list[Line]) -> bool:
        """All of these lines, in as many calls as it takes. What has gone is taken from `lines`, so that it does not go twice."""
        fresh = timely(lines, self.clock_ms(), self.limits)
        self.refused += len(lines) - len(fresh)
        lines[:] = fresh
        while lines:
            count = take(lines, self.limits)
            try:
                refused = await self.store.put(in_order(lines[:count]))
            except HeadnodeError:
                return False
            self.sent += count - refused
            self.refused += refused
            del lines[:count]
        return True

    def _pop(self) -> list[Line]:
        """The oldest lines, as many as go into one call. They are measured while others may offer more."""
        with self._popping:
            with self._lock:
                fresh, self._fresh = self._fresh, []
            self._lines.extend(fresh)
            first = list(itertools.islice(self._lines, self.limits.events))
            batch = first[: take(first, self.limits)]
            size = sum(size_of(line, self.limits) for line in batch)
            for _ in batch:
                self._lines.popleft()
            with self._lock:
                self._count -= len(batch)
                self._size -= size
        return batch

    def _relieve(self, *, down_to_bytes: int) -> None:
        """Lines beyond what memory may hold go to the spool, the oldest first."""
        while self._count and self._size > down_to_bytes:
            self.spool.put(self._pop())
