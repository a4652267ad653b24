"""One page that says whether all is well, from real records of jobwatcher and nodewatcher among fakes."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from daemons.cli import app
from daemons.cli.common import NothingKnown
from daemons.cli.gather import Files, service_lines
from daemons.cli.overview import Unit
from daemons.cli.units import fetch_units, parse_units
from daemons.config import load_config
from daemons.model import BlockedBy, FleetName, Instance, JobDemand, JobId, NodeState, Shape, State
from schedulers.plugins import load_settings
from tests.fakes import BATCH, FakeGroups, FakeRows, FakeScheduler, hostname, instance_id
from tests.jobwatcher import cluster as jobwatcher
from tests.jobwatcher.test_shortages import failed
from tests.nodewatcher import cluster as nodewatcher

CONFIG = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc-instances"
[scheduler]
name = "local"
settings = {{ file = "/nowhere/local.db" }}
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.2xlarge"
cpus = 8
[jobwatcher]
state_dir = "{jobs}"
[nodewatcher]
state_dir = "{nodes}"
"""


@dataclass
class Head:
    """A head node whose jobwatcher and nodewatcher look at the same world, one after the other, and write down what they see."""

    directory: Path
    jobs: jobwatcher.Cluster
    nodes: nodewatcher.Cluster

    @classmethod
    def of(cls, directory: Path, groups: FakeGroups) -> "Head":
        rows, scheduler = FakeRows(), FakeScheduler()
        jobs = jobwatcher.Cluster(directory / "jobwatcher", groups, rows=rows, scheduler=scheduler)
        nodes = nodewatcher.Cluster(groups=groups, rows=rows, scheduler=scheduler, now=jobwatcher.NOON + 1)
        (directory / "headnode.toml").write_text(CONFIG.format(jobs=jobs.directory, nodes=nodes.directory))
        return cls(directory, jobs, nodes)

    async def look(self) -> None:
        await self.jobs.look()
        await self.nodes.passes(after_s=10)

    async def run(self, *argv: str) -> Result:
        config = str(self.directory / "headnode.toml")
        return await asyncio.to_thread(CliRunner().invoke, app, [*argv, "--config", config], env={"COLUMNS": "500"})

    async def told(self, *argv: str, code: int = 0) -> Any:
        done = await self.run(*argv, "--json")
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)


@pytest.fixture
def head(tmp_path: Path) -> Head:
    return Head.of(tmp_path, FakeGroups.of(1, 2))


async def test_a_cluster_that_is_well_is_so_on_one_page(head: Head) -> None:
    head.jobs.scheduler.work(hostname(1), "5")
    head.jobs.waits(3)
    head.jobs.waits(2, job="9", blocked_by=BlockedBy.HOLD, reason="JobHeldUser")
    await head.look()
    page = await head.told("status")
    assert (page["ok"], page["problems"], page["cluster"]) == (True, [], "hpc")
    assert [(one["service"], one["is_alive"]) for one in page["services"]] == [
        ("sqswatcher", None),
        ("jobwatcher", True),
        ("nodewatcher", True),
    ]
    (fleet,) = page["fleets"]
    assert {
        name: fleet[name] for name in ("fleet", "minimum", "desired", "maximum", "registered", "busy", "idle", "booting")
    } == {
        "fleet": "batch",
        "minimum": 0,
        "desired": 4,
        "maximum": 10,
        "registered": 2,
        "busy": 1,
        "idle": 1,
        "booting": 0,
    }
    assert [(line["jobs"], line["fate"], line["waits_for"]) for line in page["waiting"]] == [
        (1, "starting", "about to start: there is room on live nodes"),
        (2, "asked", "new nodes of fleet batch"),
        (2, "blocked", "blocked by hold (JobHeldUser)"),
    ]
    assert page["deeds"][0]["sentence"].startswith("fleet batch grows from 2 to 4: 2 more for waiting jobs")
    shown = await head.run("status")
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith("hpc at 12:00:11 UTC: all is well")
    assert "blocked by hold (JobHeldUser); more nodes would not help" in shown.output


