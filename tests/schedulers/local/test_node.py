"""Real daemons running real jobs."""

import time
from pathlib import Path

from schedulers.local import engine, store
from tests.schedulers.local.conftest import Cluster, spec


def registered(cluster: Cluster, *names: str) -> None:
    with cluster.db() as db, store.transaction(db):
        for name in names:
            engine.register(db, spec(name))
    for name in names:
        cluster.boot(name)


def test_jobs_arrays_and_jobs_over_several_nodes_run_once_each(cluster: Cluster, tmp_path: Path) -> None:
    registered(cluster, "n1", "n2")
    said = tmp_path / "said"
    plain = cluster.submit(f'echo "plain $HEADNODE_JOB_ID" >> {said}')
    array = cluster.submit(f'echo "task $HEADNODE_ARRAY_TASK_ID" >> {said}', array=(1, 2, 3))
    wide = cluster.submit(f'echo "wide $HEADNODE_NODES" >> {said}', nodes=2)
    cluster.until(lambda: all(set(cluster.states(job)) == {"done"} for job in (plain, array, wide)), "all done")
    lines = sorted(said.read_text().splitlines())
    assert lines[:4] == [f"plain {plain}", "task 1", "task 2", "task 3"]
    assert lines[4] in ("wide n1 n2", "wide n2 n1")


def test_an_exit_code_a_missing_interpreter_and_a_time_limit_are_told(cluster: Cluster) -> None:
    registered(cluster, "n1")
    failing, endless = cluster.submit("exit 7"), cluster.submit("sleep 600", time_limit_s=0.5)
    with cluster.db() as db, store.transaction(db):
        broken = engine.submit(
            db, engine.find_job(db, failing).spec.__class__(name="broken", script="#!/no/such/thing\n"), now=time.time()
        )
    cluster.until(lambda: [cluster.states(job) for job in (failing, endless, broken)] == [["failed"]] * 3, "all failed")
    codes = [cluster.tasks(job)[0].exit_code for job in (failing, endless, broken)]
    assert codes == [7, 124, 127]


def test_a_cancelled_job_is_killed_with_all_it_started(cluster: Cluster, tmp_path: Path) -> None:
    registered(cluster, "n1")
    pids = tmp_path / "pids"
    job = cluster.submit(f"sleep 600 & echo $! > {pids}.new; mv {pids}.new {pids}; wait")
    cluster.until(pids.exists, "started")
    with cluster.db() as db, store.transaction(db):
        assert engine.cancel(db, job, now=time.time()) == 1
    child = Path("/proc") / pids.read_text().strip()
    cluster.until(lambda: not child.exists() or "Z" in (child / "stat").read_text().split()[2], "killed")
    assert cluster.states(job) == ["cancelled"]


def test_what_a_job_prints_goes_where_it_was_told(cluster: Cluster, tmp_path: Path) -> None:
    registered(cluster, "n1")
    job = cluster.submit("echo out; echo err >&2", output=str(tmp_path / "output"))
    cluster.until(lambda: cluster.states(job) == ["done"], "done")
    assert (tmp_path / "output").read_text() == "out\nerr\n"


def test_a_dependency_waits_for_a_good_end(cluster: Cluster) -> None:
    good, bad = cluster.submit("exit 0"), cluster.submit("exit 1")
    after_good, after_bad = cluster.submit(after_ok=frozenset({good})), cluster.submit(after_ok=frozenset({bad}))
    after_any = cluster.submit(after_any=frozenset({bad}))
    registered(cluster, "n1")
    cluster.until(lambda: cluster.states(after_good) + cluster.states(after_any) == ["done", "done"], "done")
    assert cluster.states(after_bad) == ["waiting"]


def test_what_a_job_left_in_the_background_ends_with_its_script(cluster: Cluster, tmp_path: Path) -> None:
    registered(cluster, "n1")
    pids = tmp_path / "pids"
    job = cluster.submit(f"sleep 600 & echo $! > {pids}")
    cluster.until(lambda: cluster.states(job) == ["done"], "done")
    child = Path("/proc") / pids.read_text().strip()
    cluster.until(lambda: not child.exists() or "Z" in (child / "stat").read_text().split()[2], "ended")
