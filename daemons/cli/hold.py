"""`headnode hold` and `release`: an administrator's word on a node, for nodewatcher."""

import asyncio
import json
import re
import sys
import time
from dataclasses import replace
from typing import Annotated, Any

import typer

from daemons.aws.session import open_clients
from daemons.aws.table import DynamoRows
from daemons.cli.common import ConfigOption, JsonOption, NothingKnown, checked_reason, read_config, who_asks
from daemons.cli.complete import complete_node
from daemons.config import Config
from daemons.errors import InvalidValue, StaleRow
from daemons.logs import configure_logs
from daemons.model import Instance
from nodewatcher.judge import clock

NodeArgument = Annotated[str, typer.Argument(help="Host name or instance id.", autocompletion=complete_node)]
_DURATION = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_HOLD_S = 366 * 86_400
_TRIES = 5


def hold(
    node: NodeArgument,
    period: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 30m, 2h, 1d.")] = "1h",
    reason: Annotated[str, typer.Option(help="Why, for whoever asks.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have nodewatcher leave a node alone: it neither drains nor ends nor replaces it. Jobs run and start there as ever."""
    until = time.time() + _parse_period(period)
    words, by = checked_reason(reason), who_asks()
    _change(read_config(config), node, held_until=until, held_by=by, hold_reason=words)
    told = {"node": node, "held_until": until, "held_by": by, "reason": words}
    typer.echo(json.dumps(told) if as_json else f"{node} is held until {clock(until)}")


def release(node: NodeArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Take a hold back."""
    _change(read_config(config), node, held_until=None, held_by="", hold_reason="")
    typer.echo(json.dumps({"node": node, "held_until": None}) if as_json else f"{node} is held no more")


def _parse_period(text: str) -> float:
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 0 < seconds <= _LONGEST_HOLD_S:
        raise InvalidValue(f"{text!r:.40} is no time to hold a node for", hint="write 30m, 2h or 1d; a year at most")
    return float(seconds)


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
