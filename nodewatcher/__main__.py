"""`nodewatcher`: idleness → drain, look again, end the named instance."""

import asyncio
import sys
import time

from daemons.aws.groups import AutoScalingGroups
from daemons.aws.session import open_clients
from daemons.aws.table import DynamoRows
from daemons.config import Config
from daemons.loop import run_every
from daemons.process import run_service
from nodewatcher.apply import World
from nodewatcher.plan import Options
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
        )
        options = Options(idle_for_s=config.nodewatcher.idle_for_s, max_ending_share=config.nodewatcher.max_ending_share)
        await run_every(config.nodewatcher.interval_s, Shrinking(world, options=options, clock=time.time).cycle, stop)


def main() -> int:
    return run_service("nodewatcher", __doc__ or "", serve, load_settings=load_settings)


if __name__ == "__main__":
    sys.exit(main())
