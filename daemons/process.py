"""How the process of a service begins and ends: arguments, configuration, logs, signals, exit codes."""

import argparse
import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import structlog

from daemons.config import Config, LoadSettings, Reading, config_path, read_file
from daemons.errors import ConfigError, CutShort, HeadnodeError
from daemons.logs import configure_logs, set_level
from daemons.meter import metered
from daemons.notify import Progress, progress_of_process
from daemons.shipping import filed, shipped
from daemons.starts import Starts, counted, held_back, starts_of
from daemons.stopping import heeding
from daemons.turns import Turns

log = structlog.get_logger()

EXIT_FAILED = 1  # systemd restarts
EXIT_USAGE = 2  # nothing that a restart could mend

Serve = Callable[[Config, asyncio.Event], Awaitable[None]]  # runs until the event is set


class Switch(NamedTuple):
    """An option of one service alone: what it makes of the configuration where it is given."""

    name: str
    help: str
    amend: Callable[[Config], Config]


def run_service(
    daemon: str,
    purpose: str,
    serve: Serve,
    *,
    load_settings: LoadSettings,
    argv: Sequence[str] | None = None,
    switches: Sequence[Switch] = (),
) -> int:
    """Run `serve` until SIGTERM or SIGINT; SIGHUP has the configuration read again. Returns the exit code; every failure has been
    printed or logged.
    """
    arguments = _parse_arguments(daemon, purpose, argv, switches)
    amends = [switch.amend for switch in switches if switch.name in arguments.switched]
    process = "".join([daemon, *(name[1:] for name in arguments.switched)])
    service = Service(
        daemon=daemon,
        process=process,
        serve=serve,
        starts=starts_of(os.environ, process),
        log_level=arguments.log_level or "",
        read=lambda: _amended(read_file(config_path(arguments.config, os.environ), load_settings=load_settings), amends),
    )
    first = service.read()
    try:
        service.configure_logs(first.unwrap())
    except ConfigError as err:
        service.starts.forget()
        print(_explain(daemon, err), file=sys.stderr)  # noqa: T201  there is no log yet
        return EXIT_USAGE
    try:
        asyncio.run(service.live(first))
    except ConfigError:
        return EXIT_USAGE
    except HeadnodeError:
        return EXIT_FAILED
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a process runs. `process` is the service's name, with its switches behind it; `read` reads the configuration, and
    raises nothing; `log_level` "" leaves it to the configuration; `starts` knows how the last ones went.
    """

    daemon: str
    process: str
    serve: Serve
    read: Callable[[], Reading]
    log_level: str
    starts: Starts

    def configure_logs(self, config: Config) -> None:
        level = self.log_level or config.log.level
        configure_logs(level=level, daemon=self.daemon, cluster=config.cluster, scheduler=config.scheduler.name)

    def set_level(self, config: Config) -> None:
        set_level(self.log_level or config.log.level)

    async def live(self, first: Reading) -> None:
        """Serve until SIGTERM or SIGINT. After starts that failed it waits before it does anything, and then reads the
        configuration again: it may have been why.
        """
        progress = progress_of_process()
        if wait_s := self.starts.wait_s():
            if not await self._held_back(first.unwrap(), progress, wait_s):
                return
            first = self.read()
        await self._live(first, progress)

    async def _live(self, first: Reading, progress: Progress) -> None:
        """Serve with each configuration that SIGHUP brings. What it raises has been logged, and where the configuration lets
        lines go elsewhere too, there as well: for who looks there, it is the line that matters most.
        """
        told = list[Exception]()

        def tell(err: Exception) -> None:
            if err in told:
                return
            told.append(err)
            if isinstance(err, HeadnodeError):
                log.error("service.failed", **err.to_event())
            else:
                log.error("service.failed", code="crash", error=f"{type(err).__name__}: {err}", exc_info=err)

        async def serve(config: Config, over: asyncio.Event) -> None:
            self.configure_logs(config)
            async with self._telling(config):
                if turns.number == 1:
                    names = [fleet.name for fleet in config.fleets]
                    log.info("service.started", version=version("headnode"), pid=os.getpid(), fleets=names)
                try:
                    with contextlib.suppress(CutShort), heeding(turns.stopping):
                        await self.serve(config, over)
                except Exception as err:
                    if turns.would_end(err):
                        tell(err)
                    raise
                if turns.are_ending:
                    progress.stops()
                    log.info("service.stopped")

        progress.when_ready.append(_settle_heap)
        turns = Turns(first, read=self.read, serve=serve, set_level=self.set_level, progress=progress)
        turns.heed_signals()
        try:
            with counted(self.starts, progress, is_told_to_end=lambda: turns.are_ending):
                await turns.run()
        except Exception as err:
            tell(err)
            raise

    async def _held_back(self, config: Config, progress: Progress, wait_s: float) -> bool:
        with filed(config, self.process):
            may_begin = await held_back(self.starts, progress, wait_s)
            if not may_begin:
                log.info("service.stopped")
            return may_begin

    @contextlib.asynccontextmanager
    async def _telling(self, config: Config) -> AsyncIterator[None]:
        """Meanwhile its lines, and what it measures, go where the configuration says, besides standard output."""
        with filed(config, self.process):
            async with shipped(config, self.process), metered(config, self.daemon, is_shadow=self.process != self.daemon):
                yield


def _settle_heap() -> None:
    """What a service holds once it is ready stays: modules, and AWS's models. That the garbage collector walks through all of it
    time and again would be a good part of what a quiet service costs.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _amended(reading: Reading, amends: Sequence[Callable[[Config], Config]]) -> Reading:
    for amend in amends:
        if reading.config is not None:
            reading = replace(reading, config=amend(reading.config))
    return reading


def _parse_arguments(daemon: str, purpose: str, argv: Sequence[str] | None, switches: Sequence[Switch]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=daemon, description=purpose)
    parser.add_argument(
        "--config", type=Path, help="the configuration file (default: $HEADNODE_CONFIG, else /etc/headnode/headnode.toml)"
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="overrides log.level")
    parser.set_defaults(switched=[])
    for switch in switches:
        parser.add_argument(switch.name, dest="switched", action="append_const", const=switch.name, help=switch.help)
    parser.add_argument("--version", action="version", version=f"headnode {version('headnode')}")
    return parser.parse_args(argv)


def _explain(daemon: str, err: ConfigError) -> str:
    lines = [f"{daemon}: the configuration cannot be used:", *(f"  {problem}" for problem in err.problems or (str(err),))]
    return "\n".join([*lines, f"next: {err.hint}"] if err.hint else lines)
