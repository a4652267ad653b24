"""Which waiting tasks start now, and where. Pure: first come, first served, by priority, with backfill.

Backfill: while the first task that does not fit waits for its nodes, others may start only if that cannot delay it, because they
will have ended by then, or because they stay off the nodes that it waits for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from daemons.model import BlockedBy, Hostname, Shape
from schedulers.local.values import ACTIVE, Job, JobSpec, Limits, LocalNode, Snapshot, Task, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    task: Task
    nodes: tuple[Hostname, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A node that takes jobs, and what is free on it."""

    node: LocalNode
    free: Shape
    empty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """When the first blocked task will have its nodes, at the latest, and which those are."""

    at: float
    nodes: frozenset[Hostname]


def is_fresh(node: LocalNode, limits: Limits, now: float) -> bool:
    return node.heartbeat_at is not None and now - node.heartbeat_at <= limits.silent_after_s


def is_down(node: LocalNode, limits: Limits, now: float) -> bool:
    """Has its daemon been silent for so long that what ran there is lost?"""
    return node.heartbeat_at is not None and now - node.heartbeat_at > limits.down_after_s


def has_lost_tasks(snapshot: Snapshot, now: float) -> bool:
    """Do tasks still count as running on a node that is down?"""
    down = {node.hostname for node in snapshot.nodes if is_down(node, snapshot.limits, now)}
    return any(task.state in ACTIVE and down.intersection(task.nodes) for task in snapshot.tasks)


def less(one: Shape, other: Shape) -> Shape:
    """What is left of `one`; negative amounts mean that it does not fit."""
    return replace(one, cpus=one.cpus - other.cpus, memory_mib=one.memory_mib - other.memory_mib, gpus=one.gpus - other.gpus)


def used_shapes(snapshot: Snapshot) -> dict[Hostname, list[JobSpec]]:
    """What runs on each node."""
    specs = {job.job_id: job.spec for job in snapshot.jobs}
    used: dict[Hostname, list[JobSpec]] = {}
    for task in snapshot.tasks:
        if task.state in ACTIVE:
            for hostname in task.nodes:
                used.setdefault(hostname, []).append(specs[task.job_id])
    return used


def blocked_by(job: Job, snapshot: Snapshot, now: float) -> BlockedBy:
    """Why more nodes would not help this job; NOTHING if they would. The throttle of an array is not looked at here."""
    spec = job.spec
    if spec.held:
        return BlockedBy.HOLD
    if not spec.after_ok <= snapshot.ended_well or not spec.after_any <= snapshot.ended:
        return BlockedBy.DEPENDENCY
    return BlockedBy.BEGIN_TIME if spec.begin_at > now else BlockedBy.NOTHING


def plan_starts(snapshot: Snapshot, now: float) -> tuple[Start, ...]:
    """The tasks that start at this moment. Never more than a node has, and all nodes of a task or none."""
    rooms = _rooms(snapshot, now)
    started: list[Start] = []
    shadow: Shadow | None = None
    running = _running_by_job(snapshot)
    hopeless: set[tuple[object, ...]] = set()  # rooms only get fuller: what did not fit once does not fit later on
    for job, task in _queue(snapshot, now):
        asks = _asks(job.spec)
        if asks in hopeless:
            continue
        if job.spec.throttle is not None and running.get(job.job_id, 0) >= job.spec.throttle:
            continue
        nodes = _choose(job.spec, rooms.values())
        if nodes is None:
            shadow = shadow or _shadow(job.spec, rooms, snapshot, started, now)
            hopeless.add(asks)
            continue
        if shadow and now + job.spec.time_limit_s > shadow.at and shadow.nodes & set(nodes):
            nodes = _choose(job.spec, [room for name, room in rooms.items() if name not in shadow.nodes])
            if nodes is None:
                hopeless.add(asks)
                continue
        started.append(Start(task=task, nodes=nodes))
        running[job.job_id] = running.get(job.job_id, 0) + 1
        for hostname in nodes:
            rooms[hostname] = _taken(rooms[hostname], job.spec)
    return tuple(started)


def _asks(spec: JobSpec) -> tuple[object, ...]:
    """All that decides where and when a job fits."""
    return spec.per_node, spec.nodes, spec.exclusive, spec.partition, spec.features, spec.time_limit_s


