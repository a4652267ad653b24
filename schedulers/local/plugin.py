"""The local scheduler as headnode's services see it."""

import asyncio
import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from daemons.errors import SchedulerUnavailable
from daemons.model import (
    BlockedBy,
    FleetSpec,
    Hostname,
    JobDemand,
    JobId,
    Node,
    NodeSpec,
    NodeState,
    Shape,
)
from schedulers import aside
from schedulers.base import DRAIN_MARK, Capability, NodeResult, Outcome, Results, Scheduler
from schedulers.local import engine, store
from schedulers.local.plan import blocked_by, has_lost_tasks, is_down, is_fresh
from schedulers.local.values import ACTIVE, Job, JobSpec, LocalNode, Snapshot, Task
from schedulers.specs import valid_specs

T = TypeVar("T")


class LocalSettings(BaseModel):
    """`[scheduler.settings]` for `name = "local"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[Path, Field(description="the SQLite file that the cluster is kept in; headnode local init makes one")]
    busy_timeout_s: Annotated[float, Field(gt=0, le=60, description="how long to wait for somebody else's change to finish")] = (
        5.0
    )


class Local(Scheduler):
    """Every call is one transaction in a thread: it is done whole or not at all, and the event loop goes on meanwhile."""

    name: ClassVar[str] = "local"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability) - {Capability.NAMED_NODES}
    Settings: ClassVar[type[BaseModel]] = LocalSettings

    def __init__(self, settings: LocalSettings, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock

    @classmethod
    def open(cls, settings: BaseModel, *, cluster: str, fleets: Sequence[FleetSpec]) -> Self:  # noqa: ARG003  needs neither
        if not isinstance(settings, LocalSettings):
            raise TypeError(f"the local scheduler takes LocalSettings, not {type(settings).__name__}")
        return cls(settings, clock=time.time)

    async def demand(self) -> tuple[JobDemand, ...]:
        now = self._clock()
        return _merged(_demand_of(await self._observe(now), now))

    async def nodes(self) -> tuple[Node, ...]:
        now = self._clock()
        snapshot = await self._observe(now)
        return tuple(_node_of(node, snapshot, now) for node in snapshot.nodes)

    async def jobs_on(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, frozenset[JobId]]:
        def look(db: sqlite3.Connection) -> dict[Hostname, frozenset[JobId]]:
            return {name: frozenset(_job_id(task) for task in store.active_tasks(db, name)) for name in hostnames}

        return await self._change(look)  # a change, so that nobody is about to start anything while it looks

    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        now = self._clock()
        refused, valid = valid_specs(nodes)

        def change(db: sqlite3.Connection) -> dict[Hostname, NodeResult]:
            return refused | {spec.hostname: _register(db, spec, now) for spec in valid}

        return await self._change(change)

    async def deregister(self, hostnames: Collection[Hostname]) -> Results:
        now = self._clock()

        def change(db: sqlite3.Connection) -> dict[Hostname, NodeResult]:
            known = {node.hostname for node in store.read_nodes(db)}
            for name in hostnames:
                engine.forget(db, name, now=now)
            return {name: NodeResult(outcome=Outcome.DONE if name in known else Outcome.ABSENT) for name in hostnames}

        return await self._change(change)

    async def drain(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        return await self._change(lambda db: _set_drains(db, hostnames, f"{DRAIN_MARK} {reason}"))

    async def resume(self, hostnames: Collection[Hostname]) -> Results:
        return await self._change(lambda db: _set_drains(db, hostnames, None))

    async def set_aside(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        words = aside.administrators_reason(" ".join(reason.split()))
        return await self._change(lambda db: _set_aside(db, hostnames, words))

    async def give_back(self, hostnames: Collection[Hostname]) -> Results:
        return await self._change(lambda db: _give_back(db, hostnames))

    async def advertise(self, fleets: Sequence[FleetSpec]) -> None:
        await self._change(lambda db: engine.advertise(db, fleets))

    async def _observe(self, now: float) -> Snapshot:
        """The state as it is now. What a lost node ran is given up first: no daemon may be left that would do it."""
        snapshot = await self._read(store.read_snapshot)
        return await self._change(lambda db: _advanced(db, now)) if has_lost_tasks(snapshot, now) else snapshot

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._work, work, writes=False)

    async def _change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._work, work, writes=True)

    def _work(self, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> T:
        file = self._settings.file
        try:
            with (
                contextlib.closing(store.connect(file, timeout_s=self._settings.busy_timeout_s)) as db,
                store.transaction(db, writes=writes),
            ):
                return work(db)
        except (sqlite3.Error, OSError, ValueError, KeyError, TypeError) as err:
            raise SchedulerUnavailable(
                f"the local scheduler's file {file} gave no usable answer: {err}",
                hint="headnode local init makes the file; restore it from a backup if it is damaged",
                file=str(file),
            ) from err


def _advanced(db: sqlite3.Connection, now: float) -> Snapshot:
    engine.advance(db, now=now)
    return store.read_snapshot(db)


def _register(db: sqlite3.Connection, spec: NodeSpec, now: float) -> NodeResult:
    known = {node.hostname: node.address for node in store.read_nodes(db)}
    if known.get(spec.hostname, spec.address) != spec.address:
        if store.active_tasks(db, spec.hostname):
            return NodeResult(outcome=Outcome.BUSY, detail=f"known with address {known[spec.hostname]}, and jobs are there")
        engine.forget(db, spec.hostname, now=now)
    engine.register(db, spec)
    return NodeResult(outcome=Outcome.DONE)


def _set_drains(db: sqlite3.Connection, hostnames: Iterable[Hostname], reason: str | None) -> dict[Hostname, NodeResult]:
    known = {node.hostname: node for node in store.read_nodes(db)}
    results = {}
    for name in hostnames:
        node = known.get(name)
        if node is None:
            results[name] = NodeResult(outcome=Outcome.ABSENT)
        elif node.drain_reason is not None and not node.drain_reason.startswith(DRAIN_MARK):
            results[name] = NodeResult(outcome=Outcome.REFUSED, detail=f"drained by somebody else: {node.drain_reason}")
        else:
            engine.set_drain(db, name, reason)
            results[name] = NodeResult(outcome=Outcome.DONE)
    return results


def _set_aside(db: sqlite3.Connection, hostnames: Collection[Hostname], reason: str) -> dict[Hostname, NodeResult]:
    for node in store.read_nodes(db):
        if node.hostname in hostnames and node.drain_reason is None:
            engine.set_drain(db, node.hostname, reason)
    return _told(db, hostnames, aside.set_aside)


def _give_back(db: sqlite3.Connection, hostnames: Collection[Hostname]) -> dict[Hostname, NodeResult]:
    for node in store.read_nodes(db):
        if node.hostname in hostnames and node.drain_reason is not None and not node.drain_reason.startswith(DRAIN_MARK):
            engine.set_drain(db, node.hostname, None)
    return _told(db, hostnames, aside.given_back)


def _told(db: sqlite3.Connection, hostnames: Iterable[Hostname], told: Callable[..., NodeResult]) -> dict[Hostname, NodeResult]:
    reasons = {node.hostname: node.drain_reason for node in store.read_nodes(db)}
    return {
        name: told(is_drained=(why := reasons[name]) is not None, by_us=(why or "").startswith(DRAIN_MARK), said="")
        if name in reasons
        else NodeResult(outcome=Outcome.ABSENT)
        for name in hostnames
    }


def _node_of(node: LocalNode, snapshot: Snapshot, now: float) -> Node:
    here = [task for task in snapshot.tasks if task.state in ACTIVE and node.hostname in task.nodes]
    specs = {job.job_id: job.spec for job in snapshot.jobs}
    reason = node.drain_reason or ""
    return Node(
        hostname=node.hostname,
        states=_states(node, busy=bool(here), snapshot=snapshot, now=now),
        total=node.shape,
        used=_sum([specs[task.job_id] for task in here], node.shape),
        jobs=frozenset(map(_job_id, here)),
        partitions=frozenset({node.partition}),
        features=node.features,
        reason=reason,
        drained_by_us=reason.startswith(DRAIN_MARK),
    )


def _states(node: LocalNode, *, busy: bool, snapshot: Snapshot, now: float) -> frozenset[NodeState]:
    states = {NodeState.BUSY} if busy else set()
    if node.drain_reason is not None:
        states.add(NodeState.DRAIN)
    if node.heartbeat_at is None:
        states.add(NodeState.AWAITED)
    elif is_down(node, snapshot.limits, now):
        states.add(NodeState.DOWN)
    elif not is_fresh(node, snapshot.limits, now):
        states.add(NodeState.SILENT)
    return frozenset(states)


def _sum(specs: Iterable[JobSpec], whole: Shape) -> Shape:
    cpus = memory_mib = gpus = 0
    for spec in specs:
        if spec.exclusive:
            return whole
        cpus, memory_mib, gpus = (
            cpus + spec.per_node.cpus,
            memory_mib + spec.per_node.memory_mib,
            gpus + spec.per_node.gpus,
        )
    return Shape(cpus=cpus, memory_mib=memory_mib, gpus=gpus, gpu_type=whole.gpu_type)


def _demand_of(snapshot: Snapshot, now: float) -> Iterable[JobDemand]:
    """Jobs in the order of their turn; an array is one value for the tasks that may start and one for those that may not yet."""
    active = Counter(task.job_id for task in snapshot.tasks if task.state in ACTIVE)
    for job in sorted(snapshot.jobs, key=lambda job: (-job.spec.priority, job.submitted_at, job.job_id)):
        count = snapshot.waiting.get(job.job_id, 0)
        if not count:
            continue
        blocked = blocked_by(job, snapshot, now)
        may = count
        if job.spec.throttle is not None and blocked is BlockedBy.NOTHING:
            may = min(count, max(0, job.spec.throttle - active[job.job_id]))
        if may:
            yield _demand(job, may, blocked)
        if count > may:
            yield _demand(job, count - may, BlockedBy.ARRAY_LIMIT)


def _merged(demands: Iterable[JobDemand]) -> tuple[JobDemand, ...]:
    """One value for all that asks for the same with the same priority, at the turn of the oldest."""
    alike: dict[JobDemand, list[JobDemand]] = {}
    for demand in demands:
        alike.setdefault(replace(demand, jobs=(), count=0, submitted_at=0.0), []).append(demand)
    return tuple(
        replace(same[0], jobs=tuple(job for one in same for job in one.jobs), count=sum(one.count for one in same))
        for same in alike.values()
    )


def _demand(job: Job, count: int, blocked: BlockedBy) -> JobDemand:
    spec = job.spec
    return JobDemand(
        jobs=(JobId(str(job.job_id)),),
        count=count,
        tasks=spec.nodes,
        per_task=spec.per_node,
        nodes_min=spec.nodes,
        nodes_max=spec.nodes,
        tasks_per_node=1,
        exclusive=spec.exclusive,
        partitions=frozenset({spec.partition}) if spec.partition else frozenset(),
        features=(spec.features,) if spec.features else (),
        priority=spec.priority,
        submitted_at=job.submitted_at,
        blocked_by=blocked,
        reason="" if blocked is BlockedBy.NOTHING else blocked.value,
    )


def _job_id(task: Task) -> JobId:
    return JobId(f"{task.job_id}_{task.index}" if task.index else str(task.job_id))
