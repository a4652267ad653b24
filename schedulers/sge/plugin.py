"""The Grid Engine plugin. How many commands each call runs does not depend on how many nodes it is about, up to some hundred."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import BaseModel

from daemons.errors import ConfigError, SchedulerUnavailable
from daemons.model import FleetSpec, Hostname, JobDemand, JobId, Node, NodeSpec
from schedulers import aside
from schedulers.base import NodeResult, Outcome, Results, Scheduler
from schedulers.commands import Commands, LocalCommands
from schedulers.sge import render
from schedulers.sge.advertise import Advertisement
from schedulers.sge.cell import group_name
from schedulers.sge.control import Qmaster
from schedulers.sge.membership import ABSENT, DONE, Membership, World, is_member, joined, knows, left
from schedulers.sge.nodes import Counting, Host, hosts_of, nodes_of
from schedulers.sge.settings import SgeSettings
from schedulers.specs import valid_specs

_STANDS = NodeResult(outcome=Outcome.REFUSED, detail="that host stands for nodes to come: see the plugin's setting placeholder")
_ALREADY = re.compile(r'Queue instance "[^"@]+@([^"]+)" is already in the specified state: disabled')


@dataclass(frozen=True, slots=True, kw_only=True)
class Sge(Scheduler):
    """Grid Engine through qconf, qmod and qstat. Holds no state: what it knows, it has just read."""

    name: ClassVar[str] = "sge"
    resolves_names: ClassVar[bool] = True
    Settings: ClassVar[type[BaseModel]] = SgeSettings

    qmaster: Qmaster
    membership: Membership
    advertisement: Advertisement
    fleets: tuple[FleetSpec, ...]

    @classmethod
    def open(cls, settings: BaseModel, *, cluster: str, fleets: Sequence[FleetSpec]) -> Self:  # noqa: ARG003  needs no name
        if not isinstance(settings, SgeSettings):
            raise ConfigError(f"the Grid Engine plugin was given {type(settings).__name__} for its settings")
        env = {
            "SGE_ROOT": settings.root,
            "SGE_CELL": settings.cell,
            "SGE_QMASTER_PORT": str(settings.qmaster_port),
            "SGE_EXECD_PORT": str(settings.execd_port),
            "SGE_SINGLE_LINE": "1",
        }
        return cls.over(LocalCommands(timeout_s=settings.timeout_s, env=env), settings, fleets)

    @classmethod
    def over(cls, commands: Commands, settings: SgeSettings, fleets: Sequence[FleetSpec]) -> Self:
        """The plugin on other commands than this machine's."""
        qmaster = Qmaster(commands=commands, settings=settings)
        return cls(
            qmaster=qmaster,
            membership=Membership(qmaster=qmaster),
            advertisement=Advertisement(qmaster=qmaster),
            fleets=tuple(fleets),
        )

    async def demand(self) -> tuple[JobDemand, ...]:
        return await self.qmaster.demand(self.fleets)

    async def nodes(self) -> tuple[Node, ...]:
        cell = await self.qmaster.cell()
        hosts = hosts_of(await self.qmaster.snapshot(cell))
        settings, members = self.qmaster.settings, cell.members()
        counting = Counting(cell=cell, fleets=self.fleets, memory=settings.memory, gpu=settings.gpu)
        try:
            return tuple(counting.node_of(host, members.get(name)) for name, host in nodes_of(hosts, members).items())
        except ValueError as err:
            raise SchedulerUnavailable(f"qstat wrote a host that cannot be read: {err}") from err

    async def jobs_on(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, frozenset[JobId]]:
        if not hostnames:
            return {}
        hosts = hosts_of(await self.qmaster.snapshot())
        return {name: hosts[name].jobs if name in hosts else frozenset() for name in hostnames}

    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        """Host groups that are missing are made first: registering may come before anybody has advertised."""
        results, nodes = valid_specs(nodes)
        if not nodes:
            return results
        fleets = {fleet.name for fleet in self.fleets} | {node.fleet for node in nodes}
        before = await self.membership.glance(fleets)
        new = [node for node in nodes if not is_member(node, before)]
        if any(group_name(node.fleet) not in before.groups for node in new):
            await self.advertise(self.fleets)
            before = await self.membership.glance(fleets)
        stands = {node.hostname for node in new if _is_placeholder(node, before)}
        results |= dict.fromkeys(stands, _STANDS)
        nodes, new = ([node for node in some if node.hostname not in stands] for some in (nodes, new))
        moved = [node.hostname for node in new if _is_another(node, before)]
        busy = {name for name in moved if before.hosts[name].is_busy}
        if gone := [name for name in moved if name not in busy]:
            await self.membership.remove(gone, await self.membership.look())
        new = [node for node in new if node.hostname not in busy]
        said, after = await self.membership.add(new, fleets) if new else ("", before)
        for node in nodes:
            is_new = any(node is one for one in new)
            results[node.hostname] = (
                joined(node, after, said, busy=node.hostname in busy) if is_new or node.hostname in busy else DONE
            )
        return results

    async def deregister(self, hostnames: Collection[Hostname]) -> Results:
        if not hostnames:
            return {}
        before = await self.membership.look()
        there = [name for name in dict.fromkeys(hostnames) if knows(name, before)]
        said, after = await self.membership.remove(there, before) if there else ("", before)
        return {name: left(name, after, said) if name in there else ABSENT for name in hostnames}

    async def requeue(self, hostnames: Collection[Hostname]) -> Results:
        """Grid Engine waits for a lost host's word for ever (but for `reschedule_unknown`). On a host that answers, in error or
        not, jobs run: they are left alone.
        """
        hosts = await self._hosts() if hostnames else {}
        if lost := [name for name in hostnames if name in hosts and hosts[name].is_silent]:
            await self.membership.evict(lost)
        return await super(Sge, self).requeue(hostnames)

    async def drain(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        """A node that is ours already keeps its first reason.

        The note comes first: if this is interrupted, a note without a drain means nothing, while a drain without a note would be
        taken for an administrator's for ever. What turns out to have been disabled in between is somebody else's.
        """
        if not hostnames:
            return {}
        before = await self._hosts()
        fresh = [name for name in hostnames if name in before and not before[name].is_disabled]
        printed = [before[name].printed for name in fresh]
        note = render.render_reason(reason)
        said = await self.qmaster.change([*render.render_note(printed, note), *render.render_disable(printed)])
        await self.qmaster.change(render.render_unnote(sorted(set(_ALREADY.findall(said)) & set(printed))))
        after = await self._hosts() if fresh else before
        return {name: _drained(after.get(name), said) for name in hostnames}

    async def resume(self, hostnames: Collection[Hostname]) -> Results:
        """Enable first and drop the note then, for the same reason as in `drain`."""
        if not hostnames:
            return {}
        before = await self._hosts()
        there = [before[name] for name in hostnames if name in before]
        ours = [host.printed for host in there if host.drained_by_us]
        noted = [host.printed for host in there if _has_stale_note(host)]
        said = await self.qmaster.change([*render.render_enable(ours), *render.render_unnote([*ours, *noted])])
        after = await self._hosts() if ours else before
        return {name: _resumed(after.get(name), said) for name in hostnames}

    async def set_aside(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        """Grid Engine itself keeps no reason: theirs goes where ours do, without the mark. It goes there first, so that a note of
        ours which was left behind does not make their drain look like one of ours.
        """
        if not hostnames:
            return {}
        before = await self._hosts()
        printed = [before[name].printed for name in hostnames if name in before and not before[name].is_drained]
        note = aside.administrators_reason(render.render_words(reason))
        said = await self.qmaster.change([*render.render_note(printed, note), *render.render_disable(printed)])
        return self._told(hostnames, await self._hosts() if printed else before, said, aside.set_aside)

    async def give_back(self, hostnames: Collection[Hostname]) -> Results:
        if not hostnames:
            return {}
        before = await self._hosts()
        theirs = [before[name] for name in hostnames if name in before and not before[name].drained_by_us]
        printed = [host.printed for host in theirs if host.is_disabled]
        noted = [host.printed for host in theirs if host.note]
        said = await self.qmaster.change([*render.render_enable(printed), *render.render_unnote(noted)])
        return self._told(hostnames, await self._hosts() if printed else before, said, aside.given_back)

    def _told(
        self, hostnames: Collection[Hostname], after: Mapping[Hostname, Host], said: str, told: Callable[..., NodeResult]
    ) -> Results:
        return {
            name: told(is_drained=after[name].is_drained, by_us=after[name].drained_by_us, said=said) if name in after else ABSENT
            for name in hostnames
        }

    async def advertise(self, fleets: Sequence[FleetSpec]) -> None:
        await self.advertisement.advertise(fleets)

    async def _hosts(self) -> dict[Hostname, Host]:
        cell = await self.qmaster.cell()
        return nodes_of(hosts_of(await self.qmaster.snapshot()), cell.members())


def _is_placeholder(node: NodeSpec, world: World) -> bool:
    host = world.hosts.get(node.hostname)
    return host is not None and host.is_placeholder


def _is_another(node: NodeSpec, world: World) -> bool:
    """Is a node of that name known with another address, or as another fleet's?"""
    host = world.hosts.get(node.hostname)
    if host is None:
        return False
    return host.address not in ("", node.address) or world.members.get(node.hostname, node.fleet) != node.fleet


def _has_stale_note(host: Host) -> bool:
    """A note of ours from an interrupted drain or resume."""
    return not host.is_disabled and bool(host.note)


def _drained(host: Host | None, said: str) -> NodeResult:
    if host is None:
        return ABSENT
    if host.drained_by_us:
        return DONE
    if host.is_disabled:
        return NodeResult(outcome=Outcome.REFUSED, detail=f"somebody else disabled it: {host.note or host.reason}")
    return NodeResult(outcome=Outcome.UNKNOWN, detail=" ".join(said.split())[:300] or "it is still enabled")


def _resumed(host: Host | None, said: str) -> NodeResult:
    if host is None:
        return ABSENT
    if not host.is_drained:
        return DONE
    if host.drained_by_us:
        return NodeResult(outcome=Outcome.UNKNOWN, detail=" ".join(said.split())[:300] or "it is still disabled")
    return NodeResult(outcome=Outcome.REFUSED, detail=f"somebody else closed it: {host.reason}")
