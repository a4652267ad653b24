"""The promise of the README: whole clusters, as a newcomer starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox import gridengine
from sandbox.slurm import can_run
from sandbox.world import World
from tests.needs import skip_or_fail

DEMO_S = 360
EXIT_INTERRUPTED = 130
BEFORE = "HEADNODE_E2E"  # marks every process of one test, so that those left behind are found

pytestmark = pytest.mark.e2e


def needs_slurm() -> None:
    """Skip, saying why, where Slurm cannot run; with CI=true that is a failure."""
    if reason := can_run(World(isolated=os.geteuid() == 0, reason="not root")):
        skip_or_fail(f"a real Slurm cannot run here: {reason}")


class Demos:
    """Demos that are started side by side, and looked for afterwards by their mark."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self.running: list[subprocess.Popen[str]] = []

    def end(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.terminate()
                process.wait(60)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from daemons.cli import main; main()", "demo", *arguments],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, BEFORE: self._mark},
        )
        self.running.append(process)
        return process

    def left_behind(self) -> list[str]:
        """Command lines of living processes that these demos have started."""
        wanted = f"{BEFORE}={self._mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # it ended while we looked
        return found

    def assert_gone(self, directory: str) -> None:
        deadline = time.monotonic() + 40
        while (left := self.left_behind()) or Path(directory).exists():
            assert time.monotonic() < deadline, f"left behind: {left}, {directory}"
            time.sleep(0.05)


@pytest.fixture
def demos(request: pytest.FixtureRequest) -> Iterator[Demos]:
    started = Demos(f"{os.getpid()}-{request.node.name}")
    yield started
    started.end()


def verdict(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=DEMO_S)
    assert process.returncode == 0, err
    [line] = out.splitlines()
    report: dict[str, Any] = json.loads(line)
    return report


def assert_kept(report: dict[str, Any], scheduler: str, *, in_time: bool = True) -> None:
    assert report["ok"] is True
    assert report["scheduler"] == scheduler
    assert report["jobs"] == {"submitted": 6, "completed": 4, "killed": 0, "left_alone": 2}
    assert report["nodes"]["peak"] >= 3
    assert report["nodes"]["final"] == 0
    assert set(report["leftovers"]) == {"scheduler", "table", "dns", "queue", "dead_letter"}
    assert not any(report["leftovers"].values())
    if in_time:
        assert report["reaction_s"]["job_to_capacity"] <= 2.0
        assert report["reaction_s"]["ready_to_registered"] <= 2.0


def directory_of(process: subprocess.Popen[str]) -> str:
    """The demo says first where it lives. Read until then."""
    assert process.stderr is not None
    for line in process.stderr:
        if "everything lives in " in line:
            return line.rpartition("everything lives in ")[2].strip()
    raise AssertionError("the demo did not say where it lives")


def wait_until_running(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if "registered" in line and "nodes:" in line:
            return
    raise AssertionError("no node was ever registered")


@dataclass(frozen=True, slots=True)
class Playing:
    """Demos under way, and what the first of them reports in the end."""

    demos: Demos
    report: Future[dict[str, Any]]


@pytest.fixture(scope="module")
def in_chaos() -> Iterator[Mapping[str, Playing]]:
    """A demo of each scheduler while AWS cannot be relied on, side by side: no time is promised here."""
    marked = {scheduler: Demos(f"{os.getpid()}-chaos-{scheduler}") for scheduler in ("local", "slurm")}
    with ThreadPoolExecutor() as threads:
        try:
            yield {
                scheduler: Playing(demos, threads.submit(verdict, demos.start("--scheduler", scheduler, "--chaos", "--json")))
                for scheduler, demos in marked.items()
            }
        finally:
            for demos in marked.values():
                demos.end()


@pytest.mark.slurm
def test_two_demos_side_by_side_on_a_real_slurm_and_a_third_after_them_keep_every_promise(demos: Demos) -> None:
    needs_slurm()
    together = [demos.start("--scheduler", "slurm", "--json") for _ in range(2)]
    for process in together:
        assert_kept(verdict(process), "slurm")
    assert_kept(verdict(demos.start("--scheduler", "slurm", "--json")), "slurm")
    assert demos.left_behind() == []


@pytest.mark.sge
def test_a_real_grid_engine_keeps_every_promise_twice_in_a_row(demos: Demos) -> None:
    if reason := gridengine.can_run(World(isolated=os.geteuid() == 0, reason="not root")):
        skip_or_fail(f"a real Grid Engine cannot run here: {reason}")
    for _ in range(2):
        assert_kept(verdict(demos.start("--scheduler", "sge", "--json")), "sge")
        assert demos.left_behind() == []


def test_the_local_scheduler_keeps_every_promise_without_root(demos: Demos) -> None:
    assert_kept(verdict(demos.start("--scheduler", "local", "--json")), "local")
    assert demos.left_behind() == []


@pytest.mark.parametrize("scheduler", ["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def test_every_job_still_runs_once_and_nothing_is_left_when_aws_cannot_be_relied_on(
    in_chaos: Mapping[str, Playing], scheduler: str
) -> None:
    if scheduler == "slurm":
        needs_slurm()
    playing = in_chaos[scheduler]
    assert_kept(playing.report.result(), scheduler, in_time=False)
    assert playing.demos.left_behind() == []


def ends_by(number: signal.Signals, code: int, scheduler: str, demos: Demos) -> None:
    process = demos.start("--scheduler", scheduler, "--json")
    try:
        directory = directory_of(process)
        wait_until_running(process)
        process.send_signal(number)
        process.communicate(timeout=90)
        assert process.returncode == code
        demos.assert_gone(directory)
    finally:
        demos.end()


@pytest.mark.parametrize("scheduler", ["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def test_nothing_is_left_behind_however_it_ends(request: pytest.FixtureRequest, scheduler: str) -> None:
    """Three side by side, each in its own way."""
    if scheduler == "slurm":
        needs_slurm()
    ways = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_INTERRUPTED, signal.SIGKILL: -signal.SIGKILL}
    with ThreadPoolExecutor() as threads:
        ending = [
            threads.submit(ends_by, number, code, scheduler, Demos(f"{os.getpid()}-{request.node.name}-{number.name}"))
            for number, code in ways.items()
        ]
    for each in ending:
        each.result()


def test_a_service_that_dies_ends_the_demo_with_its_last_words(demos: Demos) -> None:
    process = demos.start("--scheduler", "local", "--json")
    directory = directory_of(process)
    wait_until_running(process)
    victim = next(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and f"jobwatcher\0--config\0{directory}/".encode() in _cmdline(entry)
    )
    os.kill(victim, signal.SIGKILL)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 1
    assert out == ""
    assert "jobwatcher ended with exit code -9; the end of its log:" in err
    demos.assert_gone(directory)


def _cmdline(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def test_an_unknown_scheduler_is_a_usage_error(demos: Demos) -> None:
    process = demos.start("--scheduler", "lsf")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "slurm" in err


def test_slurm_missing_is_one_message_with_the_next_step(demos: Demos, tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", "from daemons.cli import main; main()", "demo", "--scheduler", "slurm"],
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
        env={"PATH": str(tmp_path)},
    )
    assert process.returncode == 2
    assert "a real Slurm cannot run here" in process.stderr
    assert "next:" in process.stderr
