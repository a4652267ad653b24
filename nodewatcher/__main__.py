"""`nodewatcher`: idleness → drain, look again, end the named instance."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial

from daemons.aws.checks import Ec2Checks
from daemons.aws.groups import AutoScalingGroups
from daemons.aws.session import open_clients
from daemons.aws.table import DynamoRows
from daemons.config import Config
from daemons.ha.guards import guard_groups, guard_rows
from daemons.ha.leadership import Term
from daemons.ha.standing import EachTerm, head_name, standing
from daemons.loop import run_every
from daemons.metrics import Topics
from daemons.mqtt import subscribed
from daemons.process import Switch, run_service
from nodewatcher.apply import Looked, Readings, World, no_readings, tell_nobody
from nodewatcher.record import Recorder, state_directory
from nodewatcher.service import Shrinking
from nodewatcher.telemetry import Telemetry
from schedulers.guarded import guard_scheduler
from schedulers.plugins import load_plugin, load_settings, opened


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Give back what no one needs, until `stop`."""
    async with (
        open_clients(region=config.region, endpoints=config.endpoints) as clients,
        opened(load_plugin(config.scheduler.name), config) as scheduler,
        listening(config) as (readings, looked),
    ):
        chosen = config.nodewatcher

        def make(term: Term | None) -> Shrinking:
            rows = DynamoRows(clients, table=config.table, fence=term.fence if term else None)
            world = World(
                scheduler=guard_scheduler(scheduler, term),
                groups=guard_groups(AutoScalingGroups(clients, specs=config.fleets), term),
                rows=guard_rows(rows, term),
                checks=Ec2Checks(clients),
                readings=readings,
                looked=looked,
            )
            return Shrinking(
                world,
                recorder=Recorder(state_directory(chosen), most_bytes=chosen.record_mib * 1024 * 1024),
                options=chosen,
                clock=time.time,
                awake=time.monotonic,  # on Linux it stands still while the machine sleeps
            )

        async with standing(config, "nodewatcher", clients, acts=not chosen.dry_run) as stands:
            shrinking = EachTerm(stands, make)
            await run_every(chosen.interval_s, lambda: shrinking.get().glance(), stop, gate=stands.gate)


@contextlib.asynccontextmanager
async def listening(config: Config) -> AsyncIterator[tuple[Readings, Looked]]:
    """What the nodes say of themselves, where there is a broker. A dry run tells them nothing: it is not who acts."""
    if config.mqtt is None:
        yield no_readings, tell_nobody
        return
    topics = Topics(config.mqtt.topic, config.cluster)
    telemetry = Telemetry(topics, clock=time.time)
    dry_run = config.nodewatcher.dry_run
    who = f"nodewatcher-{config.cluster}-{head_name(config)}-{os.getpid()}"
    heard = [topics.state("+"), topics.reading("+")]
    async with subscribed(config.mqtt, heard, telemetry.hear, identifier=who) as line:
        yield telemetry.readings, tell_nobody if dry_run else partial(telemetry.looked, line=line)


def main(argv: Sequence[str] | None = None) -> int:
    shadow = Switch("--shadow", "decide and record, and do nothing; may run beside the nodewatcher that acts", in_the_shadow)
    return run_service("nodewatcher", __doc__ or "", serve, load_settings=load_settings, argv=argv, switches=[shadow])


def in_the_shadow(config: Config) -> Config:
    return replace(config, nodewatcher=replace(config.nodewatcher, dry_run=True))


if __name__ == "__main__":
    sys.exit(main())
