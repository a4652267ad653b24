"""`headnode nodes`: what becomes of each node."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from daemons.cli.common import ConfigOption, JsonOption, NothingKnown, print_rows, printable, read_config
from daemons.record import read_last
from nodewatcher.explain import NodeLine, node_lines
from nodewatcher.judge import clock
from nodewatcher.record import Record, state_directory

COLUMNS = ("node", "fleet", "state", "scheduler", "jobs", "cpus", "verdict")


def nodes(
    config: ConfigOption = None,
    state: Annotated[Path | None, typer.Option("--state", metavar="DIR", help="nodewatcher's state directory.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the nodes as nodewatcher last saw them, each with the sentence that says why it stays or goes."""
    directory = state or state_directory(read_config(config).nodewatcher)
    if not watch or as_json:
        record = _read(directory)
        rows = [asdict(line) for line in node_lines(record)]
        if rows or as_json:
            print_rows(rows, COLUMNS, as_json=as_json)
        else:
            typer.echo(f"there are no nodes, as of {clock(record.seen.now)}")
        return
    with Live(_table(directory), console=Console(), screen=False, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(1)
                live.update(_table(directory), refresh=True)
        except KeyboardInterrupt:
            return


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
