"""One screen of `headnode top`: as much as the terminal has room for, what matters most first. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from daemons.cli.common import printable
from daemons.cli.overview import Overview
from daemons.cli.work import WorkLine
from daemons.model import NodeState, State
from jobwatcher.stance import clock
from nodewatcher.explain import NodeLine

_LEAST = 4  # a list gets a blank line, its heading and two rows, or nothing
_MOST_ROWS = 200  # of a list that are drawn: more than any screen has
_IDS = 2


class Focus(StrEnum):
    """Which list has the whole screen."""

    ALL = ""
    NODES = "nodes"
    JOBS = "jobs"
    DECISIONS = "decisions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What is shown. Rendered, it has at most as many lines and columns as the terminal."""

    overview: Overview
    nodes: tuple[NodeLine, ...] = ()
    work: tuple[WorkLine, ...] = ()
    now: float = 0.0
    focus: Focus = Focus.ALL

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or options.size.height
        lines = self._lines(console, options.update(height=None), height)[:height]
        for number, line in enumerate(lines):
            yield from line
            if number + 1 < len(lines):
                yield Segment.line()

    def _lines(self, console: Console, options: ConsoleOptions, height: int) -> list[list[Segment]]:
        head = [line for text in self._head(height) for line in console.render_lines(text, options, pad=False)]
        drawn = [self._draw(one, console, options) for one in self._lists() if one.total]
        body: list[list[Segment]] = []
        for lines, most in zip(drawn, shares(height - len(head) - 1, [len(lines) for lines in drawn]), strict=True):
            body += _cut(lines, most)
        gap = [[Segment("")]] * max(0, height - 1 - len(head) - len(body))
        keys = console.render_lines(_line("q quit  n nodes  j jobs  d decisions  a all", "dim"), options, pad=False)
        return [*head, *body, *gap, *keys]

    def _draw(self, one: "_List", console: Console, options: ConsoleOptions) -> list[list[Segment]]:
        """A blank line, the heading, and a line for each row: those that fit the screen, and the rest as empty ones."""
        lines = console.render_lines(one.table, options, pad=False)
        return [[Segment("")], *lines, *([[Segment("")]] * (one.total - one.table.row_count))]

    def _head(self, height: int) -> list[Text]:
        problems = self.overview.problems
        most = height // 4
        shown = problems if len(problems) <= most else problems[: max(0, most - 1)]
        lines = [self._title(), *(_line(f"! {one}", "red") for one in shown)]
        if most and len(shown) < len(problems):
            lines.append(_line(f"! and {len(problems) - len(shown)} problems more: headnode status", "red"))
        return lines

    def _title(self) -> Text:
        found = self.overview
        count = len(found.problems)
        verdict = ("all is well", "bold green") if not count else (f"{count} problem{'s' * (count != 1)}", "bold red")
        services = [(f"  {line.service}", {True: "green", False: "red", None: "dim"}[line.is_alive]) for line in found.services]
        seen = f"{clock(self.now)}, as of {clock(found.at)}: " if found.at is not None else f"{clock(self.now)}: "
        return Text.assemble((found.cluster, "bold"), f" {seen}", verdict, *services, no_wrap=True, overflow="ellipsis")

    def _lists(self) -> list["_List"]:
        lists = {Focus.NODES: self._nodes, Focus.JOBS: self._jobs, Focus.DECISIONS: self._decisions}
        if self.focus is not Focus.ALL:
            return [lists[self.focus]()]
        return [self._fleets(), self._jobs(), self._nodes(), self._decisions()]

    def _fleets(self) -> "_List":
        names = ("minimum", "desired", "maximum", "booting", "registered", "busy", "idle", "draining")
        rows = [(line.fleet, *(getattr(line, name) for name in names), line.verdict) for line in self.overview.fleets]
        return _list(("fleet", *names, "jobwatcher's word"), rows, numbers=names)

    def _jobs(self) -> "_List":
        rows = [
            (
                ", ".join(line.jobs[:_IDS]) + (", …" if len(line.jobs) > _IDS else ""),
                line.count,
                line.needs,
                " | ".join(one.sentence for one in line.fates),
            )
            for line in self.work
        ]
        return _list(("waiting", "count", "needs", "for"), rows, numbers=("count",))

    def _nodes(self) -> "_List":
        nodes = sorted(self.nodes, key=lambda line: not _is_news(line))
        rows = [
            (line.node or line.instance_id, line.fleet, line.state, line.scheduler, line.jobs, line.cpus, line.verdict)
            for line in nodes
        ]
        return _list(("node", "fleet", "state", "scheduler", "jobs", "cpus", "nodewatcher's word"), rows, numbers=("jobs",))

    def _decisions(self) -> "_List":
        rows = [(clock(deed.at), deed.sentence) for deed in self.overview.deeds]
        return _list(("decided at", "what"), rows)


def _is_news(line: NodeLine) -> bool:
    """Is it on its way in or out, or out of order?"""
    return line.state != State.REGISTERED or any(
        one in line.scheduler for one in (NodeState.DOWN, NodeState.DRAIN, NodeState.SILENT)
    )


def shares(height: int, wanted: Sequence[int]) -> list[int]:
    """How many lines each list gets: what it wants where there is room, else the same as the others that want more.

    If that were too little to be of use, the last of them, which matters least, gets nothing.
    """
    for kept in range(len(wanted), 0, -1):
        given = _evenly(height, wanted[:kept])
        if all(got >= min(want, _LEAST) for got, want in zip(given, wanted[:kept], strict=True)):
            return [*given, *([0] * (len(wanted) - kept))]
    return [0] * len(wanted)


def _evenly(height: int, wanted: Sequence[int]) -> list[int]:
    given, left = [0] * len(wanted), max(0, height)
    for turn, place in enumerate(sorted(range(len(wanted)), key=lambda place: wanted[place])):
        given[place] = min(wanted[place], left // (len(wanted) - turn))
        left -= given[place]
    return given


def _cut(lines: list[list[Segment]], most: int) -> list[list[Segment]]:
    """As many as that; the last one says how many are left out."""
    if len(lines) <= most or not most:
        return lines[:most]
    return [*lines[: most - 1], [Segment(f"and {len(lines) - most + 1} more")]]


@dataclass(frozen=True, slots=True)
class _List:
    """A table of the first rows, and how many there are in all."""

    table: Table
    total: int


def _list(columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()) -> _List:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=True, overflow="ellipsis")
    for row in rows[:_MOST_ROWS]:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    return _List(table, len(rows))


def _line(text: str, style: str) -> Text:
    return Text(printable(text), style, no_wrap=True, overflow="ellipsis")
