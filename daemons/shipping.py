"""A service's log lines, besides standard output, to a file and to CloudWatch Logs, if the configuration says so."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from daemons.aws.logs import LogStream
from daemons.aws.session import open_clients
from daemons.cloudwatch import Line, LogStore, Shipper, Spool
from daemons.config import Config
from daemons.errors import AwsUnavailable, HeadnodeError
from daemons.logs import hear_lines, written_to

log = structlog.get_logger()

_TOLD_EVERY_S = 60.0  # that lines were dropped
_LONGEST_END_S = 20.0  # for the last lines; what has not gone by then goes with the next process


@dataclass(slots=True, kw_only=True)
class Outspoken:
    """A stream that says once when it cannot be had, and once when it can again; and likewise when it refuses lines: each line
    about that may be refused in its turn.
    """

    store: LogStore
    target: str
    _is_away: bool = field(default=False, init=False)
    _has_refused: bool = field(default=False, init=False)

    async def put(self, lines: Sequence[Line]) -> int:
        try:
            refused = await self._put(lines)
        except HeadnodeError as err:
            if not self._is_away:
                log.warning("cloudwatch.away", **err.to_event())
            self._is_away = True
            raise
        if self._is_away:
            log.info("cloudwatch.back", target=self.target)
        self._is_away = False
        if refused and not self._has_refused:
            log.warning("cloudwatch.refused", lines=refused, target=self.target)
        self._has_refused = bool(refused)
        return refused

    async def _put(self, lines: Sequence[Line]) -> int:
        try:
            return await self.store.put(lines)
        except HeadnodeError:
            raise
        except Exception as err:  # whatever it is, it must not end the service: the lines wait
            raise AwsUnavailable(f"writing log lines ({self.target}): {err!r:.200}", target=self.target) from err


@dataclass(slots=True, kw_only=True)
class Dropped:
    """Tells of lines that were dropped since it was told last, if there are any."""

    count: Callable[[], int]
    _told: int = field(default=0, init=False)

    def tell(self) -> None:
        if (lines := self.count() - self._told) > 0:
            self._told += lines
            log.warning("cloudwatch.dropped", lines=lines)

    async def tell_always(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            self.tell()


@contextlib.contextmanager
def filed(config: Config, process: str) -> Iterator[None]:
    """Meanwhile every log line is in a file too, if the configuration says so. `process` names it."""
    chosen = config.log.file
    if chosen is None:
        yield
        return
    with written_to(Path(chosen.directory) / f"{process}.log", most_bytes=chosen.most_mib << 20, keep=chosen.keep):
        yield


@contextlib.asynccontextmanager
async def shipped(config: Config, process: str) -> AsyncIterator[None]:
    """Meanwhile every log line goes there too. The end waits some seconds for the last ones. `process` names the stream and the
    spool, which two that run at the same time must not share.
    """
    chosen = config.log.cloudwatch
    if chosen is None:
        yield
        return
    stream = f"{socket.gethostname().partition('.')[0]}/{process}"
    async with open_clients(region=config.region, endpoints=config.endpoints) as clients:
        store = LogStream(clients, group=chosen.group, stream=stream, retention_days=chosen.retention_days)
        shipper = Shipper(
            store=Outspoken(store=store, target=f"{chosen.group}:{stream}"),
            spool=Spool(directory=Path(chosen.spool_dir) / process, most_bytes=chosen.spool_mib << 20),
            clock_ms=lambda: time.time_ns() // 1_000_000,
            period_s=chosen.period_s,
        )
        stop, dropped = asyncio.Event(), Dropped(count=lambda: shipper.dropped)
        with hear_lines(shipper.offer):
            running = asyncio.create_task(shipper.run(stop))
            telling = asyncio.create_task(dropped.tell_always(_TOLD_EVERY_S))
            try:
                yield
            finally:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)
                stop.set()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(running, _LONGEST_END_S)
        dropped.tell()
