"""squeue's lines of waiting jobs as rows of words, and what other commands add to them. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from daemons.errors import SchedulerUnavailable
from daemons.model import Hostname
from schedulers.slurm.hostlist import parse_hostlist
from schedulers.slurm.parse import SEPARATOR
from schedulers.slurm.render import PENDING_FIELDS

NOT_GIVEN = frozenset({"", "(null)", "N/A"})
_JOB_LINE = re.compile(r"JobId=(\d+) .*? NumNodes=\d+(?:-(\d+))? ")


class Row(NamedTuple):  # a tuple, because there can be a hundred thousand
    """The fields of one line, in the order of `render.SHOW_PENDING`."""

    job_id: str
    job: str
    tasks_of_array: str
    priority: str
    submitted: str
    eligible: str
    # What follows says what the job asks for and why it waits; nothing of it tells a job from its like.
    reason: str
    num_nodes: str
    max_nodes: str
    num_cpus: str
    num_tasks: str
    cpus_per_task: str
    min_cpus: str
    tasks_per_node: str
    min_memory: str
    tres: str
    gres_per_node: str
    gres_per_job: str
    gres_per_task: str
    gres_per_socket: str
    cpus_per_gres: str
    partition: str
    features: str
    oversubscribe: str
    dependency: str
    reservation: str
    req_nodes: str

    @property
    def shape(self) -> tuple[str, ...]:
        return self[6:]

    @property
    def may_spread(self) -> bool:
        """Could it run on one node or on several, as far as this line says? `-N1 -n8` and `-n8` look the same here."""
        return (self.num_tasks not in {"1", "N/A"} or self.gres_per_job not in NOT_GIVEN) and nodes_asked(self) == 1


def tres_of(row: Row) -> Mapping[str, str]:
    return dict(item.split("=", 1) for item in row.tres.split(",") if "=" in item)


def nodes_asked(row: Row) -> int:
    return int(tres_of(row).get("node", "1"))


def parse_rows(text: str) -> list[Row]:
    """The lines of `render.SHOW_PENDING`. Raises SchedulerUnavailable unless each has all its fields."""
    return [_split(line) for line in text.split("\n") if line]


def needed_details(rows: Sequence[Row]) -> tuple[bool, bool]:
    """What else has to be asked for: the tasks of arrays that run (an array is throttled), and the most nodes that jobs asked
    for (one could spread). Raises SchedulerUnavailable for a row that cannot be read.
    """
    try:
        return any("%" in row.tasks_of_array for row in rows), any(row.may_spread for row in rows)
    except ValueError as err:
        raise SchedulerUnavailable(f"squeue wrote a waiting job that cannot be read ({err!r})") from err


def _split(line: str) -> Row:
    fields = line.split(SEPARATOR)
    if len(fields) != PENDING_FIELDS + 1 or fields[-1]:
        raise SchedulerUnavailable(f"squeue wrote a waiting job that cannot be read: {line[:300]!r}")
    return Row._make(fields[:-1])


def parse_array(text: str) -> tuple[int, int | None]:
    """`1-3,7,9-21:2%5` → how many tasks, and how many of them may run at once. Raises ValueError."""
    tasks, percent, throttle = text.partition("%")
    count = 0
    for piece in tasks.split(","):
        span, _, step = piece.partition(":")
        low, _, high = span.partition("-")
        count += (int(high or low) - int(low)) // int(step or 1) + 1
    return count, int(throttle) if percent else None


def parse_excluded(text: str) -> dict[str, frozenset[Hostname]]:
    """`squeue -o '%i<SEPARATOR>%x'`: the nodes that each waiting job will not have; jobs without such are left out."""
    found: dict[str, frozenset[Hostname]] = {}
    for line in text.split("\n"):
        job, separator, nodes = line.partition(SEPARATOR)
        if line and not separator:
            raise SchedulerUnavailable(f"squeue wrote a waiting job that cannot be read: {line[:200]!r}")
        if nodes not in NOT_GIVEN:
            found[job] = frozenset(Hostname(name.lower()) for name in parse_hostlist(nodes))
    return found


def parse_running_arrays(text: str) -> dict[str, int]:
    """`squeue -o %F`: how many of each array's tasks occupy nodes."""
    counts: dict[str, int] = {}
    for job in text.split():
        counts[job] = counts.get(job, 0) + 1
    return counts


def parse_nodes_max(text: str) -> dict[str, int]:
    """`scontrol show job -o`: the most nodes that each job asked for, `NumNodes=1-4`; jobs that set none are left out."""
    found = (_JOB_LINE.match(line) for line in text.split("\n"))
    return {match[1]: int(match[2]) for match in found if match is not None and match[2]}
