"""`nodewatcher`: idleness → drain, look again, end the named instance."""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from daemons.aws.checks import Ec2Checks
from daemons.aws.groups import AutoScalingGroups
from daemons.aws.session import open_clients
from daemons.aws.table import DynamoRows
from daemons.config import Config
from daemons.loop import run_every
from daemons.process import Switch, run_service
from nodewatcher.apply import World
from nodewatcher.record import Recorder, state_directory
from nodewatcher.service import Shrinking
from schedulers.plugins import load_plugin, load_settings, opened


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Give back what no one needs, until `stop`."""
    async with (
        open_clients(region=config.region, endpoints=config.endpoints) as clients,
        opened(load_plugin(config.scheduler.name), config) as scheduler,
    ):
        world = World(
            scheduler=scheduler,
            groups=AutoScalingGroups(clients, specs=config.fleets),
            rows=DynamoRows(clients, table=config.table),
            checks=Ec2Checks(clients),
        )
        chosen = config.nodewatcher
        shrinking = Shrinking(
            world,
            recorder=Recorder(state_directory(chosen), most_bytes=chosen.record_mib * 1024 * 1024),
            options=chosen,
            clock=time.time,
            awake=time.monotonic,  # on Linux it stands still while the machine sleeps
        )
        await run_every(chosen.interval_s, shrinking.cycle, stop)


def main(argv: Sequence[str] | None = None) -> int:
    shadow = Switch("--shadow", "decide and record, and do nothing; may run beside the nodewatcher that acts", in_the_shadow)
    return run_service("nodewatcher", __doc__ or "", serve, load_settings=load_settings, argv=argv, switches=[shadow])


def in_the_shadow(config: Config) -> Config:
    return replace(config, nodewatcher=replace(config.nodewatcher, dry_run=True))


if __name__ == "__main__":
    sys.exit(main())
