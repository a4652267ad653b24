"""Cleans up after a sandbox however it ends. A small process holds one end of a pipe; when the other end is gone, SIGKILL
included, it ends every process that carries the sandbox's mark and removes the sandbox's directory.

    python -m sandbox.guard DIRECTORY SANDBOX_ID < pipe

Schedulers' daemons detach themselves, so that neither a process group nor a parent says whose they are: the mark does. It is an
environment variable that every child inherits, jobs included.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MARK = "HEADNODE_SANDBOX"
_ID = re.compile(r"[A-Za-z0-9_.-]{8,64}")
_PATIENCE_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The guardian of one sandbox. Start every process of the sandbox with `env` added to its environment."""

    directory: Path
    sandbox_id: str
    process: subprocess.Popen[bytes]

    @property
    def env(self) -> Mapping[str, str]:
        return {MARK: self.sandbox_id}

    def close(self) -> None:
        """End everything and remove the directory; back when that is done. Repeatable. Raises OSError if something is left."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            done = self.process.wait(timeout=2 * _PATIENCE_S) == 0
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            done = False
        if not done:
            clean_up(self.directory, self.sandbox_id)


def start_guard(directory: Path, sandbox_id: str) -> Guard:
    """Guard a sandbox from now on. `directory` is the sandbox's alone; `sandbox_id` is 8 to 64 letters, digits, `_.-`, and
    nobody else's.
    """
    if not _ID.fullmatch(sandbox_id):
        raise ValueError(f"{sandbox_id!r} is no sandbox id")
    env = {name: value for name, value in os.environ.items() if name != MARK}
    process = subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).resolve()), str(directory.resolve()), sandbox_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
        env=env,
        start_new_session=True,  # an interrupt from the keyboard is for the sandbox, not for its guard
    )
    if process.stdout is not None:
        process.stdout.readline()  # it has begun to ignore interrupts, which may come at any moment
        process.stdout.close()
    return Guard(directory=directory, sandbox_id=sandbox_id, process=process)


def clean_up(directory: Path, sandbox_id: str) -> None:
    """End every process of that sandbox and remove its directory. Raises OSError if processes or files are left in the end."""
    deadline = time.monotonic() + _PATIENCE_S
    while left := list(find_marked(sandbox_id, directory)):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise OSError(f"processes of sandbox {sandbox_id} do not end: {left}")
        time.sleep(0.02)
    while directory.exists():
        shutil.rmtree(directory, ignore_errors=time.monotonic() < deadline)


def find_marked(sandbox_id: str, directory: Path) -> Iterator[int]:
    """The living processes, but for this one, that carry the mark."""
    mark = f"{MARK}={sandbox_id}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it ended meanwhile, or is somebody else's
                if mark in (entry / "environ").read_bytes().split(b"\0") or _is_step_of(entry, directory):
                    yield int(entry.name)


def _is_step_of(process: Path, directory: Path) -> bool:
    """Slurmstepd and slurmscriptd write their title over their environment; their open log files tell whose they are."""
    if (process / "comm").read_text().strip() not in ("slurmstepd", "slurmscriptd", "slurmctld"):
        return False
    inside = f"{directory}/"
    return any(str(descriptor.readlink()).startswith(inside) for descriptor in (process / "fd").iterdir())


def main() -> None:
    """Wait for the end of the pipe, then clean up."""
    directory, sandbox_id = Path(sys.argv[1]), sys.argv[2]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its sandbox, not before
    print("ready", flush=True)
    while os.read(0, 4096):
        pass
    clean_up(directory, sandbox_id)


if __name__ == "__main__":
    main()
