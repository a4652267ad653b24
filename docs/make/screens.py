"""What the commands print, on the recorded state of a demo: run for real, in this process."""

import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from typer.testing import CliRunner

from daemons.cli import app
from daemons.cli.common import read_config
from daemons.cli.gather import SERVICES, Files, compose
from daemons.cli.overview import Unit
from daemons.cli.status import render
from daemons.record import read_records as read_all
from docs.make.record import RECORDED, STATE
from jobwatcher.plan import Action
from jobwatcher.record import Record as JobRecord
from nodewatcher.record import Record as NodeRecord

WIDTH = 118
PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "FORCE_COLOR": "", "TTY_COMPATIBLE": "0"}  # text, wherever this is run
KINDS: Mapping[str, type[JobRecord] | type[NodeRecord]] = {"jobwatcher": JobRecord, "nodewatcher": NodeRecord}
_EXAMPLE = Path(__file__).parents[2] / "systemd/headnode.toml.example"
_SLIPS = (
    ('region = "eu-west-1"', 'region = "Ireland"'),
    ("cpus = 8 ", 'cpus = "8" '),
    ("#max_raise =", "[jobwatcher]\nmax_rise ="),
)


class Moment(StrEnum):
    """When a command was typed, in the story of the demo."""

    GROWING = "growing"  # the first jobs have been seen
    COMING = "coming"  # what was asked for is on its way
    MIXED = "mixed"  # some nodes work, and others have nothing to do


@dataclass(frozen=True, slots=True)
class Screen:
    argv: tuple[str, ...]
    at: Moment = Moment.MIXED
    code: int = 0


SCREENS: Mapping[str, Screen] = {
    "explain": Screen(("explain",), Moment.GROWING),
    "explain-held": Screen(("explain", "job", "6"), Moment.GROWING),
    "explain-large": Screen(("explain", "job", "5"), Moment.GROWING),
    "explain-fleet": Screen(("explain", "fleet", "batch"), Moment.COMING),
    "explain-node": Screen(("explain", "node", "ip-10-77-1-2")),
    "jobs": Screen(("jobs",), Moment.COMING),
    "nodes": Screen(("nodes",)),
    "replay": Screen(("replay",)),
    "check": Screen(("config", "check")),
    "check-wrong": Screen(("config", "check"), code=2),
    "iam-compute": Screen(("iam", "render", "--role", "compute")),
}


def render_screens() -> dict[str, str]:
    """Each screen as a block of Markdown, by name."""
    screens = {f"screen-{name}": _block(name, screen) for name, screen in SCREENS.items()}
    asked = {f"screen-{path.stem}": f"```console\n{path.read_text(encoding='utf-8')}```" for path in RECORDED.glob("*.txt")}
    return {**asked, "demo": _demo(), "screen-status": _status(), **screens}


def _demo() -> str:
    """The story's end: what happened when, and the verdict."""
    text = (RECORDED / "demo.txt").read_text(encoding="utf-8")
    return f"```console\n$ make demo\n…\n{text[text.index('timeline') :].rstrip()}\n```"


def _status() -> str:
    """As it was a second after the last look, with three units that run: time and systemd are this machine's."""
    screen = Screen(("status",))
    with _state("status", screen) as directory:
        config = read_config(directory / "headnode.toml")
        files = Files(config)
        records = files.records()
        if records.jobs is None or records.nodes is None:
            raise RuntimeError(f"the recorded decisions cannot be read: {', '.join(records.problems)}")
        units = {service: Unit(active="active", sub="running") for service in SERVICES}
        now = max(records.jobs.seen.now, records.nodes.seen.now) + 1.0
        printed = io.StringIO()
        Console(file=printed, width=WIDTH, force_terminal=False, color_system=None).print(
            render(compose(config, records, files.deeds(), units, now=now))
        )
    return _fenced(screen, printed.getvalue())


def _block(name: str, screen: Screen) -> str:
    with _state(name, screen) as directory:
        environment = {"HEADNODE_CONFIG": str(directory / "headnode.toml"), "COLUMNS": str(WIDTH), **PLAIN}
        with patch.dict(os.environ, environment):
            ran = CliRunner().invoke(app, list(screen.argv), prog_name="headnode")
    if ran.exit_code != screen.code:
        raise RuntimeError(f"headnode {' '.join(screen.argv)} ended with {ran.exit_code}: {ran.output}") from ran.exception
    printed = ran.output.replace(f"{directory}/headnode.toml", "/etc/headnode/headnode.toml").replace(str(directory), STATE)
    return _fenced(screen, printed)


def _fenced(screen: Screen, printed: str) -> str:
    lines = "\n".join(line.rstrip() for line in printed.splitlines()).strip("\n")
    return f"```console\n$ headnode {' '.join(screen.argv)}\n{lines}\n```"


@contextmanager
def _state(name: str, screen: Screen) -> Iterator[Path]:
    """A directory with the configuration, and the record up to that moment."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "headnode.toml").write_text(_config(name).replace(STATE, directory))
        ends = _times()[screen.at]
        for service, kind in KINDS.items():
            lines = (RECORDED / service / "decisions.jsonl").read_text().splitlines(keepends=True)
            so_far = [line for line, at in zip(lines, _looks(service, kind), strict=True) if at <= ends[service]] or lines[:1]
            (place / service).mkdir()
            (place / service / "decisions.jsonl").write_text("".join(so_far))
            (place / service / "last.json").write_text(so_far[-1])
        yield place


@cache
def _times() -> Mapping[Moment, Mapping[str, float]]:
    """Until when each service has looked at that moment. jobwatcher has seen the same nodes as nodewatcher."""
    jobs = list(read_all(RECORDED / "jobwatcher", JobRecord))
    nodes = read_all(RECORDED / "nodewatcher", NodeRecord)
    raised = next(place for place, one in enumerate(jobs) if any(each.action is Action.RAISE for each in one.outcome.decisions))
    growing, coming = (one.seen.now for one in jobs[raised : raised + 2])
    mixed = next(one.seen.now for one in nodes if len({bool(each.node and each.node.jobs) for each in one.seen.snapshots}) == 2)
    later = next(one.seen.now for one in jobs if one.seen.now >= mixed)
    return {
        Moment.GROWING: dict.fromkeys(KINDS, growing),
        Moment.COMING: dict.fromkeys(KINDS, coming),
        Moment.MIXED: {"nodewatcher": mixed, "jobwatcher": later},
    }


def _looks(service: str, kind: type[JobRecord] | type[NodeRecord]) -> list[float]:
    """When each of the recorded decisions was made."""
    return [one.seen.now for one in read_all(RECORDED / service, kind)]


def _config(name: str) -> str:
    if not name.startswith("check"):
        return (RECORDED / "headnode.toml").read_text()
    text = _EXAMPLE.read_text()
    for right, wrong in _SLIPS if name.endswith("wrong") else ():
        if right not in text:
            raise RuntimeError(f"{_EXAMPLE.name} has no {right!r} that could be spoilt")
        text = text.replace(right, wrong, 1)
    return text
