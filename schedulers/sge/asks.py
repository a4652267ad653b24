"""What one waiting job asks for: a row of qstat as a `JobDemand` without ids. Pure.

As found with 8.1.9: consumables are asked for per slot, but for those of kind JOB; one that a job does not mention is charged
with its default; only hard requests bind. What headnode cannot express is blocked, with the reason why.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from daemons.errors import SchedulerUnavailable
from daemons.model import BlockedBy, FleetSpec, JobDemand, Shape
from schedulers.sge import amounts
from schedulers.sge.cell import Cell, Complex, ParallelEnvironment
from schedulers.sge.choice import Choice, choose
from schedulers.sge.parse import Row

_FLEXIBLE = ("$fill_up", "$round_robin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a job's words are held against. `licences`: what is left of the consumables of the whole cluster, by name."""

    cell: Cell
    fleets: Sequence[FleetSpec]
    memory: str
    gpu: str
    licences: Mapping[str, float] = field(default_factory=dict)
    environment_slots: Mapping[str, int] = field(default_factory=dict)  # in use

    @property
    def consumables(self) -> frozenset[str]:
        """What fleets' nodes have besides slots, memory and GPUs."""
        return frozenset(name for fleet in self.fleets for name, _ in fleet.shape.consumables)


def parse_asks(row: Row, site: Site) -> JobDemand:
    """The demand of one such job, or of one task of such an array. Raises SchedulerUnavailable for words that cannot be read."""
    try:
        choice = choose(row, site.cell, site.fleets)
        job = JobDemand(
            jobs=(),
            partitions=choice.partitions,
            features=choice.features,
            hostnames=choice.hostnames,
            excluded=choice.excluded,
        )
        return _judged(_with_consumables(_with_slots(job, row, choice, site), row, site), choice)
    except ValueError as err:
        raise SchedulerUnavailable(f"qstat wrote a waiting job that cannot be read ({err}): job {row.job!r}") from err


def blocked(job: JobDemand, by: BlockedBy, reason: str) -> JobDemand:
    """The job, blocked, unless it is already."""
    return job if job.blocked_by is not BlockedBy.NOTHING else replace(job, blocked_by=by, reason=reason)


def _judged(job: JobDemand, choice: Choice) -> JobDemand:
    if choice.problem:
        return blocked(job, BlockedBy.UNKNOWN, choice.problem)
    if choice.names_hosts:
        return blocked(job, BlockedBy.NODE_LIST, f"it asks for {choice.names_hosts}")
    return job


def _with_slots(job: JobDemand, row: Row, choice: Choice, site: Site) -> JobDemand:
    """A slot is a task of one CPU; the parallel environment says how the tasks may be spread."""
    if not row.pe:
        return replace(job, tasks=row.slots, nodes_max=1)
    environment = _environment(row, choice, site)
    if environment is None:
        return replace(job, tasks=row.slots)
    slots = _least_slots(row, environment)
    if slots is None:
        because = f"no number of its slots {row.pe_slots} is a multiple of {environment.rule}, as {environment.name} wants"
        return blocked(replace(job, tasks=row.slots), BlockedBy.ERROR, because)
    left = environment.slots - site.environment_slots.get(environment.name, 0)
    if slots > left:
        job = blocked(job, BlockedBy.LIMIT, f"parallel environment {environment.name} has {max(left, 0)} slots left")
    return _spread(replace(job, tasks=slots), environment.rule)


def _spread(job: JobDemand, rule: str) -> JobDemand:
    if rule == "$pe_slots":
        return replace(job, nodes_max=1)
    if rule in _FLEXIBLE:
        return job
    if not rule.isdecimal() or int(rule) == 0:
        return blocked(job, BlockedBy.UNKNOWN, f"headnode does not know the allocation rule {rule!r}")
    nodes = job.tasks // int(rule)
    return replace(job, tasks_per_node=int(rule), nodes_min=nodes, nodes_max=nodes)


def _least_slots(row: Row, environment: ParallelEnvironment) -> int | None:
    multiple = int(environment.rule) if environment.rule.isdecimal() else 1
    return amounts.least_slots(row.pe_slots, max(multiple, 1))


def _environment(row: Row, choice: Choice, site: Site) -> ParallelEnvironment | None:
    """Of several that a pattern matches, the one that binds least: Grid Engine tries them all."""
    found = [site.cell.environments[name] for name in sorted(choice.environments) if name in site.cell.environments]
    able = [one for one in found if _least_slots(row, one) is not None] or found

    def strictness(environment: ParallelEnvironment) -> tuple[int, str]:
        kinds = (*_FLEXIBLE, "$pe_slots")
        return (kinds.index(environment.rule) if environment.rule in kinds else len(kinds)), environment.name

    return min(able, key=strictness, default=None)


def _with_consumables(job: JobDemand, row: Row, site: Site) -> JobDemand:
    asked = dict(row.requests)
    for name, known in site.cell.complexes.items():
        if known.is_consumable and (name in asked or known.default not in ("0", "NONE")):
            job = _with_consumable(job, known, asked.get(name, known.default), site, is_asked=name in asked)
    return job


def _with_consumable(job: JobDemand, known: Complex, value: str, site: Site, *, is_asked: bool) -> JobDemand:
    if known.name == "slots":
        return job
    if known.is_exclusive:
        return replace(job, exclusive=True) if amounts.is_true(value) else job
    if (more := _amount(known.name, value, site)) is not None:
        if known.consumable == "JOB":
            return replace(job, per_node=_sum(job.per_node, more))
        return replace(job, per_task=_sum(job.per_task, more))
    if known.name in site.licences:
        return _with_licence(job, known, value, site)
    return blocked(job, BlockedBy.UNKNOWN, f"it asks for {known.name}={value}, which no fleet has") if is_asked else job


def _amount(name: str, value: str, site: Site) -> Shape | None:
    """So much of that consumable, None if nodes do not have it."""
    if name == site.memory:
        return Shape(memory_mib=amounts.parse_mib(value))
    if name == site.gpu:
        return Shape(gpus=amounts.parse_count(value))
    return Shape(consumables=((name, amounts.parse_count(value)),)) if name in site.consumables else None


def _sum(one: Shape, other: Shape) -> Shape:
    mine, more = dict(one.consumables), dict(other.consumables)
    both = {name: mine.get(name, 0) + more.get(name, 0) for name in sorted(mine.keys() | more.keys())}
    return replace(
        one,
        memory_mib=one.memory_mib + other.memory_mib,
        gpus=one.gpus + other.gpus,
        consumables=tuple((name, amount) for name, amount in both.items() if amount),
    )


def _with_licence(job: JobDemand, known: Complex, value: str, site: Site) -> JobDemand:
    """A consumable of the whole cluster: nodes do not bring it."""
    times = 1 if known.consumable == "JOB" else job.tasks
    left = site.licences[known.name]
    if amounts.parse_amount(value) * times <= left:
        return job
    words = f"{left:g}" if math.isfinite(left) else "infinitely many"
    return blocked(job, BlockedBy.LICENCE, f"it asks for {known.name}={value}, of which the cluster has {words} left")
