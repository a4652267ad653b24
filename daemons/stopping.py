"""A service that was told to stop does not wait for answers that may never come.

The cycle in hand still finishes, with all that it asks for; but from then on a call that only reads has some seconds to answer,
counted from the stop or from its own beginning, whichever is later. One that changes something is awaited as long as ever: cut
off, its effect would be unknown, and known is what the next start builds on.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar

from daemons.errors import CutShort

GRACE_S = 5.0  # an AWS that works answers in less
_AFTER_THE_FIRST_S = 0.5  # one did not answer: a second look at each of a hundred is not worth a hundred times as much


class Stopping:
    """Of one process. `grace_s` is what a read has to answer once it stops."""

    def __init__(self, *, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self._limits: set[asyncio.Timeout] = set()
        self.is_on = False

    def begin(self) -> None:
        """It is told to stop. Only the first time counts. Needs the running loop."""
        if self.is_on:
            return
        self.is_on = True
        by = asyncio.get_running_loop().time() + self._grace_s
        for limit in self._limits:
            limit.reschedule(by)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """What only reads happens inside. Raises CutShort where it took too long after the stop."""
        limit = asyncio.timeout(self._grace_s if self.is_on else None)
        try:
            async with limit:
                self._limits.add(limit)
                yield
        except TimeoutError as err:
            if not limit.expired():
                raise
            self._grace_s = min(self._grace_s, _AFTER_THE_FIRST_S)
            raise CutShort("told to stop, it no longer waited for an answer") from err
        finally:
            self._limits.discard(limit)


_stopping: ContextVar[Stopping | None] = ContextVar("stopping", default=None)


@contextlib.contextmanager
def heeding(stopping: Stopping) -> Iterator[None]:
    """This task, and those that it starts meanwhile, give up their reads when that is told to stop."""
    token = _stopping.set(stopping)
    try:
        yield
    finally:
        _stopping.reset(token)


@contextlib.asynccontextmanager
async def unless_stopped() -> AsyncIterator[None]:
    """What only reads happens inside; see `Stopping.reading`. Where nobody can be told to stop it takes as long as it takes."""
    if (stopping := _stopping.get()) is None:
        yield
        return
    async with stopping.reading():
        yield
