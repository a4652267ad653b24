"""`headnode doctor`: everything that a support engineer would look at, with what to do about what is wrong."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from daemons.aws.session import open_clients
from daemons.cli.common import ConfigOption, JsonOption, printable, read_config
from daemons.config import Config, config_path
from daemons.doctor.examine import AREAS, LOOKS, Look, Told, examine
from daemons.doctor.findings import Severity, worst
from daemons.doctor.scene import Scene, find_who
from daemons.errors import ConfigError
from daemons.logs import configure_logs
from schedulers.commands import LocalCommands

_SYSTEMCTL_S = 15.0
_STYLES = {Severity.OK: "green", Severity.NOTE: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}


def doctor(
    config: ConfigOption = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="AREA", help=f"Look at that area alone; may be repeated: {', '.join(AREAS)}."),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Show what is well, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check credentials and permissions, queue, topics, groups, hooks, table, zone, scheduler, broker and this machine.

    Changes nothing. Each finding comes with its remedy. Exit code 1 if there is an error among them.
    """
    looks = _chosen(only or [])
    chosen = read_config(config)
    configure_logs(level="critical", stream=sys.stderr)
    told = asyncio.run(_examine(chosen, config_path(config, os.environ), looks, quiet=as_json))
    result = worst(one.finding for one in told)
    if as_json:
        rows = [{"area": one.area, **asdict(one.finding)} for one in told]
        typer.echo(json.dumps({"ok": result is not Severity.ERROR, "worst": result, "findings": rows}, indent=2))
    else:
        print_told(told, show_all=show_all)
    if result is Severity.ERROR:
        raise typer.Exit(1)


def _chosen(areas: Sequence[str]) -> tuple[Look, ...]:
    if unknown := [area for area in areas if area not in AREAS]:
        raise ConfigError(f"there is no area {unknown[0]!r:.40}", hint=f"areas are: {', '.join(AREAS)}")
    return tuple(look for look in LOOKS if not areas or look.area in areas)


async def _examine(config: Config, file: Path, looks: Sequence[Look], *, quiet: bool) -> tuple[Told, ...]:
    """With a bar on the terminal, which shows what is still waited for."""
    waited = dict.fromkeys(look.what for look in looks)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet or not sys.stderr.isatty()) as progress:
        bar = progress.add_task(", ".join(waited), total=len(looks))

        def done(look: Look) -> None:
            waited.pop(look.what, None)
            progress.update(bar, advance=1, description=", ".join(waited)[:60])

        async with open_clients(region=config.region, endpoints=config.endpoints) as clients:
            commands = LocalCommands(timeout_s=_SYSTEMCTL_S)
            scene = Scene(config=config, file=file, clients=clients, commands=commands, who=find_who(os.environ))
            return await examine(scene, looks, done=done)


def print_told(told: Sequence[Told], *, show_all: bool) -> None:
    """By area, and how many there are of each kind; what is well is counted."""
    console = Console(highlight=False, soft_wrap=True)
    for area in dict.fromkeys(one.area for one in told):
        mine = [one.finding for one in told if one.area == area]
        well = sum(finding.severity is Severity.OK for finding in mine)
        console.print(f"[bold]{area}[/bold]: {well} of {len(mine)} as they should be")
        for finding in mine:
            if finding.severity is Severity.OK and not show_all:
                continue
            style = _STYLES[finding.severity]
            words = escape(printable(f"{finding.id} ({finding.looked_at}): {finding.found}"))
            console.print(f"  [{style}]{finding.severity}[/{style}] {words}")
            if finding.remedy:
                console.print(f"      remedy: {escape(printable(finding.remedy))}")
    counts = Counter(one.finding.severity for one in told)
    worse = [severity for severity in reversed(Severity) if severity is not Severity.OK and counts[severity]]
    tally = [f"{counts[severity]} {severity}{'s' * (counts[severity] != 1)}" for severity in worse]
    console.print(", ".join(tally) or "all is as it should be")
