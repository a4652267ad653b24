"""The plugin against the emulated commands: what holds afterwards is asked with those commands, not through the plugin."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest

from daemons.errors import SchedulerRefused, SchedulerUnavailable
from daemons.model import BlockedBy, FleetName, FleetSpec, Hostname, InstanceId, Node, NodeSpec, NodeState, Shape
from sandbox.torque.cluster import FakeTorque
from schedulers.base import DRAIN_MARK, Outcome
from schedulers.commands import Answer, LocalCommands
from schedulers.torque import Torque, TorqueSettings
from tests.schedulers.torque.test_parse import RECORDINGS

FLEET = FleetSpec(
    name=FleetName("batch"),
    group="hpc-batch",
    shape=Shape(cpus=4, memory_mib=7_000),
    instance_type="c5.xlarge",
    partition="batch",
    features=frozenset({"c5"}),
)
GPU = replace(FLEET, name=FleetName("gpu"), shape=Shape(cpus=8, memory_mib=30_000, gpus=2), features=frozenset({"p4d"}))
DEADLINE_S = 60.0


def spec(number: int, fleet: FleetSpec = FLEET) -> NodeSpec:
    return NodeSpec(
        instance_id=InstanceId(f"i-{number:017x}"),
        hostname=Hostname(f"n{number}"),
        address=f"10.0.0.{number % 250}",
        fleet=fleet.name,
        shape=fleet.shape,
        partition=fleet.partition,
        features=fleet.features,
    )


class Bench:
    """The emulated server, and a plugin for it whose commands are counted."""

    def __init__(self, fake: FakeTorque, **settings: object) -> None:
        self.fake = fake
        chosen = TorqueSettings.model_validate({"bin": fake.bin, **settings})
        self.commands = LocalCommands(timeout_s=chosen.timeout_s, env={"PBSAPITIMEOUT": str(chosen.api_timeout_s)})
        self.torque = Torque.over(self.commands, chosen, [FLEET, GPU], clock=fake.now)

    async def joins(self, *numbers: int, fleet: FleetSpec = FLEET) -> list[Hostname]:
        """Registered, booted, up."""
        results = await self.torque.register([spec(number, fleet) for number in numbers])
        assert {result.outcome for result in results.values()} == {Outcome.DONE}
        self.fake.boot(*results)
        return list(results)

    async def node(self, name: str) -> Node:
        return next(node for node in await self.torque.nodes() if node.hostname == name)

    def printed(self, name: str) -> str:
        """The node, by pbsnodes."""
        return self.fake.run("pbsnodes", "-x", name).stdout

    def state(self, job: str) -> str:
        """The job's state letter, by qstat."""
        text = self.fake.run("qstat", "-x").stdout
        found = re.search(rf"<Job_Id>{re.escape(job)}</Job_Id>.*?<job_state>(.)</job_state>", text, re.DOTALL)
        return found[1] if found else ""


@pytest.fixture
def fake(tmp_path: Path) -> FakeTorque:
    one = FakeTorque(directory=tmp_path / "torque")
    one.start()
    return one


@pytest.fixture
def bench(fake: FakeTorque) -> Bench:
    return Bench(fake)


async def test_a_node_that_is_registered_takes_jobs_once_its_mom_reports(bench: Bench) -> None:
    results = await bench.torque.register([spec(1)])
    assert results == {Hostname("n1"): results[Hostname("n1")]}
    assert (await bench.node("n1")).is_awaited
    job = bench.fake.submit("-l", "nodes=1:ppn=2:c5")
    assert bench.state(job) == "Q"
    bench.fake.boot("n1")
    assert bench.state(job) == "R"
    node = await bench.node("n1")
    assert (set(node.jobs), node.total.cpus, node.used.cpus, set(node.features)) == ({job}, 4, 2, {"c5", "batch"})
    assert node.states == {NodeState.BUSY}
    assert node.partitions == {"batch"}


