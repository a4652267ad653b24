"""Exactly the nodes that the queue needs, on a real Slurm, and the true reason in a sentence for each kind of waiting."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.slurm import SlurmCluster
from tests.e2e.scene import FIRST, GPUS, NIGHT, SPARE, Scene, open_scene
from tests.needs import skip_or_fail

pytestmark = [pytest.mark.e2e, pytest.mark.slurm]

WHOLE = ("--partition=cap", "--cpus-per-task=4", "--mem=500")
SMALL = ("--partition=cap", "--cpus-per-task=1", "--mem=500")


@pytest.fixture(scope="module")
def stage(slurm_cluster: SlurmCluster) -> Iterator[Scene]:
    if not slurm_cluster.world.isolated:
        skip_or_fail(f"no fleets of several shapes: {slurm_cluster.world.reason}")
    directory = Path(tempfile.mkdtemp(prefix="hn-cap-"))
    with open_scene(directory, slurm_cluster) as scene:
        yield scene
    shutil.rmtree(directory)


@pytest.fixture
def scene(stage: Scene) -> Iterator[Scene]:
    yield stage
    stage.clear()


def test_a_throttled_array_gets_nodes_for_as_many_tasks_as_may_run(scene: Scene) -> None:
    job = scene.submit(*WHOLE, "--array=1-6%2")
    scene.until_done(job)
    assert scene.peaks[FIRST.name] == 2
    assert scene.has_said(job, "2 jobs or tasks like it wait", "2 on new nodes of first")
    assert scene.has_said(job, "waits: blocked by array-limit", "more nodes would not help")


def test_a_chain_of_dependencies_gets_one_node_and_not_one_for_each_link(scene: Scene) -> None:
    first = scene.submit(*WHOLE)
    second = scene.submit(*WHOLE, f"--dependency=afterok:{first}")
    third = scene.submit(*WHOLE, f"--dependency=afterok:{second}")
    scene.until_done(first, second, third)
    assert scene.peaks[FIRST.name] == 1
    assert scene.has_said(third, "waits: blocked by dependency (Dependency); more nodes would not help")


def test_a_held_job_asks_for_nothing_until_it_is_released(scene: Scene) -> None:
    job = scene.submit(*WHOLE, "--hold")
    scene.until(lambda: scene.has_said(job, "waits: blocked by hold (JobHeldUser); more nodes would not help"), "it is explained")
    assert scene.peaks[FIRST.name] == 0
    scene.cluster.run("scontrol", "release", job)
    scene.until_done(job)
    assert scene.peaks[FIRST.name] == 1


def test_a_job_with_a_later_begin_asks_for_nothing_before(scene: Scene) -> None:
    job = scene.submit(*WHOLE, "--begin=now+1hour")
    scene.until(lambda: scene.has_said(job, "waits: blocked by begin-time", "more nodes would not help"), "it is explained")
    assert scene.peaks[FIRST.name] == 0


def test_exclusive_jobs_get_a_node_each_however_small_they_are(scene: Scene) -> None:
    jobs = [scene.submit(*SMALL, "--exclusive") for _ in range(2)]
    scene.until_done(*jobs)
    assert scene.peaks[FIRST.name] == 2
    assert scene.has_said(jobs[0], "needs new nodes of fleet first") or scene.has_said(jobs[0], "waits for nodes that are coming")


def test_memory_bounds_how_many_jobs_share_a_node(scene: Scene) -> None:
    jobs = [scene.submit("--partition=cap", "--cpus-per-task=1", "--mem=3000") for _ in range(6)]
    scene.until_done(*jobs)
    assert scene.peaks[FIRST.name] == 3


def test_gpus_bound_how_many_jobs_share_a_node(scene: Scene) -> None:
    jobs = [scene.submit("--partition=gpus", "--gres=gpu:a100:1", "--mem=500") for _ in range(4)]
    scene.until_done(*jobs)
    assert (scene.peaks[GPUS.name], scene.peaks[FIRST.name]) == (2, 0)


def test_a_job_on_more_nodes_than_there_may_be_is_left_alone(scene: Scene) -> None:
    job = scene.submit(*WHOLE, "--nodes=10", "--ntasks-per-node=1")
    other = scene.submit(*SMALL)
    scene.until_done(other)
    scene.until(lambda: scene.has_said(job, "waits: needs 10 nodes; fleet first may hold 4"), "it is explained")
    assert (scene.peaks[FIRST.name], scene.peaks[SPARE.name]) == (1, 0)
    assert set(scene.states(job)) == {"PENDING"}


def test_each_partition_has_its_own_fleet(scene: Scene) -> None:
    jobs = [scene.submit(*SMALL), scene.submit("--partition=night", "--cpus-per-task=2", "--mem=500")]
    scene.until_done(*jobs)
    assert {name: peak for name, peak in scene.peaks.items() if peak} == {FIRST.name: 1, NIGHT.name: 1}


def test_where_the_first_choice_has_no_capacity_the_next_fleet_that_fits_is_taken(scene: Scene) -> None:
    scene.aws.scaling.fail_launches(reason="insufficient-capacity", instance_type=FIRST.instance_type)
    job = scene.submit(*WHOLE)
    scene.until_done(job)
    assert (scene.peaks[FIRST.name], scene.peaks[SPARE.name]) == (1, 1)
    assert scene.has_said(job, "needs new nodes of fleet spare")
    code, told = scene.headnode("explain", "fleet", "first")
    assert code == 0
    assert any(
        "could not be had" in sentence and "do not have sufficient c5.xlarge" in sentence for sentence in told["sentences"]
    )


def test_the_command_line_explains_and_replays_what_was_decided(scene: Scene) -> None:
    job = scene.submit(*SMALL)
    scene.until(lambda: scene.states(job) == ["RUNNING"] or scene.states(job) == ["COMPLETED"], "it runs")
    scene.until_done(job)
    code, replayed = scene.headnode("replay")
    assert code == 0
    assert len(replayed) > 5
    assert {tuple(one["differences"]) for one in replayed} == {()}
    held = scene.submit(*SMALL, "--hold")
    scene.until(lambda: scene.has_said(held, "blocked by hold"), "it is explained")
    code, told = scene.headnode("explain", "job", held)
    assert (code, told["sentences"]) == (0, [f"job {held} waits: blocked by hold (JobHeldUser); more nodes would not help"])
    code, told = scene.headnode("explain", "job", "999999")
    assert (code, told["found"]) == (1, False)
    code, told = scene.headnode("explain")
    assert code == 0
    assert any("fleet first" in sentence for sentence in told["sentences"])
