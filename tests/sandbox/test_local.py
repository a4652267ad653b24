"""Machines of the local scheduler's private cluster: they boot, run real jobs, and vanish as EC2 instances do."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemons.errors import SchedulerRefused
from daemons.model import FleetName, Hostname, InstanceId, NodeSpec, Shape
from sandbox.aws.values import EmulatedInstance, LaunchSource
from sandbox.local import NODE_MARK, LocalCluster
from schedulers.local import engine, store
from schedulers.local.processes import find_marked
from schedulers.local.values import JobSpec

SHAPE = Shape(cpus=2, memory_mib=1000)


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def machine(cluster: LocalCluster, number: int) -> EmulatedInstance:
    """An instance as the emulated EC2 would boot it, at its place."""
    instance_id = f"i-{number:017x}"
    placement = cluster.place(instance_id)
    return EmulatedInstance(
        instance_id=instance_id,
        group="hpc-batch",
        instance_type="c5.large",
        zone="eu-west-1a",
        address=placement.address,
        hostname=placement.hostname,
        image_id="ami-0a1b2c3d4e5f60718",
        launched_at=0.0,
        activity_id="a",
        source=LaunchSource(instance_types=("c5.large",), image_id="ami-0a1b2c3d4e5f60718"),
    )


def register(cluster: LocalCluster, instance: EmulatedInstance) -> None:
    node = NodeSpec(
        instance_id=InstanceId(instance.instance_id),
        hostname=Hostname(instance.hostname.partition(".")[0]),
        address=instance.address,
        fleet=FleetName("batch"),
        shape=SHAPE,
        partition="compute",
    )
    with contextlib.closing(store.connect(cluster.file, timeout_s=10)) as db, store.transaction(db):
        engine.register(db, node)


def processes(instance: EmulatedInstance) -> list[int]:
    return list(find_marked(f"{NODE_MARK}={instance.instance_id}"))


def script(text: str, name: str = "job", **fields: object) -> JobSpec:
    return JobSpec(name=name, script=f"#!/bin/sh\n{text}\n", **fields)  # type: ignore[arg-type]  # fields of JobSpec


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    made = LocalCluster(directory=tmp_path / "cluster", env={"HEADNODE_SANDBOX": "test-local-cluster"})
    made.start()
    yield made
    made.stop()


def test_a_booted_and_registered_machine_runs_jobs_and_vanishes_with_them(cluster: LocalCluster, tmp_path: Path) -> None:
    announced: list[EmulatedInstance] = []
    cluster.announce = announced.append
    first = machine(cluster, 1)
    cluster.boot(first)
    assert announced == [first]
    seen = tmp_path / "environment"
    job_id = cluster.submit(
        script(f"setsid sleep 600 & echo $HEADNODE_SANDBOX $HEADNODE_NODE > {seen}.new; mv {seen}.new {seen}; wait")
    )
    assert (cluster.counts(), set(cluster.waiting()), dict(cluster.nodes())) == ((1, 0), {"job"}, {})
    register(cluster, first)
    until(seen.exists, "the job runs")
    assert seen.read_text().split() == ["test-local-cluster", first.instance_id]
    assert (cluster.counts(), set(cluster.waiting()), dict(cluster.nodes())) == ((0, 1), set(), {"ip-10-78-0-1": True})
    cluster.kill(first.instance_id)
    assert processes(first) == []
    with contextlib.closing(store.connect(cluster.file, timeout_s=10)) as db:
        assert [str(task.state) for task in engine.tasks_of(db, [job_id])] == ["running"]  # nobody has noticed yet
    cluster.kill(first.instance_id)


def test_places_are_the_lowest_free_and_used_again(cluster: LocalCluster) -> None:
    placed = [cluster.place(f"i-{number}") for number in (1, 2, 3)]
    assert [place.address for place in placed] == ["10.78.0.1", "10.78.0.2", "10.78.0.3"]
    assert placed[1].hostname.startswith("ip-10-78-0-2.")
    assert cluster.place("i-2") == placed[1]
    cluster.kill("i-2")
    assert cluster.place("i-4") == placed[1]
    cluster.kill("i-never-heard-of")


def test_a_full_subnet_fails_the_launch_with_its_reason(tmp_path: Path) -> None:
    cluster = LocalCluster(directory=tmp_path, most_nodes=1)
    cluster.place("i-1")
    with pytest.raises(OSError, match="all 1 addresses"):
        cluster.place("i-2")


def test_a_machine_that_was_killed_before_or_during_its_boot_never_runs(cluster: LocalCluster) -> None:
    before, during = machine(cluster, 1), machine(cluster, 2)
    cluster.kill(before.instance_id)
    cluster.boot(before)
    cluster.announce = lambda instance: cluster.kill(instance.instance_id)
    cluster.boot(during)
    assert processes(before) == processes(during) == []


def test_a_machine_with_the_name_of_a_former_one_runs_what_that_left(cluster: LocalCluster, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    first = machine(cluster, 1)
    cluster.boot(first)
    register(cluster, first)
    cluster.submit(script(f"echo x >> {tries}; test $(wc -l < {tries}) -ge 2 || sleep 600"))
    until(tries.exists, "the first attempt")
    cluster.kill(first.instance_id)
    second = machine(cluster, 2)
    assert second.address == first.address
    cluster.boot(second)
    until(lambda: cluster.counts() == (0, 0), "the second attempt is done")
    assert tries.read_text() == "x\nx\n"


def test_held_jobs_wait_and_impossible_ones_are_refused(cluster: LocalCluster) -> None:
    first = machine(cluster, 1)
    register(cluster, first)
    cluster.submit(script("true", "held", held=True))
    cluster.submit(script("true", "array", array=(1, 2, 3)))
    with pytest.raises(SchedulerRefused, match="3 cpus"):
        cluster.submit(script("true", "large", per_node=Shape(cpus=3)))
    assert (set(cluster.waiting()), cluster.counts()) == ({"held", "array"}, (4, 0))


def test_stopping_ends_every_machine_and_keeps_the_file(cluster: LocalCluster) -> None:
    machines = [machine(cluster, number) for number in (1, 2)]
    for each in machines:
        cluster.boot(each)
    until(lambda: all(processes(each) for each in machines), "both run")
    cluster.stop()
    cluster.stop()
    assert [processes(each) for each in machines] == [[], []]
    assert cluster.file.exists()