async def test_two_hundred_nodes_are_registered_by_few_commands_and_again_by_fewer(bench: Bench) -> None:
    nodes = [spec(number) for number in range(1, 151)] + [spec(number, GPU) for number in range(151, 201)]
    results = await bench.torque.register(nodes)
    assert [result.outcome for result in results.values()] == [Outcome.DONE] * 200
    assert bench.commands.calls.total() <= 5
    bench.commands.calls.clear()
    again = await bench.torque.register(nodes)
    assert {result.outcome for result in again.values()} == {Outcome.DONE}
    assert bench.commands.calls == {"pbsnodes": 1}
    assert "<np>8</np>" in bench.printed("n151")
    assert "<gpus>2</gpus>" in bench.printed("n151")


async def test_one_bad_node_of_a_batch_keeps_no_other_out(bench: Bench) -> None:
    with bench.fake.changed() as state:
        state.unresolvable = ["n2"]
    hostile = replace(spec(3), hostname=Hostname("n3 np=9"))
    results = await bench.torque.register([spec(1), spec(2), hostile, spec(4)])
    said = {name: result.outcome for name, result in results.items()}
    assert said == {"n1": Outcome.DONE, "n2": Outcome.UNKNOWN, "n3 np=9": Outcome.REFUSED, "n4": Outcome.DONE}
    assert "Unknown node" in results[Hostname("n2")].detail
    assert {node.hostname for node in await bench.torque.nodes()} == {"n1", "n4"}


@pytest.mark.parametrize("feature", ["a,np=64", 'a" "b', "a b", "-x", "a\nquit"])
async def test_words_that_could_be_syntax_never_reach_qmgr(bench: Bench, feature: str) -> None:
    results = await bench.torque.register([replace(spec(1), features=frozenset({feature}))])
    assert results[Hostname("n1")].outcome is Outcome.REFUSED
    assert "qmgr" not in bench.commands.calls


async def test_a_down_and_empty_node_of_that_name_is_made_anew(bench: Bench) -> None:
    await bench.joins(1)
    assert (await bench.node("n1")).is_idle
    bench.fake.kill("n1")
    assert NodeState.DOWN in (await bench.node("n1")).states
    await bench.torque.register([spec(1)])
    assert (await bench.node("n1")).is_awaited


class Says:
    """Commands that answer the same to everything."""

    def __init__(self, *nodes: str) -> None:
        self.answer = Answer(exit_code=0, out=f"<Data>{''.join(nodes)}</Data>", err="")

    async def run(self, *argv: str) -> Answer:
        return self.answer


def entry(name: str, state: str = "free", more: str = "") -> str:
    return f"<Node><name>{name}</name><state>{state}</state><np>4</np>{more}</Node>"


@pytest.mark.parametrize("broken", [entry("n1", more="<jobs>0/1.h</jobs><status>message=a < b</status>"), entry("n<1")])
async def test_a_node_whose_entry_cannot_be_read_is_never_one_without_jobs(broken: str) -> None:
    torque = Torque.over(Says(broken, entry("n2")), TorqueSettings(), [FLEET])
    assert [node.hostname for node in await torque.nodes()] == ["n2"]
    assert await torque.jobs_on([Hostname("n2")]) == {"n2": frozenset()}
    for call in (torque.jobs_on, torque.deregister):
        with pytest.raises(SchedulerUnavailable, match="could not be read"):
            await call([Hostname("n1"), Hostname("n2")])


async def test_a_node_that_is_taken_has_a_job_even_if_torque_names_none() -> None:
    torque = Torque.over(Says(entry("n1", "job-exclusive"), entry("n2")), TorqueSettings(), [FLEET])
    assert await torque.jobs_on([Hostname("n1"), Hostname("n2")]) == {"n1": {"a job on n1"}, "n2": frozenset()}


async def test_nodes_that_idle_are_forgotten_those_that_are_not_there_are_absent_and_jobs_are_requeued(bench: Bench) -> None:
    await bench.joins(1, 2)
    job = bench.fake.submit("-l", "nodes=n1:ppn=4")
    assert bench.state(job) == "R"
    results = await bench.torque.deregister([Hostname("n1"), Hostname("n2"), Hostname("n9")])
    assert {name: result.outcome for name, result in results.items()} == {
        "n1": Outcome.DONE,
        "n2": Outcome.DONE,
        "n9": Outcome.ABSENT,
    }
    assert bench.state(job) == "Q"
    assert await bench.torque.nodes() == ()


