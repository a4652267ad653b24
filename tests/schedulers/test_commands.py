"""Commands are bounded, and their environment is not the caller's."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from daemons.errors import SchedulerUnavailable
from schedulers.commands import LocalCommands

PYTHON = sys.executable


async def test_an_answer_has_the_exit_code_and_both_outputs() -> None:
    commands = LocalCommands()
    answer = await commands.run(PYTHON, "-c", "import sys; print('out'); print(' bad\\n thing', file=sys.stderr); sys.exit(3)")
    assert (answer.exit_code, answer.out, answer.ok) == (3, "out\n", False)
    assert answer.words == "bad thing"


async def test_arguments_are_words_and_never_a_shells() -> None:
    answer = await LocalCommands().run(PYTHON, "-c", "import sys; print(sys.argv[1:])", "a b; rm -rf $HOME", "*")
    assert answer.out == "['a b; rm -rf $HOME', '*']\n"


async def test_the_environment_is_small_and_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    commands = LocalCommands(env={"SLURM_CONF": "/etc/other.conf"})
    answer = await commands.run(PYTHON, "-c", "import os; print(sorted(os.environ.items()))")
    assert "SQUEUE_FORMAT" not in answer.out
    assert "'LANG'" not in answer.out
    assert "('LC_ALL', 'C')" in answer.out
    assert "('SLURM_CONF', '/etc/other.conf')" in answer.out


async def test_output_that_is_no_text_is_still_an_answer() -> None:
    answer = await LocalCommands().run(PYTHON, "-c", "import os; os.write(1, b'a\\xffb')")
    assert answer.out == "a�b"


async def test_a_command_that_does_not_end_is_killed_with_all_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    child = f"import os, pathlib, time; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    running = asyncio.create_task(LocalCommands(timeout_s=2.0).run(PYTHON, "-c", parent))
    with pytest.raises(SchedulerUnavailable, match="may still take effect") as unavailable:
        await running
    assert unavailable.value.transient
    assert await _ends(int(pid.read_text()))


async def test_a_cancelled_command_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, pathlib, time; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(60)"
    running = asyncio.create_task(LocalCommands().run(PYTHON, "-c", code))
    while not (pid.exists() and pid.read_text()):
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await _ends(int(pid.read_text()))


async def test_more_output_than_the_bound_is_no_answer() -> None:
    with pytest.raises(SchedulerUnavailable, match="more than 1000 bytes"):
        await LocalCommands(limit_bytes=1000).run(PYTHON, "-c", "print('x' * 100_000)")


async def test_a_program_that_is_not_there_is_no_answer() -> None:
    with pytest.raises(SchedulerUnavailable, match="could not be started") as unavailable:
        await LocalCommands().run("/nonexistent/scontrol", "ping")
    assert "install" in unavailable.value.hint


async def test_calls_are_counted_by_program() -> None:
    commands = LocalCommands()
    for _ in range(2):
        await commands.run("/bin/true")
    await commands.run("/bin/false")
    assert commands.calls == {"true": 2, "false": 1}


async def _ends(pid: int) -> bool:
    """Whether that process is gone, or only waits to be reaped, within a moment."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
        except OSError:
            return True
        await asyncio.sleep(0.01)
    return False
