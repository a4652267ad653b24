"""The Slurm plugin. How many commands each call runs does not depend on how many nodes it is about (see docs of `Scheduler`)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import BaseModel

from daemons.errors import ConfigError
from daemons.model import FleetSpec, Hostname, JobDemand, JobId, Node, NodeSpec, NodeState
from schedulers import aside
from schedulers.base import NodeResult, Outcome, Results, Scheduler
from schedulers.commands import Commands, LocalCommands
from schedulers.slurm import render
from schedulers.slurm.control import Controller
from schedulers.slurm.membership import DeclaredMembership, DynamicMembership, Membership, joined, left
from schedulers.slurm.parse import SlurmNode
from schedulers.slurm.placeholders import Placeholders
from schedulers.slurm.settings import Mode, SlurmSettings
from schedulers.specs import valid_specs

_DONE = NodeResult(outcome=Outcome.DONE)
_ABSENT = NodeResult(outcome=Outcome.ABSENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slurm(Scheduler):
    """Slurm through scontrol and squeue. Holds no state: what it knows, it has just read."""

    name: ClassVar[str] = "slurm"
    Settings: ClassVar[type[BaseModel]] = SlurmSettings

    controller: Controller
    membership: Membership
    placeholders: Placeholders

    @classmethod
    def open(cls, settings: BaseModel, *, cluster: str, fleets: Sequence[FleetSpec]) -> Self:  # noqa: ARG003  needs neither
        if not isinstance(settings, SlurmSettings):
            raise ConfigError(f"the Slurm plugin was given {type(settings).__name__} for its settings")
        env = {"SLURM_CONF": settings.conf, "SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}
        return cls.over(LocalCommands(timeout_s=settings.timeout_s, env=env), settings)

    @classmethod
    def over(cls, commands: Commands, settings: SlurmSettings) -> Self:
        """The plugin on other commands than this machine's."""
        controller = Controller(commands=commands, bin=settings.bin)
        declared = settings.mode is Mode.DECLARED
        return cls(
            controller=controller,
            membership=(DeclaredMembership if declared else DynamicMembership)(controller=controller),
            placeholders=Placeholders(controller=controller, each=settings.placeholders, may_create=not declared),
        )

    async def demand(self) -> tuple[JobDemand, ...]:
        await self.controller.check()
        return await self.controller.demand()

    async def nodes(self) -> tuple[Node, ...]:
        await self.controller.check()
        nodes = await self.controller.nodes()
        running = await self.controller.running()
        return tuple(
            node.as_node(running.get(name, frozenset())) for name, node in nodes.items() if self.membership.is_member(node)
        )

    async def jobs_on(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, frozenset[JobId]]:
        if not hostnames:
            return {}
        await self.controller.check()
        running = await self.controller.running()
        return {name: running.get(name, frozenset()) for name in hostnames}

    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        results, nodes = valid_specs(nodes, lambda node: render.render_create(render.kind_of(node), [node]))
        if not nodes:
            return results
        await self.controller.check()
        before = await self.controller.nodes()
        running = await self.controller.running() if any(node.hostname in before for node in nodes) else {}
        known = {
            node.hostname for node in nodes if joined(node, before.get(node.hostname), self.membership, "", busy=False) == _DONE
        }
        busy = {node.hostname for node in nodes if _occupied(before.get(node.hostname), running)} - known
        new = [node for node in nodes if node.hostname not in known | busy]
        await self.controller.change(render.render_wake(name for name in known if before[name].is_future))
        complaint, after = await self.membership.add(new, before) if new else ("", before)
        for node in nodes:
            occupied = node.hostname in busy or _occupied(after.get(node.hostname), {})
            results[node.hostname] = joined(node, after.get(node.hostname), self.membership, complaint, busy=occupied)
        return results

    async def deregister(self, hostnames: Collection[Hostname]) -> Results:
        if not hostnames:
            return {}
        await self.controller.check()
        before = await self.controller.nodes()
        there = [name for name in hostnames if name in before and self.membership.is_member(before[name])]
        complaint, after = await self.membership.remove(there, before) if there else ("", before)
        return {name: left(after.get(name), self.membership, complaint) if name in there else _ABSENT for name in hostnames}

    async def drain(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        """A node that is ours already keeps its first reason and date."""
        if not hostnames:
            return {}
        await self.controller.check()
        before = self._members(await self.controller.nodes())
        fresh = [name for name in hostnames if name in before and not before[name].is_drained]
        words = render.render_reason(reason)
        complaint = await self.controller.change(render.render_update(fresh, "State=DRAIN", f"Reason={words}"))
        after = self._members(await self.controller.nodes()) if fresh else before
        return {name: _drained(after.get(name), complaint) for name in hostnames}

    async def resume(self, hostnames: Collection[Hostname]) -> Results:
        """UNDRAIN and not RESUME, which would also declare a DOWN node well."""
        if not hostnames:
            return {}
        await self.controller.check()
        before = self._members(await self.controller.nodes())
        ours = [name for name in hostnames if name in before and before[name].drained_by_us]
        complaint = await self.controller.change(render.render_update(ours, "State=UNDRAIN"))
        after = self._members(await self.controller.nodes()) if ours else before
        return {name: _resumed(after.get(name), complaint) for name in hostnames}

    async def set_aside(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        words = aside.administrators_reason(render.render_words(reason))
        return await self._by_administrator(
            hostnames, lambda node: not node.is_drained, ("State=DRAIN", f"Reason={words}"), aside.set_aside
        )

    async def give_back(self, hostnames: Collection[Hostname]) -> Results:
        return await self._by_administrator(
            hostnames, lambda node: node.is_drained and not node.drained_by_us, ("State=UNDRAIN",), aside.given_back
        )

    async def _by_administrator(
        self,
        hostnames: Collection[Hostname],
        is_due: Callable[[SlurmNode], bool],
        words: tuple[str, ...],
        told: Callable[..., NodeResult],
    ) -> Results:
        if not hostnames:
            return {}
        await self.controller.check()
        before = self._members(await self.controller.nodes())
        due = [name for name in hostnames if name in before and is_due(before[name])]
        said = await self.controller.change(render.render_update(due, *words)) if due else ""
        after = self._members(await self.controller.nodes()) if due else before
        there = {name: node for name in hostnames if (node := after.get(name)) is not None}
        return {
            name: told(is_drained=there[name].is_drained, by_us=there[name].drained_by_us, said=said)
            if name in there
            else _ABSENT
            for name in hostnames
        }

    async def advertise(self, fleets: Sequence[FleetSpec]) -> None:
        await self.controller.check()
        await self.placeholders.advertise(fleets)

    def _members(self, nodes: Mapping[Hostname, SlurmNode]) -> dict[Hostname, SlurmNode]:
        return {name: node for name, node in nodes.items() if self.membership.is_member(node)}


def _occupied(node: SlurmNode | None, running: Mapping[Hostname, frozenset[JobId]]) -> bool:
    return node is not None and (NodeState.BUSY in node.states or bool(running.get(node.hostname)))


def _drained(node: SlurmNode | None, complaint: str) -> NodeResult:
    if node is None:
        return _ABSENT
    if node.drained_by_us:
        return _DONE
    if node.is_drained:
        return NodeResult(outcome=Outcome.REFUSED, detail=f"somebody else drained it: {node.reason}")
    return NodeResult(outcome=Outcome.UNKNOWN, detail=complaint or f"it still shows {node.base_state} without DRAIN")


def _resumed(node: SlurmNode | None, complaint: str) -> NodeResult:
    if node is None:
        return _ABSENT
    if not node.is_drained:
        return _DONE
    if node.drained_by_us:
        return NodeResult(outcome=Outcome.UNKNOWN, detail=complaint or "it still shows DRAIN")
    return NodeResult(outcome=Outcome.REFUSED, detail=f"somebody else drained it: {node.reason}")
