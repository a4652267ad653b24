"""`headnode plugins`: which schedulers headnode can speak to, and whether the configured one keeps its promises."""

import asyncio
import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from daemons.cli.common import ConfigOption, JsonOption, print_rows, printable, progress, read_config
from daemons.config import Config
from daemons.errors import ConfigError
from daemons.model import InstanceId, NodeSpec
from daemons.names import parse_address, parse_hostname
from schedulers.base import Capability
from schedulers.check import Finding, check_changing, check_reading
from schedulers.plugins import find_plugins, load_plugin, opened

app = typer.Typer(help="Scheduler plugins: what is installed, and a check of the configured one.")

_CHECKED = InstanceId("i-00000000000000000")  # of no instance
EXIT_BROKEN = 1


@app.callback(invoke_without_command=True)
def plugins(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the installed plugins: where each is from, whether it loads, and what its scheduler lacks."""
    if context.invoked_subcommand is None:
        rows = [_row(name) for name in find_plugins()]
        print_rows(rows, ["name", "from", "version", "class", "lacks", "problem"], as_json=as_json)


def _row(name: str) -> dict[str, Any]:
    entry = find_plugins()[name]
    row: dict[str, Any] = {
        "name": name,
        "from": entry.dist.name if entry.dist is not None else "",
        "version": entry.dist.version if entry.dist is not None else "",
        "class": entry.value,
        "capabilities": [],
        "lacks": [],
        "settings": [],
        "problem": "",
    }
    try:
        plugin = load_plugin(name)
    except ConfigError as err:
        return row | {"problem": str(err)}
    return row | {
        "capabilities": sorted(plugin.capabilities),
        "lacks": sorted(frozenset(Capability) - plugin.capabilities),
        "settings": sorted(plugin.Settings.model_fields),
    }


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="The plugin; it has to be the configured one.")],
    config: ConfigOption = None,
    mutate: Annotated[
        bool, typer.Option("--mutate", help="Also let a throw-away node in, drain it, take it back, and let it out again.")
    ] = False,
    node: Annotated[str, typer.Option(metavar="NAME", help="The throw-away node; it may have to resolve.")] = "headnode-check",
    address: Annotated[str, typer.Option(metavar="IP", help="Its address.")] = "192.0.2.1",
    as_json: JsonOption = False,
) -> None:
    """Check a plugin against the configured cluster: answers that are whole, in time, and that stop nobody else.

    Only reads, unless --mutate is given. Exit code 1 if a promise is broken.
    """
    chosen = read_config(config)
    if chosen.scheduler.name != name:
        raise ConfigError(
            f"the configured scheduler is {chosen.scheduler.name}, not {name}",
            hint=f"check {chosen.scheduler.name}, or name a configuration for {name} with --config",
        )
    throw_away = _throw_away(chosen, node, address) if mutate else None
    with progress(f"asking {name}"):
        findings = asyncio.run(_checked(chosen, throw_away))
    if as_json:
        ok = all(finding.kept for finding in findings)
        typer.echo(json.dumps({"plugin": name, "ok": ok, "findings": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            typer.echo(f"{'kept  ' if finding.kept else 'BROKEN'}  {finding.promise}: {printable(finding.seen)}")
    if not all(finding.kept for finding in findings):
        raise typer.Exit(EXIT_BROKEN)


def _throw_away(config: Config, node: str, address: str) -> NodeSpec:
    if not config.fleets:
        raise ConfigError("the configuration has no fleet whose node could be tried", hint="add a [[fleet]]")
    fleet = config.fleets[0]
    return NodeSpec(
        instance_id=_CHECKED,
        hostname=parse_hostname(node),
        address=parse_address(address),
        fleet=fleet.name,
        shape=fleet.shape,
        partition=fleet.partition,
        features=fleet.features,
    )


async def _checked(config: Config, node: NodeSpec | None) -> tuple[Finding, ...]:
    async with opened(load_plugin(config.scheduler.name), config) as scheduler:
        findings = await check_reading(scheduler)
        if node is not None and all(finding.kept for finding in findings):
            findings += await check_changing(scheduler, node)
    return findings
