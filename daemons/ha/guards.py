"""What a service changes the outside with, each call begun only while the lease is held. Reading needs no lease.

`term` None is a service that has no other head: everything is handed through as it is.
"""

from collections.abc import Collection, Mapping, Sequence

from daemons.errors import LeaseLost
from daemons.ha.leadership import Term
from daemons.model import Fleet, FleetName, Hostname, Instance, InstanceId, LaunchFailure
from daemons.ports import EndOutcome, Groups, LaunchAnswer, Queue, Received, Records, Rows, Zone


def guard_queue(queue: Queue, term: Term | None) -> Queue:
    return queue if term is None else GuardedQueue(queue, term)


def guard_rows(rows: Rows, term: Term | None) -> Rows:
    return rows if term is None else GuardedRows(rows, term)


def guard_groups(groups: Groups, term: Term | None) -> Groups:
    return groups if term is None else GuardedGroups(groups, term)


def guard_zone(zone: Zone | None, term: Term | None) -> Zone | None:
    return zone if zone is None or term is None else GuardedZone(zone, term)


class GuardedQueue:
    """Receiving counts: what one head has received the other does not see for a while."""

    def __init__(self, queue: Queue, term: Term) -> None:
        self._queue = queue
        self._term = term

    async def receive(self, *, wait_s: int) -> tuple[Received, ...]:
        return await self._term.act(lambda: self._queue.receive(wait_s=wait_s))

    async def delete(self, messages: Sequence[Received]) -> None:
        await self._term.act(lambda: self._queue.delete(messages))

    async def postpone(self, messages: Sequence[Received], delay_s: int) -> None:
        await self._term.act(lambda: self._queue.postpone(messages, delay_s))


class GuardedRows:
    """A write that the table itself refused for its fence ends the term."""

    def __init__(self, rows: Rows, term: Term) -> None:
        self._rows = rows
        self._term = term

    async def get(self, instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, Instance]:
        return await self._rows.get(instance_ids)

    async def put(self, rows: Sequence[Instance]) -> Mapping[InstanceId, Instance | None]:
        try:
            return await self._term.act(lambda: self._rows.put(rows))
        except LeaseLost:
            if self._term.is_on:
                self._term.end()
            raise

    async def live(self) -> tuple[Instance, ...]:
        return await self._rows.live()

    async def all(self) -> tuple[Instance, ...]:
        return await self._rows.all()

    async def unsettled(self) -> tuple[Instance, ...]:
        return await self._rows.unsettled()


class GuardedZone:
    def __init__(self, zone: Zone, term: Term) -> None:
        self._zone = zone
        self._term = term

    async def change(self, records: Records, *, await_sync: bool) -> None:
        await self._term.act(lambda: self._zone.change(records, await_sync=await_sync))

    async def records(self) -> Mapping[Hostname, str]:
        return await self._zone.records()


class GuardedGroups:
    def __init__(self, groups: Groups, term: Term) -> None:
        self._groups = groups
        self._term = term

    async def fleets(self) -> tuple[Fleet, ...]:
        return await self._groups.fleets()

    async def fleet_of(self, instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, FleetName]:
        return await self._groups.fleet_of(instance_ids)

    async def launch_failures(self, fleet: FleetName, *, since: float) -> tuple[LaunchFailure, ...]:
        return await self._groups.launch_failures(fleet, since=since)

    async def raise_desired(self, fleet: Fleet, target: int) -> None:
        await self._term.act(lambda: self._groups.raise_desired(fleet, target))

    async def launch(self, fleet: Fleet, count: int, *, zones: Sequence[str], token: str) -> LaunchAnswer:
        return await self._term.act(lambda: self._groups.launch(fleet, count, zones=zones, token=token))

    async def cancel_unfulfilled(self, fleet: Fleet, target: int) -> int:
        return await self._term.act(lambda: self._groups.cancel_unfulfilled(fleet, target))

    async def end(self, instance_id: InstanceId, *, relaunch: bool = False) -> EndOutcome:
        return await self._term.act(lambda: self._groups.end(instance_id, relaunch=relaunch))

    async def complete_hook(self, fleet: FleetName, hook: str, instance_id: InstanceId, *, proceed: bool) -> None:
        await self._term.act(lambda: self._groups.complete_hook(fleet, hook, instance_id, proceed=proceed))

    async def extend_hook(self, fleet: FleetName, hook: str, instance_id: InstanceId) -> None:
        await self._term.act(lambda: self._groups.extend_hook(fleet, hook, instance_id))
