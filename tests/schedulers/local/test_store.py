"""Several processes on one file at once: nothing is lost, nothing is given out twice."""

import subprocess
import sys
import time

from schedulers.local import engine, store
from schedulers.local.values import Limits
from tests.schedulers.local.conftest import Cluster, spec

WORKER = """
import contextlib, pathlib, sys, time
from daemons.model import Hostname
from schedulers.local import engine, store
from schedulers.local.values import JobSpec

file, name, jobs = pathlib.Path(sys.argv[1]), Hostname(sys.argv[2]), int(sys.argv[3])
with contextlib.closing(store.connect(file, timeout_s=30)) as db:
    for number in range(jobs):
        now = time.time()
        with store.transaction(db):
            engine.submit(db, JobSpec(name=f"{name}.{number}", script="#!/bin/true"), now=now)
            engine.beat(db, name, now=now)
            engine.advance(db, now=now)
            picked = engine.pick_up(db, name, now=now)
        for job, task in picked:
            print(job.job_id)
            with store.transaction(db):
                assert engine.finish(db, task, exit_code=0, now=now)
"""


def test_processes_that_submit_plan_and_run_at_once_share_every_job_out_once(cluster: Cluster) -> None:
    names, each = ["n1", "n2", "n3", "n4"], 25
    with cluster.db() as db, store.transaction(db):
        for name in names:
            engine.register(db, spec(name))
    argv = [sys.executable, "-c", WORKER, str(cluster.file)]
    workers = [subprocess.Popen([*argv, name, str(each)], stdout=subprocess.PIPE, text=True) for name in names]
    said = [worker.communicate(timeout=60)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(names)
    ran = sorted(int(line) for lines in said for line in lines.split())
    assert len(ran) == len(set(ran))
    with cluster.db() as db:
        jobs, tasks = engine.jobs_of(db), engine.tasks_of(db)
    assert len({job.spec.name for job in jobs.values()}) == len(names) * each
    assert sorted(task.job_id for task in tasks if str(task.state) == "done") == ran
    assert all(task.attempts == (1 if str(task.state) == "done" else 0) for task in tasks)


def test_making_a_file_that_is_there_keeps_what_is_in_it(cluster: Cluster) -> None:
    job_id = cluster.submit()
    store.create(cluster.file, Limits(silent_after_s=5.0, down_after_s=50.0))
    with cluster.db() as db:
        assert engine.find_job(db, job_id).spec.name == "job"
        assert store.read_limits(db) == Limits(silent_after_s=5.0, down_after_s=50.0)


def test_an_attempt_that_was_given_up_cannot_report_its_end(cluster: Cluster) -> None:
    now = time.time()
    job_id = cluster.submit()
    with cluster.db() as db, store.transaction(db):
        engine.register(db, spec("n1"))
        engine.beat(db, spec("n1").hostname, now=now)
        engine.advance(db, now=now)
        [(_, first)] = engine.pick_up(db, spec("n1").hostname, now=now)
        engine.abandon(db, spec("n1").hostname, kept=[], now=now)
        engine.advance(db, now=now)
        [(_, second)] = engine.pick_up(db, spec("n1").hostname, now=now)
        assert not engine.finish(db, first, exit_code=0, now=now)
        assert engine.finish(db, second, exit_code=3, now=now)
        assert not engine.finish(db, second, exit_code=0, now=now)
    [task] = cluster.tasks(job_id)
    assert (str(task.state), task.exit_code, task.attempts) == ("failed", 3, 2)
