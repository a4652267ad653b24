"""`headnode resync`: compare groups, table, scheduler and zone, and mend what differs."""

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from daemons.cli.common import ConfigOption, JsonOption, print_rows, progress, read_config
from daemons.config import Config
from daemons.logs import configure_logs
from sqswatcher.__main__ import open_membership
from sqswatcher.reconcile import Reconciliation

SECOND_LOOK_S = 3.0  # what is to be removed must be seen twice


def resync(
    config: ConfigOption = None,
    apply: Annotated[bool, typer.Option("--apply/--plan", help="Mend what differs, or only say what would be done.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the groups, the table, the scheduler and the zone, twice; with --apply mend what differs.

    sqswatcher does the same every few minutes. What is younger than resync_grace_s is left alone, and a pass that would remove
    more than max_removal_share of the nodes removes none.
    """
    chosen = read_config(config)
    configure_logs(level="error", stream=sys.stderr)
    with progress("mending" if apply else "comparing"):
        found = asyncio.run(_run(chosen, apply=apply))
    rows = [asdict(finding) for finding in found.findings]
    if as_json:
        mended = [step.instance_id for step in found.plan.steps]
        typer.echo(json.dumps({"applied": apply, "findings": rows, "steps": mended, "refused": found.refused}))
    elif rows:
        print_rows(rows, ["kind", "instance_id", "sentence"], as_json=False)
        typer.echo(f"{'done' if apply else 'would be done'}: {len(found.plan.steps)} of {len(rows)}")
    else:
        typer.echo("everything is as it should be")
    if found.refused:
        typer.echo(found.refused, err=True)
        raise typer.Exit(1)


async def _run(config: Config, *, apply: bool) -> Reconciliation:
    async with open_membership(config) as membership:
        await membership.compare()
        await asyncio.sleep(SECOND_LOOK_S)
        return await (membership.resync() if apply else membership.compare())
