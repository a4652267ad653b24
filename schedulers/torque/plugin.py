"""The Torque plugin. How many commands each call runs does not depend on how many nodes it is about, but for deleting them."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import ClassVar, Self

from pydantic import BaseModel

from daemons.errors import ConfigError, SchedulerUnavailable
from daemons.model import FleetSpec, Hostname, JobDemand, JobId, Node, NodeSpec
from schedulers import aside
from schedulers.base import DRAIN_MARK, Capability, NodeResult, Outcome, Results, Scheduler
from schedulers.commands import Commands, LocalCommands
from schedulers.specs import valid_specs
from schedulers.torque.advertise import Advertisement
from schedulers.torque.demand import has_arrays, parse_demand
from schedulers.torque.nodes import (
    NOT_SENT,
    by_hostname,
    drained_by_us,
    is_offline,
    is_placeholder,
    jobs_of,
    node_of,
)
from schedulers.torque.parse import NodeRow
from schedulers.torque.server import Server
from schedulers.torque.settings import TorqueSettings

_NAMES_EACH = 200  # of one comma list
_REASON_CHARS = 200
_DONE, _ABSENT = NodeResult(outcome=Outcome.DONE), NodeResult(outcome=Outcome.ABSENT)
_STANDS = NodeResult(outcome=Outcome.REFUSED, detail="that host stands for nodes to come: see the plugin's setting placeholder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Torque(Scheduler):
    """Torque through qmgr, pbsnodes and qstat. Holds no state: what it knows, it has just read."""

    name: ClassVar[str] = "torque"
    resolves_names: ClassVar[bool] = True  # pbs_server looks a node's name up when it is created, and keeps the address
    capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability) - {Capability.ADDRESSES}
    Settings: ClassVar[type[BaseModel]] = TorqueSettings

    server: Server
    advertisement: Advertisement
    fleets: tuple[FleetSpec, ...]
    deletes_at_once: int = 50
    clock: Callable[[], float] = field(default=time.time)

    @classmethod
    def open(cls, settings: BaseModel, *, cluster: str, fleets: Sequence[FleetSpec]) -> Self:  # noqa: ARG003  needs no name
        if not isinstance(settings, TorqueSettings):
            raise ConfigError(f"the Torque plugin was given {type(settings).__name__} for its settings")
        env = {"PBSAPITIMEOUT": str(settings.api_timeout_s)}
        if settings.server:
            env["PBS_DEFAULT"] = settings.server
        return cls.over(LocalCommands(timeout_s=settings.timeout_s, env=env), settings, fleets)

    @classmethod
    def over(
        cls, commands: Commands, settings: TorqueSettings, fleets: Sequence[FleetSpec], *, clock: Callable[[], float] = time.time
    ) -> Self:
        """The plugin on other commands than this machine's."""
        server = Server(commands=commands, bin=settings.bin)
        return cls(
            server=server,
            advertisement=Advertisement(server=server, settings=settings),
            fleets=tuple(fleets),
            deletes_at_once=settings.deletes_at_once,
            clock=clock,
        )

    async def demand(self) -> tuple[JobDemand, ...]:
        """One command, and another while there are arrays."""
        rows = await self.server.jobs()
        tasks = await self.server.tasks() if has_arrays(rows) else {}
        properties = frozenset[str]().union(*(properties_of(fleet.features, fleet.partition) for fleet in self.fleets))
        return await asyncio.to_thread(parse_demand, rows, tasks, properties=properties, now=self.clock())

    async def nodes(self) -> tuple[Node, ...]:
        rows = by_hostname(await self.server.nodes())
        return tuple(node_of(hostname, row, self.fleets) for hostname, row in rows.items())

    async def jobs_on(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, frozenset[JobId]]:
        if not hostnames:
            return {}
        rows = by_hostname(await self.server.nodes(needed=hostnames))
        return {name: jobs_of(rows[name]) if name in rows else frozenset() for name in hostnames}

    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        """One comma list for nodes that are alike.

        pbs_server keeps to itself at which address a node was created. One that is known, down and empty may be an earlier
        instance's, at another address: it is made anew. Any other that is known stays as it is.
        """
        results, nodes = valid_specs(nodes)
        if not nodes:
            return results
        rows = await self.server.nodes()
        stands, before = {row.name.partition(".")[0].lower() for row in rows if is_placeholder(row)}, by_hostname(rows)
        results |= {node.hostname: _STANDS for node in nodes if node.hostname in stands}
        nodes = [node for node in nodes if node.hostname not in stands]
        left = [node.hostname for node in nodes if node.hostname in before and _is_left_over(before[node.hostname])]
        if left:
            await self._delete(left)
        fresh = [node for node in nodes if node.hostname not in before or node.hostname in left]
        said = await self._create(fresh)
        after = by_hostname(await self.server.nodes()) if fresh else before
        return results | {node.hostname: _joined(node.hostname, after, said) for node in nodes}

    async def deregister(self, hostnames: Collection[Hostname]) -> Results:
        """Jobs are requeued first: a node whose mom is dead takes its jobs with it, and pbs_server some minutes."""
        if not hostnames:
            return {}
        before = by_hostname(await self.server.nodes(needed=hostnames))
        there = [name for name in dict.fromkeys(hostnames) if name in before]
        said = ""
        if jobs := sorted({job for name in there for job in before[name].jobs}):
            said = await self.server.requeue(jobs)
        said = " ".join(filter(None, [said, await self._delete(there)]))
        after = by_hostname(await self.server.nodes(needed=hostnames)) if there else before
        return {name: _left(after.get(name), said) if name in there else _ABSENT for name in hostnames}

    async def requeue(self, hostnames: Collection[Hostname]) -> Results:
        """By force, as pbs_server waits for a dead mom's word for ever. Jobs on a node that is up are left alone."""
        rows = by_hostname(await self.server.nodes(needed=hostnames)) if hostnames else {}
        if jobs := sorted({job for name in hostnames if name in rows and "down" in rows[name].states for job in rows[name].jobs}):
            await self.server.requeue(jobs)
        return await super(Torque, self).requeue(hostnames)

    async def drain(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        """A node that is ours already keeps its first reason."""
        if not hostnames:
            return {}
        before = by_hostname(await self.server.nodes())
        fresh = [name for name in dict.fromkeys(hostnames) if name in before and not is_offline(before[name])]
        said = await self.server.mark(("-o", "-N", render_reason(reason)), fresh) if fresh else ""
        after = by_hostname(await self.server.nodes()) if fresh else before
        return {name: _drained(after.get(name), said) for name in hostnames}

    async def resume(self, hostnames: Collection[Hostname]) -> Results:
        """A note of ours goes with the drain: left behind, it would make an administrator's drain look like ours."""
        if not hostnames:
            return {}
        before = by_hostname(await self.server.nodes())
        ours = [name for name in dict.fromkeys(hostnames) if name in before and before[name].note.startswith(DRAIN_MARK)]
        said = await self.server.mark(("-c", "-N", ""), ours) if ours else ""
        after = by_hostname(await self.server.nodes()) if ours else before
        return {name: _resumed(after.get(name), said) for name in hostnames}

    async def set_aside(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        note = aside.administrators_reason(render_words(reason))
        return await self._by_administrator(hostnames, lambda row: not is_offline(row), ("-o", "-N", note), aside.set_aside)

    async def give_back(self, hostnames: Collection[Hostname]) -> Results:
        return await self._by_administrator(
            hostnames, lambda row: is_offline(row) and not drained_by_us(row), ("-c", "-N", ""), aside.given_back
        )

    async def _by_administrator(
        self,
        hostnames: Collection[Hostname],
        is_due: Callable[[NodeRow], bool],
        options: tuple[str, ...],
        told: Callable[..., NodeResult],
    ) -> Results:
        if not hostnames:
            return {}
        before = by_hostname(await self.server.nodes())
        due = [name for name in dict.fromkeys(hostnames) if name in before and is_due(before[name])]
        said = await self.server.mark(options, due) if due else ""
        after = by_hostname(await self.server.nodes()) if due else before
        return {
            name: told(is_drained=is_offline(after[name]), by_us=drained_by_us(after[name]), said=said)
            if name in after
            else _ABSENT
            for name in hostnames
        }

    async def advertise(self, fleets: Sequence[FleetSpec]) -> None:
        await self.advertisement.advertise(fleets)

    async def _create(self, nodes: Sequence[NodeSpec]) -> Mapping[str, str]:
        said: dict[str, str] = {}
        for attributes, alike in groupby(sorted(nodes, key=render_attributes), key=render_attributes):
            names = [node.hostname for node in alike]
            for at in range(0, len(names), _NAMES_EACH):
                said |= await self.server.manage(f"create node {','.join(names[at : at + _NAMES_EACH])} {attributes}")
        return said

    async def _delete(self, names: Sequence[Hostname]) -> str:
        """Side by side, because each takes the server two seconds. A call that is given up is still carried out."""
        turns = asyncio.Semaphore(self.deletes_at_once)

        async def delete(name: Hostname) -> str:
            async with turns:
                return " ".join((await self.server.manage(f"delete node {name}")).values())

        said = await asyncio.gather(*(delete(name) for name in names), return_exceptions=True)
        for error in said:
            if isinstance(error, BaseException) and not isinstance(error, SchedulerUnavailable):
                raise error
        return " ".join(dict.fromkeys(str(words) for words in said if str(words)))[:300]


def render_reason(reason: str) -> str:
    """`headnode: <reason>`, as `render_words` has it."""
    return f"{DRAIN_MARK} {render_words(reason)}".rstrip()


def render_words(reason: str) -> str:
    """A reason without what Torque takes for syntax."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in " ._:/+-()%") else " " for char in reason)
    return " ".join(plain.split())[:_REASON_CHARS]


def render_attributes(node: NodeSpec) -> str:
    """`np=4,gpus=1,properties="c5,compute"`. Values with commas are quoted (qmgr(8B))."""
    names = sorted(properties_of(node.features, node.partition))
    words = [f"np={max(node.shape.cpus, 1)}"]
    if node.shape.gpus:
        words.append(f"gpus={node.shape.gpus}")
    return ",".join([*words, f'properties="{",".join(names)}"' if len(names) > 1 else f"properties={names[0]}"])


def properties_of(features: Collection[str], partition: str) -> frozenset[str]:
    """What a fleet's nodes have: its features, and its queue's name, for the queue's `resources_default.neednodes`."""
    return frozenset(features) | {partition}


def _is_left_over(row: NodeRow) -> bool:
    return "down" in row.states and bool(row.status) and not row.jobs and not is_offline(row)


def _joined(hostname: Hostname, after: Mapping[Hostname, NodeRow], said: Mapping[str, str]) -> NodeResult:
    if hostname in after:
        return _DONE
    words = said.get(hostname) or said.get("") or "pbs_server does not list it"
    # An unknown host may be known a moment later, when its name has reached every name server: not refused for good.
    refused = hostname in said and "Unknown node" not in words
    return NodeResult(outcome=Outcome.REFUSED if refused else Outcome.UNKNOWN, detail=words)


def _left(row: NodeRow | None, said: str) -> NodeResult:
    if row is None:
        return _DONE
    return NodeResult(outcome=Outcome.BUSY if row.jobs else Outcome.UNKNOWN, detail=said or "pbs_server still lists it")


def _drained(row: NodeRow | None, said: str) -> NodeResult:
    if row is None:
        return _ABSENT
    if drained_by_us(row):
        return _DONE
    if is_offline(row):
        return NodeResult(outcome=Outcome.REFUSED, detail=f"somebody else set it offline: {row.note or 'without a note'}")
    young = "it is too young to be set offline" if NOT_SENT in row.states else "it is still online"
    return NodeResult(outcome=Outcome.UNKNOWN, detail=said or young)


def _resumed(row: NodeRow | None, said: str) -> NodeResult:
    if row is None:
        return _ABSENT
    if not is_offline(row):
        return _DONE
    if drained_by_us(row):
        return NodeResult(outcome=Outcome.UNKNOWN, detail=said or "it is still offline")
    return NodeResult(outcome=Outcome.REFUSED, detail=f"somebody else set it offline: {row.note or 'without a note'}")
