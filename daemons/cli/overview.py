"""What is going on, on one page: problems, services, fleets, what waits and for what, what was decided last. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from daemons.ha.lease import STANDS_BY
from daemons.model import Fleet, Hostname, Instance, Node, NodeState, State
from daemons.packing import Limit
from jobwatcher.explain import verdict_on
from jobwatcher.plan import Action, Answer
from jobwatcher.record import Record as JobRecord
from nodewatcher.judge import Action as NodeAction
from nodewatcher.record import Record as NodeRecord
from nodewatcher.record import Sentence, gist

_LATE_LOOKS, _LATE_S = 6, 120.0  # a service whose last look is older, whichever is more, is late
_OLD_MESSAGE_S = 300.0
DEEDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What systemd says of a service."""

    active: str  # active, activating, failed, ...
    sub: str = ""
    status: str = ""  # the service's own words
    restarts: int = 0
    runs_s: float | None = None  # how long its process has been running


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLine:
    """`is_alive` is None where nobody can say; `looked_s` is how long ago it has looked, None where there is no record.
    `last_look` says that in words, whichever it is.
    """

    service: str
    is_alive: bool | None
    state: str
    looked_s: float | None = None
    is_late: bool = False
    status: str = ""
    last_look: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetLine:
    """One fleet. `booting` are instances that take no jobs yet; `busy` and `idle` are of the registered ones."""

    fleet: str
    minimum: int
    desired: int
    maximum: int
    booting: int = 0
    registered: int = 0
    busy: int = 0
    idle: int = 0
    draining: int = 0
    verdict: str = ""


class Fate(StrEnum):
    """What a waiting job waits for, from what is closest to starting to what is furthest."""

    STARTING = "starting"  # there is room on live nodes: the scheduler is about to start it
    COMING = "coming"  # on nodes that boot
    ASKED = "asked"  # on new nodes, which are asked for now
    LIMITED = "limited"  # more nodes would help, and cannot be had
    BLOCKED = "blocked"  # more nodes would not help


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitLine:
    """So many jobs wait for the same thing."""

    jobs: int
    fate: Fate
    waits_for: str

    @property
    def sentence(self) -> str:
        return f"{self.waits_for}; more nodes would not help" if self.fate is Fate.BLOCKED else self.waits_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something that was decided."""

    at: float
    service: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The world at a moment, whoever has seen it."""

    at: float
    fleets: tuple[Fleet, ...] = ()
    rows: tuple[Instance, ...] = ()
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """`at` is when the newest look was, None where there is none."""

    cluster: str
    at: float | None
    problems: tuple[str, ...]
    services: tuple[ServiceLine, ...]
    fleets: tuple[FleetLine, ...] = ()
    waiting: tuple[WaitLine, ...] = ()
    deeds: tuple[Deed, ...] = ()
    queue: Mapping[str, float | None] = field(default_factory=dict)  # only where it was asked


def late_after_s(interval_s: float) -> float:
    return max(_LATE_LOOKS * interval_s, _LATE_S)


def service_line(
    service: str,
    unit: Unit | None,
    *,
    looked_s: float | None,
    late_s: float,
    keeps_record: bool = True,
    may_read: bool = True,
    one_of_two: bool = False,
) -> ServiceLine:
    """By systemd's word where it runs the service, and by the age of its record. One of two heads stands by and does not look.

    `may_read` False: whether there is a record is not known.
    """
    stands_by = unit is not None and unit.status.startswith(STANDS_BY)
    runs_s = unit.runs_s if unit is not None else None
    without_s = runs_s if looked_s is None and keeps_record and may_read else looked_s  # for how long nobody has looked
    is_late = without_s is not None and without_s > late_s and not stands_by
    last_look = _last_look(looked_s, runs_s, keeps_record=keeps_record, may_read=may_read)
    if unit is None and one_of_two and (is_late or looked_s is None):
        state = "not known: late, or the other head's: headnode ha says"
        return ServiceLine(service=service, is_alive=None, state=state, looked_s=looked_s, last_look=last_look)
    if unit is not None:
        is_alive: bool | None = unit.active in ("active", "reloading", "refreshing") and not is_late
        state = f"{unit.active} ({unit.sub})" if unit.sub else unit.active
    elif not keeps_record:
        is_alive, state = None, "not known: systemd does not run it, and it keeps no record"
    elif looked_s is None:
        is_alive, state = False, "has recorded nothing"
    else:
        is_alive, state = not is_late, "late" if is_late else "looks"
    said = unit.status if unit is not None else ""
    return ServiceLine(
        service=service, is_alive=is_alive, state=state, looked_s=looked_s, is_late=is_late, status=said, last_look=last_look
    )


def _last_look(looked_s: float | None, runs_s: float | None, *, keeps_record: bool, may_read: bool) -> str:
    if not keeps_record:
        return "keeps no record"
    if looked_s is not None:
        return f"{looked_s:.0f} s ago"
    if not may_read:
        return "not known"
    return "not yet" if runs_s is None else f"not yet, runs for {runs_s:.0f} s"


def service_problems(lines: Iterable[ServiceLine]) -> Iterator[str]:
    for line in lines:
        if line.is_alive is False:
            late = f"; its last look: {line.last_look}" if line.is_late else ""
            said = f": {line.status}" if line.status else ""
            yield f"{line.service} is not well: {line.state}{late}{said}"


