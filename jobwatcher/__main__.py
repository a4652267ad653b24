"""`jobwatcher`: pending work → desired capacity."""

import asyncio
import sys

from daemons.aws.groups import AutoScalingGroups
from daemons.aws.session import open_clients
from daemons.aws.table import DynamoRows
from daemons.config import Config
from daemons.loop import run_every
from daemons.process import run_service
from jobwatcher.service import Growing
from schedulers.plugins import load_plugin, load_settings, opened


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Grow the fleets as waiting work needs, until `stop`."""
    async with (
        open_clients(region=config.region, endpoints=config.endpoints) as clients,
        opened(load_plugin(config.scheduler.name), config) as scheduler,
    ):
        growing = Growing(
            scheduler=scheduler,
            groups=AutoScalingGroups(clients, specs=config.fleets),
            rows=DynamoRows(clients, table=config.table),
        )
        await run_every(config.jobwatcher.interval_s, growing.cycle, stop)


def main() -> int:
    return run_service("jobwatcher", __doc__ or "", serve, load_settings=load_settings)


if __name__ == "__main__":
    sys.exit(main())
