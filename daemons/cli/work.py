"""The waiting jobs as jobwatcher last saw them: a line for each shape, with what it needs and what becomes of it. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from daemons.cli.overview import Fate, WaitLine, fates
from daemons.model import BlockedBy, JobDemand, Shape
from jobwatcher.explain import is_same_job
from jobwatcher.plan import Answer
from jobwatcher.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkLine:
    """So many jobs of one shape. `waits_s` is how long the oldest of them has waited, None where the scheduler does not say."""

    jobs: tuple[str, ...]
    count: int
    needs: str
    partitions: tuple[str, ...]
    priority: int
    waits_s: float | None
    fates: tuple[WaitLine, ...]


def work_lines(record: Record) -> tuple[WorkLine, ...]:
    """Every shape of waiting work, in the order in which the jobs get their turn; the blocked ones at the end."""
    waiting: dict[tuple[tuple[str, ...], int], list[JobDemand]] = {}
    for demand in record.seen.demand:
        waiting.setdefault((demand.jobs, demand.count), []).append(demand)
    return tuple(_line(answer, _demand_of(answer, waiting), record.seen.now) for answer in record.outcome.answers)


def _demand_of(answer: Answer, waiting: dict[tuple[tuple[str, ...], int], list[JobDemand]]) -> JobDemand | None:
    """What the answer is about. A throttled array is told of twice: what may start, and what its throttle keeps."""
    alike = waiting.get((answer.jobs, answer.count), [])
    blocked = any(one.fate is Fate.BLOCKED for one in fates(answer))
    fitting = [demand for demand in alike if (demand.blocked_by is not BlockedBy.NOTHING) is blocked] or alike
    if not fitting:
        return None
    alike.remove(fitting[0])
    return fitting[0]


def _line(answer: Answer, demand: JobDemand | None, now: float) -> WorkLine:
    submitted = demand.submitted_at if demand is not None else 0.0
    return WorkLine(
        jobs=answer.jobs,
        count=answer.count,
        needs=needs_of(demand) if demand is not None else "",
        partitions=tuple(sorted(demand.partitions)) if demand is not None else (),
        priority=demand.priority if demand is not None else 0,
        waits_s=max(0.0, now - submitted) if submitted else None,
        fates=tuple(fates(answer)),
    )


def needs_of(demand: JobDemand) -> str:
    """Such as "2 nodes: 8 tasks of 4 cpus, 2000 MiB; whole nodes; features fast&ssd or big"."""
    return "; ".join(_needs(demand))


def _needs(demand: JobDemand) -> Iterator[str]:
    each = amount(demand.per_task)
    tasks = f"{demand.tasks} tasks of {each}" if demand.tasks > 1 else each
    yield f"{_nodes(demand)}: {tasks}" if _nodes(demand) else tasks
    if on_each := amount(demand.per_node):
        yield f"{on_each} on each node"
    if demand.exclusive:
        yield "whole nodes"
    if demand.features:
        yield f"features {' or '.join('&'.join(sorted(some)) for some in demand.features)}"
    if demand.hostnames:
        yield f"on {', '.join(sorted(demand.hostnames))}"
    if demand.excluded:
        yield f"not on {', '.join(sorted(demand.excluded))}"


def _nodes(demand: JobDemand) -> str:
    least, most = demand.nodes_min, demand.nodes_max
    if most is None:
        return f"{least} nodes or more" if least > 1 else ""
    if least == most:
        return f"{least} nodes" if least > 1 else ("one node" if demand.tasks > 1 else "")
    return f"{least} to {most} nodes"


def amount(shape: Shape) -> str:
    """Such as "4 cpus, 2000 MiB, 1 gpu (a100), 2 scratch"; "" for nothing."""
    return ", ".join(_amounts(shape))


def _amounts(shape: Shape) -> Iterator[str]:
    if shape.cpus:
        yield f"{shape.cpus} cpu{'s' * (shape.cpus != 1)}"
    if shape.memory_mib:
        yield f"{shape.memory_mib} MiB"
    if shape.gpus:
        yield f"{shape.gpus} gpu{'s' * (shape.gpus != 1)}" + (f" ({shape.gpu_type})" if shape.gpu_type else "")
    for name, number in shape.consumables:
        yield f"{number} {name}"


def chosen_lines(lines: Iterable[WorkLine], *, wanted: frozenset[Fate], partition: str, job: str) -> tuple[WorkLine, ...]:
    """Those with any of these fates (none: any), in that partition ("": any; a job without one may go to any), of that job."""
    return tuple(
        line
        for line in lines
        if (not wanted or any(one.fate in wanted for one in line.fates))
        and (not partition or not line.partitions or partition in line.partitions)
        and (not job or any(is_same_job(job, other) for other in line.jobs))
    )
