"""What goes on until somebody has seen enough: each look is a line for a program, and every way to end it is a clean one."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons.cli.watching import watching
from tests.cli.terminal import Terminal
from tests.cli.test_status import Head
from tests.fakes import FakeGroups, hostname

DEADLINE_S = 120.0
NODES = ("nodes", "--watch", "--json")
WATCHES = (
    NODES,
    ("status", "--watch", "--json"),
    ("logs", "--follow", "--json", "--since", "2019-01-01"),
    ("logs", "--follow", "--since", "2019-01-01"),
)
LINE = '{"event": "x.y", "timestamp": "2026-11-25T10:00:00.000000Z", "level": "info", "daemon": "sqswatcher"}\n'


@pytest.fixture
async def head(tmp_path: Path) -> Head:
    head = Head.of(tmp_path, FakeGroups.of(1, 2))
    await head.look()
    with (tmp_path / "headnode.toml").open("a") as file:
        file.write(f'[log.file]\ndirectory = "{tmp_path}"\n')
    (tmp_path / "sqswatcher.log").write_text(LINE)
    return head


@contextlib.contextmanager
def running(head: Head, *words: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", "from daemons.cli import main; main()", *words]
    with subprocess.Popen(
        [*argv, "--config", str(head.directory / "headnode.toml")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def ends_well(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    assert (process.wait(DEADLINE_S), process.stderr.read()) == (0, "")


async def test_watched_nodes_are_an_object_a_line_each_time(head: Head) -> None:
    with running(head, *NODES) as process:
        first = json.loads(next_line(process))
        assert [node["node"] for node in first["nodes"]] == [hostname(1), hostname(2)]
        head.jobs.scheduler.work(hostname(2), "5")
        await head.look()
        while (page := json.loads(next_line(process)))["at"] == first["at"]:
            pass
        assert {node["node"]: node["verdict"] for node in page["nodes"]}[hostname(2)] == "busy: job 5"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", WATCHES, ids=" ".join)
async def test_a_signal_ends_it_and_is_no_error(head: Head, words: tuple[str, ...], number: signal.Signals) -> None:
    with running(head, *words) as process:
        assert next_line(process)
        process.send_signal(number)
        ends_well(process)


@pytest.mark.parametrize("words", WATCHES, ids=" ".join)
async def test_a_reader_that_has_gone_ends_it_and_is_no_error(head: Head, words: tuple[str, ...]) -> None:
    with running(head, *words) as process:
        assert next_line(process)
        assert process.stdout is not None
        process.stdout.close()
        while words[0] == "logs" and process.poll() is None:  # it finds that out with the next line
            with (head.directory / "sqswatcher.log").open("a") as file:
                file.write(LINE)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        ends_well(process)


@pytest.mark.parametrize("words", ["nodes", "nodes --json", "status", "status --json", "explain", "jobs", "logs"])
async def test_what_tells_once_says_nothing_either_of_a_reader_that_has_gone(head: Head, words: str) -> None:
    assert complaints(head, *words.split()) == ""


def complaints(head: Head, *words: str) -> str:
    """What it says on standard error, where nobody has been reading its output from the beginning."""
    reader, writer = os.pipe()
    os.close(reader)
    argv = [
        sys.executable,
        "-c",
        "from daemons.cli import main; main()",
        *words,
        "--config",
        str(head.directory / "headnode.toml"),
    ]
    try:
        done = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=DEADLINE_S, check=False)
    finally:
        os.close(writer)
    return done.stderr


async def test_nodes_are_watched_on_a_terminal_until_a_signal_ends_it(head: Head) -> None:
    config = str(head.directory / "headnode.toml")
    terminal = Terminal("nodes", "--watch", "--config", config, lines=24, columns=150)
    try:
        terminal.shows(lambda lines: any(line.startswith(hostname(2)) for line in lines))
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.ends() == 0
    finally:
        terminal.close()


def test_a_signal_whose_exception_somebody_else_has_taken_ends_it_all_the_same() -> None:
    looks = 0
    with watching(0.001) as watch:
        while True:
            looks += 1
            if looks == 2:
                with contextlib.suppress(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGTERM)
            if not watch.goes_on():
                break
    assert looks == 2


def test_afterwards_signals_mean_what_they_meant() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with watching():
        pass
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
