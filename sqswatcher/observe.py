"""What is true of the instances that a batch of messages names."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from daemons.lifecycle import Event
from daemons.model import Hostname, Instance, InstanceId
from daemons.ports import MESSAGES_A_RECEIVE, Groups, Places, Queue, Received, Rows
from schedulers.base import Scheduler
from sqswatcher.apply import World
from sqswatcher.plan import Delivery, Observation
from sqswatcher.reconcile import Survey

BATCH_MOST = 500  # messages taken on at once: what one registration command and one DNS change comfortably hold


class Directory:
    """Which live row has each hostname. sqswatcher alone gives them out, so what it read at start and wrote since is true."""

    def __init__(self, rows: Iterable[Instance]) -> None:
        self._holders: dict[Hostname, InstanceId] = {}
        self.note(rows)

    def note(self, rows: Iterable[Instance]) -> None:
        """Learn of rows as they have just been written."""
        for row in rows:
            if row.hostname is None:
                continue
            if row.is_live:
                self._holders[row.hostname] = row.instance_id
            elif self._holders.get(row.hostname) == row.instance_id:
                del self._holders[row.hostname]

    @property
    def holders(self) -> Mapping[Hostname, InstanceId]:
        return dict(self._holders)


async def receive_batch(queue: Queue, *, wait_s: int, receivers: int) -> tuple[Received, ...]:
    """One long poll; where it comes back full there is a backlog, and `receivers` at a time fetch more of it, up to BATCH_MOST.

    A message that came twice is kept once, with its newest receipt: that one deletes it.
    """
    found = {message.message_id: message for message in await queue.receive(wait_s=wait_s)}
    more = len(found) == MESSAGES_A_RECEIVE
    while more and len(found) < BATCH_MOST:
        rounds = await asyncio.gather(*(queue.receive(wait_s=0) for _ in range(receivers)))
        found |= {message.message_id: message for messages in rounds for message in messages}
        more = all(len(messages) == MESSAGES_A_RECEIVE for messages in rounds)
    return tuple(found.values())


async def observe(
    deliveries: Sequence[Delivery],
    *,
    now: float,
    rows: Rows,
    groups: Groups,
    places: Places,
    scheduler: Scheduler,
    directory: Directory,
    terminate_grace_s: float,
) -> Observation:
    """Rows, membership and addresses of everything the deliveries name, in as few calls as the answers allow."""
    named = {happening.instance_id for delivery in deliveries for happening in delivery.happenings}
    ready = {
        happening.instance_id: happening.hostname
        for delivery in deliveries
        for happening in delivery.happenings
        if happening.event is Event.READY
    }
    holders = directory.holders
    contested = {
        holders[hostname]
        for instance_id, hostname in ready.items()
        if hostname is not None and holders.get(hostname, instance_id) != instance_id
    }
    stored = await rows.get(named | contested) if named else {}
    unvouched = {one for one in named if one not in stored or not stored[one].fleet}
    joining = {one for one in ready if one not in stored or stored[one].ready_at is None or stored[one].registered_at is None}
    fleet_of, found = await asyncio.gather(
        groups.fleet_of(unvouched | contested) if unvouched | contested else _nothing(),
        places.places(joining) if joining else _nothing(),
    )
    held = {stored[one].hostname for one in _held_by_hooks(deliveries) if one in stored}
    hosts = {hostname for hostname in held if hostname is not None}
    return Observation(
        now=now,
        deliveries=tuple(deliveries),
        rows=stored,
        fleet_of=fleet_of,
        addresses={one: place.address for one, place in found.items()},
        holders=holders,
        jobs=await scheduler.jobs_on(hosts) if hosts and terminate_grace_s else {},
        terminate_grace_s=terminate_grace_s,
    )


def _held_by_hooks(deliveries: Sequence[Delivery]) -> set[InstanceId]:
    return {word.instance_id for delivery in deliveries for word in delivery.happenings if word.terminate_hook}


async def _nothing() -> dict[InstanceId, Any]:
    return {}


async def survey(world: World, places: Places, *, now: float) -> Survey:
    """The four sources, and EC2's word for members whose row lacks a host name. Raises what any of them raises."""
    fleets, rows, nodes, records = await asyncio.gather(
        world.groups.fleets(),
        world.rows.all(),
        world.scheduler.nodes(),
        world.zone.records() if world.zone is not None else _no_zone(),
    )
    unplaced = {row.instance_id for row in rows if row.is_live and not (row.hostname and row.address)}
    found = await places.places(unplaced) if unplaced else {}
    return Survey(
        now=now,
        fleets=fleets,
        rows=rows,
        nodes=nodes,
        records=records,
        hostnames={one: place.hostname for one, place in found.items() if place.hostname is not None},
        addresses={one: place.address for one, place in found.items()},
    )


async def _no_zone() -> None:
    return None
