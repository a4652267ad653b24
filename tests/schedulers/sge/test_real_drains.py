"""The plugin's drains and its silence, in a real Grid Engine, on one node that the tests share."""

import time
from pathlib import Path

import pytest

from daemons.errors import SchedulerUnavailable
from daemons.model import Hostname, NodeState
from schedulers.base import NodeResult, Outcome
from schedulers.sge import Sge, SgeSettings
from tests.schedulers.sge.bench import GPU, Resting, bare_specs, node_spec

pytestmark = pytest.mark.sge
DONE = NodeResult(outcome=Outcome.DONE)
ABSENT = NodeResult(outcome=Outcome.ABSENT)


async def test_a_busy_node_is_not_replaced_and_goes_on(sge_resting: Resting) -> None:
    bench, hostname = sge_resting
    job = bench.cluster.submit()
    await bench.runs(job)
    results = await bench.sge.register([node_spec("i-0c9f3a52c7de10002", hostname, "10.81.9.9")])
    assert results[hostname].outcome is Outcome.BUSY
    assert "10.81.9.9" in results[hostname].detail
    node = await bench.node(hostname)
    assert (node.jobs, NodeState.DRAIN in node.states) == (frozenset({job}), False)


async def test_a_drained_node_takes_no_job_until_it_is_resumed(sge_resting: Resting) -> None:
    bench, hostname = sge_resting
    assert await bench.sge.drain([hostname], reason='idle for "300" s, [=quietly]') == {hostname: DONE}
    node = await bench.node(hostname)
    assert (node.drained_by_us, node.reason, node.is_usable) == (True, "headnode: idle for 300 s quietly", False)
    assert await bench.sge.drain([hostname], reason="another") == {hostname: DONE}
    assert (await bench.node(hostname)).reason == node.reason

    job = bench.cluster.submit()
    assert await bench.sge.jobs_on([hostname]) == {hostname: frozenset()}
    assert await bench.sge.resume([hostname]) == {hostname: DONE}
    await bench.runs(job)
    assert await bench.sge.resume([hostname]) == {hostname: DONE}
    assert (await bench.node(hostname)).reason == ""


async def test_a_job_that_runs_goes_on_while_its_node_drains(sge_resting: Resting) -> None:
    bench, hostname = sge_resting
    job = bench.cluster.submit()
    await bench.runs(job)
    assert await bench.sge.drain([hostname], reason="old") == {hostname: DONE}
    assert await bench.sge.jobs_on([hostname, Hostname("nobody")]) == {hostname: frozenset({job}), "nobody": frozenset()}
    assert [row.job for _, row in bench.cluster.running()] == [job]


async def test_a_suspended_job_occupies_its_node(sge_resting: Resting) -> None:
    bench, hostname = sge_resting
    job = bench.cluster.submit()
    await bench.runs(job)
    bench.cluster.run("qmod", "-sj", job)
    await bench.runs(job, states="s")
    assert await bench.sge.jobs_on([hostname]) == {hostname: frozenset({job})}


async def test_an_administrators_drain_is_left_alone(sge_resting: Resting) -> None:
    bench, hostname = sge_resting
    bench.cluster.run("qmod", "-d", f"compute@{hostname}")
    drained = (await bench.sge.drain([hostname], reason="idle"))[hostname]
    resumed = (await bench.sge.resume([hostname]))[hostname]
    assert (drained.outcome, resumed.outcome) == (Outcome.REFUSED, Outcome.REFUSED)
    node = await bench.node(hostname)
    assert (node.reason, node.drained_by_us, node.is_usable) == ("disabled", False, False)


async def test_an_administrator_may_take_over_our_drain_by_its_note(sge_resting: Resting) -> None:
    bench, hostname = sge_resting
    await bench.sge.drain([hostname], reason="idle")
    bench.cluster.run("qconf", "-mattr", "exechost", "complex_values", "headnode_drain=disk", hostname)
    resumed = (await bench.sge.resume([hostname]))[hostname]
    assert (resumed.outcome, "disk" in resumed.detail) == (Outcome.REFUSED, True)


