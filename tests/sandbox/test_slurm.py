"""The private Slurm itself: machines, declared nodes without isolation, and that nothing of it is left."""

import contextlib
import secrets
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from daemons.model import NodeState
from sandbox.guard import Guard, find_marked, start_guard
from sandbox.slurm import SlurmCluster, can_run
from sandbox.slurm.conf import DeclaredNode, Layout, render_gres_conf, render_slurm_conf
from sandbox.slurm.host import free_ports
from sandbox.world import World
from schedulers.base import NodeResult, Outcome
from tests.needs import skip_or_fail
from tests.schedulers.slurm.bench import BATCH, GPU, Bench, node_spec, until

pytestmark = pytest.mark.slurm
NOT_ISOLATED = World(isolated=False, reason="this test does without")
DONE = NodeResult(outcome=Outcome.DONE)
ABSENT = NodeResult(outcome=Outcome.ABSENT)


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = start_guard(Path(tempfile.mkdtemp(prefix="hn-")), f"test-{secrets.token_hex(8)}")
    yield guard
    guard.close()


def cluster_in(guard: Guard, world: World, **options: object) -> SlurmCluster:
    fleets = (BATCH, GPU) if world.isolated else (BATCH,)
    if reason := can_run(world, fleets):
        skip_or_fail(f"no real Slurm: {reason}")
    return SlurmCluster(directory=guard.directory, fleets=fleets, world=world, env=guard.env, **options)  # type: ignore[arg-type]


@pytest.fixture
def network_card(world: World) -> Iterator[None]:
    """A private world has only loopback, and slurmctld wants another address before it starts."""
    if world.isolated:
        subprocess.run(["ip", "link", "add", "hn-card", "type", "bridge"], check=True)
        subprocess.run(["ip", "addr", "add", "10.76.0.1/24", "dev", "hn-card"], check=True)
        subprocess.run(["ip", "link", "set", "hn-card", "up"], check=True)
    yield
    if world.isolated:
        subprocess.run(["ip", "link", "del", "hn-card"], check=True)


@pytest.fixture
async def declared(guard: Guard, network_card: None) -> AsyncIterator[Bench]:
    """Without isolation: what an ordinary user gets."""
    cluster = cluster_in(guard, NOT_ISOLATED, most_nodes=4)
    cluster.start()
    bench = Bench(cluster=cluster, fleets=(BATCH,))
    await bench.slurm.advertise(bench.fleets)
    yield bench
    cluster.stop()


async def test_declared_nodes_live_as_dynamic_ones_do(declared: Bench) -> None:
    """One story, because a start costs more than the rest: nobody, awaited, up, busy, killed, forgotten, used again."""
    assert await declared.slurm.nodes() == ()
    job = declared.cluster.submit("-c4")
    first = declared.launch(1)
    spec = declared.spec(first)
    assert await declared.slurm.register([spec]) == {spec.hostname: DONE}
    assert (await declared.node(spec.hostname)).states == {NodeState.AWAITED}
    assert await declared.slurm.register([spec]) == {spec.hostname: DONE}
    assert len(await declared.slurm.nodes()) == 1

    await declared.join(first)
    await declared.state_becomes(job, "RUNNING")
    assert await declared.slurm.drain([spec.hostname], reason="idle") == {spec.hostname: DONE}
    assert await declared.slurm.resume([spec.hostname]) == {spec.hostname: DONE}
    declared.cluster.kill(first.instance_id)
    assert await declared.slurm.deregister([spec.hostname]) == {spec.hostname: DONE}
    assert await declared.slurm.deregister([spec.hostname]) == {spec.hostname: ABSENT}
    assert await declared.slurm.nodes() == ()

    second = declared.launch(2)
    assert second.address == first.address
    assert await declared.join(second) == [spec.hostname]
    await declared.state_becomes(job, "RUNNING")


async def test_a_node_that_nobody_declared_is_refused_with_the_line_to_add(declared: Bench) -> None:
    unknown = node_spec("i-0c9f3a52c7de10001", "stranger", "10.0.0.9")
    result = (await declared.slurm.register([unknown]))[unknown.hostname]
    assert result.outcome is Outcome.REFUSED
    assert "NodeName=stranger State=FUTURE NodeAddr=10.0.0.9 CPUs=4 RealMemory=7000 Feature=batch,c5,compute" in result.detail


async def test_killing_a_machine_that_is_not_isolated_ends_its_jobs(declared: Bench) -> None:
    instance = declared.launch(1)
    await declared.join(instance)
    mark = f"hn-{secrets.token_hex(8)}"
    job = declared.cluster.submit(script=f"#!/bin/sh\n(sleep 600 {mark} || sleep 601) &\nsleep 602\n")
    await declared.state_becomes(job, "RUNNING")

    async def sleeps() -> bool:
        return bool(processes("602"))

    await until(sleeps, what="the job's processes run")
    declared.cluster.kill(instance.instance_id)
    assert processes("602") + processes("601") + processes(mark) == []


