"""`headnode nodes`, `hold` and `release`: what becomes of each node, and an administrator's word on one."""

import asyncio
import getpass
import re
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from daemons.aws.session import open_clients
from daemons.aws.table import DynamoRows
from daemons.cli.common import ConfigOption, JsonOption, print_rows, read_config
from daemons.config import Config
from daemons.errors import HeadnodeError, InvalidValue, StaleRow
from daemons.logs import configure_logs
from daemons.model import Instance
from daemons.record import read_last
from nodewatcher.explain import NodeLine, node_lines
from nodewatcher.judge import clock
from nodewatcher.record import Record, state_directory

COLUMNS = ("node", "fleet", "state", "scheduler", "jobs", "cpus", "verdict")
_DURATION = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_HOLD_S = 366 * 86_400
_TRIES = 5


class NothingKnown(HeadnodeError):
    """There is no such node, or nothing has been written about any."""

    code = "nothing-known"


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


def hold(
    node: Annotated[str, typer.Argument(help="Host name or instance id.")],
    period: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 30m, 2h, 1d.")] = "1h",
    reason: Annotated[str, typer.Option(help="Why, for whoever asks.")] = "",
    config: ConfigOption = None,
) -> None:
    """Have nodewatcher leave a node alone: it neither drains nor ends nor replaces it. Jobs run and start there as ever."""
    until = time.time() + _parse_period(period)
    _change(read_config(config), node, held_until=until, held_by=getpass.getuser(), hold_reason=_printable(reason))
    typer.echo(f"{node} is held until {clock(until)}")


def release(node: Annotated[str, typer.Argument(help="Host name or instance id.")], config: ConfigOption = None) -> None:
    """Take a hold back."""
    _change(read_config(config), node, held_until=None, held_by="", hold_reason="")
    typer.echo(f"{node} is held no more")


def _parse_period(text: str) -> float:
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 0 < seconds <= _LONGEST_HOLD_S:
        raise InvalidValue(f"{text!r:.40} is no time to hold a node for", hint="write 30m, 2h or 1d; a year at most")
    return float(seconds)


def _printable(text: str) -> str:
    if len(text) > 200 or not text.isprintable():
        raise InvalidValue("the reason is too long, or not printable", hint="at most 200 characters, on one line")
    return text


def _change(config: Config, name: str, **fields: Any) -> None:
    configure_logs(level="error", stream=sys.stderr)
    asyncio.run(_change_row(config, name, fields))


async def _change_row(config: Config, name: str, fields: dict[str, Any]) -> None:
    """Write the row, which the services write too: one that moved meanwhile is read again."""
    async with open_clients(region=config.region, endpoints=config.endpoints) as clients:
        rows = DynamoRows(clients, table=config.table)
        for _ in range(_TRIES):
            row = _find(await rows.live(), name)
            written = await rows.put([replace(row, **fields)])
            if written.get(row.instance_id) is not None:
                return
    raise StaleRow(f"the row of {name} changes faster than it can be written", hint="try again")


def _find(rows: tuple[Instance, ...], name: str) -> Instance:
    found = [row for row in rows if name in (row.hostname, row.instance_id)]
    if len(found) != 1:
        what = "there is no node" if not found else "there are several nodes"
        raise NothingKnown(f"{what} {name!r:.80} in the table", hint="headnode nodes lists them, with their instance ids")
    return found[0]


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
        table.add_row(*(escape(str(cell)) for cell in _cells(line)))
    return table


def _cells(line: NodeLine) -> tuple[object, ...]:
    return tuple(asdict(line)[name] for name in COLUMNS)
