"""`headnode status`: is everything well, on one screen."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from daemons.cli.common import ConfigOption, JsonOption, printable, progress, read_config
from daemons.cli.gather import SERVICES, Files, compose
from daemons.cli.overview import Overview
from daemons.cli.units import fetch_units
from daemons.cli.watching import watching
from daemons.config import Config
from jobwatcher.stance import clock

WATCH_S = 2.0
EXIT_PROBLEMS = 1

LiveOption = Annotated[
    bool, typer.Option("--live", help="Ask the scheduler, AWS and the queue too, not only what the services have written.")
]


def status(
    config: ConfigOption = None,
    live: LiveOption = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C; with --json a line each time.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show services, fleets, waiting work and the last decisions on one screen, problems first.

    From what the services have written and systemd's word; neither AWS nor the scheduler is needed, unless --live is given. Exit
    code 0 if all is well, 1 if there is a problem.
    """
    chosen = read_config(config)
    files = Files(chosen)
    if watch:
        _watch(lambda: look(chosen, files, live=live, silent=True), as_json=as_json)
        return
    found = look(chosen, files, live=live)
    if as_json:
        typer.echo(_json(found))
    else:
        Console().print(render(found))
    if found.problems:
        raise typer.Exit(EXIT_PROBLEMS)


def _json(found: Overview) -> str:
    return json.dumps({"ok": not found.problems, **asdict(found)})


def look(config: Config, files: Files, *, live: bool, silent: bool = False) -> Overview:
    """The page as it is now. Asking everybody shows a bar, unless `silent`."""
    records, deeds, units = files.records(), files.deeds(), fetch_units(SERVICES)
    if not live:
        return compose(config, records, deeds, units, now=time.time())
    from daemons.cli.live import look_live  # noqa: PLC0415  AWS's libraries, which the records do not need
    from daemons.logs import configure_logs  # noqa: PLC0415

    configure_logs(level="error", stream=sys.stderr)
    with progress("asking", silent=silent):
        answered = asyncio.run(look_live(config, records))
    return compose(
        config,
        answered.records,
        deeds,
        units,
        now=time.time(),
        queue=answered.queue,
        more=answered.problems,
        written=records,
    )


def _watch(page: Callable[[], Overview], *, as_json: bool) -> None:
    """The page again and again, until it is told to end."""
    with watching(WATCH_S) as watch:
        if as_json:
            while True:
                typer.echo(_json(page()))
                if not watch.goes_on():
                    return
        with Live(render(page()), auto_refresh=False) as screen:
            while watch.goes_on():
                screen.update(render(page()), refresh=True)


def render(found: Overview) -> RenderableType:
    """The page for a terminal."""
    return Group(*_parts(found))


def _parts(found: Overview) -> Iterator[RenderableType]:
    count = len(found.problems)
    verdict = Text(f"{count} problem{'s' * (count != 1)}", "bold red") if count else Text("all is well", "bold green")
    as_of = f" at {clock(found.at)}" if found.at is not None else ""
    yield Text.assemble((found.cluster, "bold"), f"{as_of}: ", verdict)
    for problem in found.problems:
        yield _plain(f"  ! {problem}", "red")
    yield Text()
    yield services_table(found)
    if found.fleets:
        yield Text()
        yield fleets_table(found)
    yield Text()
    yield waiting_table(found)
    if found.queue:
        words = ", ".join(f"{name} {value:.0f}" for name, value in found.queue.items() if value is not None)
        yield Text.assemble("\n", ("queue", "bold"), f"  {words}")
    if found.deeds:
        yield Text("\nlast decisions", "bold")
        for deed in found.deeds:
            yield _plain(f"  {clock(deed.at)}  {deed.sentence}")


def services_table(found: Overview) -> RenderableType:
    table = _table("service", "state", "last look", "says")
    for line in found.services:
        style = {True: "green", False: "red", None: "yellow"}[line.is_alive]
        table.add_row(_plain(line.service), _plain(line.state, style), line.last_look, _plain(line.status))
    return table


def fleets_table(found: Overview) -> RenderableType:
    names = ("minimum", "desired", "maximum", "booting", "registered", "busy", "idle", "draining")
    table = _table("fleet")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("jobwatcher's word")
    for line in found.fleets:
        numbers = (str(getattr(line, name)) for name in names)
        table.add_row(_plain(line.fleet), *numbers, _plain(line.verdict))
    return table


def waiting_table(found: Overview) -> RenderableType:
    if not found.waiting:
        return Text("no job waits" if found.at is not None else "nobody has looked for waiting jobs", "bold")
    table = _table()
    table.add_column("waiting", justify="right")
    table.add_column("for")
    for line in found.waiting:
        table.add_row(str(line.jobs), _plain(line.sentence))
    return table


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False, header_style="bold")


def _plain(text: str, style: str = "") -> Text:
    """A cell whose text is shown as it is, brackets and all."""
    return Text(printable(text), style)
