"""Collects what `status`, `jobs` and `top` tell: the services' records, systemd's word, and with `live` everybody's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from daemons.cli.overview import (
    Deed,
    Overview,
    ServiceLine,
    Unit,
    alarms_of,
    fleet_lines,
    job_deeds,
    late_after_s,
    look_of,
    newest,
    node_deeds,
    node_problems,
    queue_problems,
    service_line,
    service_problems,
    wait_lines,
)
from daemons.config import Config
from daemons.errors import InvalidValue
from daemons.record import DECISIONS, LAST, MEMORY, read_last, read_tail
from jobwatcher.record import Record as JobRecord
from jobwatcher.record import state_directory as jobs_directory
from nodewatcher.record import Record as NodeRecord
from nodewatcher.record import state_directory as nodes_directory

SERVICES = ("sqswatcher", "jobwatcher", "nodewatcher")
_HISTORY = 12  # records of each service that are searched for what was decided last

_NOT_ASKED: Mapping[str, float | None] = {}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What the services have written. A file that cannot be read is None, and a problem."""

    jobs: JobRecord | None
    nodes: NodeRecord | None
    problems: tuple[str, ...] = ()


class Files:
    """What the services of one cluster write, read again only where it has changed."""

    def __init__(self, config: Config) -> None:
        self._jobs = jobs_directory(config.jobwatcher)
        self._nodes = nodes_directory(config.nodewatcher)
        self._kept: dict[Path, tuple[object, Any]] = {}

    def records(self) -> Records:
        jobs, one = self._fresh(self._jobs / LAST, lambda: _read(self._jobs, JobRecord))
        nodes, other = self._fresh(self._nodes / LAST, lambda: _read(self._nodes, NodeRecord))
        return Records(jobs=jobs, nodes=nodes, problems=(*one, *other))

    def deeds(self) -> tuple[Deed, ...]:
        """What was decided last."""
        jobs = self._fresh(self._jobs / DECISIONS, lambda: tuple(job_deeds(read_tail(self._jobs, JobRecord, most=_HISTORY))))
        nodes = self._fresh(self._nodes / DECISIONS, lambda: tuple(node_deeds(read_tail(self._nodes, NodeRecord, most=_HISTORY))))
        return newest((*jobs, *nodes))

    def _fresh(self, path: Path, read: Callable[[], T]) -> T:
        try:
            stat = path.stat()
            sign: object = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        except OSError:
            sign = None
        kept = self._kept.get(path)
        if kept is None or sign is None or kept[0] != sign:
            kept = self._kept[path] = (sign, read())
        value: T = kept[1]
        return value


def read_records(config: Config) -> Records:
    return Files(config).records()


def _read(directory: Path, kind: type[T]) -> tuple[T | None, tuple[str, ...]]:
    try:
        return read_last(directory, kind), ()
    except (InvalidValue, OSError) as err:
        return None, (f"what is recorded in {directory} cannot be read: {err}",)


def compose(
    config: Config,
    records: Records,
    deeds: Sequence[Deed],
    units: Mapping[str, Unit],
    *,
    now: float,
    queue: Mapping[str, float | None] = _NOT_ASKED,
    more: Sequence[str] = (),
    written: Records | None = None,
) -> Overview:
    """One page of all that. `queue` is what the queue says, where it was asked; `more` are problems met on the way. `written` is
    what the services themselves have written, where `records` hold a look of somebody else's.
    """
    look = look_of(records.jobs, records.nodes)
    services = service_lines(config, units, written or records, now=now)
    problems = (
        *service_problems(services),
        *records.problems,
        *more,
        *queue_problems(queue),
        *alarms_of(records.jobs, records.nodes),
        *(node_problems(look) if look is not None else ()),
    )
    return Overview(
        cluster=config.cluster,
        at=look.at if look is not None else None,
        problems=tuple(dict.fromkeys(problems)),
        services=services,
        fleets=fleet_lines(look, records.jobs) if look is not None else (),
        waiting=wait_lines(records.jobs.outcome.answers) if records.jobs is not None else (),
        deeds=tuple(deeds),
        queue=queue,
    )


def service_lines(config: Config, units: Mapping[str, Unit], records: Records, *, now: float) -> tuple[ServiceLine, ...]:
    """Each service. That it has looked shows in its memory, which is written with every look that went well, and where that has
    not been written yet, or may not be read, in its record.
    """
    jobs, nodes = records.jobs, records.nodes
    watched = {
        "jobwatcher": (jobs_directory(config.jobwatcher), config.jobwatcher.interval_s, jobs.seen.now if jobs else None),
        "nodewatcher": (nodes_directory(config.nodewatcher), config.nodewatcher.interval_s, nodes.seen.now if nodes else None),
    }
    lines = [service_line("sqswatcher", units.get("sqswatcher"), looked_s=None, late_s=0.0, keeps_record=False)]
    for service, (directory, interval_s, recorded_at) in watched.items():
        looked_at, may_read = _written_at(directory / MEMORY)
        at = looked_at if looked_at is not None else recorded_at
        line = service_line(
            service,
            units.get(service),
            looked_s=max(0.0, now - at) if at is not None else None,
            late_s=late_after_s(interval_s),
            may_read=may_read,
            one_of_two=config.ha.enabled,
        )
        lines.append(line)
    return tuple(lines)


def _written_at(path: Path) -> tuple[float | None, bool]:
    """When the file was written last, None where there is none; and whether we may know."""
    try:
        return path.stat().st_mtime, True
    except FileNotFoundError:
        return None, True
    except OSError:
        return None, False
