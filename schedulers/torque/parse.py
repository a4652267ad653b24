"""What `pbsnodes -x` and `qstat -x` write, as rows. Pure, and meant to be called in a thread.

Torque's XML is not always well formed: what users and moms wrote stands in it as it is. So it is taken apart entry by entry; an
entry that cannot be read after mending is left out and told of, and an answer that does not end as it should is none.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

from daemons.errors import SchedulerUnavailable

_BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});)")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME = re.compile(r"<name>([A-Za-z0-9.-]+)</name>")
_PARTS = re.compile(r"(\d+)(?:-(\d+))?")
_TABLE = re.compile(r"^(\d+)\[(\d+)\]\S*\s.*\s([A-Z])\s+\S+\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """One node of `pbsnodes -x`."""

    name: str
    states: frozenset[str]
    slots: int
    gpus: int = 0
    properties: frozenset[str] = frozenset()
    jobs: Mapping[str, int] = field(default_factory=dict)  # the slots of each job here, by its id
    note: str = ""
    status: Mapping[str, str] = field(default_factory=dict)  # what its mom has told; empty until it has


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """One entry of `qstat -x`: a job, or an array as a whole. Times are seconds since the epoch."""

    job_id: str
    state: str
    holds: str = "n"
    queue: str = ""
    priority: int = 0
    created_at: float = 0.0
    eligible_at: float = 0.0  # not before that time; 0: at once
    array: str = ""  # `1-100%5`
    depends: str = ""
    comment: str = ""
    exclusive: bool = False
    resources: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """What the table of `qstat -t` says of one array's tasks."""

    waiting: int = 0
    running: int = 0
    highest: int = -1  # index of those that are listed


def parse_nodes(text: str) -> tuple[tuple[NodeRow, ...], tuple[str, ...]]:
    """The nodes, and the names of those whose entries could not be read, "" where not even the name could. Raises
    SchedulerUnavailable for what is no whole answer.
    """
    rows, skipped = [], []
    for entry in _entries(text, "Node", "pbsnodes -x"):
        try:
            rows.append(_node(entry))
        except (ElementTree.ParseError, ValueError, KeyError):
            name = _NAME.findall(entry)
            skipped.append(name[0] if len(name) == 1 else "")
    return tuple(rows), tuple(skipped)


def parse_jobs(text: str) -> tuple[tuple[JobRow, ...], int]:
    """The jobs, and how many entries could not be read. Raises SchedulerUnavailable for what is no whole answer."""
    rows, skipped = [], 0
    for entry in _entries(text, "Job", "qstat -x"):
        try:
            rows.append(_job(entry))
        except (ElementTree.ParseError, ValueError, KeyError):
            skipped += 1
    return tuple(rows), skipped


def parse_tasks(text: str) -> Mapping[str, Tasks]:
    """The arrays of a `qstat -t` table, by their number: how many tasks wait and run. Other lines mean nothing here."""
    counts: dict[str, list[int]] = {}
    for line in text.splitlines():
        if (found := _TABLE.match(line)) is None:
            continue
        array = counts.setdefault(found[1], [0, 0, -1])
        array[0] += found[3] in "QHWT"
        array[1] += found[3] in "RES"
        array[2] = max(array[2], int(found[2]))
    return {number: Tasks(waiting=waiting, running=running, highest=top) for number, (waiting, running, top) in counts.items()}


def parse_range(text: str) -> tuple[int, int | None]:
    """How many tasks `1-100%5` is, and how many of them may run at once. Raises ValueError."""
    request, _, limit = text.partition("%")
    return len(task_indices(request)), int(limit) if limit else None


def task_indices(request: str) -> range | tuple[int, ...]:
    """The indices of `1-100` or `1,3,5-7`. Raises ValueError, also for more than ten million."""
    total: list[range] = []
    for part in request.split(","):
        if (found := _PARTS.fullmatch(part.strip())) is None:
            raise ValueError(f"{part[:40]!r} is no range of an array")
        total.append(range(int(found[1]), int(found[2] or found[1]) + 1))
    if sum(len(each) for each in total) > 10_000_000:
        raise ValueError(f"{request[:40]!r} is no array that Torque would take")
    return total[0] if len(total) == 1 else tuple(index for each in total for index in each)


def _entries(text: str, tag: str, what: str) -> Iterator[str]:
    whole = text.strip()
    if whole.startswith("<?xml"):
        whole = whole.partition("?>")[2].strip()
    if not (whole.startswith("<Data>") and whole.endswith("</Data>")):
        shown = " ".join(whole[-80:].split())
        raise SchedulerUnavailable(f"{what} gave half an answer or none; it ends with {shown!r}")
    begin, end = f"<{tag}>", f"</{tag}>"
    at, last = whole.find(begin), len("<Data>")
    while at >= 0:
        stop = whole.find(end, at)
        if stop < 0:
            raise SchedulerUnavailable(f"{what}: an entry has no end")
        yield whole[at : stop + len(end)]
        last = stop + len(end)
        at = whole.find(begin, last)
    if rest := whole[last : -len("</Data>")].strip():
        raise SchedulerUnavailable(f"{what}: after the last entry came {rest[:80]!r}")


def _element(entry: str) -> ElementTree.Element:
    """No entity can be defined inside an entry, so none can grow."""
    try:
        return ElementTree.fromstring(entry)  # noqa: S314  without a DTD, which an entry cannot have
    except ElementTree.ParseError:
        return ElementTree.fromstring(_NO_XML.sub("?", _BARE_AMPERSAND.sub("&amp;", entry)))  # noqa: S314


def _texts(element: ElementTree.Element) -> dict[str, str]:
    return {child.tag: child.text or "" for child in element}


def _node(entry: str) -> NodeRow:
    texts = _texts(_element(entry))
    return NodeRow(
        name=texts["name"],
        states=frozenset(filter(None, texts["state"].replace(" ", "").split(","))),
        slots=int(texts["np"]),
        gpus=int(texts.get("gpus") or 0),
        properties=frozenset(filter(None, texts.get("properties", "").split(","))),
        jobs=_slots_by_job(texts.get("jobs", "")),
        note=texts.get("note", ""),
        status=dict(pair.partition("=")[::2] for pair in texts.get("status", "").split(",") if "=" in pair),
    )


def _slots_by_job(text: str) -> dict[str, int]:
    """`0-1/104.tbhead,2/106.tbhead`: as the number of slots of each."""
    slots: dict[str, int] = {}
    places = ""
    for part in filter(None, text.replace(" ", "").split(",")):
        spans, slash, job = part.partition("/")
        places = f"{places},{spans}" if places else spans
        if slash:
            slots[job] = slots.get(job, 0) + len(task_indices(places))
            places = ""
    if places:
        raise ValueError(f"slots of no job: {places[:40]!r}")
    return slots


def _job(entry: str) -> JobRow:
    element = _element(entry)
    texts = _texts(element)
    asked = element.find("Resource_List")
    return JobRow(
        job_id=texts["Job_Id"],
        state=texts["job_state"],
        holds=texts.get("Hold_Types", "n"),
        queue=texts.get("queue", ""),
        priority=int(texts.get("Priority") or 0),
        created_at=float(texts.get("qtime") or texts.get("ctime") or 0),
        eligible_at=float(texts.get("Execution_Time") or 0),
        array=texts.get("job_array_request", ""),
        depends=texts.get("depend", ""),
        comment=texts.get("comment", ""),
        exclusive=texts.get("node_exclusive", "").lower() == "true",
        resources=tuple(sorted(_texts(asked).items())) if asked is not None else (),
    )