async def test_problems_come_first_and_are_the_exit_code(head: Head) -> None:
    head.jobs.waits(3)
    await head.look()
    failed(head.jobs, 1)
    head.jobs.scheduler.falls(hostname(2), NodeState.DOWN)
    await head.look()
    page = await head.told("status", code=1)
    assert any("We currently do not have sufficient c5.2xlarge capacity" in problem for problem in page["problems"])
    assert any(problem.startswith(f"the scheduler calls {hostname(2)} down") for problem in page["problems"])
    shown = await head.run("status")
    assert shown.exit_code == 1
    lines = shown.output.splitlines()
    assert lines[0] == f"hpc at 12:00:21 UTC: {len(page['problems'])} problems"
    assert [line[:4] for line in lines[1 : 1 + len(page["problems"])]] == ["  ! "] * len(page["problems"])


async def test_nodes_on_their_way_in_and_out_are_counted_apart(head: Head) -> None:
    head.jobs.groups.arrive(BATCH.name, 3, 4, 5, 6)
    head.jobs.rows.hold(
        Instance(instance_id=instance_id(3), fleet=FleetName("batch"), state=State.PENDING),
        Instance(instance_id=instance_id(4), fleet=FleetName("batch"), state=State.DRAINING, hostname=hostname(4)),
    )
    head.jobs.registered(5, up=False)
    await head.look()
    (fleet,) = (await head.told("status"))["fleets"]
    assert (fleet["booting"], fleet["registered"], fleet["idle"], fleet["draining"]) == (3, 3, 2, 1), "one has no row yet"


async def test_where_nothing_is_recorded_that_is_the_problem(head: Head) -> None:
    page = await head.told("status", code=1)
    assert page["problems"] == ["jobwatcher is not well: has recorded nothing", "nodewatcher is not well: has recorded nothing"]
    assert page["at"] is None
    assert isinstance((await head.run("jobs")).exception, NothingKnown)


async def test_a_service_that_has_stopped_looking_is_found_out(head: Head) -> None:
    await head.look()
    assert (await head.told("status"))["ok"]
    memory = head.jobs.directory / "memory.json"
    os.utime(memory, (memory.stat().st_atime, memory.stat().st_mtime - 900))
    page = await head.told("status", code=1)
    (problem,) = page["problems"]
    assert problem.startswith("jobwatcher is not well: late; its last look: 9")


def looks(page: Any) -> list[str]:
    return [one["last_look"] for one in page["services"]]


async def test_where_there_is_no_memory_yet_the_record_says_when_the_last_look_was(head: Head) -> None:
    await head.look()
    (head.jobs.directory / "memory.json").unlink()
    config = load_config(head.directory / "headnode.toml", {}, load_settings=load_settings)
    records = Files(config).records()
    assert records.jobs is not None
    line = service_lines(config, {}, records, now=records.jobs.seen.now + 7)[1]
    assert (line.service, line.is_alive, line.last_look) == ("jobwatcher", True, "7 s ago")


