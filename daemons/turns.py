"""A service serves with one configuration until it is told to stop, or until SIGHUP brings another: that is a turn.

A turn ends as the service does, between two cycles, so that the next one begins as a service does, with what is kept on disk.
Where nothing but `log.level` has changed it goes on, and the level is another from that moment.
A configuration that cannot be used, or that fails before its first cycle went well, is taken back: the one before serves on.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from daemons.config import Config, Problem, Reading
from daemons.config.changes import changes_between, refusals
from daemons.errors import ConfigError, HeadnodeError
from daemons.notify import Progress
from daemons.stopping import Stopping

log = structlog.get_logger()

_MOST_LISTED = 100
_TELLING = ("debug", "info")  # the levels at which changes are told


class Turns:
    """SIGTERM and SIGINT end the last turn, SIGHUP asks for another. Needs the running loop."""

    def __init__(
        self,
        first: Reading,
        *,
        read: Callable[[], Reading],
        serve: Callable[[Config, asyncio.Event], Awaitable[None]],
        set_level: Callable[[Config], None],
        progress: Progress,
    ) -> None:
        """`read` may block and raises nothing; `serve` runs until the event is set; `set_level` has what is logged from now on
        be what that configuration says.
        """
        self._on = first  # what is served with
        self._read = read
        self._set_level = set_level
        self._serve = serve
        self._progress = progress
        self._asked = asyncio.Event()
        self._over = asyncio.Event()
        self._before: Reading | None = None  # what is gone back to
        self.stopping = Stopping()
        self.are_ending = False
        self.number = 0  # of the turn that is on

    def heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._asked.set)

    def stop(self) -> None:
        self.are_ending = True
        self.stopping.begin()
        self._over.set()

    async def run(self) -> None:
        """Turn after turn until the stop. Raises what `serve` does, unless it is a new configuration's fault."""
        while not self.are_ending:
            try:
                fresh = await self._turn()
            except HeadnodeError as err:
                if self._before is None or self.would_end(err):
                    raise
                problems = err.problems if isinstance(err, ConfigError) else ()
                self._refuse(problems or (str(err),), source=self._on.source, hint=err.hint)
                self._on, self._before = self._before, None
            else:
                if fresh is not None:  # not before: the cycle in flight may have ended well, and that says nothing of what is new
                    self._progress.begins_anew()
                self._on, self._before = fresh or self._on, self._on

    def would_end(self, err: Exception) -> bool:
        """Does that end the service, raised by the turn that is on? Else the configuration before is taken back."""
        return self._before is None or self._progress.is_ready or not isinstance(err, HeadnodeError)

    async def _turn(self) -> Reading | None:
        """Serve; the configuration of the next turn, None if there is to be none."""
        self.number += 1
        self._over = asyncio.Event()
        heeding = asyncio.create_task(self._heed(self._over))
        try:
            await self._serve(self._on.unwrap(), self._over)
        finally:
            heeding.cancel()
            [found] = await asyncio.gather(heeding, return_exceptions=True)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, Reading) else None

    async def _heed(self, over: asyncio.Event) -> Reading:
        """Wait until SIGHUP has brought a configuration that takes another turn; this one is over then."""
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                self._progress.reloads()
                fresh = await asyncio.to_thread(self._read)
                if self._takes_a_turn(fresh):
                    return fresh
        finally:
            over.set()

    def _takes_a_turn(self, fresh: Reading) -> bool:
        """Whether it does. What does not is refused, or needs nothing more from here on."""
        if problems := refusals(self._on, fresh):
            self._refuse(tuple(map(str, problems)), source=fresh.source, hint=_hint(problems))
            return False
        if fresh.config == self._on.config:
            log.info("config.unchanged", source=fresh.source)
            self._progress.goes_on()
            return False
        if _with_level_of(fresh.unwrap(), self._on.unwrap()) == self._on.config:
            self._change_level(fresh)
            return False
        self._tell_changes(fresh)
        return True

    def _change_level(self, fresh: Reading) -> None:
        """In place: nothing is interrupted. It is told at a time when lines of that level are written, if there is one. What may
        yet be gone back to has the level too: whoever asked for it was told that it is.
        """
        if fresh.unwrap().log.level in _TELLING:
            self._set_level(fresh.unwrap())
            self._tell_changes(fresh)
        else:
            self._tell_changes(fresh)
            self._set_level(fresh.unwrap())
        self._on = fresh
        if self._before is not None:
            self._before = _read_with_level_of(self._before, fresh)
        self._progress.goes_on()

    def _tell_changes(self, fresh: Reading) -> None:
        changes = [str(change) for change in changes_between(self._on, fresh)]
        log.info("config.changed", source=fresh.source, changes=changes[:_MOST_LISTED], count=len(changes))

    def _refuse(self, problems: tuple[str, ...], *, source: str, hint: str) -> None:
        log.error("config.refused", source=source, problems=list(problems[:_MOST_LISTED]), count=len(problems), hint=hint)
        self._progress.goes_on(f"the changed configuration was refused: {'; '.join(problems)}")


def _with_level_of(config: Config, other: Config) -> Config:
    return replace(config, log=replace(config.log, level=other.log.level))


def _read_with_level_of(reading: Reading, other: Reading) -> Reading:
    """What the file would have said with the other's level."""
    config = _with_level_of(reading.unwrap(), other.unwrap())
    entry = replace(reading.entry, log=replace(reading.entry.log, level=config.log.level)) if reading.entry is not None else None
    return replace(reading, config=config, entry=entry)


def _hint(problems: tuple[Problem, ...]) -> str:
    own = {problem.hint for problem in problems}
    return own.pop() if len(own) == 1 else "correct the file (`headnode config check` looks at it again) and reload"
