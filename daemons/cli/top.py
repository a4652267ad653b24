"""`headnode top`: the cluster, full screen, as it goes."""

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from daemons.cli.common import ConfigOption, read_config
from daemons.cli.gather import SERVICES, Files, compose
from daemons.cli.page import Focus, Page
from daemons.cli.units import fetch_units
from daemons.cli.work import work_lines
from daemons.config import Config
from daemons.errors import HeadnodeError
from nodewatcher.explain import node_lines

_KEYS = {"a": Focus.ALL, "n": Focus.NODES, "j": Focus.JOBS, "d": Focus.DECISIONS}
_QUIT = frozenset("qQ\x03\x04")


class NoTerminal(HeadnodeError):
    """A full screen needs one."""

    code = "no-terminal"


def top(
    config: ConfigOption = None,
    every: Annotated[float, typer.Option(min=0.2, max=60, metavar="SECONDS", help="How often to look.")] = 1.0,
) -> None:
    """Watch fleets, waiting jobs, nodes and decisions, full screen: q quits, n, j, d and a choose a list or all of them.

    From what the services have written, like `headnode status`, whose --json is for programs.
    """
    chosen = read_config(config)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise NoTerminal("headnode top needs a terminal", hint="headnode status prints the same once, with --json for programs")
    files, focus = Files(chosen), Focus.ALL
    with _keys() as sources, Live(_page(chosen, files, focus), console=Console(), screen=True, auto_refresh=False) as screen:
        while True:
            screen.update(_page(chosen, files, focus), refresh=True)
            key = _key(sources, within_s=every)
            if key in _QUIT:
                return
            focus = _KEYS.get(key, focus)


def _page(config: Config, files: Files, focus: Focus) -> Page:
    now = time.time()
    records = files.records()
    return Page(
        overview=compose(config, records, files.deeds(), fetch_units(SERVICES), now=now),
        nodes=node_lines(records.nodes) if records.nodes is not None else (),
        work=work_lines(records.jobs) if records.jobs is not None else (),
        now=now,
        focus=focus,
    )


@contextlib.contextmanager
def _keys() -> Iterator[tuple[int, int]]:
    """Where keys come from, one by one and not shown, until the end, whatever ends it: the keyboard, and signals that mean q.

    A signal's handler only writes into a pipe: what it would raise could land anywhere, where somebody else takes it for his.
    """
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    told, tell = os.pipe()
    handlers = {number: signal.signal(number, lambda *_: _write_quit(tell)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        tty.setcbreak(keyboard)
        yield keyboard, told
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(told)
        os.close(tell)


def _write_quit(tell: int) -> None:
    os.write(tell, b"q")


def _key(sources: tuple[int, int], *, within_s: float) -> str:
    """The next key; "" if none is pressed in time. A terminal that is gone is as good as q."""
    ready, _, _ = select.select(sources, [], [], within_s)
    if not ready:
        return ""
    return os.read(ready[-1], 1).decode(errors="replace") or "q"
