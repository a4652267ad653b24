"""`sqswatcher`: queue messages → cluster membership."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from daemons.aws.dns import Route53Zone, find_zone
from daemons.aws.groups import AutoScalingGroups
from daemons.aws.instances import Ec2Places
from daemons.aws.queue import SqsQueue
from daemons.aws.session import Clients, open_clients
from daemons.aws.table import DynamoRows
from daemons.config import Config, DnsConfig
from daemons.ha.guards import guard_groups, guard_queue, guard_rows, guard_zone
from daemons.ha.leadership import Term
from daemons.ha.standing import EachTerm, standing
from daemons.loop import run_every
from daemons.process import run_service
from daemons.wake import NobodyListens, poke
from schedulers.base import Scheduler
from schedulers.guarded import guard_scheduler
from schedulers.plugins import load_plugin, load_settings, opened
from sqswatcher.apply import World
from sqswatcher.checking import Check, checker
from sqswatcher.reconcile import Options
from sqswatcher.service import Membership, Settings


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Keep the membership until `stop`."""
    async with opened_parts(config) as parts, standing(config, "sqswatcher", parts.clients) as stands:
        membership = EachTerm(stands, parts.membership)
        await run_every(0, lambda: membership.get().cycle(stop), stop, gate=stands.gate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the service is made of, connected already."""

    config: Config
    clients: Clients
    scheduler: Scheduler
    zone: Route53Zone | None
    check: Check

    def membership(self, term: Term | None) -> Membership:
        """The service, to act under that term of a lease."""
        config, clients = self.config, self.clients
        rows = DynamoRows(clients, table=config.table, fence=term.fence if term else None)
        world = World(
            queue=guard_queue(SqsQueue(clients, queue=config.queue, visibility_s=config.sqswatcher.visibility_s), term),
            rows=guard_rows(rows, term),
            scheduler=guard_scheduler(self.scheduler, term),
            groups=guard_groups(AutoScalingGroups(clients, specs=config.fleets), term),
            zone=guard_zone(self.zone, term),
            fleets={spec.name: spec for spec in config.fleets},
        )
        return Membership(
            world,
            places=Ec2Places(clients),
            settings=_settings(config),
            clock=time.time,
            ring=_ringer(config),
            check=self.check,
        )


@contextlib.asynccontextmanager
async def opened_parts(config: Config) -> AsyncIterator[Parts]:
    """Connected to this cluster's AWS and scheduler; the clients are open already, so that no node waits for them."""
    async with (
        open_clients(region=config.region, endpoints=config.endpoints) as clients,
        opened(load_plugin(config.scheduler.name), config) as scheduler,
    ):
        await clients.warm_up("sqs", "dynamodb", "autoscaling", "ec2", *(["route53"] if config.dns else []))
        zone = await _open_zone(clients, config.dns) if config.dns else None
        yield Parts(config=config, clients=clients, scheduler=scheduler, zone=zone, check=checker(config))


def _ringer(config: Config) -> Callable[[str], None]:
    """Wakes jobwatcher, if it listens. That it does not is no error: it looks by itself before long."""
    path = config.jobwatcher.wake_socket

    def ring(word: str) -> None:
        if path:
            with contextlib.suppress(NobodyListens):
                poke(Path(path), word)

    return ring


def _settings(config: Config) -> Settings:
    chosen = config.sqswatcher
    return Settings(
        wait_s=chosen.wait_s,
        receivers=chosen.receivers,
        visibility_s=chosen.visibility_s,
        terminate_grace_s=chosen.terminate_grace_s,
        resync_s=chosen.resync_s,
        resync=Options(age_grace_s=chosen.resync_grace_s, max_removal_share=chosen.max_removal_share),
    )


async def _open_zone(clients: Clients, dns: DnsConfig) -> Route53Zone:
    zone_id = dns.zone_id or await find_zone(clients, name=dns.zone)
    return await Route53Zone.open(
        clients, zone_id=zone_id, ttl_s=dns.ttl_s, changes_per_s=dns.changes_per_s, clock=time.monotonic
    )


def main() -> int:
    return run_service("sqswatcher", __doc__ or "", serve, load_settings=load_settings)


if __name__ == "__main__":
    sys.exit(main())
