"""What a person sees while the demo runs: a live picture on a terminal, a line for each change elsewhere."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

DECISIONS = (
    "capacity.raised",
    "capacity.held",
    "demand.answered",
    "instance.advanced",
    "node.draining",
    "node.ended",
    "node.resumed",
    "node.judged",
    "cycle.failed",
)
MILESTONES = ("capacity.raised", "instance.advanced", "node.draining", "node.ended", "node.resumed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The cluster at one moment, read from the scheduler, the emulated AWS and the table."""

    at_s: float  # since the first submission
    jobs: Mapping[str, int]  # state → how many
    desired: int
    nodes: Mapping[str, int]  # booting, registered, idle and draining among these → how many

    def sentence(self) -> str:
        jobs = ", ".join(f"{count} {state}" for state, count in self.jobs.items())
        nodes = ", ".join(f"{count} {state}" for state, count in self.nodes.items() if count)
        return f"{self.at_s:5.1f} s  jobs: {jobs}; desired {self.desired}; nodes: {nodes or 'none'}"


class View(Protocol):
    """Shows pictures and the services' decisions as they come."""

    def show(self, picture: Picture) -> None: ...

    def decided(self, at_s: float, event: Mapping[str, Any]) -> None: ...

    def say(self, sentence: str) -> None: ...

    def close(self) -> None: ...


def describe_event(event: Mapping[str, Any]) -> str:
    """One decision of a service as a line, its reason last."""
    who = (
        event.get("hostname") or event.get("fleet") or ", ".join(map(str, event.get("jobs", []))) or event.get("instance_id", "")
    )
    what = str(event.get("event", ""))
    if what == "capacity.raised":
        what = f"{what} {event.get('previous')} → {event.get('target')}"
    if what == "instance.advanced":
        what = f"instance.{event.get('state')}"
    return f"{event.get('daemon', ''):<11} {what:<22} {who:<14} {event.get('because') or event.get('error') or ''}"


class LineView:
    """A line for each change, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""

    def show(self, picture: Picture) -> None:
        sentence = picture.sentence()
        if sentence[9:] != self._last:
            self._last = sentence[9:]
            self.say(sentence)

    def decided(self, at_s: float, event: Mapping[str, Any]) -> None:
        self.say(f"{at_s:5.1f} s    {describe_event(event)}")

    def say(self, sentence: str) -> None:
        print(sentence, file=self._stream, flush=True)

    def close(self) -> None:
        self._stream.flush()


class LiveView:
    """A picture that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=8, transient=True)
        self._console = console
        self._decisions: deque[str] = deque(maxlen=12)
        self._picture: Picture | None = None
        self._live.start()

    def show(self, picture: Picture) -> None:
        self._picture = picture
        self._live.update(self._render())

    def decided(self, at_s: float, event: Mapping[str, Any]) -> None:
        self._decisions.append(f"{at_s:5.1f} s  {describe_event(event)}")

    def say(self, sentence: str) -> None:
        self._live.console.print(sentence, markup=False, highlight=False)

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> Group:
        picture = self._picture
        if picture is None:
            return Group()
        table = Table(title=f"headnode demo, {picture.at_s:.0f} s", title_justify="left", show_header=True)
        table.add_column("jobs")
        table.add_column("desired", justify="right")
        table.add_column("nodes")
        table.add_row(
            "\n".join(f"{count:>3} {state}" for state, count in picture.jobs.items()),
            str(picture.desired),
            "\n".join(f"{count:>3} {state}" for state, count in picture.nodes.items()),
        )
        decisions = Text("\n".join(self._decisions) or "no decision yet", no_wrap=True, overflow="ellipsis")
        return Group(table, Text("last decisions", style="bold"), decisions)


def open_view(*, as_json: bool, stdout: TextIO, stderr: TextIO) -> View:
    """The view that suits where the output goes. With `--json` stdout is left alone, and progress goes to stderr."""
    stream = stderr if as_json else stdout
    return LiveView(Console(file=stream)) if stream.isatty() else LineView(stream)
