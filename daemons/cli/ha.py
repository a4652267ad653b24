"""`headnode ha`: which head acts for which service."""

import asyncio
import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import typer

from daemons.aws.leases import DynamoLeases
from daemons.aws.session import open_clients
from daemons.cli.common import ConfigOption, JsonOption, print_rows, read_config
from daemons.config import Config
from daemons.ha.lease import SERVICES, Lease, Seen
from daemons.ha.standing import head_name

COLUMNS = ("service", "state", "holder", "since", "fence", "renewed")


def ha(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show who holds the lease of each service, since when, and its fence.

    held: by that head. silent: not renewed for longer than it lasts, by the clocks of this machine and of its holder; the other
    head takes it, if there is one. free: given back, or never taken. The exit code is 1 if a service is not held by anybody.
    """
    chosen = read_config(config)
    seen = asyncio.run(_read(chosen))
    now = time.time()
    rows = [_describe(service, one, now) for service, one in seen.items()]
    if as_json:
        typer.echo(json.dumps({"enabled": chosen.ha.enabled, "head": head_name(chosen), "leases": rows}))
    else:
        print_rows([{**row, **_for_people(row)} for row in rows], COLUMNS, as_json=False)
        if not chosen.ha.enabled:
            typer.echo("ha.enabled is false here: this head acts whoever holds them")
    if chosen.ha.enabled and any(row["state"] != "held" for row in rows):
        raise typer.Exit(1)


async def _read(config: Config) -> dict[str, Seen]:
    async with open_clients(region=config.region, endpoints=config.endpoints) as clients:
        leases = DynamoLeases(clients, table=config.table)
        return {service: await leases.read(service) for service in SERVICES}


def _describe(service: str, seen: Seen, now: float) -> dict[str, Any]:
    lease = seen.lease
    if lease is None or not lease.is_held:
        return {"service": service, "state": "free", "holder": "", "fence": seen.fence}
    known = asdict(lease)
    del known["token"], known["beat"]
    return {**known, "state": _state(lease, now), "renewed_ago_s": round(now - lease.renewed_at, 1)}


def _state(lease: Lease, now: float) -> str:
    return "held" if now - lease.renewed_at <= lease.lease_s else "silent"


def _for_people(row: dict[str, Any]) -> dict[str, str]:
    if "since" not in row:
        return {"since": "", "renewed": ""}
    since = datetime.fromtimestamp(row["since"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return {"since": since, "renewed": f"{row['renewed_ago_s']:g} s ago"}
