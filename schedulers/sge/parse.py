"""qstat's XML as values: queue instances with what runs there, and the jobs that wait. Pure.

Recorded from Grid Engine 8.1.9. What cannot be read raises SchedulerUnavailable; nothing is skipped or assumed.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from daemons.errors import SchedulerUnavailable
from daemons.model import Hostname, JobId
from schedulers.sge.amounts import parse_amount

_CHUNK_CHARS = 1 << 16  # a parser's call keeps other threads out: many short ones let them in between
_NOT_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


class Row(NamedTuple):  # a tuple, because there can be a hundred thousand
    """One `job_list` of qstat: a waiting job or some of an array's tasks, or what of a job runs in one queue instance."""

    job_id: str
    tasks: str  # "" for what is no array
    priority: float
    submitted_at: float  # or started, of what runs
    state: str
    owner: str
    # What follows says what the job asks for and why it waits; nothing of it tells a job from its like.
    slots: int
    pe: str  # the parallel environment asked for, maybe a pattern; "" for none
    pe_slots: str  # "4", "4-16"
    granted_pe: str
    requests: tuple[tuple[str, str], ...]  # hard ones
    defaults: tuple[tuple[str, str], ...]  # what consumables were charged that nobody asked for; of running jobs only
    queues: tuple[str, ...]
    depends: bool

    @property
    def shape(self) -> tuple[object, ...]:
        return self[6:]

    @property
    def job(self) -> JobId:
        """As Grid Engine's commands take it."""
        return JobId(f"{self.job_id}.{self.tasks}" if self.tasks else self.job_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A complex at a queue instance. The letters of `kind`: global, host or queue; fixed, consumable (what is left) or load."""

    name: str
    kind: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInstance:
    """A cluster queue at one host."""

    queue: str
    host: str  # as Grid Engine prints it
    slots_total: int
    slots_used: int
    slots_reserved: int
    states: str  # a letter each: d disabled, u unknown, ...
    has_reported: bool  # has its daemon ever said anything?
    resources: tuple[Resource, ...]
    jobs: tuple[Row, ...]

    @property
    def name(self) -> str:
        return f"{self.queue}@{self.host}"

    @property
    def hostname(self) -> Hostname:
        return first_label(self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One answer of `qstat -f`: everything in it was true at one moment."""

    instances: tuple[QueueInstance, ...]
    waiting: tuple[Row, ...]


def first_label(host: str) -> Hostname:
    """Headnode's name of a host that Grid Engine may print with its domain."""
    return Hostname(host.lower().partition(".")[0])


def parse_snapshot(text: str) -> Snapshot:
    """The answer of `qstat -f -r -xml`."""
    root = parse_tree(text, "job_info", "qstat")
    queues, jobs = root.find("queue_info"), root.find("job_info")
    if queues is None or jobs is None:
        raise SchedulerUnavailable(f"qstat wrote half an answer: {text[:200]!r}")
    try:
        return Snapshot(
            instances=tuple(_parse_instance(element) for element in queues.iterfind("Queue-List")),
            waiting=tuple(_parse_row(element) for element in jobs.iterfind("job_list")),
        )
    except ValueError as err:
        raise SchedulerUnavailable(f"qstat wrote something that cannot be read: {err}") from err


def parse_tree(text: str, tag: str | None, command: str) -> ET.Element:
    """The XML's root. Characters that no XML may hold, which a job's name could, are left out."""
    parser = ET.XMLParser()  # noqa: S314  the document is the qmaster's; expat bounds the expansion of entities
    clean = _NOT_XML.sub("", text)
    try:
        for start in range(0, len(clean), _CHUNK_CHARS):
            parser.feed(clean[start : start + _CHUNK_CHARS])
        root: ET.Element = parser.close()
    except ET.ParseError as err:
        raise SchedulerUnavailable(f"{command} wrote something else than XML ({err}): {text[:200]!r}") from err
    if root.tag == "comunication_error":  # its own spelling; so for some seconds after the qmaster's start
        words = "; ".join(text.strip() for text in root.itertext() if text.strip())
        raise SchedulerUnavailable(f"{command}: {words}", hint="see whether the qmaster's scheduler thread runs (`qconf -sss`)")
    if tag is not None and root.tag != tag:
        raise SchedulerUnavailable(f"{command} wrote {root.tag!r} where {tag!r} was due: {text[:200]!r}")
    return root


def _parse_instance(element: ET.Element) -> QueueInstance:
    queue, at, host = _text(element, "name").partition("@")
    if not (queue and at and host):
        raise ValueError(f"a queue instance named {_text(element, 'name')!r}")
    return QueueInstance(
        queue=queue,
        host=host,
        slots_total=int(_text(element, "slots_total")),
        slots_used=int(_text(element, "slots_used")),
        slots_reserved=int(_text(element, "slots_resv")),
        states=(element.findtext("state") or "").strip(),
        has_reported=element.find("arch") is not None,
        resources=tuple(
            Resource(name=one.get("name", ""), kind=one.get("type", ""), value=(one.text or "").strip())
            for one in element.iterfind("resource")
        ),
        jobs=tuple(_parse_row(job) for job in element.iterfind("job_list")),
    )


def _parse_row(element: ET.Element) -> Row:
    pe = element.find("requested_pe")
    granted = element.find("granted_pe")
    return Row(
        job_id=_job_number(element),
        tasks=(element.findtext("tasks") or "").strip(),
        priority=float(_text(element, "JAT_prio")),
        submitted_at=_time(element),
        state=_text(element, "state"),
        owner=(element.findtext("JB_owner") or "").strip(),
        slots=int(_text(element, "slots")),
        pe="" if pe is None else pe.get("name", ""),
        pe_slots="" if pe is None else (pe.text or "").strip(),
        granted_pe="" if granted is None else granted.get("name", ""),
        requests=tuple(_pairs(element, "hard_request")),
        defaults=tuple(_pairs(element, "def_hard_request")),
        queues=_queues(element),
        depends=element.find("predecessor_jobs") is not None or element.find("ad_predecessor_jobs") is not None,
    )


def _job_number(element: ET.Element) -> str:
    number = _text(element, "JB_job_number")
    if not (number.isascii() and number.isdecimal()):
        raise ValueError(f"a job with number {number!r}")
    return number


def _queues(element: ET.Element) -> tuple[str, ...]:
    return tuple(text for one in element.iterfind("hard_req_queue") if (text := (one.text or "").strip()))


def _pairs(element: ET.Element, tag: str) -> Iterator[tuple[str, str]]:
    return ((one.get("name", ""), (one.text or "").strip()) for one in element.iterfind(tag))


def _time(element: ET.Element) -> float:
    """Grid Engine prints the head node's local time, which is this machine's."""
    text = element.findtext("JB_submission_time") or _text(element, "JAT_start_time")
    return datetime.fromisoformat(text).timestamp()


def _text(element: ET.Element, tag: str) -> str:
    text = element.findtext(tag)
    if not text:
        raise ValueError(f"<{element.tag}> without {tag}")
    return text.strip()


def running_slots(instances: Sequence[QueueInstance]) -> dict[str, int]:
    """How many slots of each parallel environment are in use."""
    used: dict[str, int] = {}
    for instance in instances:
        for row in instance.jobs:
            if row.granted_pe:
                used[row.granted_pe] = used.get(row.granted_pe, 0) + row.slots
    return used


def licences(instances: Sequence[QueueInstance]) -> dict[str, float]:
    """What is left of the consumables that the whole cluster shares: the same at every queue instance."""
    try:
        shared = {one.name: one.value for instance in instances for one in instance.resources if one.kind == "gc"}
        return {name: parse_amount(value) for name, value in shared.items()}
    except ValueError as err:
        raise SchedulerUnavailable(f"qstat wrote something that cannot be read: {err}") from err
