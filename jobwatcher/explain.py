"""Why the cluster grew or did not: a record in sentences, with the arithmetic. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from daemons.model import Fleet, FleetName, Instance, Node, NodeState
from daemons.packing import Limit
from daemons.plain import to_plain
from jobwatcher.learn import learn
from jobwatcher.memory import Memory
from jobwatcher.plan import Action, Answer, Decision
from jobwatcher.record import Record
from jobwatcher.stance import clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`sentences` are for people, the most important first; `facts` is the same for programs. `found`: was there such a thing?"""

    sentences: tuple[str, ...]
    facts: Mapping[str, Any]
    found: bool = True


def explain_last(record: Record) -> Explanation:
    """The last look: every fleet, what waits and why, what is wrong."""
    outcome = record.outcome
    sentences = [f"at {clock(record.seen.now)}:", *(alarm.because for alarm in outcome.alarms)]
    sentences += [f"fleet {decision.fleet} {verdict_on(decision)}: {decision.reason}" for decision in outcome.decisions]
    waiting: dict[str, int] = {}
    for answer in outcome.answers:
        waiting[answer.sentence] = waiting.get(answer.sentence, 0) + answer.count
    if not waiting:
        sentences.append("no job waits")
    sentences += [f"of {count} waiting jobs: {sentence}" for sentence, count in waiting.items()]
    return Explanation(sentences=tuple(sentences), facts={"at": record.seen.now, **to_plain(outcome)})


def explain_job(record: Record, job: str) -> Explanation:
    """One job, or one array. A single task of an array is told of with its array."""
    answers = [answer for answer in record.outcome.answers if any(is_same_job(job, other) for other in answer.jobs)]
    hosts = sorted(node.hostname for node in record.seen.nodes if any(is_same_job(job, other) for other in node.jobs))
    sentences = [f"job {job} runs on {', '.join(hosts)}"] if hosts else []
    decisions = {decision.fleet: decision for decision in record.outcome.decisions}
    sentences += [f"job {job} {_fate(answer, job, decisions)}" for answer in answers]
    if not sentences:
        sentences = [f"job {job} was not among the waiting jobs at {clock(record.seen.now)}, and runs on no node of the cluster"]
    facts = {"job": job, "at": record.seen.now, "answers": to_plain(answers), "runs_on": hosts}
    return Explanation(sentences=tuple(sentences), facts=facts, found=bool(answers or hosts))


def explain_node(record: Record, name: str) -> Explanation:
    """One node, by its host name or its instance's id."""
    row = next((row for row in record.seen.rows if name in (row.hostname, row.instance_id)), None)
    hostname = row.hostname if row is not None else name
    node = next((node for node in record.seen.nodes if node.hostname == hostname), None)
    instance_id = row.instance_id if row is not None else name
    fleet = next((one for one in record.seen.fleets if any(instance_id == member.instance_id for member in one.members)), None)
    if row is None and node is None and fleet is None:
        sentence = f"neither the table nor the scheduler nor a group has {name}, as of {clock(record.seen.now)}"
        return Explanation(sentences=(sentence,), facts={"node": name}, found=False)
    sentences = [f"{name} {part}" for part in _about_node(record, row, node, fleet, instance_id)]
    facts = {"node": name, "at": record.seen.now, "row": to_plain(row), "scheduler": to_plain(node)}
    return Explanation(sentences=tuple(sentences), facts=facts)


def explain_fleet(record: Record, name: str) -> Explanation:
    """One fleet: the decision, what keeps it from growing, and what is remembered of it."""
    decision = next((one for one in record.outcome.decisions if one.fleet == name), None)
    fleet = next((one for one in record.seen.fleets if one.name == name), None)
    if decision is None or fleet is None:
        known = ", ".join(one.name for one in record.seen.fleets)
        return Explanation(sentences=(f"there is no fleet {name}; there are {known}",), facts={"fleet": name}, found=False)
    learnt = learn(record.seen, record.memory, record.options.jobwatcher)
    sentences = [f"fleet {name} {verdict_on(decision)}: {decision.reason}", *_remembered(learnt, fleet)]
    if fleet.spec.price_per_hour:
        cost = fleet.spec.price_per_hour * decision.target
        sentences.append(f"at {decision.target} nodes it costs {cost:.2f} an hour")
    facts = {
        "fleet": name,
        "at": record.seen.now,
        "decision": to_plain(decision),
        "memory": to_plain(learnt.of(fleet.name)),
        "setbacks": [to_plain(one) for one in learnt.setbacks if one.fleet == name],
    }
    return Explanation(sentences=tuple(sentences), facts=facts)