async def test_a_job_on_a_node_whose_mom_is_dead_is_requeued_before_the_node_goes(bench: Bench) -> None:
    await bench.joins(1)
    job = bench.fake.submit("-l", "nodes=1:ppn=4")
    assert bench.state(job) == "R"
    bench.fake.kill("n1")
    await bench.torque.deregister([Hostname("n1")])
    assert bench.state(job) == "Q", "pbs_server alone would have ended it"


async def test_jobs_of_a_lost_node_wait_again_and_those_of_one_that_is_up_are_left_alone(bench: Bench) -> None:
    lost, other = await bench.joins(1, 2)
    jobs = [bench.fake.submit("-l", f"nodes={name}:ppn=4") for name in (lost, other)]
    assert [bench.state(job) for job in jobs] == ["R", "R"]
    await bench.torque.drain([lost], reason="unhealthy")
    bench.fake.kill(lost)
    results = await bench.torque.requeue([lost, other])
    assert [bench.state(job) for job in jobs] == ["Q", "R"]
    assert {name: result.outcome for name, result in results.items()} == {lost: Outcome.DONE, other: Outcome.BUSY}


async def test_deletions_sleep_side_by_side(tmp_path: Path) -> None:
    fake = FakeTorque(directory=tmp_path / "torque", delete_s=3.0)
    fake.start()
    bench = Bench(fake)
    await bench.joins(*range(1, 21))
    twenty = [Hostname(f"n{number}") for number in range(1, 21)]
    results = await asyncio.wait_for(bench.torque.deregister(twenty), DEADLINE_S - 1)  # one after the other take a minute
    assert {result.outcome for result in results.values()} == {Outcome.DONE}


async def test_a_drained_node_starts_nothing_and_says_why_until_it_is_taken_back(bench: Bench) -> None:
    await bench.joins(1, 2)
    running = bench.fake.submit("-l", "nodes=n1:ppn=2")
    results = await bench.torque.drain([Hostname("n1"), Hostname("n9")], reason='idle for 60 s, <b>"so"</b>')
    assert {name: result.outcome for name, result in results.items()} == {"n1": Outcome.DONE, "n9": Outcome.ABSENT}
    node = await bench.node("n1")
    assert node.drained_by_us
    assert node.states == {NodeState.DRAIN, NodeState.BUSY}
    assert node.reason == f"{DRAIN_MARK} idle for 60 s b so /b"
    waiting = bench.fake.submit("-l", "nodes=n1:ppn=2")
    assert (bench.state(running), bench.state(waiting)) == ("R", "Q")
    await bench.torque.drain([Hostname("n1")], reason="another")
    assert (await bench.node("n1")).reason == node.reason
    assert (await bench.torque.resume([Hostname("n1")]))[Hostname("n1")].outcome is Outcome.DONE
    assert bench.state(waiting) == "R"
    assert "<note>" not in bench.printed("n1")


async def test_an_administrators_drain_is_neither_taken_nor_taken_back(bench: Bench) -> None:
    await bench.joins(1, 2)
    bench.fake.run("pbsnodes", "-o", "-N", "kernel test", "n1")
    bench.fake.run("pbsnodes", "-o", "n2")
    both = [Hostname("n1"), Hostname("n2")]
    for results in (await bench.torque.drain(both, reason="idle"), await bench.torque.resume(both)):
        assert {result.outcome for result in results.values()} == {Outcome.REFUSED}
    assert "kernel test" in bench.printed("n1")
    assert not (await bench.node("n1")).drained_by_us


async def test_an_administrators_drain_after_ours_was_taken_back_is_not_ours(bench: Bench) -> None:
    (name,) = await bench.joins(1)
    await bench.torque.drain([name], reason="idle")
    await bench.torque.resume([name])
    bench.fake.run("pbsnodes", "-o", name)
    assert not (await bench.node(name)).drained_by_us


async def test_a_node_in_its_first_seconds_is_nobodys_and_cannot_be_drained_yet(tmp_path: Path) -> None:
    fake = FakeTorque(directory=tmp_path / "torque", young_s=9.0)
    fake.start()
    bench = Bench(fake)
    await bench.torque.register([spec(1)])
    node = await bench.node("n1")
    assert node.states == {NodeState.AWAITED}
    results = await bench.torque.drain([Hostname("n1")], reason="idle")
    assert results[Hostname("n1")].outcome is Outcome.UNKNOWN
    assert "okclients" in results[Hostname("n1")].detail
    fake.later(10)
    assert (await bench.torque.drain([Hostname("n1")], reason="idle"))[Hostname("n1")].outcome is Outcome.DONE


