"""The kit on a spool of its own: driven and looked at with `spool`, never through the plugin."""

import contextlib
import fcntl
import json
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

import spool
from daemons.model import BlockedBy, FleetName, FleetSpec, Hostname, InstanceId, NodeSpec, Shape
from headnode_spool import Spool, SpoolSettings
from headnode_spool.parse import demand_of, parse_jobs, parse_nodes
from schedulers.base import Scheduler
from schedulers.contract import Bench, JobAsk, JobState, ParserContract, Recorded, SchedulerContract

FLEET = FleetSpec(
    name=FleetName("batch"),
    group="hpc-batch",
    shape=Shape(cpus=4),
    instance_type="c5.xlarge",
    partition="batch",
    features=frozenset({"c5"}),
)
COMMAND = (sys.executable, spool.__file__)


class SpoolBench(Bench):
    bound_s = 10.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        settings = SpoolSettings(dir=directory, command=COMMAND, timeout_s=2.0)
        self._plugin = Spool.open(settings, cluster="kit", fleets=[FLEET])

    @property
    def plugin(self) -> Scheduler:
        return self._plugin

    @property
    def fleet(self) -> FleetSpec:
        return FLEET

    def spec(self, number: int) -> NodeSpec:
        return NodeSpec(
            instance_id=InstanceId(f"i-{number:017x}"),
            hostname=Hostname(f"n{number}"),
            address=f"10.0.{number // 250}.{number % 250 + 1}",
            fleet=FLEET.name,
            shape=FLEET.shape,
            partition=FLEET.partition,
            features=FLEET.features,
        )

    async def boot(self, *nodes: NodeSpec) -> None:
        self.spool("up", *(node.hostname for node in nodes))

    async def submit(self, ask: JobAsk) -> str:
        words = ["--queue", "batch", "--cpus", str(ask.cpus), "--feature", ask.feature, "--priority", str(ask.priority)]
        return self.spool("submit", *words, *(["--held"] if ask.held else []))

    async def state(self, job: str) -> JobState:
        for row in json.loads(self.spool("jobs"))["jobs"]:
            if row["id"] == job:
                return JobState.RUNNING if row["node"] else JobState.WAITING
        return JobState.ENDED

    async def cancel(self, job: str) -> None:
        self.spool("cancel", job)

    async def known(self) -> Collection[str]:
        return {row["name"] for row in self.rows()}

    async def administrator_drains(self, node: Hostname, reason: str) -> None:
        self.spool("drain", "--reason", reason, node)

    async def is_drained(self, node: Hostname) -> bool:
        return any(row["drained"] is not None for row in self.rows() if row["name"] == node)

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        away = self.directory.with_name("away")
        self.directory.rename(away)
        try:
            yield
        finally:
            away.rename(self.directory)

    @contextlib.contextmanager
    def hang(self) -> Iterator[None]:
        with (self.directory / spool.LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.spool("nodes"))["nodes"]
        return rows

    def spool(self, *words: str) -> str:
        argv = [*COMMAND, "--dir", str(self.directory), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


class TestSpool(SchedulerContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> SpoolBench:
        (tmp_path / "spool").mkdir()
        made = SpoolBench(tmp_path / "spool")
        await made.plugin.advertise([made.fleet])
        return made


NODES = """
{"nodes": [{"name": "n1", "jobs": ["2"], "address": "10.0.0.2", "cpus": 4, "queue": "batch", "features": ["c5"],
            "up": true, "drained": "headnode: idle"},
           {"name": "n2", "jobs": [], "address": "10.0.0.3", "cpus": 4, "queue": "batch", "features": [],
            "up": false, "drained": null}]}
"""
JOBS = """
{"jobs": [{"id": "2", "cpus": 4, "queue": "batch", "feature": "", "priority": 0, "held": false, "node": "n1"},
          {"id": "3", "cpus": 2, "queue": "batch", "feature": "c5", "priority": 0, "held": false, "node": null},
          {"id": "4", "cpus": 1, "queue": "batch", "feature": "", "priority": 9, "held": true, "node": null}]}
"""


class TestSpoolText(ParserContract):
    answers = (
        Recorded(
            name="nodes, one of them drained",
            text=NODES,
            parse=lambda text: {row.name: (row.up, row.drained, row.jobs) for row in parse_nodes(text).values()},
            golden={"n1": (True, "headnode: idle", ("2",)), "n2": (False, None, ())},
        ),
        Recorded(
            name="jobs, one of them held",
            text=JOBS,
            parse=lambda text: [(each.jobs, each.blocked_by) for each in demand_of(parse_jobs(text))],
            golden=[(("4",), BlockedBy.HOLD), (("3",), BlockedBy.NOTHING)],
        ),
    )