def verdict_on(decision: Decision) -> str:
    if decision.action is Action.HOLD:
        return f"stays at {decision.desired}"
    if decision.action is Action.RAISE:
        return f"grows from {decision.desired} to {decision.target}"
    return f"is no longer asked for {decision.desired - decision.target} of {decision.desired} nodes"


def _fate(answer: Answer, job: str, decisions: Mapping[FleetName, Decision]) -> str:
    """What becomes of this job, or of some of these tasks, in half a sentence."""
    if (place := _place(answer, job)) is None:
        return f"({answer.count} jobs or tasks like it wait): {answer.sentence}"
    parts = (answer.live, answer.coming, *(answer.new or {}).values())
    bounds = [sum(parts[: number + 1]) for number in range(len(parts))]
    if place < bounds[0]:
        return "is about to start: there is room for it on live nodes"
    if place < bounds[1]:
        return "waits for nodes that are coming"
    for (fleet, _), bound in zip((answer.new or {}).items(), bounds[2:], strict=True):
        if place < bound:
            decision = decisions[fleet]
            return f"needs new nodes of fleet {fleet}, which {verdict_on(decision)} ({decision.reason})"
    more = "; more nodes would not help" if answer.why.startswith(f"{Limit.BLOCKED} by") else ""
    return f"waits: {answer.why}{more}"


def _place(answer: Answer, job: str) -> int | None:
    """Which of the answer's jobs it is; None where the answer does not tell them apart."""
    if answer.count in {1, answer.rest}:
        return 0
    if len(answer.jobs) != answer.count:
        return None
    return next((place for place, other in enumerate(answer.jobs) if is_same_job(job, other)), None)


def is_same_job(asked: str, other: str) -> bool:
    """Is the one asked for the other, or a task or a part of it? Slurm writes 17_[1-20], 17_3 and 17+1."""
    if asked == other or other.startswith((f"{asked}_", f"{asked}+", f"{asked}[")):
        return True
    base = re.match(r"(\d+)[_.\[]", asked)
    return base is not None and other.startswith((f"{base[1]}_[", f"{base[1]}["))


def _about_node(record: Record, row: Instance | None, node: Node | None, fleet: Fleet | None, instance_id: str) -> Iterator[str]:
    now = record.seen.now
    if fleet is None:
        yield "is in none of the fleets' groups"
    else:
        member = next(one for one in fleet.members if one.instance_id == instance_id)
        yield f"is {instance_id} of fleet {fleet.name}, which Auto Scaling has as {member.lifecycle}"
        learnt = learn(record.seen, record.memory, record.options.jobwatcher)
        for boot in learnt.of(fleet.name).booting:
            if boot.instance_id == instance_id:
                waited = f"{now - boot.since:.0f} s of at most {fleet.spec.boot_timeout_s:g} s"
                late = ", and is not waited for any more" if boot.overdue else ""
                yield f"takes no jobs yet, for {waited}{late}"
    yield f"is {row.state} in the table" if row is not None else "is not in the table"
    if node is None:
        yield "is not known to the scheduler"
        return
    used = f"{node.used.cpus} of {node.total.cpus} cpus in use"
    states = ", ".join(sorted(node.states)) or "idle"
    because = f" ({node.reason})" if node.reason else ""
    yield f"is {states} for the scheduler{because}, {used}" + (f", by {_some(node.jobs)}" if node.jobs else "")
    if node.hostname in record.outcome.used_hosts:
        yield "stands empty, and waiting jobs are about to use it"
    elif node.is_usable and NodeState.RESERVED not in node.states:
        yield "offers what it has free to waiting jobs, before anything is asked for"


def _remembered(learnt: Memory, fleet: Fleet) -> Iterator[str]:
    own = learnt.of(fleet.name)
    for one in learnt.setbacks:
        if one.fleet == fleet.name:
            where = " ".join(filter(None, [one.instance_type, f"in {one.zone}" if one.zone else ""])) or "it"
            times = f"{one.failures} time{'s' if one.failures > 1 else ''} in a row"
            yield f"{where} could not be had {times}, last at {clock(one.last_at)}, until {clock(one.until)}: {one.message}"
    if own.boot_failures:
        yield f"{own.boot_failures} of its instances in a row have never taken jobs"


def _some(jobs: Iterable[str], most: int = 3) -> str:
    names = sorted(jobs)
    return f"job {', '.join(names[:most])}" + (f" and {len(names) - most} more" if len(names) > most else "")
