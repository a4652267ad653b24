"""How nodes join and leave: created and deleted (dynamic), or declared in slurm.conf and marked as members (declared).

Both are driven alike: look, change in bulk, look again; the second look alone says what became of each node.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from daemons.model import Hostname, NodeSpec
from schedulers.base import DRAIN_MARK, NodeResult, Outcome
from schedulers.slurm import render
from schedulers.slurm.control import Controller
from schedulers.slurm.hostlist import render_hostlists
from schedulers.slurm.parse import SlurmNode

Nodes = Mapping[Hostname, SlurmNode]
_LEAVING = render.render_reason("the instance is ending or gone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership(ABC):
    """One way for nodes to join and leave."""

    controller: Controller

    @abstractmethod
    def is_member(self, node: SlurmNode) -> bool:
        """Is this a node, and not something that only stands for nodes to come?"""

    @abstractmethod
    async def add(self, nodes: Sequence[NodeSpec], before: Nodes) -> tuple[str, Nodes]:
        """Make them known. What Slurm complained about, and every node as it is afterwards."""

    @abstractmethod
    async def remove(self, hostnames: Collection[Hostname], before: Nodes) -> tuple[str, Nodes]:
        """Make Slurm forget them, requeueing what runs there. What it complained about, and every node afterwards."""

    @abstractmethod
    def refusal(self, node: NodeSpec, after: SlurmNode | None, complaint: str) -> str:
        """Why a node did not join."""


def by_kind(nodes: Iterable[NodeSpec]) -> dict[render.Kind, list[NodeSpec]]:
    kinds: dict[render.Kind, list[NodeSpec]] = {}
    for node in nodes:
        kinds.setdefault(render.kind_of(node), []).append(node)
    return kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicMembership(Membership):
    """Nodes are created FUTURE, take jobs once their `slurmd -Z` has reported, and are deleted."""

    def is_member(self, node: SlurmNode) -> bool:
        return not node.is_placeholder and (node.is_dynamic or not node.is_future)

    async def add(self, nodes: Sequence[NodeSpec], before: Nodes) -> tuple[str, Nodes]:
        """One with another address is deleted first, which Slurm refuses while a job is there; its slurmd may have reported."""
        moved = [node.hostname for node in nodes if node.hostname in before]
        complaint = ""
        if moved:
            drain = render.render_update(moved, "State=DRAIN", f"Reason={_LEAVING}")
            complaint = await self.controller.change([*drain, *render.render_delete(moved)])
            left = await self.controller.nodes()
            await self._undrain(moved, before, left)
            nodes = [node for node in nodes if node.hostname not in left]
        commands = [command for kind, same in by_kind(nodes).items() for command in render.render_create(kind, same)]
        commands += render.render_wake(node.hostname for node in nodes if node.hostname in before)
        complaint = "; ".join(filter(None, [complaint, await self.controller.change(commands)]))
        return complaint, await self.controller.nodes()

    async def _undrain(self, moved: Iterable[Hostname], before: Nodes, left: Nodes) -> None:
        """A node that stays, because it is busy, is not left drained by the attempt to replace it."""
        stay = [name for name in moved if name in left and not before[name].is_drained]
        await self.controller.change(render.render_update(stay, "State=UNDRAIN"))

    async def remove(self, hostnames: Collection[Hostname], before: Nodes) -> tuple[str, Nodes]:  # noqa: ARG002  the other way needs it
        """Drained, so that a slurmd that still answers takes no new job in between; down, which requeues; deleted."""
        commands = [
            *render.render_update(hostnames, "State=DRAIN", f"Reason={_LEAVING}"),
            *render.render_update(hostnames, "State=DOWN", f"Reason={_LEAVING}"),
            *render.render_delete(hostnames),
        ]
        return await self.controller.change(commands), await self.controller.nodes()

    def refusal(self, node: NodeSpec, after: SlurmNode | None, complaint: str) -> str:
        if after is not None:
            return f"{node.hostname} exists with address {after.address}, not {node.address}: {complaint}".rstrip(": ")
        return complaint or "slurmctld created no such node and said nothing: has MaxNodeCount of slurm.conf been reached?"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredMembership(Membership):
    """slurm.conf declares every node, State=FUTURE; a member is one whose comment carries our mark.

    For clusters with fixed names, and where nodes cannot be created. Slurm keeps the comment over a restart; an address that
    differs from slurm.conf's is lost then, and registering again mends it.
    """

    mark: ClassVar[str] = f"{DRAIN_MARK} member"

    def is_member(self, node: SlurmNode) -> bool:
        return not node.is_placeholder and (not node.is_future or node.comment.startswith(self.mark))

    async def add(self, nodes: Sequence[NodeSpec], before: Nodes) -> tuple[str, Nodes]:
        declared = [node for node in nodes if _fits(node, before.get(node.hostname))]
        moved = [node for node in declared if before[node.hostname].address != node.address]
        commands: list[tuple[str, ...]] = []
        for names in render_hostlists(node.hostname for node in moved):
            addresses = ",".join(node.address for node in moved if node.hostname in set(names.split(",")))
            commands.append(("scontrol", "update", f"NodeName={names}", f"NodeAddr={addresses}"))
        commands += render.render_update([node.hostname for node in declared], f"Comment={self.mark}")
        return await self.controller.change(commands), await self.controller.nodes()

    async def remove(self, hostnames: Collection[Hostname], before: Nodes) -> tuple[str, Nodes]:
        started = [name for name in hostnames if not before[name].is_future]
        commands = [
            *render.render_update(started, "State=DRAIN", f"Reason={_LEAVING}"),
            *render.render_update(started, "State=DOWN", f"Reason={_LEAVING}"),
            *render.render_update(started, "State=FUTURE"),
        ]
        complaint = await self.controller.change(commands)
        after = await self.controller.nodes()
        gone = [name for name in hostnames if name in after and after[name].is_future]
        complaint += await self.controller.change(render.render_update(gone, "Comment="))
        return complaint, await self.controller.nodes()

    def refusal(self, node: NodeSpec, after: SlurmNode | None, complaint: str) -> str:
        if after is None or not _fits(node, after):
            line = render.render_conf(render.kind_of(node), node.hostname, address=node.address)
            return f"slurm.conf does not declare it like this, which needs a restart of slurmctld: {line}"
        return complaint or f"{node.hostname} was not marked"


def _fits(node: NodeSpec, declared: SlurmNode | None) -> bool:
    """Does slurm.conf declare a node of that name that can do what the fleet's shape promises?"""
    if declared is None:
        return False
    kind = render.kind_of(node)
    return (
        declared.total.cpus >= node.shape.cpus
        and declared.total.memory_mib >= node.shape.memory_mib
        and declared.total.gpus >= node.shape.gpus
        and kind.features <= declared.features
    )


def joined(node: NodeSpec, after: SlurmNode | None, membership: Membership, complaint: str, *, busy: bool) -> NodeResult:
    """What became of a node that was to join."""
    if after is not None and membership.is_member(after) and after.address == node.address:
        return NodeResult(outcome=Outcome.DONE)
    because = membership.refusal(node, after, complaint)
    return NodeResult(outcome=Outcome.BUSY if busy and after is not None else Outcome.REFUSED, detail=because)


def left(after: SlurmNode | None, membership: Membership, complaint: str) -> NodeResult:
    """What became of a node that was to leave and had been there."""
    if after is None or not membership.is_member(after):
        return NodeResult(outcome=Outcome.DONE)
    return NodeResult(outcome=Outcome.BUSY, detail=complaint or f"Slurm still shows it as {after.base_state}")
