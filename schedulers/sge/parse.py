"""qstat's XML as values: queue instances with what runs there, and the jobs that wait. Pure.

Recorded from Grid Engine 8.1.9. What cannot be read raises SchedulerUnavailable; nothing is skipped or assumed.
"""

import contextlib
import functools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from xml.parsers import expat

from daemons.errors import SchedulerUnavailable
from daemons.model import Hostname, JobId
from schedulers.sge.amounts import parse_amount

_NEEDED = ("JB_job_number", "JAT_prio", "state", "slots")
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
    reader = _Reader()
    try:
        with _readable(text, "qstat"):
            root = reader.read(_chunks(text))
        answer = _expected(root, "job_info", "qstat", text)
        queues, jobs = answer.find("queue_info"), answer.find("job_info")
        if queues is None or jobs is None:
            raise SchedulerUnavailable(f"qstat wrote half an answer: {text[:200]!r}")
        return Snapshot(
            instances=tuple(_parse_instance(element) for element in queues.iterfind("Queue-List")),
            waiting=tuple(reader.waiting),
        )
    except ValueError as err:
        raise SchedulerUnavailable(f"qstat wrote something that cannot be read: {err}") from err


class _Reader:
    """Makes a tree of what is said of hosts, and a row of each waiting job as soon as it is read: a tree of ten thousand jobs
    would be 150,000 objects that the garbage collector visits again and again.
    """

    def __init__(self) -> None:
        self.waiting: list[Row] = []
        self._tree = ET.TreeBuilder()
        self._job: _Words | None = None
        self._name = self._text = ""
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._tree.start
        self._parser.EndElementHandler = self._end_of_hosts
        self._parser.CharacterDataHandler = self._tree.data

    def read(self, chunks: Iterable[str]) -> ET.Element:
        """The root, without waiting jobs. Raises ExpatError, and ValueError for a job that cannot be read."""
        for chunk in chunks:
            self._parser.Parse(chunk)
        self._parser.Parse("", True)
        return self._tree.close()

    def _end_of_hosts(self, tag: str) -> None:
        self._tree.end(tag)
        if tag == "queue_info":  # the jobs before this are those that run
            self._parser.StartElementHandler = self._start
            self._parser.EndElementHandler = self._end
            self._parser.CharacterDataHandler = self._data

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._job is not None:
            self._name, self._text = attributes.get("name", ""), ""
        elif tag == "job_list":
            self._job = _Words()
        else:
            self._tree.start(tag, attributes)

    def _data(self, text: str) -> None:
        self._text += text  # in pieces where a chunk ends

    def _end(self, tag: str) -> None:
        if self._job is None:
            self._tree.end(tag)
        elif tag == "job_list":
            self.waiting.append(self._job.row())
            self._job = None
        else:
            self._job.add(tag, self._name, self._text)


def parse_tree(text: str, tag: str | None, command: str) -> ET.Element:
    """The XML's root; with `tag` only if that is what it is."""
    parser = ET.XMLParser()  # noqa: S314  the document is the qmaster's; expat bounds the expansion of entities
    with _readable(text, command):
        for chunk in _chunks(text):
            parser.feed(chunk)
        root: ET.Element = parser.close()
    return _expected(root, tag, command, text)


def _chunks(text: str) -> Iterator[str]:
    """Without characters that no XML may hold, which a job's name could."""
    return (_NOT_XML.sub("", text[start : start + _CHUNK_CHARS]) for start in range(0, len(text), _CHUNK_CHARS))


@contextlib.contextmanager
def _readable(text: str, command: str) -> Iterator[None]:
    try:
        yield
    except (ET.ParseError, expat.ExpatError) as err:
        raise SchedulerUnavailable(f"{command} wrote something else than XML ({err}): {text[:200]!r}") from err


def _expected(root: ET.Element | None, tag: str | None, command: str, text: str) -> ET.Element:
    if root is not None and root.tag == "comunication_error":  # its own spelling; so for some seconds after the qmaster's start
        words = "; ".join(text.strip() for text in root.itertext() if text.strip())
        raise SchedulerUnavailable(f"{command}: {words}", hint="see whether the qmaster's scheduler thread runs (`qconf -sss`)")
    if root is None or tag not in (None, root.tag):
        said = "nothing" if root is None else repr(root.tag)
        raise SchedulerUnavailable(f"{command} wrote {said} where {tag!r} was due: {text[:200]!r}")
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
    job = _Words()
    for child in element:
        job.add(child.tag, child.get("name", ""), child.text or "")
    return job.row()


class _Words:
    """What one `job_list` says, element by element."""

    __slots__ = ("defaults", "names", "queues", "requests", "texts")

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.requests: list[tuple[str, str]] = []
        self.defaults: list[tuple[str, str]] = []
        self.queues: list[str] = []

    def add(self, tag: str, name: str, text: str) -> None:
        if not name:
            if tag == "hard_req_queue":
                self.queues.append(text.strip())
            else:
                self.texts.setdefault(tag, text.strip())
        elif tag == "hard_request":
            self.requests.append((name, text.strip()))
        elif tag == "def_hard_request":
            self.defaults.append((name, text.strip()))
        else:
            self.texts.setdefault(tag, text.strip())
            self.names.setdefault(tag, name)

    def row(self) -> Row:
        """Raises ValueError."""
        texts, names = self.texts, self.names
        if missing := [tag for tag in _NEEDED if not texts.get(tag)]:
            raise ValueError(f"a job without {', '.join(missing)}")
        number = texts["JB_job_number"]
        if not (number.isascii() and number.isdecimal()):
            raise ValueError(f"a job with number {number!r}")
        return Row(
            job_id=number,
            tasks=texts.get("tasks", ""),
            priority=float(texts["JAT_prio"]),
            submitted_at=_time(texts.get("JB_submission_time") or texts.get("JAT_start_time", "")),
            state=texts["state"],
            owner=texts.get("JB_owner", ""),
            slots=int(texts["slots"]),
            pe=names.get("requested_pe", ""),
            pe_slots=texts.get("requested_pe", ""),
            granted_pe=names.get("granted_pe", ""),
            requests=tuple(self.requests),
            defaults=tuple(self.defaults),
            queues=tuple(filter(None, self.queues)),
            depends="predecessor_jobs" in texts or "ad_predecessor_jobs" in texts,
        )


@functools.lru_cache(maxsize=4096)  # many jobs are submitted in the same second
def _time(text: str) -> float:
    """Grid Engine prints the head node's local time, which is this machine's."""
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