async def test_jobs_queue_on_an_empty_cluster_once_it_is_advertised(bench: Bench) -> None:
    with pytest.raises(OSError, match="cannot locate feasible nodes"):
        bench.fake.submit("-l", "nodes=4:ppn=4:c5")
    await bench.torque.advertise([FLEET, GPU])
    await bench.torque.advertise([FLEET, GPU])
    jobs = [
        bench.fake.submit("-l", asked) for asked in ("nodes=4:ppn=4:c5", "nodes=1:gpus=2", "nodes=2:ppn=2+3:ppn=6", "procs=8")
    ]
    assert {bench.state(job) for job in jobs} == {"Q"}
    assert await bench.torque.nodes() == (), "what stands for nodes to come is none"
    assert "offline" in bench.printed("tbhead")
    waiting = await bench.torque.demand()
    assert {job for demand in waiting for job in demand.jobs} == set(jobs), "and no probe is left behind"


async def test_waiting_jobs_survive_a_restart_of_the_server_because_a_job_is_submitted_first(bench: Bench) -> None:
    await bench.torque.advertise([FLEET])
    with bench.fake.changed() as state:
        state.is_loaded = False  # pbs_server was restarted
    with pytest.raises(OSError, match="feasible"):
        bench.fake.submit("-l", "nodes=4:ppn=4:c5")
    await bench.torque.advertise([FLEET])
    bench.fake.submit("-l", "nodes=4:ppn=4:c5")


async def test_a_node_of_the_cluster_cannot_stand_for_others(fake: FakeTorque) -> None:
    bench = Bench(fake, placeholder="n1")
    await bench.joins(1)
    with pytest.raises(SchedulerRefused, match="cannot stand"):
        await bench.torque.advertise([FLEET])
    other = Bench(fake, placeholder="n2")
    await other.torque.advertise([FLEET])
    results = await other.torque.register([spec(2)])
    assert results[Hostname("n2")].outcome is Outcome.REFUSED


async def test_who_may_not_manage_is_told_what_to_do(bench: Bench) -> None:
    with bench.fake.changed() as state:
        state.managers = False
    with pytest.raises(SchedulerRefused, match="PERM_MANAGER") as told:
        await bench.torque.register([spec(1)])
    assert "managers +=" in told.value.hint


async def test_every_kind_of_waiting_at_the_server(bench: Bench) -> None:
    await bench.torque.advertise([FLEET, GPU])
    held = bench.fake.submit("-h", "-l", "nodes=1:c5")
    after = bench.fake.submit("-W", f"depend=afterok:{held}", "-l", "nodes=1:c5")
    later = bench.fake.submit("-a", "203001010000", "-l", "nodes=1:c5")
    array = bench.fake.submit("-t", "1-10%3", "-l", "nodes=1:ppn=2:c5")
    alone = bench.fake.submit("-n", "-l", "nodes=1:c5")
    found: dict[str, dict[BlockedBy, int]] = {}
    exclusive = set()
    for demand in await bench.torque.demand():
        for job in demand.jobs:
            found.setdefault(job, {})[demand.blocked_by] = demand.count
            exclusive |= {job} if demand.exclusive else set()
    assert found == {
        held: {BlockedBy.HOLD: 1},
        after: {BlockedBy.DEPENDENCY: 1},
        later: {BlockedBy.BEGIN_TIME: 1},
        array: {BlockedBy.NOTHING: 3, BlockedBy.ARRAY_LIMIT: 7},
        alone: {BlockedBy.NOTHING: 1},
    }
    assert exclusive == {alone}
    bench.fake.run("qrls", held)
    await bench.joins(1)
    bench.fake.later(120)
    running = {job for node in await bench.torque.nodes() for job in node.jobs}
    assert running
    left = sum(demand.count for demand in await bench.torque.demand() if array in demand.jobs)
    assert left == 10 - sum(1 for job in running if job.startswith(array.partition("[")[0] + "["))


