"""The private Grid Engine itself: machines, names, and that nothing of it is left."""

import secrets
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.gridengine import GridEngineCluster, can_run, conf
from sandbox.gridengine.head import Head
from sandbox.guard import MARK, Guard, find_marked, start_guard
from sandbox.world import World
from tests.needs import skip_or_fail
from tests.schedulers.sge.bench import BATCH, Bench, until

NOT_ISOLATED = World(isolated=False, reason="this test does without")


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = start_guard(Path(tempfile.mkdtemp(prefix="hn-")), f"test-{secrets.token_hex(8)}")
    yield guard
    guard.close()


def processes(word: str) -> list[str]:
    """Living processes of `sleep` with that argument."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended meanwhile
            if words[:1] == [b"sleep"] and word.encode() in words:
                found.append(entry.name)
    return found


@pytest.mark.sge
def test_the_machines_own_files_and_name_are_not_touched(sge_cluster: GridEngineCluster) -> None:
    inside = sge_cluster.head.inside("cat", "/etc/hosts")
    assert conf.NETWORK.head in (sge_cluster.layout.etc / "hosts").read_text()
    assert conf.NETWORK.head not in Path("/etc/hosts").read_text()
    assert inside[:2] == ["nsenter", f"--target={sge_cluster.head.pid}"]
    assert not Path("/var/lib/gridengine/headnode").exists()
    assert not (sge_cluster.layout.etc / "shadow").exists()


@pytest.mark.sge
def test_client_commands_run_on_the_head(sge_cluster: GridEngineCluster) -> None:
    said = subprocess.run(sge_cluster.head.inside("hostname"), capture_output=True, text=True, check=True, timeout=10).stdout
    assert said == "head\n"
    assert "head" in sge_cluster.run("qconf", "-sh").stdout.split()
    script = (sge_cluster.layout.bin / "qstat").read_text()
    assert script == conf.render_client("qstat", sge_cluster.head.pid)


@pytest.mark.sge
def test_addresses_are_given_lowest_first_and_again(sge_cluster: GridEngineCluster) -> None:
    sge_cluster.clear_machines()
    first, second = sge_cluster.place("i-1"), sge_cluster.place("i-2")
    assert (first.address, first.hostname) == ("10.80.1.1", "ip-10-80-1-1.ec2.internal")
    assert sge_cluster.place("i-1") == first
    sge_cluster.kill("i-1")
    sge_cluster.kill("i-1")
    assert sge_cluster.place("i-3") == first != second
    sge_cluster.clear_machines()


@pytest.mark.sge
def test_a_full_subnet_is_an_error(sge_cluster: GridEngineCluster) -> None:
    sge_cluster.clear_machines()
    for number in range(sge_cluster.most_nodes):
        sge_cluster.place(f"i-{number}")
    with pytest.raises(OSError, match="addresses of the sandbox's subnet are in use"):
        sge_cluster.place("i-more")
    sge_cluster.clear_machines()


@pytest.mark.sge
async def test_a_machine_waits_to_be_registered_and_may_be_killed_meanwhile(sge_bench: Bench) -> None:
    announced = threading.Event()
    instance = sge_bench.launch(1)
    sge_bench.cluster.announce_to(lambda booted: announced.set() if booted == instance else None)
    try:
        with ThreadPoolExecutor() as threads:
            boot = threads.submit(sge_bench.cluster.boot, instance)
            assert announced.wait(10)
            sge_bench.cluster.kill(instance.instance_id)
            boot.result(timeout=10)
    finally:
        sge_bench.cluster.announce_to(None)
    assert await sge_bench.sge.nodes() == ()
    sge_bench.cluster.boot(instance)  # late, after its kill: nothing happens


@pytest.mark.sge
async def test_killing_a_machine_ends_all_that_ran_there(sge_bench: Bench) -> None:
    instance = sge_bench.launch(1)
    await sge_bench.join(instance)
    job = sge_bench.cluster.submit(script="#!/bin/sh\nsetsid sleep 613 &\nsleep 613\n")
    await sge_bench.runs(job)

    async def sleeps() -> bool:
        return len(processes("613")) == 2

    await until(sleeps, what="the job's processes run")
    sge_bench.cluster.kill(instance.instance_id)
    assert processes("613") == []
    assert not Path("/run/netns/sge-n0").exists()
    assert not Path("/sys/class/net/sge-n0").exists()


@pytest.mark.sge
def test_a_job_that_is_rejected_is_an_error_with_the_reason(sge_cluster: GridEngineCluster) -> None:
    with pytest.raises(OSError, match="unknown resource"):
        sge_cluster.submit("-l", "no_such_thing=1")


@pytest.mark.sge
async def test_every_daemon_bears_the_guards_mark(sge_bench: Bench) -> None:
    """Jobs do not: they end with their machine's first process."""
    await sge_bench.join(sge_bench.launch(1))
    cluster = sge_bench.cluster
    names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in find_marked(cluster.env[MARK], cluster.directory)]
    assert {"sge_qmaster", "sge_execd", "unshare"} <= set(names)


@pytest.mark.sge
def test_nothing_is_left_of_a_head_that_nobody_ended(guard: Guard, world: World) -> None:
    """The guard alone has to find what was started, whoever it became."""
    if reason := can_run(world):
        skip_or_fail(f"no real Grid Engine: {reason}")
    cluster = GridEngineCluster(directory=guard.directory, fleets=(BATCH,), world=world, env=guard.env)
    guard.directory.chmod(0o755)
    head = Head(layout=cluster.layout, environment=cluster.environment())
    head.make({conf.HEAD: conf.NETWORK.head})  # a second qmaster would want the first one's address
    assert len(list(find_marked(guard.sandbox_id, guard.directory))) >= 1
    guard.close()
    assert list(find_marked(guard.sandbox_id, guard.directory)) == []
    assert not guard.directory.exists()
    head.destroy()


def test_without_isolation_it_is_said_why_it_cannot_run() -> None:
    reason = can_run(NOT_ISOLATED)
    assert reason is not None
    assert "this test does without" in reason or "not installed" in reason


def test_without_grid_engine_the_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sandbox.gridengine.host.BINARIES", tmp_path)
    reason = can_run(World(isolated=True))
    assert reason is not None
    assert "Debian: gridengine-master gridengine-exec gridengine-client" in reason


def test_values_replace_a_templates_and_new_ones_are_added() -> None:
    template = "qname template\nslots 1\n\nshell /bin/sh\n"
    assert conf.with_values(template, {"slots": "0", "rerun": "TRUE"}) == "qname template\nslots 0\n\nshell /bin/sh\nrerun TRUE\n"


def test_memory_and_licences_are_consumables() -> None:
    table = "#name shortcut\nh_vmem h_vmem MEMORY <= YES NO 0 0\nh_vmem_other x MEMORY <= YES NO 0 0\n# >#< a comment\n"
    assert conf.with_consumables(table, ["matlab"]) == (
        "h_vmem_other x MEMORY <= YES NO 0 0\nh_vmem h_vmem MEMORY <= YES YES 100M 0\nmatlab matlab INT <= YES YES 0 0\n"
    )


def test_every_environment_has_its_rule() -> None:
    assert "allocation_rule 4\n" in conf.render_environment("by4")
    assert "allocation_rule $fill_up\n" in conf.render_environment("mpi")


def test_the_heads_address_leads_to_its_name_alone() -> None:
    lines = conf.render_hosts({"head": "10.80.0.1", "n1": "10.80.1.1"}).splitlines()
    assert [line for line in lines if "10.80.0.1" in line] == ["10.80.0.1 head"]
