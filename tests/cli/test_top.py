"""The full screen, in a terminal of its own: what is seen there, what keys do, and that all is as it was afterwards."""

import contextlib
import signal
import termios
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from daemons.cli import app
from daemons.cli.page import shares
from daemons.cli.top import NoTerminal
from daemons.model import BlockedBy, NodeState
from tests.cli.terminal import Terminal
from tests.cli.test_status import Head
from tests.fakes import FakeGroups, hostname


@pytest.fixture
async def head(tmp_path: Path) -> Head:
    head = Head.of(tmp_path, FakeGroups.of(*range(1, 41), maximum=60))
    head.jobs.scheduler.work(hostname(1), "5")
    head.jobs.waits(44, job="70")
    head.jobs.waits(2, job="90", blocked_by=BlockedBy.HOLD, reason="JobHeldUser")
    node = head.jobs.scheduler.known[hostname(40)]
    head.jobs.scheduler.known[hostname(40)] = replace(node, states=frozenset({NodeState.DOWN}), reason="power\x1b[2J")
    await head.look()
    return head


@contextlib.contextmanager
def running(head: Head, *, lines: int, columns: int) -> Iterator[Terminal]:
    config = str(head.directory / "headnode.toml")
    terminal = Terminal("top", "--every", "0.2", "--config", config, lines=lines, columns=columns)
    try:
        yield terminal
    finally:
        terminal.close()


def heading(line: str) -> str:
    return line.partition(" ")[0]


def headings(lines: list[str]) -> set[str]:
    return {"fleet", "waiting", "node", "decided"} & set(map(heading, lines))


async def test_everything_is_on_one_screen_and_q_leaves_it_as_it_was(head: Head) -> None:
    with running(head, lines=40, columns=150) as terminal:
        lines = terminal.shows(lambda lines: lines[-1].startswith("q quit"))
        assert lines[0].startswith("hpc ")
        assert lines[0].endswith("1 problem  sqswatcher  jobwatcher  nodewatcher")
        assert lines[1] == f"! the scheduler calls {hostname(40)} down: power?[2J"
        assert headings(lines) == {"fleet", "waiting", "node", "decided"}
        assert any(line.startswith(f"{hostname(40)} ") and " down " in line for line in lines), "what is wrong is shown first"
        assert any(line.startswith("and ") and line.endswith(" more") for line in lines), "what has no room is counted"
        terminal.press("q")
        assert terminal.ends() == 0
        assert termios.tcgetattr(terminal.inside) == terminal.before
        assert b"\x1b[?1049h" in terminal.written
        assert terminal.written.rindex(b"\x1b[?1049l") > terminal.written.rindex(b"q quit"), "the old screen is back"
        assert b"\x1b[?25h" in terminal.written, "and the cursor"


async def test_what_happens_meanwhile_is_seen(head: Head) -> None:
    with running(head, lines=40, columns=150) as terminal:
        terminal.shows(lambda lines: any(line.startswith("90 ") for line in lines))
        head.jobs.scheduler.waiting.clear()
        await head.look()
        lines = terminal.shows(lambda lines: not any(line.startswith(("70 ", "90 ")) for line in lines))
        assert lines[0].startswith("hpc ")


async def test_a_key_gives_the_screen_to_one_list(head: Head) -> None:
    with running(head, lines=20, columns=120) as terminal:
        terminal.shows(lambda lines: lines[-1].startswith("q quit"))
        terminal.press("n")
        terminal.shows(lambda lines: headings(lines) == {"node"} and sum(line.startswith("ip-10-") for line in lines) >= 10)
        terminal.press("j")
        terminal.shows(lambda lines: headings(lines) == {"waiting"} and any(line.startswith("90 ") for line in lines))
        terminal.press("d")
        terminal.shows(lambda lines: headings(lines) == {"decided"} and any("batch grows from 40" in line for line in lines))
        terminal.press("a")
        terminal.shows(lambda lines: headings(lines) >= {"fleet", "waiting"})


@pytest.mark.parametrize(("lines", "columns"), [(24, 80), (8, 40), (3, 20), (2, 10)])
async def test_a_small_terminal_shows_less_and_nothing_twice(head: Head, lines: int, columns: int) -> None:
    with running(head, lines=lines, columns=columns) as terminal:
        shown = terminal.shows(lambda lines: lines[-1].startswith("q quit"))
        assert shown[0].startswith("hpc "), "nothing has scrolled away"
        assert len(shown) == lines
        terminal.press("q")
        assert terminal.ends() == 0


async def test_a_terminal_may_change_its_size(head: Head) -> None:
    with running(head, lines=40, columns=150) as terminal:
        terminal.shows(lambda lines: "decided" in headings(lines))
        terminal.resize(10, 60)
        terminal.screen.resize(10, 60)
        terminal.screen.reset()
        terminal.shows(
            lambda lines: lines[0].startswith("hpc ") and lines[9].startswith("q quit") and "decided" not in headings(lines)
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_is_told_to_end_and_the_terminal_is_as_it_was(head: Head, number: signal.Signals) -> None:
    with running(head, lines=24, columns=80) as terminal:
        terminal.shows(lambda lines: lines[-1].startswith("q quit"))
        terminal.process.send_signal(number)
        assert terminal.ends() == 0
        assert termios.tcgetattr(terminal.inside) == terminal.before
        assert b"\x1b[?1049l" in terminal.written


async def test_status_is_watched_on_a_terminal_too(head: Head) -> None:
    config = str(head.directory / "headnode.toml")
    terminal = Terminal("status", "--watch", "--config", config, lines=40, columns=150)
    try:
        terminal.shows(lambda lines: lines[0].startswith("hpc at 12:00:11 UTC: 1 problem"))
        await head.look()
        terminal.shows(lambda lines: lines[0].startswith("hpc at 12:00:21 UTC: 1 problem"))
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.ends() == 0
    finally:
        terminal.close()


def test_where_there_is_no_terminal_that_is_said(tmp_path: Path) -> None:
    head = Head.of(tmp_path, FakeGroups.of())
    error = CliRunner().invoke(app, ["top", "--config", str(head.directory / "headnode.toml")]).exception
    assert isinstance(error, NoTerminal)
    assert "headnode status" in error.hint


@given(height=st.integers(0, 200), wanted=st.lists(st.integers(3, 300), max_size=5))
def test_lists_share_the_screen(height: int, wanted: list[int]) -> None:
    given = shares(height, wanted)
    assert sum(given) <= height
    assert all(0 <= got <= want for got, want in zip(given, wanted, strict=True))
    assert all(got == 0 or got >= min(want, 4) for got, want in zip(given, wanted, strict=True))
    if sum(wanted) <= height:
        assert given == wanted
    elif all(given):
        assert sum(given) == height, "no line is wasted while somebody wants it"
