"""What the commands print, on the recorded state of a demo: run for real, in this process."""

import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from typer.testing import CliRunner

from daemons.cli import app
from daemons.cli.common import read_config
from daemons.cli.gather import SERVICES, compose, read_records
from daemons.cli.overview import Unit
from daemons.cli.status import render
from docs.make.record import RECORDED, STATE

WIDTH = 118
_EXAMPLE = Path(__file__).parents[2] / "systemd/headnode.toml.example"
_SLIPS = (
    ('region = "eu-west-1"', 'region = "Ireland"'),
    ("cpus = 8 ", 'cpus = "8" '),
    ("#max_raise =", "[jobwatcher]\nmax_rise ="),
)


@dataclass(frozen=True, slots=True)
class Screen:
    """A command, typed when jobwatcher and nodewatcher had made so many of the recorded decisions."""

    argv: tuple[str, ...]
    jobwatcher: int = 1
    nodewatcher: int = 1
    code: int = 0


SCREENS: Mapping[str, Screen] = {
    "help": Screen(("--help",)),
    "explain": Screen(("explain",), jobwatcher=1),
    "explain-held": Screen(("explain", "job", "6"), jobwatcher=1),
    "explain-large": Screen(("explain", "job", "5"), jobwatcher=1),
    "explain-fleet": Screen(("explain", "fleet", "batch"), jobwatcher=2),
    "explain-node": Screen(("explain", "node", "ip-10-77-1-2"), jobwatcher=4, nodewatcher=4),
    "jobs": Screen(("jobs",), jobwatcher=2),
    "nodes": Screen(("nodes",), nodewatcher=4),
    "nodes-kept": Screen(("nodes",), nodewatcher=3),
    "replay": Screen(("replay",), jobwatcher=3),
    "check": Screen(("config", "check")),
    "check-wrong": Screen(("config", "check"), code=2),
    "plugins": Screen(("plugins",)),
    "iam-compute": Screen(("iam", "render", "--role", "compute")),
}


def render_screens() -> dict[str, str]:
    """Each screen as a block of Markdown, by name."""
    screens = {f"screen-{name}": _block(name, screen) for name, screen in SCREENS.items()}
    return {"demo": _demo(), "screen-status": _status(), **screens}


def _demo() -> str:
    """The story's end: what happened when, and the verdict."""
    text = (RECORDED / "demo.txt").read_text(encoding="utf-8")
    return f"```console\n$ make demo\n…\n{text[text.index('timeline') :].rstrip()}\n```"


def _status() -> str:
    """As it was a second after the last look, with three units that run: time and systemd are this machine's."""
    screen = Screen(("status",), jobwatcher=4, nodewatcher=4)
    with _state("status", screen) as directory:
        config = read_config(directory / "headnode.toml")
        records = read_records(config)
        if records.jobs is None or records.nodes is None:
            raise RuntimeError(f"the recorded decisions cannot be read: {', '.join(records.problems)}")
        units = {service: Unit(active="active", sub="running") for service in SERVICES}
        now = max(records.jobs.seen.now, records.nodes.seen.now) + 1.0
        printed = io.StringIO()
        Console(file=printed, width=WIDTH).print(render(compose(config, records, units, now=now)))
    return _fenced(screen, printed.getvalue())


def _block(name: str, screen: Screen) -> str:
    with _state(name, screen) as directory:
        environment = {
            "HEADNODE_CONFIG": str(directory / "headnode.toml"),
            "COLUMNS": str(WIDTH),
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
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
        for service, count in (("jobwatcher", screen.jobwatcher), ("nodewatcher", screen.nodewatcher)):
            lines = (RECORDED / service / "decisions.jsonl").read_text().splitlines(keepends=True)[:count]
            (place / service).mkdir()
            (place / service / "decisions.jsonl").write_text("".join(lines))
            (place / service / "last.json").write_text(lines[-1])
        yield place


def _config(name: str) -> str:
    if not name.startswith("check"):
        return (RECORDED / "headnode.toml").read_text()
    text = _EXAMPLE.read_text()
    for right, wrong in _SLIPS if name.endswith("wrong") else ():
        if right not in text:
            raise RuntimeError(f"{_EXAMPLE.name} has no {right!r} that could be spoilt")
        text = text.replace(right, wrong, 1)
    return text
