"""`headnode-agent`: what a compute node says of itself."""

import argparse
import asyncio
import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import structlog

from daemons.errors import ConfigError
from daemons.logs import configure_logs
from daemons.loop import stop_on_signals
from daemons.notify import progress_of_process
from daemons.starts import counted, held_back, starts_of
from nodewatcher.agent.config import DEFAULT_PATH, AgentConfig, load_agent_config

log = structlog.get_logger()

EXIT_USAGE = 2  # nothing that a restart could mend


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code; every failure has been printed or logged."""
    parser = argparse.ArgumentParser(prog="headnode-agent", description=__doc__)
    parser.add_argument("--config", type=Path, default=DEFAULT_PATH, help=f"the configuration file (default: {DEFAULT_PATH})")
    parser.add_argument("--check", action="store_true", help="only say whether the configuration can be used")
    parser.add_argument("--version", action="version", version=f"headnode {version('headnode')}")
    arguments = parser.parse_args(argv)
    try:
        config = load_agent_config(arguments.config)
        _check_installation()
        if arguments.check:
            return 0
        configure_logs(level=config.log_level, daemon="headnode-agent", cluster=config.cluster)
        asyncio.run(_serve(config, arguments.config))
    except ConfigError as err:
        lines = ["headnode-agent: the configuration cannot be used:", *(f"  {each}" for each in err.problems or (str(err),))]
        print("\n".join([*lines, f"next: {err.hint}"]), file=sys.stderr)  # noqa: T201  there may be no log yet
        return EXIT_USAGE
    return 0


def _check_installation() -> None:
    """What `pip install headnode` leaves out, because head nodes do without it. Raises ConfigError."""
    if importlib.util.find_spec("psutil") is None:
        raise ConfigError(
            "psutil is not installed",
            hint="pip install 'headnode[agent]'",
            problems=("psutil: the agent cannot look at its host",),
        )


def _keep_the_file() -> None:
    log.warning("agent.reload_refused", because="SIGHUP: the agent reads its file at its start alone")


async def _serve(config: AgentConfig, path: Path) -> None:
    from nodewatcher.agent.service import Agent  # noqa: PLC0415  what an extra brings: see _check_installation

    progress, starts = progress_of_process(), starts_of(os.environ, "headnode-agent")
    if wait_s := starts.wait_s():
        if not await held_back(starts, progress, wait_s):
            return
        config = load_agent_config(path)
    stop = stop_on_signals()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _keep_the_file)  # else it would end the agent
    with counted(starts, progress, is_told_to_end=stop.is_set):
        await Agent(config, path, progress=progress).run(stop)
        log.info("agent.stopped")


if __name__ == "__main__":
    sys.exit(main())
