import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemons.model import FleetName, Hostname, InstanceId, NodeSpec, Shape
from sandbox.local import NODE_MARK
from schedulers.local import Local, LocalSettings, engine, store
from schedulers.local.processes import kill_marked
from schedulers.local.values import JobSpec, Limits, Task


class Cluster:
    """A file, and real node daemons on demand. It looks at the file itself, never through the plugin."""

    def __init__(self, directory: Path, *, create: bool = True) -> None:
        self.directory = directory
        self.file = directory / "local.db"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        directory.mkdir(exist_ok=True)
        if create:
            self.create()

    def create(self) -> None:
        store.create(self.file, Limits(silent_after_s=2.0, down_after_s=3.0))

    def db(self) -> "closing[sqlite3.Connection]":
        return closing(store.connect(self.file, timeout_s=10))

    def boot(self, name: str) -> None:
        argv = [sys.executable, "-m", "schedulers.local.node", "--file", str(self.file), "--name", name]
        with (self.directory / f"{name}.said").open("ab") as said:
            self.daemons[name] = subprocess.Popen(argv, stderr=said, env={**os.environ, NODE_MARK: f"{self.directory}/{name}"})

    def said(self, name: str) -> str:
        """What the daemon complained of."""
        return (self.directory / f"{name}.said").read_text()

    def crash(self, name: str) -> None:
        """The daemon is gone from one moment to the next; the machine is not."""
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def kill(self, name: str) -> None:
        """The machine is gone: neither the daemon nor its jobs say goodbye."""
        self.daemons[name].kill()
        kill_marked(f"{NODE_MARK}={self.directory}/{name}")
        self.daemons.pop(name).wait()

    def submit(self, script: str = "exit 0", **fields: object) -> int:
        spec = JobSpec(name="job", script=f"#!/bin/sh\n{script}\n", **fields)  # type: ignore[arg-type]
        with self.db() as db, store.transaction(db):
            return engine.submit(db, spec, now=time.time())

    def tasks(self, job_id: int) -> list[Task]:
        with self.db() as db:
            return engine.tasks_of(db, [job_id])

    def states(self, job_id: int) -> list[str]:
        return [str(task.state) for task in self.tasks(job_id)]

    def until(self, holds: Callable[[], bool], what: str = "") -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline, f"never: {what}"
            time.sleep(0.02)

    def stop(self) -> None:
        for name in list(self.daemons):
            self.daemons[name].send_signal(signal.SIGCONT)
            self.daemons[name].terminate()
            self.daemons[name].wait(20)
            kill_marked(f"{NODE_MARK}={self.directory}/{name}")


def spec(name: str, *, cpus: int = 4, address: str = "10.0.0.1", partition: str = "compute") -> NodeSpec:
    return NodeSpec(
        instance_id=InstanceId("i-0c9f3a52c7de10001"),
        hostname=Hostname(name),
        address=address,
        fleet=FleetName("batch"),
        shape=Shape(cpus=cpus, memory_mib=8000),
        partition=partition,
        features=frozenset({"c5"}),
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def scheduler(cluster: Cluster) -> Local:
    return Local.open(LocalSettings(file=cluster.file, busy_timeout_s=0.2), cluster="test", fleets=[])
