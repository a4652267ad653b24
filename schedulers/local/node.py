"""The daemon of one node: it keeps the heartbeat, runs what is assigned to the node, and reports how it ended.

    python -m schedulers.local.node --file FILE --name HOSTNAME

It takes nothing until the head has registered the name. Started before that it waits; nobody lets itself in.
"""

import argparse
import contextlib
import ctypes
import fcntl
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

from daemons.errors import SchedulerRefused
from daemons.model import Hostname
from daemons.names import parse_hostname
from schedulers.local import engine, store
from schedulers.local.processes import kill_marked
from schedulers.local.values import Job, Task, TaskState

POLL_S = 0.2
BEAT_S = 1.0
BUSY_TIMEOUT_S = 10.0
LOCK_PATIENCE_S = 2.0
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
    _killed: list[subprocess.Popen[bytes]] = field(default_factory=list)  # to be reaped; nobody's task any more
    _beat_at: float = 0.0
    _seen_version: int = -1

    @property
    def directory(self) -> Path:
        """Where scripts are kept while they run."""
        return self.file.with_name(self.file.name + ".scripts")

    @property
    def mark(self) -> tuple[str, str]:
        """The environment variable that every job of this node carries."""
        return "HEADNODE_LOCAL_NODE", f"{self.file.resolve()}:{self.hostname}"

    def clear(self) -> None:
        """End everything that runs here, and what a former daemon of this name has left. Its tasks are given up by `step`."""
        kill_marked("=".join(self.mark))
        for running in self.running.values():
            running.process.wait()
        for script in self.directory.glob(f"*.{self.hostname}"):
            script.unlink(missing_ok=True)

    def step(self, db: sqlite3.Connection) -> None:
        """Report what ended, keep the heartbeat, start what is assigned, kill what was taken away. Raises sqlite3.Error."""
        now = self.clock()
        reported = self._report_ended(db, now)
        version = int(db.execute("PRAGMA data_version").fetchone()[0])
        due = now - self._beat_at >= BEAT_S or now < self._beat_at  # the clock may have been set back
        changed = version != self._seen_version and self._concerns_us(db)
        self._seen_version = version
        if not (reported or due or changed):
            return
        with store.transaction(db):
            registered = engine.beat(db, self.hostname, now=now)
            stale = [key for key, mine in self.running.items() if not _is_current(engine.find_task(db, *key), mine.task)]
            if registered:
                engine.abandon(db, self.hostname, kept=self.running.keys() - set(stale), now=now)
                engine.advance(db, now=now)
            picked = engine.pick_up(db, self.hostname, now=now) if registered else []
        self._beat_at = now
        for key in stale:  # before the same task starts here anew
            self._killed.append(self.running.pop(key).process)
            _kill(self._killed[-1])
        for job, task in picked:
            self._start(db, job, task, now)

    def _concerns_us(self, db: sqlite3.Connection) -> bool:
        """Does the file assign this node anything else than what runs? Other nodes' heartbeats change the file all the time."""
        assigned = {
            (task.key, task.attempts if task.state is TaskState.RUNNING else None)
            for task in store.active_tasks(db, self.hostname)
            if task.nodes[0] == self.hostname
        }
        return assigned != {(key, running.task.attempts) for key, running in self.running.items()}

    def _report_ended(self, db: sqlite3.Connection, now: float) -> bool:
        """Whether something has ended."""
        self._killed = [process for process in self._killed if process.poll() is None]
        ended = []
        for key, running in self.running.items():
            if now > running.ends_at and not running.timed_out:
                running.timed_out = True
                _kill(running.process)
            if _has_ended(running.process):
                ended.append(key)
        if ended:
            with store.transaction(db):
                for key in ended:
                    running = self.running[key]
                    code = TIMED_OUT if running.timed_out else running.process.returncode
                    engine.finish(db, running.task, exit_code=code, now=now)
        for key in ended:
            del self.running[key]
            self._discard_script(key[0])
        return bool(ended)

    def _start(self, db: sqlite3.Connection, job: Job, task: Task, now: float) -> None:
        """Run the job's script. One that cannot be run has failed: that is its own fault, never this daemon's end."""
        try:
            process = self._run(job, task)
        except (OSError, ValueError) as err:  # ValueError: a zero byte in a name or a path
            print(f"{self.hostname}: job {job.job_id} cannot be started: {err}", file=sys.stderr, flush=True)  # noqa: T201
            with store.transaction(db):
                engine.finish(db, task, exit_code=NOT_RUN, now=now)
            self._discard_script(job.job_id)
            return
        self.running[task.key] = Running(task=task, process=process, ends_at=now + job.spec.time_limit_s)

    def _run(self, job: Job, task: Task) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            self.mark[0]: self.mark[1],
            "HEADNODE_JOB_ID": str(job.job_id),
            "HEADNODE_JOB_NAME": job.spec.name,
            "HEADNODE_NODES": " ".join(task.nodes),
            "HEADNODE_CPUS": str(job.spec.per_node.cpus),
        }
        if job.spec.array:
            environment["HEADNODE_ARRAY_TASK_ID"] = str(task.index)
        with _opened(job.spec.output) as output:
            return subprocess.Popen(
                [str(self._script(job))],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # the whole of it can be killed, and nothing else
                preexec_fn=_die_with_the_daemon,  # noqa: PLW1509  this process has no other threads
            )

    def _script(self, job: Job) -> Path:
        path = self.directory / f"{job.job_id}.{self.hostname}"
        if not path.exists():
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_bytes(os.fsencode(job.spec.script))
            fresh.chmod(0o700)
            fresh.rename(path)
        return path.resolve()

    def _discard_script(self, job_id: int) -> None:
        if all(key[0] != job_id for key in self.running):
            (self.directory / f"{job_id}.{self.hostname}").unlink(missing_ok=True)


