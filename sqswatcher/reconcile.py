"""Compares what should be with what is: groups, rows, scheduler nodes and DNS records. Pure; steps are applied like a batch's.

Messages are delivered at best, so some never come. What is missing is mended once it is old enough to be no longer under way;
what is left over is removed only when it was seen twice, and only if a row or its tombstone proves that it was ours: a node
that an administrator added, or a record of another owner, is never touched.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from daemons.lifecycle import Event, begin, enter
from daemons.model import Fleet, FleetName, Hostname, Instance, InstanceId, Node, State
from sqswatcher.plan import Effect, Plan, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    age_grace_s: float  # nothing younger is judged: its messages may be on their way
    max_removal_share: float  # a pass that would remove a greater part of the rows removes nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The four sources at one moment, each complete. `hostnames` and `addresses` are EC2's word for members without either."""

    now: float
    fleets: tuple[Fleet, ...]
    rows: tuple[Instance, ...]  # tombstones included
    nodes: tuple[Node, ...]
    records: Mapping[Hostname, str] | None  # None: the cluster has no zone
    hostnames: Mapping[InstanceId, Hostname]
    addresses: Mapping[InstanceId, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be, and what is done about it."""

    kind: str  # "missing-row", "missing-node", "awaited-node", "wrong-record", "ended-instance", "orphan-node", "orphan-record"
    instance_id: InstanceId
    hostname: Hostname | None
    sentence: str
    removes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What to do now, everything found, and what must be seen once more before it is removed."""

    plan: Plan
    findings: tuple[Finding, ...]
    suspects: frozenset[tuple[str, InstanceId]]
    refused: str = ""  # why nothing is removed in this pass, although something should be


def plan_reconcile(seen: Survey, suspects: frozenset[tuple[str, InstanceId]], options: Options) -> Reconciliation:
    """Steps that mend what is missing, and remove what is left over and was so in the last pass, whose `suspects` these are."""
    fleet_of = {member.instance_id: fleet.name for fleet in seen.fleets for member in fleet.members}
    leaving = {member.instance_id for fleet in seen.fleets for member in fleet.members if member.is_leaving}
    fresh = list(_adopt(seen, fleet_of, leaving))  # nothing tells how old these are, so they too must be seen twice
    mends = [*(pair for pair in fresh if _was_seen(pair[0], suspects)), *_mend(seen, fleet_of, leaving, options)]
    leftovers = [*_ended(seen, fleet_of, options), *_orphans(seen)]
    confirmed = [pair for pair in leftovers if _was_seen(pair[0], suspects)]
    refused = _refusal(len(confirmed), seen, options)
    steps = [step for _, step in (mends if refused else [*mends, *confirmed])]
    return Reconciliation(
        plan=Plan(steps=tuple(steps)),
        findings=tuple(finding for finding, _ in (*mends, *leftovers)),
        suspects=frozenset((finding.kind, finding.instance_id) for finding, _ in (*fresh, *leftovers)),
        refused=refused,
    )


def _was_seen(finding: Finding, suspects: frozenset[tuple[str, InstanceId]]) -> bool:
    return (finding.kind, finding.instance_id) in suspects


def _refusal(removals: int, seen: Survey, options: Options) -> str:
    live = sum(row.is_live for row in seen.rows)
    limit = max(1, int(live * options.max_removal_share))
    if removals <= limit:
        return ""
    return f"{removals} removals asked for, and one pass removes at most {limit} of {live}: look before you resync by hand"


def _adopt(seen: Survey, fleet_of: Mapping[InstanceId, FleetName], leaving: set[InstanceId]) -> Iterable[tuple[Finding, Step]]:
    """Members that no row knows: their launch was never told. A row, and the rest follows when it is old enough."""
    known = {row.instance_id for row in seen.rows}
    for instance_id, fleet in fleet_of.items():
        if instance_id not in known and instance_id not in leaving:
            row = begin(instance_id, fleet, Event.LAUNCHED, now=seen.now)
            finding = Finding(
                kind="missing-row",
                instance_id=instance_id,
                hostname=None,
                sentence=f"{instance_id} is in fleet {fleet}, without a row",
            )
            yield finding, Step(instance_id=instance_id, fleet=fleet, before=row, because="reconcile: its launch was never told")


def _mend(
    seen: Survey, fleet_of: Mapping[InstanceId, FleetName], leaving: set[InstanceId], options: Options
) -> Iterable[tuple[Finding, Step]]:
    """Rows of members that should be registered by now and are not, or not rightly."""
    nodes = {node.hostname: node for node in seen.nodes}
    for row in seen.rows:
        if row.instance_id not in fleet_of or row.instance_id in leaving or _is_young(row, seen.now, options):
            continue
        whole = _complete(row, seen)
        if row.state not in (State.PENDING, State.READY, State.REGISTERED) or whole is None:
            continue
        kind, sentence = _lacks(whole, row, nodes, seen.records)
        if kind:
            finding = Finding(kind=kind, instance_id=row.instance_id, hostname=whole.hostname, sentence=sentence)
            yield finding, _register(whole, row, seen.now)


def _complete(row: Instance, seen: Survey) -> Instance | None:
    """The row with a host name and an address, EC2's where its own are lacking; None where nobody can tell."""
    hostname = row.hostname or seen.hostnames.get(row.instance_id)
    address = row.address or seen.addresses.get(row.instance_id, "")
    return replace(row, hostname=hostname, address=address) if hostname and address else None


def _lacks(
    whole: Instance, row: Instance, nodes: Mapping[Hostname, Node], records: Mapping[Hostname, str] | None
) -> tuple[str, str]:
    hostname = whole.hostname
    if hostname is None:
        return "", ""
    if row.state is not State.REGISTERED:
        return (
            "missing-node",
            f"{whole.instance_id} has been {row.state} for long: its ready message was lost",
        )
    if hostname not in nodes:
        return "missing-node", f"{whole.instance_id} is registered as {hostname}, and the scheduler does not know it"
    if nodes[hostname].is_awaited:
        return "awaited-node", f"{whole.instance_id} is registered as {hostname}, and its scheduler daemon has not been heard of"
    if records is not None and records.get(hostname) != whole.address:
        has = records.get(hostname, "no address")
        return "wrong-record", f"{hostname} has {has} in the zone, and should have {whole.address}"
    return "", ""


def _register(whole: Instance, row: Instance, now: float) -> Step:
    ready = whole if row.state is State.REGISTERED else enter(whole, State.READY, now=now)
    return Step(
        instance_id=row.instance_id,
        fleet=row.fleet,
        effect=Effect.REGISTER,
        before=ready if ready != row or row.state is not State.REGISTERED else None,
        after=ready if row.state is State.REGISTERED else enter(ready, State.REGISTERED, now=now),
        because="reconcile: registered again",
    )


def _ended(seen: Survey, fleet_of: Mapping[InstanceId, FleetName], options: Options) -> Iterable[tuple[Finding, Step]]:
    """Live rows whose instance is in no group: its end was never told."""
    for row in seen.rows:
        if not row.is_live or row.instance_id in fleet_of or _is_young(row, seen.now, options):
            continue
        sentence = f"{row.instance_id} is {row.state} in the table, and in no group"
        finding = Finding(
            kind="ended-instance", instance_id=row.instance_id, hostname=row.hostname, sentence=sentence, removes=True
        )
        yield finding, _remove(row, enter(row, State.GONE, now=seen.now))


def _orphans(seen: Survey) -> Iterable[tuple[Finding, Step]]:
    """Nodes and records that a tombstone proves to have been ours, and that no live row claims."""
    claimed = {row.hostname for row in seen.rows if row.is_live}
    nodes = {node.hostname for node in seen.nodes}
    for row in seen.rows:
        if row.is_live or row.hostname is None or row.hostname in claimed:
            continue
        in_zone = seen.records is not None and seen.records.get(row.hostname) == row.address
        if row.hostname in nodes or in_zone:
            kind = "orphan-node" if row.hostname in nodes else "orphan-record"
            where = "scheduler" if row.hostname in nodes else "zone"
            sentence = f"{row.hostname} of {row.instance_id}, which is gone, is still in the {where}"
            yield _leftover(kind, row, sentence), _remove(row, row)
            claimed.add(row.hostname)  # two tombstones of one host name are one orphan


def _leftover(kind: str, row: Instance, sentence: str) -> Finding:
    return Finding(kind=kind, instance_id=row.instance_id, hostname=row.hostname, sentence=sentence, removes=True)


def _remove(row: Instance, after: Instance) -> Step:
    effect = Effect.DEREGISTER if row.hostname else Effect.NONE
    return Step(
        instance_id=row.instance_id, fleet=row.fleet, effect=effect, after=after, because="reconcile: its instance is gone"
    )


def _is_young(row: Instance, now: float, options: Options) -> bool:
    """A time to come was written before the clock was set back, and is no reason to wait for it."""
    return 0 <= now - _entered_at(row) < options.age_grace_s


def _entered_at(row: Instance) -> float:
    times = (row.pending_at, row.ready_at, row.registered_at, row.draining_at, row.terminating_at, row.gone_at)
    return max((at for at in times if at is not None), default=0.0)
