"""The daemon of one node: it keeps the heartbeat, runs what is assigned to the node, and reports how it ended.

    python -m schedulers.local.node --file FILE --name HOSTNAME

It takes nothing until the head has registered the name. Started before that it waits; nobody lets itself in.
"""

import argparse
import contextlib
import ctypes
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from daemons.model import Hostname
from daemons.names import parse_hostname
from schedulers.local import engine, store
from schedulers.local.values import Job, Task, TaskState

POLL_S = 0.2
BEAT_S = 1.0
BUSY_TIMEOUT_S = 10.0
TIMED_OUT = 124  # what timeout(1) says
_PR_SET_PDEATHSIG = 1
NOT_RUN = 127  # what a shell says of a script that could not be started


@dataclass
class Running:
    task: Task
    process: subprocess.Popen[bytes]
    ends_at: float  # when its time limit is over
    timed_out: bool = False


@dataclass
class NodeDaemon:
    """One node. `clock` tells seconds since the epoch; `step` does everything that is due and may be called at any time."""

    file: Path
    hostname: Hostname
    clock: Callable[[], float] = time.time
    running: dict[tuple[int, int], Running] = field(default_factory=dict)
    _beat_at: float = 0.0
    _seen_version: int = -1

    def step(self, db: sqlite3.Connection) -> None:
        """Report what ended, keep the heartbeat, start what is assigned, kill what was taken away. Raises sqlite3.Error."""
        now = self.clock()
        self._report_ended(db, now)
        version = int(db.execute("PRAGMA data_version").fetchone()[0])
        if now - self._beat_at < BEAT_S and version == self._seen_version:
            return  # nobody has changed anything since the last look
        with store.transaction(db):
            registered = engine.beat(db, self.hostname, now=now)
            if registered:
                engine.advance(db, now=now)
            picked = engine.pick_up(db, self.hostname, now=now) if registered else []
            current = {key: engine.find_task(db, *key) for key in self.running}
        self._beat_at, self._seen_version = now, version
        for job, task in picked:
            self._start(job, task, now)
        for key, stored in current.items():
            mine = self.running[key]
            if stored is None or stored.state is not TaskState.RUNNING or stored.attempts != mine.task.attempts:
                _kill(mine.process)

    def _report_ended(self, db: sqlite3.Connection, now: float) -> None:
        for key, running in list(self.running.items()):
            if now > running.ends_at and not running.timed_out:
                running.timed_out = True
                _kill(running.process)
            code = running.process.poll()
            if code is None:
                continue
            with store.transaction(db):
                engine.finish(db, running.task, exit_code=TIMED_OUT if running.timed_out else code, now=now)
                engine.advance(db, now=now)
            del self.running[key]

    def _start(self, job: Job, task: Task, now: float) -> None:
        script = self._script(job)
        environment = {
            **os.environ,
            "HEADNODE_JOB_ID": str(job.job_id),
            "HEADNODE_JOB_NAME": job.spec.name,
            "HEADNODE_NODES": " ".join(task.nodes),
            "HEADNODE_CPUS": str(job.spec.per_node.cpus),
        }
        if job.spec.array:
            environment["HEADNODE_ARRAY_TASK_ID"] = str(task.index)
        with _opened(job.spec.output) as output:
            try:
                process = subprocess.Popen(
                    [str(script)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,  # the whole of it can be killed, and nothing else
                    preexec_fn=_die_with_the_daemon,  # noqa: PLW1509  this process has no other threads
                )
            except OSError as err:
                print(f"{self.hostname}: job {job.job_id} cannot be started: {err}", file=sys.stderr)  # noqa: T201
                process = subprocess.Popen(["/bin/sh", "-c", f"exit {NOT_RUN}"], start_new_session=True)
        self.running[task.key] = Running(task=task, process=process, ends_at=now + job.spec.time_limit_s)

    def _script(self, job: Job) -> Path:
        directory = self.file.with_name(self.file.name + ".scripts")
        directory.mkdir(mode=0o700, exist_ok=True)
        path = directory / f"{job.job_id}.{self.hostname}"
        if not path.exists():
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_text(job.spec.script)
            fresh.chmod(0o700)
            fresh.rename(path)
        return path

    def stop(self) -> None:
        """Kill everything that runs here. Its tasks are requeued once the node is silent for long enough."""
        for running in self.running.values():
            _kill(running.process)
            running.process.wait()


def _die_with_the_daemon() -> None:
    """A job whose daemon was killed must not go on unseen: it will be started anew elsewhere."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def _opened(output: str) -> Iterator[IO[bytes] | int]:
    if not output:
        yield subprocess.DEVNULL
        return
    with Path(output).open("ab") as file:
        yield file


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def run(file: Path, hostname: Hostname) -> None:
    """Run the daemon until SIGTERM or SIGINT. A file that is away or locked is tried again."""
    stopped: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopped.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    daemon = NodeDaemon(file=file, hostname=hostname)
    try:
        while not stopped:
            try:
                with contextlib.closing(store.connect(file, timeout_s=BUSY_TIMEOUT_S)) as db:
                    while not stopped:
                        daemon.step(db)
                        time.sleep(POLL_S)
            except sqlite3.Error as err:
                print(f"{hostname}: {file}: {err}; trying again", file=sys.stderr)  # noqa: T201
                time.sleep(BEAT_S)
    finally:
        daemon.stop()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="headnode local node", description="Run the daemon of one node of the local scheduler.")
    parser.add_argument("--file", type=Path, required=True, help="the scheduler's SQLite file")
    parser.add_argument("--name", type=parse_hostname, required=True, help="the node's host name")
    arguments = parser.parse_args(argv)
    run(arguments.file, arguments.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
