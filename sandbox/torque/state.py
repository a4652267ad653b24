"""What the emulated pbs_server knows, and what time does to it. The standard library only: each command loads this anew."""

import re
from dataclasses import dataclass, field

SERVER = "tbhead"
NOT_SENT = "MOM-list-not-sent"
NO_FEASIBLE = (
    "Job exceeds queue resource limits MSG=cannot locate feasible nodes (nodes file is empty, all systems are busy, or no nodes"
    " have the requested feature)"
)


@dataclass
class NodeFact:
    """One node. `offline` is somebody's word; its first seconds are nobody's."""

    name: str
    np: int
    gpus: int = 0
    properties: list[str] = field(default_factory=list)
    note: str = ""
    offline: bool = False
    made_at: float = 0.0
    reported: bool = False  # has its mom ever spoken?


@dataclass
class JobFact:
    """One job or one task of an array. `where` are its slots: (node, slot) pairs."""

    job_id: str
    name: str
    resources: dict[str, str]
    state: str = "Q"
    holds: str = "n"
    queue: str = "batch"
    priority: int = 0
    submitted_at: float = 0.0
    started_at: float = 0.0
    begin_at: float = 0.0
    lasts_s: float = 1e12
    array: str = ""  # of the array's own entry
    task_of: str = ""  # the number of its array
    depends_on: str = ""
    exclusive: bool = False
    where: list[tuple[str, int]] = field(default_factory=list)
    ended_at: float = 0.0


@dataclass
class State:
    """All of it. `moms` are the hosts whose daemon runs, `known_hosts` those whose name resolves ([]: all)."""

    now: float = 0.0
    next_id: int = 0
    young_s: float = 9.0
    delete_s: float = 2.0
    keep_completed_s: float = 30.0
    nodes: dict[str, NodeFact] = field(default_factory=dict)
    jobs: dict[str, JobFact] = field(default_factory=dict)
    moms: list[str] = field(default_factory=list)
    unresolvable: list[str] = field(default_factory=list)
    server: dict[str, str] = field(default_factory=lambda: {"scheduling": "True"})
    managers: bool = True  # may whoever calls manage?
    is_loaded: bool = True  # has pbs_server loaded its limit of nodes since its start?


def advance(state: State, now: float) -> None:
    """Time passes: moms report, jobs end, holds end, and the scheduler starts what fits, oldest first."""
    state.now = now
    for node in state.nodes.values():
        if node.name in state.moms and not is_young(state, node):
            node.reported = True
    for job in list(state.jobs.values()):
        if job.state == "R" and not job.array and now >= job.started_at + job.lasts_s:
            finish(state, job)
        if job.state == "C" and not job.array and now >= job.ended_at + state.keep_completed_s:
            del state.jobs[job.job_id]
        if job.state == "W" and now >= job.begin_at:
            job.state = "Q"
    _schedule(state)


def finish(state: State, job: JobFact) -> None:
    job.state, job.ended_at, job.where = "C", state.now, []
    for other in state.jobs.values():
        if other.depends_on == job.job_id and other.state == "H":
            other.state, other.holds, other.depends_on = "Q", "n", ""


def is_young(state: State, node: NodeFact) -> bool:
    return state.now < node.made_at + state.young_s


def is_up(state: State, node: NodeFact) -> bool:
    return node.name in state.moms and node.reported and not is_young(state, node)


def states_of(state: State, node: NodeFact) -> str:
    """As `pbsnodes` prints them."""
    if is_young(state, node):
        return f"down,offline,{NOT_SENT}"
    words = [] if is_up(state, node) else ["down"]
    if node.offline:
        words.append("offline")
    if not free_slots(state, node) and slots_taken(state, node):
        words.append("job-exclusive")
    return ",".join(words) or "free"


def slots_taken(state: State, node: NodeFact) -> dict[int, str]:
    return {slot: job.job_id for job in state.jobs.values() for name, slot in job.where if name == node.name}


