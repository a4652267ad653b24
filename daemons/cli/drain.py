"""`headnode drain` and `resume`: an administrator takes nodes from the scheduler, and gives them back."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from daemons.cli.common import ConfigOption, JsonOption, checked_reason, print_rows, read_config, who_asks
from daemons.cli.complete import complete_node
from daemons.cli.gather import read_records
from daemons.config import Config
from daemons.errors import InvalidValue
from daemons.model import Hostname
from daemons.names import parse_hostname
from schedulers.base import Outcome, Results, Scheduler
from schedulers.plugins import load_plugin, opened

EXIT_NOT_ALL = 1
Change = Callable[[Scheduler, list[Hostname]], Awaitable[Results]]
NodesArgument = Annotated[
    list[str], typer.Argument(metavar="NODE...", help="Host names or instance ids.", autocompletion=complete_node)
]


def drain(
    nodes: NodesArgument,
    reason: Annotated[str, typer.Option(help="Why: the scheduler shows it, with your name.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let no new job start on these nodes, as an administrator: running jobs go on, and headnode leaves the nodes alone.

    They stay drained, and are neither given back nor replaced, until `headnode resume`. The scheduler itself keeps the drain: its
    own commands show it and take it back as well. Exit code 1 if a node could not be drained.
    """
    if not (words := checked_reason(reason)):
        raise InvalidValue("a drain needs a reason", hint='--reason "kernel test"')
    said = f"{words} ({who_asks()})"
    _change(config, nodes, lambda scheduler, names: scheduler.set_aside(names, reason=said), as_json=as_json)


def resume(nodes: NodesArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Let jobs start on these nodes again, whoever has drained them, headnode itself excepted.

    A node that headnode drains is about to end: `headnode hold` makes it give that up. Exit code 1 if a node could not be
    resumed.
    """
    _change(config, nodes, lambda scheduler, names: scheduler.give_back(names), as_json=as_json)


def _change(config: Path | None, nodes: list[str], change: Change, *, as_json: bool) -> None:
    chosen = read_config(config)
    results = asyncio.run(_apply(chosen, hostnames_of(chosen, nodes), change))
    rows = [{"node": name, "outcome": str(result.outcome), "detail": result.detail} for name, result in results.items()]
    print_rows(rows, ["node", "outcome", "detail"], as_json=as_json)
    if any(result.outcome is not Outcome.DONE for result in results.values()):
        raise typer.Exit(EXIT_NOT_ALL)


async def _apply(config: Config, names: list[Hostname], change: Change) -> Results:
    async with opened(load_plugin(config.scheduler.name), config) as scheduler:
        return await change(scheduler, names)


def hostnames_of(config: Config, nodes: list[str]) -> list[Hostname]:
    """What the scheduler calls them; an instance id is looked up in what the services have recorded."""
    records = read_records(config)
    rows = [*records.jobs.seen.rows] if records.jobs is not None else []
    rows += [snapshot.row for snapshot in records.nodes.seen.snapshots] if records.nodes is not None else []
    known: dict[str, Hostname] = {row.instance_id: row.hostname for row in rows if row.hostname is not None}
    return list(dict.fromkeys(known[node] if node in known else parse_hostname(node) for node in nodes))
