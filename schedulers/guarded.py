"""A scheduler whose nodes are changed only while this head holds the lease. Asking needs no lease."""

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Self

from pydantic import BaseModel

from daemons.ha.leadership import Term
from daemons.model import FleetSpec, Hostname, JobDemand, JobId, Node, NodeSpec
from schedulers.base import Results, Scheduler


def guard_scheduler(scheduler: Scheduler, term: Term | None) -> Scheduler:
    """`term` None: there is no other head, and nothing to guard."""
    if term is None:
        return scheduler
    plugin = type(scheduler)

    class Guarded(_Guarded):
        name = plugin.name
        resolves_names = plugin.resolves_names
        capabilities = plugin.capabilities
        Settings = plugin.Settings

    return Guarded(scheduler, term)


class _Guarded(Scheduler):
    """Every command of a change looks once more before it starts (`daemons.ha.look`)."""

    Settings: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, scheduler: Scheduler, term: Term) -> None:
        self._scheduler = scheduler
        self._term = term

    @classmethod
    def open(cls, settings: BaseModel, *, cluster: str, fleets: Sequence[FleetSpec]) -> Self:  # noqa: ARG003
        raise TypeError("it is made of a plugin that is open already")

    async def demand(self) -> tuple[JobDemand, ...]:
        return await self._scheduler.demand()

    async def nodes(self) -> tuple[Node, ...]:
        return await self._scheduler.nodes()

    async def jobs_on(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, frozenset[JobId]]:
        return await self._scheduler.jobs_on(hostnames)

    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        return await self._term.act(lambda: self._scheduler.register(nodes))

    async def deregister(self, hostnames: Collection[Hostname]) -> Results:
        return await self._term.act(lambda: self._scheduler.deregister(hostnames))

    async def requeue(self, hostnames: Collection[Hostname]) -> Results:
        return await self._term.act(lambda: self._scheduler.requeue(hostnames))

    async def drain(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        return await self._term.act(lambda: self._scheduler.drain(hostnames, reason=reason))

    async def resume(self, hostnames: Collection[Hostname]) -> Results:
        return await self._term.act(lambda: self._scheduler.resume(hostnames))

    async def set_aside(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        return await self._term.act(lambda: self._scheduler.set_aside(hostnames, reason=reason))

    async def give_back(self, hostnames: Collection[Hostname]) -> Results:
        return await self._term.act(lambda: self._scheduler.give_back(hostnames))

    async def advertise(self, fleets: Sequence[FleetSpec]) -> None:
        await self._term.act(lambda: self._scheduler.advertise(fleets))

    async def close(self) -> None:
        await self._scheduler.close()