def free_slots(state: State, node: NodeFact) -> list[int]:
    taken = slots_taken(state, node)
    if any(state.jobs[job].exclusive for job in taken.values()):
        return []
    return [slot for slot in range(node.np) if slot not in taken]


def parts_of(resources: dict[str, str]) -> list[tuple[int, int, int, set[str], str]]:
    """(nodes, slots on each, gpus on each, properties, host) of each part of a request."""
    parts = []
    for text in resources.get("nodes", f"1:ppn={resources.get('ncpus', '1')}").split("+"):
        count, ppn, gpus, host = 1, 1, 0, ""
        properties: set[str] = set()
        for number, word in enumerate(text.split(":")):
            name, equals, value = word.partition("=")
            if number == 0 and word.isdecimal():
                count = int(word)
            elif number == 0:
                host = word
            elif name == "ppn":
                ppn = int(value)
            elif name == "gpus":
                gpus = int(value)
            elif not equals:
                properties.add(word)
        parts.append((count, ppn, gpus, properties, host))
    return parts


def is_feasible(state: State, resources: dict[str, str]) -> bool:
    """Would `qsub` take it? As many nodes as there are or as the server's limit says, and slots that some node or all have."""
    if "nodes" not in resources:
        return True
    limit = int(state.server.get("resources_available.nodect", "0")) if state.is_loaded else 0
    parts = parts_of(resources)
    wanted = sum(count for count, *_ in parts)
    if wanted <= limit and state.nodes:
        return sum(count * ppn for count, ppn, *_ in parts) <= sum(node.np for node in state.nodes.values())
    return wanted <= len(state.nodes) and all(
        any(
            node.np >= ppn and node.gpus >= gpus and properties <= set(node.properties) and host in ("", node.name)
            for node in state.nodes.values()
        )
        for _, ppn, gpus, properties, host in parts
    )


def _schedule(state: State) -> None:
    if state.server.get("scheduling") != "True":
        return
    for job in sorted(state.jobs.values(), key=lambda job: (-job.priority, job.submitted_at, _number(job.job_id))):
        if job.state != "Q" or job.array or "procs" in job.resources:  # pbs_sched starts no `procs` job
            continue
        if job.task_of and not _array_may(state, job):
            continue
        if (where := _place(state, job)) is not None:
            job.state, job.where, job.started_at = "R", where, state.now
    for job in state.jobs.values():
        if job.array:
            tasks = [task for task in state.jobs.values() if task.task_of == job.job_id.partition("[")[0]]
            if any(task.state == "R" for task in tasks):
                job.state = "R"
            elif tasks and all(task.state == "C" for task in tasks):
                job.state = "C"


def _array_may(state: State, job: JobFact) -> bool:
    entry = state.jobs.get(f"{job.task_of}[].{SERVER}")
    limit = entry.array.partition("%")[2] if entry else ""
    running = sum(1 for task in state.jobs.values() if task.task_of == job.task_of and task.state == "R")
    return not limit or running < int(limit)


def _place(state: State, job: JobFact) -> list[tuple[str, int]] | None:
    """Distinct nodes for all of its parts, or None."""
    where: list[tuple[str, int]] = []
    used: set[str] = set()
    for count, ppn, gpus, properties, host in parts_of(job.resources):
        for _ in range(count):
            for node in state.nodes.values():
                free = free_slots(state, node)
                if node.name in used or not is_up(state, node) or node.offline or (host and host != node.name):
                    continue
                if gpus > node.gpus or not properties <= set(node.properties) or len(free) < ppn:
                    continue
                if job.exclusive and len(free) < node.np:
                    continue
                used.add(node.name)
                where += [(node.name, slot) for slot in free[:ppn]]
                break
            else:
                return None
    return where


def _number(job_id: str) -> tuple[int, int]:
    found = re.match(r"(\d+)(?:\[(\d*)\])?", job_id)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)
