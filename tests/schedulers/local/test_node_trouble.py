"""What a node's daemon does when things go wrong around it: hostile jobs, its own death, a long pause, a double."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from schedulers.local import engine, store
from schedulers.local.values import JobSpec
from tests.schedulers.local.conftest import Cluster, spec


def registered(cluster: Cluster, *names: str) -> None:
    with cluster.db() as db, store.transaction(db):
        for name in names:
            engine.register(db, spec(name))
    for name in names:
        cluster.boot(name)


def start_forker(cluster: Cluster, pids: Path, **fields: object) -> int:
    """A running job that lists the process ids of its children, one for each attempt."""
    job = cluster.submit(f"sleep 600 & echo $! >> {pids}; wait", **fields)
    cluster.until(lambda: pids.exists() and pids.read_text().endswith("\n"), "the job runs")
    return job


def has_ended(pid: str) -> bool:
    try:
        return "Z" in (Path("/proc") / pid / "stat").read_text().split()[2]
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize(
    "broken",
    [
        JobSpec(name="nowhere", script="#!/bin/sh\n", output="/no/such/directory/output"),
        JobSpec(name="null\0byte", script="#!/bin/sh\n"),
        JobSpec(name="interpreter", script="#!/no/such/thing\n"),
    ],
    ids=lambda broken: broken.name.replace("\0", " "),
)
def test_a_job_that_cannot_be_started_fails_and_harms_nobody(cluster: Cluster, broken: JobSpec) -> None:
    registered(cluster, "n1")
    with cluster.db() as db, store.transaction(db):
        job = engine.submit(db, broken, now=time.time())
    cluster.until(lambda: cluster.states(job) == ["failed"], "failed")
    assert (cluster.tasks(job)[0].exit_code, cluster.tasks(job)[0].attempts) == (127, 1)
    after = cluster.submit()
    cluster.until(lambda: cluster.states(after) == ["done"], "the next job is done")
    assert cluster.daemons["n1"].poll() is None


def test_a_script_keeps_bytes_that_are_no_text(cluster: Cluster, tmp_path: Path) -> None:
    registered(cluster, "n1")
    said = tmp_path / "said"
    job = cluster.submit(os.fsdecode(b"printf '\xff\xfe' > ") + str(said))
    cluster.until(lambda: cluster.states(job) == ["done"], "done")
    assert said.read_bytes() == b"\xff\xfe"


def test_the_scripts_of_ended_jobs_are_removed(cluster: Cluster) -> None:
    registered(cluster, "n1")
    array = cluster.submit(array=(1, 2, 3))
    cluster.until(lambda: set(cluster.states(array)) == {"done"}, "done")
    directory = cluster.file.with_name("local.db.scripts")
    cluster.until(lambda: not list(directory.glob(f"{array}.*")), "removed")


def test_a_daemon_that_starts_again_gives_up_what_its_former_self_ran(cluster: Cluster, tmp_path: Path) -> None:
    registered(cluster, "n1")
    pids = tmp_path / "pids"
    again = start_forker(cluster, pids)
    once = cluster.submit("sleep 600", requeue=False)
    cluster.until(lambda: cluster.states(once) == ["running"], "running")
    cluster.crash("n1")
    cluster.boot("n1")  # sooner than anybody could call the node down
    cluster.until(lambda: cluster.tasks(again)[0].attempts == 2, "a second attempt")
    cluster.until(lambda: len(pids.read_text().split()) == 2, "the second attempt runs")
    first, second = pids.read_text().split()
    assert has_ended(first)
    assert not has_ended(second)
    assert cluster.states(once) == ["killed"]


def test_a_daemon_that_was_paused_until_its_node_was_down_ends_the_first_attempt(cluster: Cluster, tmp_path: Path) -> None:
    registered(cluster, "n1")
    pids = tmp_path / "pids"
    job = start_forker(cluster, pids)
    cluster.daemons["n1"].send_signal(signal.SIGSTOP)
    with cluster.db() as db, store.transaction(db):
        engine.advance(db, now=time.time() + 60)
    assert cluster.states(job) == ["waiting"]
    cluster.daemons["n1"].send_signal(signal.SIGCONT)
    cluster.until(lambda: len(pids.read_text().split()) == 2, "the second attempt runs")
    first, second = pids.read_text().split()
    cluster.until(lambda: has_ended(first), "the first attempt has ended")
    assert not has_ended(second)
    assert cluster.tasks(job)[0].attempts == 2


def test_a_second_daemon_of_the_same_name_leaves_the_first_alone(cluster: Cluster, tmp_path: Path) -> None:
    registered(cluster, "n1")
    pids = tmp_path / "pids"
    job = start_forker(cluster, pids)
    argv = [sys.executable, "-m", "schedulers.local.node", "--file", str(cluster.file), "--name", "n1"]
    second = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "another daemon" in second.stderr
    assert cluster.states(job) == ["running"]
    assert not has_ended(pids.read_text().strip())


def test_a_daemon_waits_for_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "later", create=False)
    cluster.boot("n1")
    try:
        cluster.until(lambda: "trying again" in cluster.said("n1"), "it complains")
        cluster.create()
        with cluster.db() as db, store.transaction(db):
            engine.register(db, spec("n1"))
        job = cluster.submit()
        cluster.until(lambda: cluster.states(job) == ["done"], "done")
    finally:
        cluster.stop()
