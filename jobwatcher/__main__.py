"""`jobwatcher`: pending work → desired capacity."""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from daemons.aws.groups import AutoScalingGroups
from daemons.aws.session import open_clients
from daemons.aws.table import DynamoRows
from daemons.config import Config
from daemons.loop import run_every
from daemons.process import Switch, run_service
from jobwatcher.plan import Options
from jobwatcher.record import Recorder, state_directory
from jobwatcher.service import Growing
from schedulers.plugins import load_plugin, load_settings, opened


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Grow the fleets as waiting work needs, until `stop`."""
    async with (
        open_clients(region=config.region, endpoints=config.endpoints) as clients,
        opened(load_plugin(config.scheduler.name), config) as scheduler,
    ):
        chosen = config.jobwatcher
        growing = Growing(
            scheduler=scheduler,
            groups=AutoScalingGroups(clients, specs=config.fleets),
            rows=DynamoRows(clients, table=config.table),
            recorder=Recorder(state_directory(chosen), most_bytes=chosen.record_mib * 1024 * 1024),
            options=Options(jobwatcher=chosen, budget=config.budget),
            clock=time.time,
        )
        await run_every(config.jobwatcher.interval_s, growing.cycle, stop)


def main(argv: Sequence[str] | None = None) -> int:
    shadow = Switch("--shadow", "decide and record, and do nothing; may run beside the jobwatcher that acts", in_the_shadow)
    return run_service("jobwatcher", __doc__ or "", serve, load_settings=load_settings, argv=argv, switches=[shadow])


def in_the_shadow(config: Config) -> Config:
    return replace(config, jobwatcher=replace(config.jobwatcher, dry_run=True))


if __name__ == "__main__":
    sys.exit(main())