def _is_current(stored: Task | None, mine: Task) -> bool:
    """Is the attempt that runs here still the task's own?"""
    return stored is not None and stored.state is TaskState.RUNNING and stored.attempts == mine.attempts


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


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Has the script ended? If so, what it left in the background ends with it: the node's room is about to be given away."""
    if process.returncode is not None:
        return True
    if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return False
    _kill(process)  # before it is reaped: nobody else can have its id yet
    process.wait()
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _only_one(directory: Path, hostname: Hostname) -> Iterator[None]:
    """Be the one daemon of that name on this machine; the kernel lets go of the lock however we end.

    Raises SchedulerRefused if another one runs, or the directory cannot be made.
    """
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        lock = (directory / f"{hostname}.lock").open("ab")
    except OSError as err:
        raise SchedulerRefused(f"node {hostname}: {err}", hint="the file's directory must exist and be writable") from err
    with lock:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as err:
                if time.monotonic() > deadline:
                    raise SchedulerRefused(f"node {hostname}: another daemon of that name runs on {directory}") from err
                time.sleep(POLL_S)  # one that was killed may not have ended yet
        yield


def run(file: Path, hostname: Hostname) -> None:
    """Run the daemon until SIGTERM or SIGINT. A file that is away or locked is tried again.

    Raises SchedulerRefused if there is another daemon of that name already.
    """
    stopped: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopped.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    daemon = NodeDaemon(file=file, hostname=hostname)
    with _only_one(daemon.directory, hostname):
        daemon.clear()
        try:
            while not stopped:
                try:
                    with contextlib.closing(store.connect(file, timeout_s=BUSY_TIMEOUT_S)) as db:
                        while not stopped:
                            daemon.step(db)
                            time.sleep(POLL_S)
                except sqlite3.Error as err:
                    print(f"{hostname}: {file}: {err}; trying again", file=sys.stderr, flush=True)  # noqa: T201
                    time.sleep(BEAT_S)
        finally:
            daemon.clear()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="headnode local node", description="Run the daemon of one node of the local scheduler.")
    parser.add_argument("--file", type=Path, required=True, help="the scheduler's SQLite file")
    parser.add_argument("--name", type=parse_hostname, required=True, help="the node's host name")
    arguments = parser.parse_args(argv)
    try:
        run(arguments.file, arguments.name)
    except SchedulerRefused as err:
        print(err, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
