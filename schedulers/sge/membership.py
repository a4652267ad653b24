"""How nodes join and leave: look, change in bulk, look again; the last look alone says what became of each node.

A node is a member when its fleet's group has it, its queue shows an instance with its address, and the qmaster listens to it.
Grid Engine itself keeps no addresses: the one that a node was registered with is written down at its execution host.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from daemons.model import FleetName, Hostname, JobId, NodeSpec
from schedulers.base import NodeResult, Outcome
from schedulers.sge import render
from schedulers.sge.cell import Cell, group_name, is_ours, members_of
from schedulers.sge.control import Qmaster
from schedulers.sge.nodes import Host, hosts_of
from schedulers.sge.parse import first_label

DONE = NodeResult(outcome=Outcome.DONE)
ABSENT = NodeResult(outcome=Outcome.ABSENT)

_UNRESOLVABLE = re.compile(r"""(?:unable to resolve host|can't resolve hostname) "([^"]+)\"""")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Who is a member, read one after the other."""

    groups: Mapping[str, tuple[str, ...]]  # hosts as Grid Engine prints them
    hosts: Mapping[Hostname, Host]
    members: Mapping[Hostname, FleetName]
    administrative: frozenset[Hostname]

    def printed(self, hostnames: Iterable[Hostname]) -> list[str]:
        """Grid Engine's own names of these hosts, which may have a domain: they are understood even when no longer resolved."""
        known = {first_label(host): host for group in self.groups.values() for host in group}
        known |= {name: host.printed for name, host in self.hosts.items()}
        return [known.get(name, name) for name in hostnames]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(World):
    """All that could be left of a node, too."""

    cell: Cell
    execution: frozenset[Hostname]


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Joining and leaving."""

    qmaster: Qmaster

    async def glance(self, fleets: Iterable[str]) -> World:
        """Two commands, where there are no groups of ours but these fleets'; otherwise all of `look`."""
        asked = {group_name(fleet) for fleet in fleets}
        rolls = await self.qmaster.rolls(sorted(asked))
        if any(is_ours(name) for name in rolls.names - asked):
            return await self.look()
        hosts = hosts_of(await self.qmaster.snapshot())
        members = members_of(rolls.groups)
        return World(groups=rolls.groups, hosts=hosts, members=members, administrative=rolls.administrative)

    async def look(self) -> Whole:
        """Five commands."""
        cell = await self.qmaster.cell()
        hosts = hosts_of(await self.qmaster.snapshot())
        known = await self.qmaster.hosts()
        return Whole(
            groups=cell.groups,
            hosts=hosts,
            members=cell.members(),
            administrative=known.administrative,
            cell=cell,
            execution=known.execution,
        )

    async def add(self, nodes: Sequence[NodeSpec], fleets: Iterable[str]) -> tuple[str, World]:
        """Make them known. What Grid Engine complained about, and everything as it is afterwards.

        A queue instance that a former node of that name left disabled is enabled, and its note goes.
        """
        said: list[str] = []
        for some in render.batched(nodes):
            for fleet, addresses in _by_fleet(some).items():
                said.append(await self._join(group_name(fleet), addresses))
        after = await self.glance(fleets)
        if stale := after.printed(node.hostname for node in nodes if _is_left_over(after.hosts.get(node.hostname))):
            said.append(await self.qmaster.change([*render.render_enable(stale), *render.render_unnote(stale)]))
            after = await self.glance(fleets)
        return "\n".join(said), after

    async def _join(self, group: str, addresses: dict[str, str]) -> str:
        """A name that cannot be resolved keeps a whole batch out of the group, and is named: the others are tried without it."""
        said: list[str] = []
        while addresses:
            answer = await self.qmaster.change([render.render_join(group, addresses, submit=self.qmaster.settings.submit_hosts)])
            said.append(answer)
            bad = {name for name in _UNRESOLVABLE.findall(answer) if name in addresses}
            if not bad:
                break
            addresses = {name: address for name, address in addresses.items() if name not in bad}
        return "\n".join(said)

    async def remove(self, hostnames: Collection[Hostname], before: Whole) -> tuple[str, Whole]:
        """Make Grid Engine forget them. What runs there is requeued, or deleted if its owner forbade that."""
        if present := [name for name in hostnames if name in before.hosts]:
            await self.qmaster.change(render.render_disable(before.printed(present)))
            await self.evict(present)
        said = await self._leave(hostnames, before)
        after = await self.look()
        if purge := render.render_purge(_overrides(after.cell, hostnames)):
            said += "\n" + await self.qmaster.change(purge)
            after = await self.look()
        return said, after

    async def evict(self, hostnames: Collection[Hostname]) -> None:
        """Have what runs there wait again, or delete it where its owner forbade that."""
        jobs = await self.jobs_on(hostnames)
        await self.qmaster.change(render.render_requeue(jobs))
        if jobs:
            await self.qmaster.change(render.render_delete(await self.jobs_on(hostnames)))

    async def jobs_on(self, hostnames: Collection[Hostname]) -> list[JobId]:
        """The jobs that Grid Engine names on any of these hosts, once each."""
        hosts = hosts_of(await self.qmaster.snapshot())
        rows = (row for name in hostnames if name in hosts for one in hosts[name].instances for row in one.jobs)
        return list(dict.fromkeys(row.job for row in rows))

    async def _leave(self, hostnames: Collection[Hostname], before: Whole) -> str:
        said: list[str] = []
        for some in render.batched(hostnames):
            leaving = set(some)
            groups = [name for name, hosts in before.cell.our_groups.items() if leaving & set(map(first_label, hosts))]
            said.append(await self.qmaster.change([render.render_leave(before.printed(some), groups)]))
        return "\n".join(said)


def is_member(node: NodeSpec, world: World) -> bool:
    """Is it registered just so?"""
    host = world.hosts.get(node.hostname)
    return (
        host is not None
        and world.members.get(node.hostname) == node.fleet
        and node.hostname in world.administrative
        and any(one.queue == node.partition and "o" not in one.states for one in host.instances)
        and host.address == node.address
    )


def joined(node: NodeSpec, world: World, said: str, *, busy: bool) -> NodeResult:
    """What became of a node that was to join."""
    host = world.hosts.get(node.hostname)
    if is_member(node, world) and not _is_left_over(host):
        return DONE
    because = _words_about(node.hostname, said)
    if busy:
        known = "another address" if host is None else f"address {host.address or 'unknown'}"
        return NodeResult(outcome=Outcome.BUSY, detail=f"it is known with {known}, not {node.address}, and jobs run there")
    if node.hostname in _UNRESOLVABLE.findall(said):
        hint = "it is asked again later: the qmaster remembers for a while that a name did not resolve"
        return NodeResult(outcome=Outcome.UNKNOWN, detail=f"{because}; {hint}")
    if group_name(node.fleet) not in world.groups:
        because = because or f"there is no host group {group_name(node.fleet)}"
    return NodeResult(outcome=Outcome.REFUSED, detail=because or "the qmaster did not add it and said nothing")


def knows(hostname: Hostname, world: Whole) -> bool:
    """Does Grid Engine have anything of that node? A placeholder is no node."""
    host = world.hosts.get(hostname)
    if host is not None:
        return not host.is_placeholder
    return hostname in world.members or hostname in world.execution or hostname in world.administrative


def left(hostname: Hostname, world: Whole, said: str) -> NodeResult:
    """What became of a node that was to leave and had been there."""
    if not knows(hostname, world):
        return DONE
    host = world.hosts.get(hostname)
    if host is not None and host.is_busy:
        return NodeResult(outcome=Outcome.BUSY, detail=f"jobs are there: {', '.join(sorted(host.jobs))}")
    because = _words_about(hostname, said)
    return NodeResult(outcome=Outcome.BUSY, detail=because or "Grid Engine still knows it")


def _by_fleet(nodes: Iterable[NodeSpec]) -> dict[str, dict[str, str]]:
    fleets: dict[str, dict[str, str]] = {}
    for node in nodes:
        fleets.setdefault(node.fleet, {})[node.hostname] = node.address
    return fleets


def _is_left_over(host: Host | None) -> bool:
    return host is not None and bool(host.is_disabled or host.note)


def _overrides(cell: Cell, hostnames: Collection[Hostname]) -> list[tuple[str, str]]:
    """What queues have set for these hosts by name. It would apply to the next host of that name."""
    leaving = set(hostnames)
    return [
        (queue.name, where)
        for queue in cell.queues.values()
        for where in sorted(queue.overridden() | set(queue.hosts))
        if not where.startswith("@") and where.lower().partition(".")[0] in leaving
    ]


def _words_about(hostname: str, said: str) -> str:
    """The lines that mention a host, but for those that say that it went well."""
    lines = (line.strip() for line in said.split("\n") if f'"{hostname}"' in line or f" {hostname} " in f" {line} ")
    return "; ".join(dict.fromkeys(line for line in lines if "added to" not in line and "removed" not in line))