async def test_who_has_not_looked_yet_says_so_and_since_when_it_runs(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks(await head.told("status", code=1)) == ["keeps no record", "not yet", "not yet"]
    units = {name: Unit(active="active", sub="running", runs_s=35.2) for name in ("sqswatcher", "jobwatcher", "nodewatcher")}
    monkeypatch.setattr("daemons.cli.status.fetch_units", lambda services: units)
    assert looks(await head.told("status")) == ["keeps no record", "not yet, runs for 35 s", "not yet, runs for 35 s"]
    units["jobwatcher"] = replace(units["jobwatcher"], runs_s=900.0)
    page = await head.told("status", code=1)
    assert page["problems"] == ["jobwatcher is not well: active (running); its last look: not yet, runs for 900 s"]
    units["jobwatcher"] = replace(units["jobwatcher"], status="standby: head-b holds the lease, fence 7")
    assert (await head.told("status"))["ok"], "who stands by does not look"


async def test_where_the_state_may_not_be_read_nobody_says_that_it_never_looked(
    head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where the directory should be is what root cannot look into either."""
    config = head.directory / "headnode.toml"
    config.write_text(config.read_text().replace(str(head.jobs.directory), f"{config}/jobwatcher"))
    units = {"jobwatcher": Unit(active="active", sub="running", runs_s=900.0)}
    monkeypatch.setattr("daemons.cli.status.fetch_units", lambda services: units)
    page = await head.told("status", code=1)
    assert (looks(page)[1], page["services"][1]["is_alive"]) == ("not known", True)


async def test_a_record_that_cannot_be_read_is_a_problem_and_the_rest_is_told(head: Head) -> None:
    await head.look()
    (head.jobs.directory / "last.json").write_text('{"version": "0"}\n')
    page = await head.told("status", code=1)
    assert [problem.partition(" cannot be read")[0] for problem in page["problems"]] == [
        f"what is recorded in {head.jobs.directory}"
    ]
    assert page["fleets"][0]["registered"] == 2, "nodewatcher has seen them too"


async def test_what_others_wrote_does_not_steer_the_terminal(head: Head) -> None:
    await head.look()
    node = head.jobs.scheduler.known[hostname(1)]
    head.jobs.scheduler.known[hostname(1)] = replace(node, states=frozenset({NodeState.DOWN}), reason="\x1b[2Jgone [red]x")
    await head.look()
    shown = await head.run("status")
    assert "\x1b" not in shown.output
    assert "?[2Jgone [red]x" in shown.output


async def test_the_last_decisions_of_both_services_are_told_newest_first(head: Head) -> None:
    head.jobs.waits(3)
    await head.look()
    head.jobs.scheduler.waiting.clear()
    for _ in range(12):
        await head.look()
    deeds = (await head.told("status"))["deeds"]
    assert [one["at"] for one in deeds] == sorted((one["at"] for one in deeds), reverse=True)
    assert {one["service"] for one in deeds} == {"jobwatcher", "nodewatcher"}
    assert any(one["sentence"].startswith(f"{hostname(1)} is to drain: idle for") for one in deeds)


async def test_a_watched_page_is_told_again_and_again_until_it_is_interrupted(head: Head) -> None:
    await head.look()
    argv = [sys.executable, "-c", "from daemons.cli import main; main()", "status", "--watch", "--json"]
    watching = await asyncio.create_subprocess_exec(
        *argv, "--config", str(head.directory / "headnode.toml"), stdout=asyncio.subprocess.PIPE
    )
    assert watching.stdout is not None
    first = json.loads(await asyncio.wait_for(watching.stdout.readline(), 120))
    head.jobs.waits(3)
    await head.look()
    for _ in range(30):
        page = json.loads(await asyncio.wait_for(watching.stdout.readline(), 120))
        if page["waiting"]:
            break
    assert (first["waiting"], bool(page["waiting"]), page["ok"]) == ([], True, True)
    watching.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(watching.wait(), 120) == 0


async def test_files_that_have_not_changed_are_not_read_again(head: Head) -> None:
    head.jobs.waits(1)
    await head.look()
    files = Files(load_config(head.directory / "headnode.toml", {}, load_settings=load_settings))
    before, deeds = files.records(), files.deeds()
    assert files.records().jobs is before.jobs
    assert all(one is other for one, other in zip(files.deeds(), deeds, strict=True))
    head.jobs.waits(8)
    await head.look()
    assert files.records().jobs is not before.jobs
    assert len(files.deeds()) > len(deeds) >= 0


SHOWN = """Id=sqswatcher.service
LoadState=loaded
ActiveState=active
SubState=running
StatusText=12 cycles, the last one went well
NRestarts=0
ExecMainStartTimestampMonotonic=87500000

Id=jobwatcher.service
LoadState=loaded
ActiveState=activating
SubState=auto-restart
StatusText=
NRestarts=7
ExecMainStartTimestampMonotonic=0

Id=nodewatcher.service
LoadState=not-found
ActiveState=inactive
SubState=dead
StatusText=
NRestarts=[not set]
"""


def test_what_systemd_says_is_read_whole() -> None:
    units = parse_units(SHOWN, awake_s=100.0)
    assert set(units) == {"sqswatcher", "jobwatcher"}, "a unit that is not installed says nothing"
    assert (units["sqswatcher"].active, units["sqswatcher"].status) == ("active", "12 cycles, the last one went well")
    assert (units["jobwatcher"].sub, units["jobwatcher"].restarts) == ("auto-restart", 7)
    assert (units["sqswatcher"].runs_s, units["jobwatcher"].runs_s) == (12.5, None)
    assert parse_units("", awake_s=100.0) == {}


async def test_systemds_word_counts_where_it_runs_the_services(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    await head.look()
    program = head.directory / "systemctl"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{SHOWN}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{head.directory}:{os.environ['PATH']}")
    monkeypatch.setattr("daemons.cli.units.BOOTED", head.directory)
    page = await head.told("status", code=1)
    assert page["problems"] == ["jobwatcher is not well: activating (auto-restart)"]
    assert [(one["service"], one["state"], one["status"]) for one in page["services"]] == [
        ("sqswatcher", "active (running)", "12 cycles, the last one went well"),
        ("jobwatcher", "activating (auto-restart)", ""),
        ("nodewatcher", "looks", ""),
    ]


def test_a_systemd_that_does_not_answer_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho Failed to connect to bus >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert fetch_units(["jobwatcher"], booted=tmp_path) == {}
    assert fetch_units(["jobwatcher"], booted=tmp_path / "elsewhere") == {}


async def test_the_waiting_work_is_listed_by_shape_with_what_it_needs_and_waits_for(head: Head) -> None:
    waiting = head.jobs.scheduler.waiting
    waiting.append(
        JobDemand(
            jobs=(JobId("11"), JobId("12")),
            count=2,
            tasks=4,
            per_task=Shape(cpus=4, memory_mib=2000, gpus=1, gpu_type="a100"),
            nodes_min=2,
            nodes_max=2,
            features=(frozenset({"fast", "ssd"}), frozenset({"big"})),
            partitions=frozenset({"gpu"}),
            submitted_at=jobwatcher.NOON - 290,
        )
    )
    head.jobs.waits(3, job="7", partitions=frozenset({"compute"}))
    head.jobs.waits(2, job="8_[1-6%2]", partitions=frozenset({"compute"}))
    head.jobs.waits(2, job="8_[1-6%2]", blocked_by=BlockedBy.ARRAY_LIMIT, cpus=1)
    await head.look()
    lines = {(line["jobs"][0], line["needs"]): line for line in (await head.told("jobs"))["waiting"]}
    gpus = lines["11", "2 nodes: 4 tasks of 4 cpus, 2000 MiB, 1 gpu (a100); features fast&ssd or big"]
    assert (gpus["count"], gpus["waits_s"], [one["fate"] for one in gpus["fates"]]) == (2, 300.0, ["limited"])
    assert gpus["fates"][0]["waits_for"] == "no fleet serves partition gpu"
    assert [one["fate"] for one in lines["7", "8 cpus"]["fates"]] == ["starting", "asked"]
    assert [one["fate"] for one in lines["8_[1-6%2]", "1 cpu"]["fates"]] == ["blocked"], "each part of the array has its own need"
    assert len(lines) == 4


async def test_the_waiting_work_can_be_asked_for_by_fate_partition_and_job(head: Head) -> None:
    head.jobs.waits(3, job="7", partitions=frozenset({"compute"}))
    head.jobs.waits(1, job="9", partitions=frozenset({"long"}), blocked_by=BlockedBy.DEPENDENCY)
    await head.look()

    async def listed(*argv: str) -> list[str]:
        return [line["jobs"][0] for line in (await head.told("jobs", *argv))["waiting"]]

    assert await listed() == ["7", "9"]
    assert await listed("--fate", "blocked") == ["9"]
    assert await listed("--fate", "blocked", "--fate", "asked") == ["7", "9"]
    assert await listed("--partition", "compute") == ["7"]
    assert await listed("--job", "9") == ["9"]
    shown = await head.run("jobs")
    assert "1: " not in shown.output.splitlines()[-1]
    assert shown.output.splitlines()[-1] == "4 jobs wait, as of 12:00:10 UTC"
    assert "no such job waits" in (await head.run("jobs", "--job", "77")).output


async def test_of_two_heads_the_one_that_stands_by_is_not_late(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    await head.look()
    for memory in (head.jobs.directory / "memory.json", head.nodes.directory / "memory.json"):
        os.utime(memory, (memory.stat().st_atime, memory.stat().st_mtime - 90_000))
    config = head.directory / "headnode.toml"
    config.write_text(config.read_text() + "[ha]\nenabled = true\n")
    page = await head.told("status")
    assert [one["is_alive"] for one in page["services"]] == [None, None, None], "without systemd nobody here can say"
    says = {"jobwatcher": "standby: head-b holds the lease, fence 7", "nodewatcher": "12 cycles, the last one went well"}
    units = {name: Unit(active="active", sub="running", status=status) for name, status in says.items()}
    monkeypatch.setattr("daemons.cli.status.fetch_units", lambda services: units)
    page = await head.told("status", code=1)
    (problem,) = page["problems"]
    assert problem.startswith("nodewatcher is not well: active (running); its last look: 9")
    assert {one["service"]: one["is_alive"] for one in page["services"]}["jobwatcher"] is True
