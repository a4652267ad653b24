"""Whatever way a sandbox ends, nothing of it is left, and nothing else is touched."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.guard import MARK, Guard, clean_up, find_marked, start_guard


@pytest.fixture
def sandbox_id() -> str:
    return f"test-{secrets.token_hex(8)}"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "sandbox"
    (path / "deep" / "er").mkdir(parents=True)
    (path / "deep" / "file").write_text("x")
    return path


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that carries another sandbox's mark."""
    process = subprocess.Popen(["sleep", "60"], env={MARK: "somebody-elses"})
    yield process
    process.kill()
    process.wait()


def start_daemon(env: dict[str, str]) -> int:
    """A process that has detached itself from everything, as schedulers' daemons do; its pid."""
    code = "\n".join(
        [
            "import os, time",
            "if os.fork(): os._exit(0)",
            "os.setsid()",
            "if os.fork(): os._exit(0)",
            "print(os.getpid(), flush=True)",
            "os.close(1)",
            "time.sleep(60)",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, check=True, timeout=10)
    return int(done.stdout)


def runs(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(*pids: int) -> None:
    deadline = time.monotonic() + 10
    while any(runs(pid) for pid in pids):
        assert time.monotonic() < deadline, "still there"
        time.sleep(0.02)


def test_closing_ends_detached_processes_and_removes_the_directory(
    directory: Path, sandbox_id: str, stranger: subprocess.Popen[bytes]
) -> None:
    guard = start_guard(directory, sandbox_id)
    pid = start_daemon({**os.environ, **guard.env})
    assert list(find_marked(sandbox_id, directory)) == [pid]
    guard.close()
    assert not runs(pid)
    assert not directory.exists()
    assert stranger.poll() is None
    guard.close()


def test_a_killed_parent_is_cleaned_up_after(directory: Path, sandbox_id: str, stranger: subprocess.Popen[bytes]) -> None:
    code = (
        "import os, pathlib, subprocess, sys, time\n"
        "from sandbox.guard import start_guard\n"
        f"guard = start_guard(pathlib.Path({str(directory)!r}), {sandbox_id!r})\n"
        "child = subprocess.Popen(['sleep', '60'], env={**os.environ, **guard.env}, start_new_session=True)\n"
        "print(guard.process.pid, child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root)
    assert parent.stdout is not None
    guardian, child = map(int, parent.stdout.readline().split())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_until_gone(guardian, child)
    assert not directory.exists()
    assert stranger.poll() is None


def test_a_guard_that_was_killed_itself_is_stood_in_for(directory: Path, sandbox_id: str) -> None:
    guard = start_guard(directory, sandbox_id)
    pid = start_daemon({**os.environ, **guard.env})
    guard.process.kill()
    guard.close()
    wait_until_gone(pid)
    assert not directory.exists()


def test_a_guard_does_not_mind_interrupts(directory: Path, sandbox_id: str) -> None:
    guard = start_guard(directory, sandbox_id)
    while not _ignores_interrupts(guard):
        time.sleep(0.01)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        guard.process.send_signal(number)
    assert guard.process.poll() is None
    guard.close()
    assert guard.process.returncode == 0


def _ignores_interrupts(guard: Guard) -> bool:
    status = Path(f"/proc/{guard.process.pid}/status").read_text()
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    return bool(ignored >> (signal.SIGHUP - 1) & 1)


def test_processes_that_multiply_are_all_ended(directory: Path, sandbox_id: str) -> None:
    code = "import subprocess, sys, time\nwhile True: subprocess.Popen(['sleep', '5'], start_new_session=True); time.sleep(0.01)"
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, MARK: sandbox_id})
    while len(list(find_marked(sandbox_id, directory))) < 5:
        time.sleep(0.01)
    clean_up(directory, sandbox_id)
    process.wait()
    assert list(find_marked(sandbox_id, directory)) == []


@pytest.mark.parametrize("sandbox_id", ["", "short", "with blanks in it", "a" * 65, "new\nline-in-it"])
def test_an_id_that_could_match_others_is_refused(directory: Path, sandbox_id: str) -> None:
    with pytest.raises(ValueError, match="is no sandbox id"):
        start_guard(directory, sandbox_id)