def _queue(snapshot: Snapshot, now: float) -> Iterable[tuple[Job, Task]]:
    waiting: dict[int, list[Task]] = {}
    for task in snapshot.tasks:
        if task.state is TaskState.WAITING:
            waiting.setdefault(task.job_id, []).append(task)
    turn = sorted(snapshot.jobs, key=lambda job: (-job.spec.priority, job.submitted_at, job.job_id))
    for job in turn:
        if job.job_id in waiting and blocked_by(job, snapshot, now) is BlockedBy.NOTHING:
            yield from ((job, task) for task in sorted(waiting[job.job_id], key=lambda task: task.index))


def _running_by_job(snapshot: Snapshot) -> dict[int, int]:
    counts: dict[int, int] = {}
    for task in snapshot.tasks:
        if task.state in ACTIVE:
            counts[task.job_id] = counts.get(task.job_id, 0) + 1
    return counts


def _rooms(snapshot: Snapshot, now: float) -> dict[Hostname, Room]:
    used = used_shapes(snapshot)
    rooms = {}
    for node in snapshot.nodes:
        if node.drain_reason is None and is_fresh(node, snapshot.limits, now):
            room = Room(node=node, free=node.shape, empty=True)
            for spec in used.get(node.hostname, []):
                room = _taken(room, spec)
            rooms[node.hostname] = room
    return rooms


def _taken(room: Room, spec: JobSpec) -> Room:
    free = Shape() if spec.exclusive else less(room.free, spec.per_node)
    return replace(room, free=free, empty=False)


def fits(spec: JobSpec, room: Room) -> bool:
    """May one node's share of the job go there now?"""
    if (spec.partition and spec.partition != room.node.partition) or not spec.features <= room.node.features:
        return False
    if spec.exclusive and not room.empty:
        return False
    wanted_type = spec.per_node.gpu_type if spec.per_node.gpus else ""
    if wanted_type and wanted_type != room.node.shape.gpu_type:
        return False
    left = less(room.free, spec.per_node)
    return left.cpus >= 0 and left.gpus >= 0 and (left.memory_mib >= 0 or not room.node.shape.memory_mib)


def _choose(spec: JobSpec, rooms: Iterable[Room]) -> tuple[Hostname, ...] | None:
    """The nodes for one task, the fullest that still fit first, all in one partition; None if there are not enough."""
    by_partition: dict[str, list[Room]] = {}
    for room in rooms:
        if fits(spec, room):
            by_partition.setdefault(room.node.partition, []).append(room)
    for _, fitting in sorted(by_partition.items()):
        if len(fitting) >= spec.nodes:
            tightest = sorted(fitting, key=lambda room: (room.free.cpus, room.free.memory_mib, room.node.hostname))
            return tuple(room.node.hostname for room in tightest[: spec.nodes])
    return None


def _shadow(
    spec: JobSpec, rooms: Mapping[Hostname, Room], snapshot: Snapshot, started: Sequence[Start], now: float
) -> Shadow | None:
    """Let everything that runs end, by its time limit, until the task fits. None: it needs nodes that are not there."""
    later = dict(rooms)
    for at, hostnames, ended in _ends(snapshot, started, now):
        for hostname in hostnames:
            if hostname in later:
                room = later[hostname]
                back = Shape(cpus=-ended.per_node.cpus, memory_mib=-ended.per_node.memory_mib, gpus=-ended.per_node.gpus)
                later[hostname] = replace(room, free=room.node.shape if ended.exclusive else less(room.free, back))
        emptied = {name: replace(room, empty=room.free == room.node.shape) for name, room in later.items()}
        nodes = _choose(spec, emptied.values())
        if nodes is not None:
            return Shadow(at=at, nodes=frozenset(nodes))
    return None


def _ends(snapshot: Snapshot, started: Sequence[Start], now: float) -> list[tuple[float, tuple[Hostname, ...], JobSpec]]:
    specs = {job.job_id: job.spec for job in snapshot.jobs}
    ends = [
        ((task.started_at or now) + specs[task.job_id].time_limit_s, task.nodes, specs[task.job_id])
        for task in snapshot.tasks
        if task.state in ACTIVE
    ]
    ends += [(now + specs[start.task.job_id].time_limit_s, start.nodes, specs[start.task.job_id]) for start in started]
    return sorted(ends, key=lambda end: (end[0], end[1]))
