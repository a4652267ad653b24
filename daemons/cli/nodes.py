"""`headnode nodes`: what becomes of each node."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from daemons.cli.common import ConfigOption, JsonOption, NothingKnown, print_rows, printable, read_config
from daemons.cli.watching import watching
from daemons.record import read_last
from nodewatcher.explain import NodeLine, node_lines
from nodewatcher.judge import clock
from nodewatcher.record import Record, state_directory

COLUMNS = ("node", "fleet", "state", "scheduler", "jobs", "cpus", "verdict")
WATCH_S = 1.0


def nodes(
    config: ConfigOption = None,
    state: Annotated[Path | None, typer.Option("--state", metavar="DIR", help="nodewatcher's state directory.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every second, until Ctrl-C; with --json a line each time.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the nodes as nodewatcher last saw them, each with the sentence that says why it stays or goes.

    With --watch and --json each line is an object: "at", when nodewatcher has looked, and "nodes", which --json alone prints.
    """
    directory = state or state_directory(read_config(config).nodewatcher)
    if watch:
        _watch(directory, as_json=as_json)
        return
    record = _read(directory)
    rows = _rows(record)
    if rows or as_json:
        print_rows(rows, COLUMNS, as_json=as_json)
    else:
        typer.echo(f"there are no nodes, as of {clock(record.seen.now)}")


def _watch(directory: Path, *, as_json: bool) -> None:
    with watching(WATCH_S) as watch:
        if as_json:
            while True:
                record = _read(directory)
                typer.echo(json.dumps({"at": record.seen.now, "nodes": _rows(record)}))
                if not watch.goes_on():
                    return
        with Live(_table(directory), console=Console(), screen=False, auto_refresh=False) as live:
            while watch.goes_on():
                live.update(_table(directory), refresh=True)


def _rows(record: Record) -> list[dict[str, Any]]:
    return [asdict(line) for line in node_lines(record)]


def _read(directory: Path) -> Record:
    record = read_last(directory, Record)
    if record is None:
        raise NothingKnown(
            f"nodewatcher has recorded nothing in {directory}", hint="is it running? look at its log, or at nodewatcher.state_dir"
        )
    return record


def _table(directory: Path) -> Table:
    record = _read(directory)
    table = Table(*COLUMNS, box=None, pad_edge=False, title=f"nodes at {clock(record.seen.now)}", title_justify="left")
    for line in node_lines(record):
        table.add_row(*(escape(printable(str(cell))) for cell in _cells(line)))
    return table


def _cells(line: NodeLine) -> tuple[object, ...]:
    return tuple(asdict(line)[name] for name in COLUMNS)