async def test_an_interrupted_drain_is_no_drain_and_the_next_one_is(sge_resting: Resting) -> None:
    bench, hostname = sge_resting
    bench.cluster.run("qconf", "-mattr", "exechost", "complex_values", "headnode_drain=headnode: idle", hostname)
    assert (await bench.node(hostname)).is_idle
    assert await bench.sge.resume([hostname]) == {hostname: DONE}
    assert (await bench.node(hostname)).reason == ""
    assert await bench.sge.drain([hostname], reason="again") == {hostname: DONE}
    assert (await bench.node(hostname)).reason == "headnode: again"


async def test_an_administrator_who_comes_in_between_wins(sge_resting: Resting) -> None:
    """They disable the node after it was seen enabled, and before it is our turn."""
    bench, hostname = sge_resting

    def before(argv: tuple[str, ...]) -> None:
        if Path(argv[0]).name == "qmod" and argv[1] == "-d":
            bench.cluster.run("qmod", "-d", f"compute@{hostname}")

    drained = (await bench.plugin_over(before).drain([hostname], reason="idle"))[hostname]
    assert (drained.outcome, "somebody else" in drained.detail) == (Outcome.REFUSED, True)
    node = await bench.node(hostname)
    assert (node.drained_by_us, node.reason) == (False, "disabled")


async def test_draining_and_resuming_nodes_that_are_not_there(sge_resting: Resting) -> None:
    bench, _ = sge_resting
    assert await bench.sge.drain([Hostname("nobody"), Hostname("head")], reason="idle") == {"nobody": ABSENT, "head": ABSENT}
    assert await bench.sge.resume([Hostname("nobody")]) == {"nobody": ABSENT}


async def test_nodes_and_drains_survive_a_restart_of_the_qmaster(sge_resting: Resting) -> None:
    bench, hostname = sge_resting
    (spec,) = bare_specs(1, GPU)
    await bench.sge.register([spec])
    await bench.sge.drain([hostname], reason="idle for long")
    bench.cluster.stop_controller()
    with pytest.raises(SchedulerUnavailable):
        await bench.sge.nodes()
    bench.cluster.start_controller()
    node = await bench.node(hostname)
    assert (node.drained_by_us, node.reason) == (True, "headnode: idle for long")
    assert await bench.sge.register([spec]) == {spec.hostname: DONE}
    awaited = await bench.node(spec.hostname)
    assert (awaited.states, awaited.total) == (frozenset({NodeState.AWAITED}), GPU.shape)


async def test_a_stopped_qmaster_is_noticed_at_once(sge_resting: Resting) -> None:
    bench, _ = sge_resting
    bench.cluster.stop_controller()
    try:
        started = time.monotonic()
        for ask in (bench.sge.nodes, bench.sge.demand):
            with pytest.raises(SchedulerUnavailable, match="no answer"):
                await ask()
        assert time.monotonic() - started < 10
    finally:
        bench.cluster.start_controller()


async def test_a_qmaster_that_hangs_is_no_empty_cluster(sge_resting: Resting) -> None:
    bench, hostname = sge_resting
    settings = SgeSettings.model_validate({**bench.cluster.settings, "timeout_s": 0.5})
    sge = Sge.open(settings, cluster="test", fleets=bench.fleets)
    host = [Hostname("bare-0")]
    with bench.cluster.frozen_controller():
        started = time.monotonic()
        for ask in (sge.nodes, sge.demand, lambda: sge.jobs_on(host), lambda: sge.deregister(host)):
            with pytest.raises(SchedulerUnavailable):
                await ask()
        assert time.monotonic() - started < 10
    assert [node.hostname for node in await bench.sge.nodes()] == [hostname]
