"""`headnode poke`: jobwatcher looks now, not at its next interval."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from daemons.cli.common import ConfigOption, read_config
from daemons.config.values import JobwatcherConfig
from daemons.errors import ConfigError
from daemons.metrics import Topics
from daemons.wake import NobodyListens, poke


def poke_command(
    reason: Annotated[str, typer.Argument(help="A word for the log, such as submit.")] = "poke",
    config: ConfigOption = None,
    socket: Annotated[Path | None, typer.Option("--socket", metavar="PATH", help="The socket to ring at.")] = None,
    mqtt: Annotated[bool, typer.Option("--mqtt", help="Ring over MQTT, as from another machine.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="It is no error if nobody listens.")] = False,
) -> None:
    """Have jobwatcher look now.

    For the scheduler's hooks, such as Slurm's PrologSlurmctld or job_submit, and for cron: `headnode poke --quiet submit`.
    However many ring at once, it looks once.
    """
    if mqtt:
        chosen = read_config(config)
        if chosen.mqtt is None:
            raise ConfigError("the configuration names no MQTT broker", hint="add [mqtt], or ring at the socket")
        from daemons.mqtt import publish  # noqa: PLC0415  a client that only this way of ringing needs

        topic = Topics(chosen.mqtt.topic, chosen.cluster).wake
        asyncio.run(publish(chosen.mqtt, topic, reason.encode(), identifier=f"poke-{os.getpid()}"))
        return
    path = socket or Path(read_config(config).jobwatcher.wake_socket or JobwatcherConfig().wake_socket)
    try:
        poke(path, reason)
    except NobodyListens:
        if not quiet:
            raise
