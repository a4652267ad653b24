"""Nodes that only exist so that slurmctld queues, and does not reject, the jobs that nodes to come could run.

slurmctld (22.05) checks a job against the nodes it knows, FUTURE ones included: a feature, a GPU or a memory size that no node
has is rejected at submission, and so is a job for more nodes of a kind than exist, unless the partition as a whole is smaller
than the job. Placeholders are dynamic FUTURE nodes without a machine; they survive a restart and take no job.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from daemons.errors import SchedulerRefused
from daemons.model import FleetSpec, Hostname
from schedulers.slurm import render
from schedulers.slurm.control import Controller
from schedulers.slurm.parse import PLACEHOLDER, SlurmNode, parse_gres


@dataclass(frozen=True, slots=True, kw_only=True)
class Placeholders:
    """`each` placeholders of every kind of node that the fleets have. Their names tell their kind."""

    controller: Controller
    each: int
    may_create: bool

    async def advertise(self, fleets: Sequence[FleetSpec]) -> None:
        """Three commands if nothing changed. Raises SchedulerRefused for what only slurm.conf can set."""
        wanted = {name: kind for kind in kinds_of(fleets) for name in self._names(kind)}
        nodes = await self.controller.nodes()
        await self._check_config()
        if not self.may_create:
            _check_declared(kinds_of(fleets), nodes)
            return
        changes = plan_placeholders(wanted, nodes)
        if changes:
            complaint = await self.controller.change(changes)
            nodes = await self.controller.nodes()
            self._check_created([name for name in wanted if name not in nodes], complaint)

    def _names(self, kind: render.Kind) -> list[Hostname]:
        stem = render.placeholder_stem(kind)
        return [Hostname(f"{stem}{number}") for number in range(self.each)]

    async def _check_config(self) -> None:
        enforce = (await self.controller.config()).get("EnforcePartLimits", "NO")
        if enforce != "NO":
            raise SchedulerRefused(
                f"slurm.conf has EnforcePartLimits={enforce}, so Slurm rejects jobs for more nodes than exist at the moment",
                hint="set EnforcePartLimits=NO in slurm.conf and run `scontrol reconfigure`",
            )

    def _check_created(self, missing: Sequence[Hostname], complaint: str) -> None:
        if missing:
            raise SchedulerRefused(
                f"slurmctld did not create {len(missing)} of the nodes that let jobs queue: {complaint or 'and said nothing'}",
                hint="raise MaxNodeCount in slurm.conf above the fleets' maxima plus the plugin's `placeholders` for each shape,"
                " name every generic resource in GresTypes, and restart slurmctld",
            )


def kinds_of(fleets: Iterable[FleetSpec]) -> tuple[render.Kind, ...]:
    return tuple(dict.fromkeys(render.kind_of(fleet) for fleet in fleets))


def plan_placeholders(wanted: Mapping[Hostname, render.Kind], nodes: Mapping[Hostname, SlurmNode]) -> list[tuple[str, ...]]:
    """What to create, to mend and to delete. A GPU's type that a restart has dropped is set again."""
    missing: dict[render.Kind, list[str]] = {}
    faded: dict[render.Kind, list[str]] = {}
    for name, kind in wanted.items():
        if name not in nodes:
            missing.setdefault(kind, []).append(name)
        elif parse_gres(nodes[name].gres) != parse_gres(kind.gres):
            faded.setdefault(kind, []).append(name)
    stale = [name for name, node in nodes.items() if name.startswith(PLACEHOLDER) and node.is_dynamic and name not in wanted]
    commands = render.render_delete(stale)
    for kind, names in missing.items():
        commands += render.render_placeholders(kind, names)
    for kind, names in faded.items():
        commands += render.render_update(names, f"Gres={kind.gres}")
    return commands


def _check_declared(kinds: Iterable[render.Kind], nodes: Mapping[Hostname, SlurmNode]) -> None:
    lines = [
        render.render_conf(kind, f"{render.placeholder_stem(kind)}0")
        for kind in kinds
        if not any(_stands_for(node, kind) for node in nodes.values())
    ]
    if lines:
        raise SchedulerRefused(
            "slurm.conf declares no node of some fleets' shape, so Slurm rejects jobs for them",
            hint="add to slurm.conf and restart slurmctld:\n" + "\n".join(lines),
        )


def _stands_for(node: SlurmNode, kind: render.Kind) -> bool:
    return (
        node.total.cpus >= kind.shape.cpus
        and node.total.memory_mib >= kind.shape.memory_mib
        and node.total.gpus >= kind.shape.gpus
        and kind.features <= node.features
    )
