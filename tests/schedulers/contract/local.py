"""The local scheduler as the kit drives it: the file is looked at and changed by the engine, never through the plugin."""

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from daemons.model import Hostname, NodeSpec, Shape
from schedulers.contract import JobAsk, JobState
from schedulers.local import Local, LocalSettings, engine, store
from schedulers.local.values import ENDED, TaskState
from tests.schedulers.contract.named import FLEET, NamedBench
from tests.schedulers.local.conftest import Cluster


class LocalBench(NamedBench):
    """Node daemons are real processes on this machine."""

    hangs = ("jobs_on", "register", "deregister", "drain", "resume", "advertise")  # readers of the file wait for nobody

    def __init__(self, directory: Path, plugin: type[Local] = Local) -> None:
        self.cluster = Cluster(directory)
        settings = LocalSettings(file=self.cluster.file, busy_timeout_s=1.5)
        super().__init__(plugin.open(settings, cluster="kit", fleets=[FLEET]))

    async def boot(self, *nodes: NodeSpec) -> None:
        for node in nodes:
            self.cluster.boot(node.hostname)

    async def submit(self, ask: JobAsk) -> str:
        return await asyncio.to_thread(self._submit, ask)

    def _submit(self, ask: JobAsk) -> str:
        number = self.cluster.submit(
            "exec sleep 600",
            nodes=ask.nodes,
            per_node=Shape(cpus=ask.cpus, memory_mib=ask.memory_mib, gpus=ask.gpus),
            exclusive=ask.exclusive,
            features=frozenset({ask.feature} if ask.feature else ()),
            array=tuple(range(1, ask.array + 1)),
            throttle=ask.throttle or None,
            held=ask.held,
            begin_at=time.time() + 3600 if ask.later else 0.0,
            after_ok=frozenset({int(ask.after)} if ask.after else ()),
            priority=ask.priority,
        )
        return str(number)

    async def state(self, job: str) -> JobState:
        states = {task.state for task in await asyncio.to_thread(self.cluster.tasks, int(job))}
        if states & {TaskState.RUNNING, TaskState.STARTING}:
            return JobState.RUNNING
        return JobState.ENDED if states <= ENDED else JobState.WAITING

    async def cancel(self, job: str) -> None:
        with self.cluster.db() as db, store.transaction(db):
            engine.cancel(db, int(job), now=time.time())

    async def known(self) -> Collection[str]:
        with self.cluster.db() as db:
            return {node.hostname for node in store.read_nodes(db)}

    async def administrator_drains(self, node: Hostname, reason: str) -> None:
        with self.cluster.db() as db, store.transaction(db):
            engine.set_drain(db, node, reason)

    async def is_drained(self, node: Hostname) -> bool:
        with self.cluster.db() as db:
            return next(one for one in store.read_nodes(db) if one.hostname == node).drain_reason is not None

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        away = self.cluster.file.with_suffix(".away")
        self.cluster.file.rename(away)
        try:
            yield
        finally:
            away.rename(self.cluster.file)

    @contextlib.contextmanager
    def hang(self) -> Iterator[None]:
        """Somebody has begun a change and does not end it."""
        with self.cluster.db() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                db.execute("ROLLBACK")