def look_of(jobs: JobRecord | None, nodes: NodeRecord | None) -> Look | None:
    """The newer of the two services' last looks."""
    looks = []
    if jobs is not None:
        seen = jobs.seen
        looks.append(Look(at=seen.now, fleets=seen.fleets, rows=seen.rows, nodes=seen.nodes))
    if nodes is not None:
        rows = tuple(snapshot.row for snapshot in nodes.seen.snapshots)
        looks.append(Look(at=nodes.seen.now, fleets=nodes.seen.fleets, rows=rows, nodes=nodes.seen.nodes))
    return max(looks, key=lambda look: look.at, default=None)


def fleet_lines(look: Look, jobs: JobRecord | None) -> tuple[FleetLine, ...]:
    said = {one.fleet: verdict_on(one) for one in jobs.outcome.decisions} if jobs is not None else {}
    nodes = {node.hostname: node for node in look.nodes}
    return tuple(_fleet_line(fleet, look.rows, nodes, said.get(fleet.name, "")) for fleet in look.fleets)


def _fleet_line(fleet: Fleet, rows: Sequence[Instance], nodes: Mapping[Hostname, Node], verdict: str) -> FleetLine:
    own = [row for row in rows if row.fleet == fleet.name]
    without_row = {member.instance_id for member in fleet.staying} - {row.instance_id for row in own}
    registered = [row for row in own if row.state is State.REGISTERED]
    known = [node for row in registered if row.hostname is not None and (node := nodes.get(row.hostname)) is not None]
    awaited = sum(node.is_awaited for node in known)
    return FleetLine(
        fleet=fleet.name,
        minimum=fleet.minimum,
        desired=fleet.desired,
        maximum=fleet.maximum,
        booting=len(without_row) + sum(row.state in (State.PENDING, State.READY) for row in own) + awaited,
        registered=len(registered),
        busy=sum(not node.is_empty for node in known),
        idle=sum(node.is_idle for node in known),
        draining=sum(row.state in (State.DRAINING, State.TERMINATING) for row in own),
        verdict=verdict,
    )


def wait_lines(answers: Iterable[Answer]) -> tuple[WaitLine, ...]:
    """What waits, by what for: what is closest to starting first."""
    counted: dict[tuple[Fate, str], int] = {}
    for answer in answers:
        for line in fates(answer):
            key = line.fate, line.waits_for
            counted[key] = counted.get(key, 0) + line.jobs
    lines = [WaitLine(jobs=jobs, fate=fate, waits_for=what) for (fate, what), jobs in counted.items()]
    order = list(Fate)
    return tuple(sorted(lines, key=lambda line: order.index(line.fate)))


def fates(answer: Answer) -> Iterator[WaitLine]:
    """What becomes of the jobs of one answer, part by part."""
    if answer.live:
        yield WaitLine(jobs=answer.live, fate=Fate.STARTING, waits_for="about to start: there is room on live nodes")
    if answer.coming:
        yield WaitLine(jobs=answer.coming, fate=Fate.COMING, waits_for="nodes that are coming")
    for fleet, jobs in (answer.new or {}).items():
        yield WaitLine(jobs=jobs, fate=Fate.ASKED, waits_for=f"new nodes of fleet {fleet}")
    if answer.rest:
        blocked = answer.why.startswith(f"{Limit.BLOCKED} by ")
        yield WaitLine(jobs=answer.rest, fate=Fate.BLOCKED if blocked else Fate.LIMITED, waits_for=answer.why)


def node_problems(look: Look) -> Iterator[str]:
    for node in look.nodes:
        if NodeState.DOWN in node.states:
            yield f"the scheduler calls {node.hostname} down" + (f": {node.reason}" if node.reason else "")


def queue_problems(queue: Mapping[str, float | None]) -> Iterator[str]:
    if dead := queue.get("dead letters"):
        yield f"{'a message has' if dead == 1 else f'{dead:.0f} messages have'} been put aside: headnode queue dead lists them"
    oldest_s = queue.get("oldest_s")
    if oldest_s is not None and oldest_s > _OLD_MESSAGE_S:
        yield f"the oldest message in the queue has waited for {oldest_s:.0f} s: does sqswatcher work?"


def alarms_of(jobs: JobRecord | None, nodes: NodeRecord | None) -> Iterator[str]:
    for alarm in (*(jobs.outcome.alarms if jobs else ()), *(nodes.alarms if nodes else ())):
        yield alarm.because


def job_deeds(records: Iterable[JobRecord]) -> Iterator[Deed]:
    for record in records:
        for one in record.outcome.decisions:
            if one.action is not Action.HOLD:
                yield Deed(
                    at=record.seen.now, service="jobwatcher", sentence=f"fleet {one.fleet} {verdict_on(one)}: {one.reason}"
                )


def node_deeds(records: Iterable[NodeRecord]) -> Iterator[Deed]:
    """What became news from one record to the next. The first is what others are compared with: how old it is nobody knows."""
    before: dict[str, str] = {}
    for number, record in enumerate(records):
        names: dict[str, str] = {snapshot.row.instance_id: snapshot.row.hostname or "" for snapshot in record.seen.snapshots}
        now = {one.instance_id: gist(one) for one in record.verdicts}
        if number:
            for one in record.verdicts:
                if one.action is not NodeAction.KEEP and before.get(one.instance_id) != now[one.instance_id]:
                    yield Deed(at=record.seen.now, service="nodewatcher", sentence=_node_deed(one, names))
        before = now


def _node_deed(one: Sentence, names: Mapping[str, str]) -> str:
    return f"{names.get(one.instance_id) or one.instance_id} is to {one.action}: {one.reason}"


def newest(deeds: Iterable[Deed], most: int = DEEDS) -> tuple[Deed, ...]:
    return tuple(sorted(deeds, key=lambda deed: deed.at, reverse=True)[:most])
