"""A private cluster of the local scheduler: a node daemon for each emulated instance. Needs no root."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.aws.values import EmulatedInstance
from sandbox.runtime import Placement
from schedulers.local import engine, store
from schedulers.local.processes import kill_marked
from schedulers.local.values import ACTIVE, JobSpec, Limits, TaskState

NODE_MARK = "HEADNODE_NODE"
DOMAIN = "eu-west-1.compute.internal"


@dataclass(kw_only=True)
class LocalCluster:
    """A `sandbox.runtime.NodeRuntime` whose machines are node daemons on this machine.

    `env` is added to every process's environment; `announce` is called when a machine has booted.
    """

    directory: Path
    env: Mapping[str, str] = field(default_factory=dict)
    announce: Callable[[EmulatedInstance], None] | None = None
    most_nodes: int = 250
    _slots: dict[str, int] = field(default_factory=dict)
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def file(self) -> Path:
        return self.directory / "local.db"

    @property
    def settings(self) -> dict[str, object]:
        """The plugin's settings for this cluster."""
        return {"file": str(self.file)}

    def start(self) -> None:
        """Make the file."""
        self.directory.mkdir(parents=True, exist_ok=True)
        store.create(self.file, Limits())

    def stop(self) -> None:
        """End all machines. Repeatable; the file stays."""
        for instance_id in list(self._slots):
            self.kill(instance_id)

    def place(self, instance_id: str) -> Placement:
        """The lowest free address and its host name; both are used again after a machine's end."""
        with self._lock:
            if instance_id not in self._slots:
                taken = set(self._slots.values())
                free = next((number for number in range(1, self.most_nodes + 1) if number not in taken), None)
                if free is None:
                    raise OSError(f"all {self.most_nodes} addresses of the sandbox's subnet are in use")
                self._slots[instance_id] = free
            number = self._slots[instance_id]
        return Placement(address=f"10.78.0.{number}", hostname=f"ip-10-78-0-{number}.{DOMAIN}")

    def boot(self, instance: EmulatedInstance) -> None:
        """Announce the machine, then start its daemon; nothing of it if it was killed meanwhile."""
        if self.announce is not None:
            self.announce(instance)
        hostname = instance.hostname.partition(".")[0]
        with self._lock:
            if instance.instance_id not in self._slots:
                return
            with (self.directory / f"{hostname}.node").open("ab") as said:
                self._daemons[instance.instance_id] = subprocess.Popen(
                    [sys.executable, "-m", "schedulers.local.node", "--file", str(self.file), "--name", hostname],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    env={**os.environ, **self.env, NODE_MARK: instance.instance_id},
                    start_new_session=True,
                )

    def kill(self, instance_id: str) -> None:
        """The machine is gone at once, and what it ran with it. Repeatable; may come before or during the boot."""
        with self._lock:
            known = self._slots.pop(instance_id, None) is not None
            daemon = self._daemons.pop(instance_id, None)
            if daemon is not None:
                daemon.kill()  # before the next machine can have its name
        if not known:
            return
        kill_marked(f"{NODE_MARK}={instance_id}")
        if daemon is not None:
            daemon.wait()

    def submit(self, spec: JobSpec) -> int:
        """Queue a job; its id. Raises SchedulerRefused for one that could never run."""
        with self._opened() as db, store.transaction(db):
            job_id = engine.submit(db, spec, now=time.time())
            engine.advance(db, now=time.time())
            return job_id

    def waiting(self) -> frozenset[str]:
        """Names of the jobs that have tasks waiting."""
        with self._opened() as db:
            jobs = engine.jobs_of(db)
            return frozenset(jobs[task.job_id].spec.name for task in engine.tasks_of(db) if task.state is TaskState.WAITING)

    def counts(self) -> tuple[int, int]:
        """How many tasks wait, and how many run."""
        with self._opened() as db:
            states = [task.state for task in engine.tasks_of(db)]
        return states.count(TaskState.WAITING), sum(state in ACTIVE for state in states)

    def nodes(self) -> Mapping[str, bool]:
        """The registered nodes: host name → does something run there?"""
        with self._opened() as db:
            return {node.hostname: bool(store.active_tasks(db, node.hostname)) for node in store.read_nodes(db)}

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(store.connect(self.file, timeout_s=10)) as db:
            yield db