def processes(word: str) -> list[str]:
    """Command lines of `sleep` with that argument."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdecimal() else []
            if words[:1] == [b"sleep"] and word.encode() in words:
                found.append(entry.name)
    return found


def test_addresses_are_given_lowest_first_and_again(slurm_cluster: SlurmCluster) -> None:
    slurm_cluster.clear_machines()
    first, second = slurm_cluster.place("i-1"), slurm_cluster.place("i-2")
    assert slurm_cluster.place("i-1") == first
    slurm_cluster.kill("i-1")
    slurm_cluster.kill("i-1")
    assert slurm_cluster.place("i-3") == first != second
    slurm_cluster.clear_machines()


def test_a_full_subnet_is_an_error(slurm_cluster: SlurmCluster) -> None:
    slurm_cluster.clear_machines()
    for number in range(slurm_cluster.most_nodes):
        slurm_cluster.place(f"i-{number}")
    with pytest.raises(OSError, match="addresses of the sandbox's subnet are in use"):
        slurm_cluster.place("i-more")
    slurm_cluster.clear_machines()


async def test_a_machine_waits_to_be_registered_and_may_be_killed_meanwhile(bench: Bench) -> None:
    announced = threading.Event()
    instance = bench.launch(1)
    bench.cluster.announce_to(lambda booted: announced.set() if booted == instance else None)
    try:
        with ThreadPoolExecutor() as threads:
            boot = threads.submit(bench.cluster.boot, instance)
            assert announced.wait(10)
            bench.cluster.kill(instance.instance_id)
            boot.result(timeout=10)
    finally:
        bench.cluster.announce_to(None)
    assert await bench.slurm.nodes() == ()
    bench.cluster.boot(instance)  # late, after its kill: nothing happens


async def test_killing_an_isolated_machine_ends_all_that_ran_there(bench: Bench) -> None:
    if not bench.cluster.world.isolated:
        skip_or_fail(bench.cluster.world.reason)
    instance = bench.launch(1)
    await bench.join(instance)
    job = bench.cluster.submit(script="#!/bin/sh\nsetsid sleep 603 &\nsleep 603\n")
    await bench.state_becomes(job, "RUNNING")

    async def sleeps() -> bool:
        return len(processes("603")) == 2

    await until(sleeps, what="the job's processes run")
    bench.cluster.kill(instance.instance_id)
    assert processes("603") == []
    assert not list(Path("/run/netns").glob("slurm-n0"))
    assert not Path("/sys/class/net/node0").exists()


def test_nothing_is_left_of_a_cluster_that_nobody_stopped(guard: Guard, world: World, slurm_cluster: SlurmCluster) -> None:
    """The guard alone has to find the daemons, which have detached themselves and changed their titles."""
    options = (f"SlurmctldPort={free_ports(1)[0]}",) if world.isolated else ()
    cluster = SlurmCluster(directory=guard.directory, fleets=(BATCH,), world=NOT_ISOLATED, env=guard.env, options=options)
    cluster.start()
    assert len(list(find_marked(guard.sandbox_id, guard.directory))) >= 2
    guard.close()
    assert list(find_marked(guard.sandbox_id, guard.directory)) == []
    assert not guard.directory.exists()


def test_a_directory_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="choose a shorter directory"):
        SlurmCluster(directory=tmp_path / ("x" * 120), fleets=(BATCH,), world=NOT_ISOLATED)


def test_different_shapes_need_isolation() -> None:
    reason = can_run(NOT_ISOLATED, (BATCH, GPU))
    assert reason is not None
    assert "network namespaces" in reason or "not installed" in reason


def test_without_slurm_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.slurm.host.find", lambda name: None)
    reason = can_run(World(isolated=True))
    assert reason is not None
    assert "Debian: slurmctld slurmd slurm-client munge" in reason


def test_every_partition_selects_its_nodes_by_feature() -> None:
    layout = Layout(
        directory=Path("/d"),
        host="h",
        user="u",
        controller="10.77.0.1",
        controller_port=1,
        node_port=2,
        fleets=(BATCH, replace(GPU, partition="gpu")),
        max_nodes=9,
        declared=(DeclaredNode(hostname="n1", address="127.77.1.1", port=7),),
    )
    lines = render_slurm_conf(layout).splitlines()
    assert "PartitionName=compute Nodes=compute_nodes MaxTime=INFINITE State=UP Default=YES" in lines
    assert "NodeSet=gpu_nodes Feature=gpu" in lines
    assert [line for line in lines if line.startswith("NodeName=n1 State=FUTURE NodeAddr=127.77.1.1 Port=7 CPUs=4 ")]


def test_gpus_are_plain_files() -> None:
    assert render_gres_conf(GPU, Path("/d")) == "Name=gpu Type=a100 File=/d/gpu0\nName=gpu Type=a100 File=/d/gpu1\n"
