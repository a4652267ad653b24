"""What an operator types, on a real Slurm with the three services at work: the page, the list of jobs, a drain of their own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons.plain import parse_json
from nodewatcher.memory import Memory
from sandbox.slurm import SlurmCluster
from tests.e2e.scene import FIRST, Scene, open_scene
from tests.needs import skip_or_fail

pytestmark = [pytest.mark.e2e, pytest.mark.slurm]

IDLE_FOR_S = 2.0  # of the scene's nodewatcher
WHOLE = ("--partition=cap", "--cpus-per-task=4", "--mem=500")


@pytest.fixture
def scene(slurm_cluster: SlurmCluster) -> Iterator[Scene]:
    if not slurm_cluster.world.isolated:
        skip_or_fail(f"no fleets of several shapes: {slurm_cluster.world.reason}")
    directory = Path(tempfile.mkdtemp(prefix="hn-type-"))
    with open_scene(directory, slurm_cluster) as made:
        yield made
        made.clear()
    shutil.rmtree(directory)


def told(scene: Scene, *argv: str, code: int = 0) -> Any:
    exit_code, answer = scene.headnode(*argv)
    assert exit_code == code, answer
    return answer


def fleet(page: Any, name: str) -> Any:
    return next(line for line in page["fleets"] if line["fleet"] == name)


def test_the_page_and_the_drain_of_a_cluster_at_work(scene: Scene) -> None:
    running = scene.submit(*WHOLE, run_s=300)
    held = scene.submit(*WHOLE, "--hold")
    scene.until(lambda: scene.states(running) == ["RUNNING"], "the job runs")
    scene.until(lambda: fleet(told(scene, "status"), FIRST.name)["busy"] == 1, "and that is seen")

    page = told(scene, "status")
    assert (page["ok"], page["problems"]) == (True, [])
    assert {line["service"]: line["is_alive"] for line in page["services"]}["jobwatcher"] is True
    assert [(line["jobs"], line["waits_for"]) for line in page["waiting"]] == [(1, "blocked by hold (JobHeldUser)")]
    assert any(one["sentence"].startswith("fleet first grows from 0 to 1") for one in page["deeds"])
    live = told(scene, "status", "--live")
    assert (live["ok"], fleet(live, FIRST.name)["busy"], live["queue"]["dead letters"]) == (True, 1, 0)
    for argv in (("jobs",), ("jobs", "--live")):
        (line,) = told(scene, *argv)["waiting"]
        assert (line["jobs"], line["partitions"], [one["fate"] for one in line["fates"]]) == ([held], ["cap"], ["blocked"])

    (node,) = [line for line in told(scene, "nodes") if line["fleet"] == FIRST.name]
    assert told(scene, "drain", node["instance_id"], "--reason", "kernel test")[0]["outcome"] == "done"
    assert "Reason=kernel test (" in scene.cluster.run("scontrol", "show", "node", node["node"]).stdout
    assert scene.states(running) == ["RUNNING"], "who is there stays"
    scene.cluster.run("scancel", running)
    scene.until(
        lambda: verdict(scene, node["node"]).startswith("the scheduler says kernel test ("), "nodewatcher leaves it alone"
    )
    before = looks(scene)
    scene.until(lambda: looks(scene) >= before + 2 * IDLE_FOR_S, "twice as long as an idle node is kept")
    assert verdict(scene, node["node"]).startswith("the scheduler says kernel test (")
    assert scene.desired(FIRST) == 1
    assert told(scene, "resume", node["node"])[0]["outcome"] == "done"
    scene.until(lambda: scene.desired(FIRST) == 0, "it is given back once it is resumed")


def verdict(scene: Scene, node: str) -> str:
    return next((str(line["verdict"]) for line in told(scene, "nodes") if line["node"] == node), "")


def looks(scene: Scene) -> float:
    """When nodewatcher looked last."""
    memory = parse_json(Memory, (scene.directory / "state-nodes/memory.json").read_bytes())
    return memory.looked_at or 0.0
