"""What lets jobs queue while no node exists: complexes, a host group for each fleet, and a queue instance that takes nothing.

qsub rejects a job that asks for a complex, a queue or an environment that the cell lacks, whatever the hosts, or for a group of
hosts without any; and where no queue has an instance, it fails although the job was queued. Queues and environments are an
administrator's to make; the rest is made here. What no host could run at the moment is still rejected if users ask for that
(`qsub -w e`): the stand-in has no slots.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from daemons.errors import SchedulerRefused
from daemons.model import FleetSpec
from daemons.names import parse_fleet_name, parse_word
from schedulers.sge import render
from schedulers.sge.cell import ADDRESS, DRAIN_NOTE, PLACEHOLDER_NOTE, Cell, Queue, group_name
from schedulers.sge.control import Qmaster
from schedulers.sge.nodes import Host, hosts_of
from schedulers.sge.parse import first_label

_COUNTED = "{0} {0} INT <= YES YES 0 0"
_EXCLUSIVE = "exclusive excl BOOL EXCL YES YES 0 1000"
_FEATURE = "{0} {0} BOOL == YES NO FALSE 0"
_NOTE = "{0} {0} STRING == NO NO NONE 0"
EXCLUSIVE = "exclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertisement:
    """Makes and mends what stands for fleets in the cell."""

    qmaster: Qmaster

    async def advertise(self, fleets: Sequence[FleetSpec]) -> None:
        """Four commands if nothing has changed. Raises SchedulerRefused for what only an administrator can set."""
        cell = await self.qmaster.cell()
        self._check(cell, fleets)
        if lines := plan_complexes(cell, self._wanted(fleets)):
            await self.qmaster.change_from("-Mc", render.render_table(cell, lines))
        for fleet in fleets:
            if group_name(fleet.name) not in cell.groups:
                await self.qmaster.change_from("-Ahgrp", render.render_group(group_name(fleet.name)))
        cell = await self.qmaster.cell() if lines or not _has_groups(cell, fleets) else cell
        stand_in = await self._stand_in()
        commands = [*self._plan_fleets(cell, fleets), *plan_removals(cell, fleets, stand_in)]
        commands += plan_placeholders(cell, fleets, stand_in)
        if commands:
            said = await self.qmaster.change(commands)
            await self._confirm(fleets, said)

    def values(self, cell: Cell, fleet: FleetSpec) -> str:
        settings = self.qmaster.settings
        return render.render_values(
            fleet.shape, fleet.features, cell=cell, memory=settings.memory, gpu=settings.gpu, exclusive=_exclusive(cell)
        )

    def _wanted(self, fleets: Iterable[FleetSpec]) -> dict[str, str]:
        """The complexes that have to be there, and how to make each."""
        wanted = {ADDRESS: _NOTE, DRAIN_NOTE: _NOTE}
        for fleet in fleets:
            wanted |= dict.fromkeys(fleet.features, _FEATURE)
            wanted |= dict.fromkeys(self._counted(fleet), _COUNTED)
        return wanted

    def _check(self, cell: Cell, fleets: Iterable[FleetSpec]) -> None:
        """Refuse what would not work, before anything is changed."""
        for fleet in fleets:
            if fleet.partition not in cell.queues:
                raise SchedulerRefused(
                    f"there is no queue {fleet.partition!r}, which fleet {fleet.name} is to be in",
                    hint=f"make it with `qconf -aq {fleet.partition}` (hostlist NONE, slots 0), or correct the fleet's partition",
                )
            for name in self._counted(fleet):
                if (known := cell.complexes.get(name)) is not None and not known.is_consumable:
                    raise SchedulerRefused(
                        f"complex {name!r} exists but is no consumable, so that Grid Engine would not count it",
                        hint=f"change it with `qconf -mc` into: {_COUNTED.format(name)}",
                    )
            for name in sorted(fleet.features):
                if (known := cell.complexes.get(name)) is not None and known.kind != "BOOL":
                    raise SchedulerRefused(
                        f"complex {name!r} exists as {known.kind}, so that it cannot be a feature of fleet {fleet.name}",
                        hint="give the feature another name in the fleet's configuration",
                    )
        memory = cell.complexes.get(self.qmaster.settings.memory)
        if memory is not None and memory.is_consumable and memory.name.startswith(("h_", "s_")) and memory.default == "0":
            raise SchedulerRefused(
                f"complex {memory.name!r} is a consumable with default 0: jobs that ask for none would be limited to 0 and die",
                hint="give it a default with `qconf -mc`, such as 512M",
            )

    def _counted(self, fleet: FleetSpec) -> list[str]:
        """The consumables that the fleet's nodes have, memory aside."""
        return [*(name for name, _ in fleet.shape.consumables), *([self.qmaster.settings.gpu] if fleet.shape.gpus else [])]

    def _plan_fleets(self, cell: Cell, fleets: Iterable[FleetSpec]) -> Iterator[render.Command]:
        for fleet in fleets:
            queue, group, values = cell.queues[fleet.partition], group_name(fleet.name), self.values(cell, fleet)
            is_set = queue.slots(group) == str(fleet.shape.cpus) and _rendered(queue.complexes(group)) == values
            if group not in queue.hosts or not is_set:
                yield render.render_fleet(fleet, values, joins=group not in queue.hosts)

    async def _stand_in(self) -> "StandIn":
        name = self.qmaster.settings.placeholder or await self.qmaster.head()
        return StandIn(name=name, host=hosts_of(await self.qmaster.snapshot()).get(first_label(name)))

    async def _confirm(self, fleets: Sequence[FleetSpec], said: str) -> None:
        cell = await self.qmaster.cell()
        missing = [*self._plan_fleets(cell, fleets), *plan_complexes(cell, self._wanted(fleets))]
        if missing or plan_placeholders(cell, fleets, await self._stand_in()):
            words = " ".join(said.split())[:500]
            raise SchedulerRefused(
                f"the qmaster did not take what lets jobs queue: {words or 'and said nothing'}",
                hint="see the qmaster's messages file, and whether an administrator's change came in between",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """The host that stands for nodes to come, None as long as no queue has it."""

    name: str
    host: Host | None

    def stands(self, queue: Queue, groups: Iterable[Sequence[str]]) -> bool:
        """Does it stand in that queue and these groups, or is it not to be touched there, because somebody gave it slots?"""
        if queue.slots(self.name) not in (None, "0"):
            return True
        instances = self.host.instances if self.host is not None else ()
        return (
            any(one.queue == queue.name and "d" in one.states for one in instances)
            and self.host is not None
            and self.host.note == PLACEHOLDER_NOTE
            and queue.slots(self.name) == "0"
            and not queue.complexes(self.name)
            and all(self.is_in(group) for group in groups)
        )

    def is_in(self, group: Iterable[str]) -> bool:
        return any(first_label(host) == first_label(self.name) for host in group)


def plan_complexes(cell: Cell, wanted: dict[str, str]) -> list[str]:
    """The lines to add to the table of complexes. One that exists is left as it is."""
    lines = [line.format(parse_word(name)) for name, line in sorted(wanted.items()) if name not in cell.complexes]
    if not any(known.is_exclusive for known in cell.complexes.values()):
        lines.append(_EXCLUSIVE)
    return lines


def plan_placeholders(cell: Cell, fleets: Iterable[FleetSpec], stand_in: StandIn) -> list[render.Command]:
    """One host without slots, in each queue of the fleets and each of their groups."""
    groups: dict[str, list[str]] = {}
    for fleet in fleets:
        groups.setdefault(parse_word(fleet.partition), []).append(group_name(fleet.name))
    return [
        command
        for queue, wanted in groups.items()
        if not stand_in.stands(cell.queues[queue], [cell.groups.get(group, ()) for group in wanted])
        for command in render.render_placeholder(stand_in.name, queue, wanted)
    ]


def plan_removals(cell: Cell, fleets: Iterable[FleetSpec], stand_in: StandIn) -> Iterator[render.Command]:
    """Groups of fleets that are no more, or are in another queue now; not while nodes are in them."""
    partitions = {group_name(parse_fleet_name(fleet.name)): fleet.partition for fleet in fleets}
    for group, hosts in cell.our_groups.items():
        if any(not stand_in.is_in([host]) for host in hosts):
            continue
        stale = [queue.name for queue in cell.queues.values() if queue.names(group) and queue.name != partitions.get(group)]
        for queue in stale:
            yield ("qconf", "-purge", "queue", "*", f"{queue}@{group}")
            yield ("qconf", "-dattr", "queue", "hostlist", group, queue)
        if group not in partitions:
            yield ("qconf", "-dhgrp", group)


def _has_groups(cell: Cell, fleets: Iterable[FleetSpec]) -> bool:
    return all(group_name(fleet.name) in cell.groups for fleet in fleets)


def _exclusive(cell: Cell) -> str:
    """The complex by which jobs ask for whole hosts, whatever an administrator has named it."""
    names = sorted(known.name for known in cell.complexes.values() if known.is_exclusive)
    return EXCLUSIVE if EXCLUSIVE in names or not names else names[0]


def _rendered(values: dict[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in values.items())
