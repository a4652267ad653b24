"""`headnode resync`: compare groups, table, scheduler and zone, and mend what differs."""

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from daemons.aws.leases import DynamoLeases
from daemons.cli.common import ConfigOption, JsonOption, print_rows, progress, read_config
from daemons.config import Config
from daemons.errors import LeaseLost
from daemons.ha.leadership import MARGIN_SHARE, Term, boot_s
from daemons.ha.standing import head_name
from daemons.logs import configure_logs
from sqswatcher.__main__ import Parts, opened_parts
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
    async with opened_parts(config) as parts:
        membership = parts.membership(await _term(parts) if apply and config.ha.enabled else None)
        await membership.compare()
        await asyncio.sleep(SECOND_LOOK_S)
        return await (membership.resync() if apply else membership.compare())


async def _term(parts: Parts) -> Term:
    """To act for this head's sqswatcher, as long as what it holds now is good for. Raises LeaseLost on the other head."""
    read_at, name = boot_s(), head_name(parts.config)
    lease = (await DynamoLeases(parts.clients, table=parts.config.table).read("sqswatcher")).lease
    if lease is None or lease.holder != name:
        holder = lease.holder if lease is not None and lease.is_held else "nobody"
        raise LeaseLost(
            f"{holder} holds the lease of sqswatcher, and this head is {name}",
            hint="run it on the head that headnode ha names" if holder != "nobody" else "start sqswatcher first",
        )
    term = Term(lease, awake=boot_s)
    term.prolong(read_at + lease.lease_s * (1 - MARGIN_SHARE))
    return term