CALLS = ["demand", "nodes", "jobs_on", "register", "deregister", "drain", "resume", "advertise"]


async def call(torque: Torque, name: str) -> object:
    node = Hostname("n1")
    match name:
        case "jobs_on" | "deregister" | "resume":
            return await getattr(torque, name)([node])
        case "register":
            return await torque.register([spec(1)])
        case "drain":
            return await torque.drain([node], reason="idle")
        case "advertise":
            await torque.advertise([FLEET])
            return None
        case _:
            return await getattr(torque, name)()


@pytest.mark.parametrize("name", CALLS)
async def test_silence_is_an_error_and_never_an_empty_cluster(bench: Bench, name: str) -> None:
    with bench.fake.down(), pytest.raises(SchedulerUnavailable, match="no answer"):
        await call(bench.torque, name)


@pytest.mark.parametrize("name", CALLS)
async def test_a_server_that_hangs_is_given_up_in_time(fake: FakeTorque, name: str) -> None:
    by_torque, by_us = Bench(fake, api_timeout_s=1), Bench(fake, api_timeout_s=300, timeout_s=0.5)
    with fake.frozen():
        for bench in (by_torque, by_us):
            with pytest.raises(SchedulerUnavailable):
                await asyncio.wait_for(call(bench.torque, name), DEADLINE_S)


async def test_what_a_slow_command_did_is_unknown_until_it_is_read(fake: FakeTorque) -> None:
    bench = Bench(fake, timeout_s=1.0)
    with fake.slow(5), pytest.raises(SchedulerUnavailable):
        await bench.torque.register([spec(1)])
    assert (await bench.torque.register([spec(1)]))[Hostname("n1")].outcome is Outcome.DONE


@pytest.fixture
def replayed(tmp_path: Path) -> tuple[Torque, Path]:
    """A plugin whose commands print what was recorded."""
    for program in ("pbsnodes", "qstat", "qmgr"):
        path = tmp_path / program
        path.write_text(f'#!/bin/sh\ncat {tmp_path}/out\ncat {tmp_path}/err >&2\nexit "$(cat {tmp_path}/code)"\n')
        path.chmod(0o755)
    return Torque.over(LocalCommands(timeout_s=10), TorqueSettings(bin=str(tmp_path)), [FLEET]), tmp_path


@pytest.mark.parametrize(
    ("name", "code", "method", "expected"),
    [
        ("empty-pbsnodes_-x", 1, "nodes", None),
        ("serverdown-pbsnodes-x", 1, "nodes", SchedulerUnavailable),
        ("frozen-PBSAPITIMEOUT5-pbsnodes", 1, "nodes", SchedulerUnavailable),
        ("pbsnodes-x-unknown-node", 1, "nodes", SchedulerUnavailable),
        ("serverdown-qstat-x", 111, "demand", SchedulerUnavailable),
        ("frozen-PBSAPITIMEOUT5-qstat", 248, "demand", SchedulerUnavailable),
        ("serverdown-qmgr", 3, "advertise", SchedulerUnavailable),
        ("frozen-PBSAPITIMEOUT5-qmgr", 3, "advertise", SchedulerUnavailable),
        ("create-node-as-user", 2, "advertise", SchedulerRefused),
    ],
)
async def test_recorded_failures_mean_what_they_meant(
    replayed: tuple[Torque, Path], name: str, code: int, method: str, expected: type[Exception] | None
) -> None:
    torque, directory = replayed
    (directory / "out").write_text("")
    (directory / "err").write_text((RECORDINGS / f"{name}.err").read_text())
    (directory / "code").write_text(str(code))
    if expected is None:
        assert await call(torque, method) == ()
    else:
        with pytest.raises(expected):
            await call(torque, method)


async def test_a_busy_server_is_asked_again_later(replayed: tuple[Torque, Path]) -> None:
    torque, directory = replayed
    (directory / "out").write_text("")
    (directory / "err").write_text(
        "qstat: Pbs Server is currently too busy to service this request. Please retry this request.\n"
    )
    (directory / "code").write_text("30")
    with pytest.raises(SchedulerUnavailable):
        await torque.demand()
