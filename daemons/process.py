"""How the process of a service begins and ends: arguments, configuration, logs, signals, exit codes."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import structlog

from daemons.config import Config, LoadSettings, load_config
from daemons.errors import ConfigError, HeadnodeError
from daemons.logs import configure_logs
from daemons.loop import stop_on_signals
from daemons.meter import metered
from daemons.shipping import filed, shipped

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
    """Run `serve` until SIGTERM or SIGINT. Returns the exit code; every failure has been printed or logged."""
    arguments = _parse_arguments(daemon, purpose, argv, switches)
    try:
        config = load_config(arguments.config, os.environ, load_settings=load_settings)
    except ConfigError as err:
        print(_explain(daemon, err), file=sys.stderr)  # noqa: T201  there is no log yet
        return EXIT_USAGE
    for switch in switches:
        if switch.name in arguments.switched:
            config = switch.amend(config)
    configure_logs(
        level=arguments.log_level or config.log.level, daemon=daemon, cluster=config.cluster, scheduler=config.scheduler.name
    )
    try:
        asyncio.run(_serve(config, serve, daemon, process="".join([daemon, *(name[1:] for name in arguments.switched)])))
    except ConfigError as err:
        log.error("service.failed", **err.to_event())  # noqa: TRY400  an answer for the operator, not a crash
        return EXIT_USAGE
    except HeadnodeError as err:
        log.error("service.failed", **err.to_event())  # noqa: TRY400
        return EXIT_FAILED
    return 0


async def _serve(config: Config, serve: Serve, daemon: str, *, process: str) -> None:
    stop = stop_on_signals()
    with filed(config, process):
        async with shipped(config, process), metered(config, daemon, is_shadow=process != daemon):
            fleets = [fleet.name for fleet in config.fleets]
            log.info("service.started", version=version("headnode"), pid=os.getpid(), fleets=fleets)
            await serve(config, stop)
            log.info("service.stopped")


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
