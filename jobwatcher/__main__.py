"""`jobwatcher`: pending work → desired capacity."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from daemons.aws.groups import AutoScalingGroups
from daemons.aws.session import open_clients
from daemons.aws.table import DynamoRows
from daemons.config import Config
from daemons.ha.guards import guard_groups
from daemons.ha.leadership import Term
from daemons.ha.standing import EachTerm, head_name, standing
from daemons.loop import run_every
from daemons.metrics import Topics
from daemons.mqtt import subscribed
from daemons.process import Switch, run_service
from daemons.wake import WakeSocketUnusable, Wakeups, listen_datagrams, parse_word
from jobwatcher.plan import Options
from jobwatcher.record import Recorder, state_directory
from jobwatcher.service import Growing
from schedulers.plugins import load_plugin, load_settings, opened

log = structlog.get_logger()


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Grow the fleets as waiting work needs, until `stop`."""
    async with (
        open_clients(region=config.region, endpoints=config.endpoints) as clients,
        opened(load_plugin(config.scheduler.name), config) as scheduler,
    ):
        chosen = config.jobwatcher

        def make(term: Term | None) -> Growing:
            return Growing(
                scheduler=scheduler,
                groups=guard_groups(AutoScalingGroups(clients, specs=config.fleets), term),
                rows=DynamoRows(clients, table=config.table),
                recorder=Recorder(state_directory(chosen), most_bytes=chosen.record_mib * 1024 * 1024),
                options=Options(jobwatcher=chosen, budget=config.budget),
                clock=time.time,
            )

        wakeups = Wakeups(quiet_s=chosen.wake_quiet_s)
        async with _listening(config, wakeups), standing(config, "jobwatcher", clients, acts=not chosen.dry_run) as stands:
            growing = EachTerm(stands, make)
            await run_every(
                chosen.interval_s,
                lambda: growing.get().glance(is_woken=wakeups.was_rung),
                stop,
                wakeups=wakeups,
                gate=stands.gate,
            )


@contextlib.asynccontextmanager
async def _listening(config: Config, wakeups: Wakeups) -> AsyncIterator[None]:
    """Let others wake the service. Where that cannot be, it polls. One that only decides leaves the socket to the real one."""
    chosen = config.jobwatcher
    async with contextlib.AsyncExitStack() as stack:
        if chosen.wake_socket and not chosen.dry_run:
            try:
                await stack.enter_async_context(listen_datagrams(Path(chosen.wake_socket), wakeups.ring))
            except WakeSocketUnusable as err:
                log.warning("wake.unusable", **err.to_event())
        if config.mqtt is not None:
            who = f"jobwatcher-{config.cluster}-{head_name(config)}-{os.getpid()}"
            topic = Topics(config.mqtt.topic, config.cluster).wake
            await stack.enter_async_context(
                subscribed(config.mqtt, [topic], lambda heard: wakeups.ring(parse_word(heard.payload)), identifier=who)
            )
        yield


def main(argv: Sequence[str] | None = None) -> int:
    shadow = Switch("--shadow", "decide and record, and do nothing; may run beside the jobwatcher that acts", in_the_shadow)
    return run_service("jobwatcher", __doc__ or "", serve, load_settings=load_settings, argv=argv, switches=[shadow])


def in_the_shadow(config: Config) -> Config:
    return replace(config, jobwatcher=replace(config.jobwatcher, dry_run=True))


if __name__ == "__main__":
    sys.exit(main())
