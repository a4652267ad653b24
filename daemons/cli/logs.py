"""`headnode logs`: the services' lines, from wherever they are."""

import json
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from daemons.cli.common import ConfigOption, read_config
from daemons.cli.loglines import Level, LogLine, Wanted, render_line
from daemons.cli.logsources import cloudwatch, files, journal
from daemons.cli.watching import watching
from daemons.config import Config
from daemons.errors import InvalidValue

SERVICES = ("sqswatcher", "jobwatcher", "nodewatcher")
_PERIOD = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_COLOURS = {"warning": typer.colors.YELLOW, "error": typer.colors.RED, "debug": typer.colors.BRIGHT_BLACK}


class Daemon(StrEnum):
    """Whose lines."""

    SQSWATCHER = "sqswatcher"
    JOBWATCHER = "jobwatcher"
    NODEWATCHER = "nodewatcher"


def logs(  # noqa: PLR0917  a command's options
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    instance: Annotated[str, typer.Option(metavar="ID", help="Lines about this instance; a host name does too.")] = "",
    job: Annotated[str, typer.Option(metavar="ID", help="Lines that name this job.")] = "",
    message: Annotated[str, typer.Option(metavar="ID", help="Lines that this SQS message led to.")] = "",
    event: Annotated[str, typer.Option(metavar="NAME", help="Lines of this event, or that begin so: capacity.")] = "",
    daemon: Annotated[Daemon | None, typer.Option(help="Lines of this service.")] = None,
    level: Annotated[Level | None, typer.Option(help="Lines of this level, and of those above it.")] = None,
    since: Annotated[str, typer.Option(metavar="TIME", help="How far back: 30m, 2h, 1d, or 2026-11-25T10:00.")] = "1h",
    from_cloudwatch: Annotated[bool, typer.Option("--cloudwatch", help="Read from CloudWatch Logs: all hosts' lines.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines as they are, a JSON object each.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show the services' log lines: from the journal, from their files where those are configured, or from CloudWatch."""
    chosen = read_config(config)
    begin = parse_since(since, now=time.time())
    wanted = Wanted(
        instance=instance,
        job=job,
        message=message,
        event=event,
        daemon=daemon or "",
        level=level or "",
        since=datetime.fromtimestamp(begin, UTC).isoformat().replace("+00:00", ""),
    )
    services = (daemon.value,) if daemon is not None else SERVICES
    with watching():
        for line in _read(chosen, services, wanted, since=begin, follow=follow, from_cloudwatch=from_cloudwatch):
            if wanted.wants(line):
                _show(line, as_json=as_json)


def _read(
    config: Config, services: tuple[str, ...], wanted: Wanted, *, since: float, follow: bool, from_cloudwatch: bool
) -> Iterator[LogLine]:
    if from_cloudwatch:
        term = wanted.instance or wanted.message  # what is looked for as text may be left to CloudWatch: it sends less
        pattern = f'"{term}"' if re.fullmatch(r"[A-Za-z0-9-]+", term) else ""
        return cloudwatch(config, since=since, follow=follow, pattern=pattern)
    if config.log.file is not None:
        directory = Path(config.log.file.directory)
        return files([directory / f"{service}.log" for service in services], follow=follow)
    return journal(services, since=since, follow=follow)


def _show(line: LogLine, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(dict(line.fields)))
        return
    text = render_line(line)
    colour = _COLOURS.get(str(line.fields.get("level", "")))
    typer.echo(typer.style(text, fg=colour) if colour and sys.stdout.isatty() else text)


def parse_since(text: str, *, now: float) -> float:
    """Seconds since the epoch, of a time ago or of a time in ISO 8601 (UTC unless it says otherwise). Raises InvalidValue."""
    if found := _PERIOD.fullmatch(text):
        return max(0.0, now - int(found[1]) * _SECONDS[found[2]])
    try:
        at = datetime.fromisoformat(text)
    except ValueError as err:
        raise InvalidValue(f"{text!r:.40} is no time", hint="write 30m, 2h, 1d, or 2026-11-25T10:00") from err
    return max(0.0, (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp())
