"""The scheduler: does it answer, and is it set to what headnode needs?"""

from collections.abc import Sequence

from daemons.doctor.findings import Finding, Severity, judged
from daemons.doctor.judges import schedulers as judge
from daemons.doctor.looks.groups import fetch_maxima
from daemons.doctor.scene import Scene
from daemons.errors import HeadnodeError, SchedulerRefused, SchedulerUnavailable
from daemons.model import FleetSpec
from schedulers.base import Scheduler
from schedulers.plugins import load_plugin, opened
from schedulers.sge import Sge, SgeSettings
from schedulers.sge.cell import group_name
from schedulers.sge.nodes import hosts_of
from schedulers.sge.parse import first_label
from schedulers.slurm import Slurm, SlurmSettings
from schedulers.slurm.placeholders import kinds_of
from schedulers.slurm.settings import Mode
from schedulers.torque import Torque, TorqueSettings
from schedulers.torque.nodes import is_placeholder


async def look_at_answers(scene: Scene) -> Sequence[Finding]:
    """What the services ask it for, asked once."""
    name = scene.config.scheduler.name
    async with opened(load_plugin(name), scene.config) as scheduler:
        try:
            nodes, demand = await scheduler.nodes(), await scheduler.demand()
        except (SchedulerUnavailable, SchedulerRefused) as err:
            remedy = err.hint or f"see whether {name} runs and lets {scene.who.name} ask: headnode plugins check {name}"
            return [judged("scheduler-answers", name, str(err), holds=False, remedy=remedy)]
    waiting = sum(one.count for one in demand)
    found = f"it answers: {len(nodes)} nodes, {waiting} jobs or tasks wait"
    return [Finding(id="scheduler-answers", severity=Severity.OK, looked_at=name, found=found)]


async def look_at_settings(scene: Scene) -> Sequence[Finding]:
    """Of the three that come with headnode; another plugin's are its own to check. Nothing where it does not answer, which the
    other look tells.
    """
    async with opened(load_plugin(scene.config.scheduler.name), scene.config) as scheduler:
        try:
            return await _settings(scene, scheduler)
        except (SchedulerUnavailable, SchedulerRefused):
            return ()


async def _settings(scene: Scene, scheduler: Scheduler) -> Sequence[Finding]:
    settings, fleets = scene.config.scheduler.settings, scene.config.fleets
    maxima = await _maxima(scene)
    match scheduler, settings:
        case Slurm(), SlurmSettings():
            return list(judge.check_slurm(await fetch_slurm(scheduler, settings, fleets, maxima), fleets))
        case Sge(), SgeSettings():
            return list(judge.check_sge(await fetch_sge(scheduler, settings, fleets), fleets))
        case Torque(), TorqueSettings():
            return list(judge.check_torque(await fetch_torque(scheduler, settings, maxima)))
        case _:
            return ()


async def _maxima(scene: Scene) -> tuple[int, ...] | None:
    """How large the fleets may get; None where AWS does not say, which its own looks tell."""
    try:
        maxima: tuple[int, ...] = await scene.once("maxima", fetch_maxima)
    except HeadnodeError:
        return None
    return maxima


async def fetch_slurm(
    scheduler: Slurm, settings: SlurmSettings, fleets: Sequence[FleetSpec], maxima: tuple[int, ...] | None
) -> judge.SlurmFacts:
    await scheduler.controller.check()
    return judge.SlurmFacts(
        config=await scheduler.controller.config(),
        partitions=await scheduler.controller.partitions(),
        dynamic=settings.mode is Mode.DYNAMIC,
        placeholders=settings.placeholders,
        kinds=len(kinds_of(fleets)),
        most=None if maxima is None else sum(maxima),
        largest=None if maxima is None else max(maxima, default=0),
    )


async def fetch_sge(scheduler: Sge, settings: SgeSettings, fleets: Sequence[FleetSpec]) -> judge.SgeFacts:
    cell = await scheduler.qmaster.cell()
    placeholder = settings.placeholder or await scheduler.qmaster.head()
    host = hosts_of(await scheduler.qmaster.snapshot()).get(first_label(placeholder))
    counted = {name for fleet in fleets for name, _ in fleet.shape.consumables}
    return judge.SgeFacts(
        queues=frozenset(cell.queues),
        groups=frozenset(cell.groups),
        wanted_groups=frozenset(group_name(fleet.name) for fleet in fleets),
        complexes={
            name: judge.SgeComplex(consumable=known.is_consumable, default=known.default)
            for name, known in cell.complexes.items()
        },
        memory=settings.memory,
        counted=counted | ({settings.gpu} if any(fleet.shape.gpus for fleet in fleets) else set()),
        placeholder=placeholder,
        stands=frozenset(instance.queue for instance in host.instances) if host else frozenset(),
    )


async def fetch_torque(scheduler: Torque, settings: TorqueSettings, maxima: tuple[int, ...] | None) -> judge.TorqueFacts:
    facts = await scheduler.server.facts()
    stands = [row.slots for row in await scheduler.server.nodes() if is_placeholder(row)]
    return judge.TorqueFacts(
        attributes=facts.attributes,
        most_nodes=settings.most_nodes,
        slots=stands[0] if stands else None,
        wanted_slots=settings.placeholder_slots,
        largest=None if maxima is None else max(maxima, default=0),
    )
