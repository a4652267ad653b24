"""The plugin's nodes, in a real Slurm: joining, leaving, draining, silence."""

import time

import pytest

from daemons.errors import SchedulerUnavailable
from daemons.model import Hostname, NodeState
from schedulers.base import NodeResult, Outcome
from schedulers.slurm import Slurm, SlurmSettings
from tests.schedulers.slurm.bench import BATCH, GPU, Bench, bare_specs, node_spec, until

pytestmark = pytest.mark.slurm
DONE = NodeResult(outcome=Outcome.DONE)


def commands(bench: Bench) -> int:
    return sum(bench.slurm.controller.commands.calls.values())  # type: ignore[attr-defined]


async def test_a_cluster_without_machines_has_no_nodes(bench: Bench) -> None:
    assert await bench.slurm.nodes() == ()


async def test_a_registered_node_is_awaited_until_its_daemon_reports(bench: Bench) -> None:
    instance = bench.launch(1)
    spec = bench.spec(instance)
    assert await bench.slurm.register([spec]) == {spec.hostname: DONE}
    node = await bench.node(spec.hostname)
    assert node.states == {NodeState.AWAITED}
    assert (node.total, node.is_usable) == (BATCH.shape, False)
    assert {"batch", "c5", "compute"} <= node.features

    await bench.join(instance)
    node = await bench.node(spec.hostname)
    assert (node.total, node.is_idle, node.partitions) == (BATCH.shape, True, frozenset({"compute"}))


async def test_registering_twice_is_registering_once(bench: Bench) -> None:
    instance = bench.launch(1)
    (hostname,) = await bench.join(instance)
    before = await bench.slurm.nodes()
    assert await bench.slurm.register([bench.spec(instance)]) == {hostname: DONE}
    assert await bench.slurm.nodes() == before


async def test_a_node_with_gpus(dynamic: Bench) -> None:
    (hostname,) = await dynamic.join(dynamic.launch(1, GPU))
    job = dynamic.cluster.submit("--gpus-per-node=a100:1")
    await dynamic.state_becomes(job, "RUNNING")
    node = await dynamic.node(hostname)
    assert (node.total, node.used.gpus, node.used.gpu_type) == (GPU.shape, 1, "a100")


async def test_hundreds_of_nodes_come_and_go_in_a_handful_of_commands(dynamic: Bench) -> None:
    specs = [
        *bare_specs(300),
        *[node_spec(f"i-{index:08x}", f"gpu-{index}", f"10.79.0.{index + 1}", GPU) for index in range(100)],
    ]
    before = commands(dynamic)
    results = await dynamic.slurm.register(specs)
    assert set(results.values()) == {DONE}
    assert len(results) == 400
    assert commands(dynamic) - before <= 6
    assert {node.hostname for node in await dynamic.slurm.nodes()} == {spec.hostname for spec in specs}

    before = commands(dynamic)
    results = await dynamic.slurm.deregister([spec.hostname for spec in specs])
    assert set(results.values()) == {DONE}
    assert commands(dynamic) - before <= 6
    assert await dynamic.slurm.nodes() == ()


async def test_more_nodes_than_slurm_has_room_for_are_refused_one_by_one(dynamic: Bench) -> None:
    specs = bare_specs(1_100)
    results = await dynamic.slurm.register(specs)
    known = {node.hostname for node in await dynamic.slurm.nodes()}
    refused = [result for result in results.values() if result.outcome is Outcome.REFUSED]
    assert len(results) == 1_100
    assert {name for name, result in results.items() if result == DONE} == known
    assert len(refused) == 1_100 - len(known) > 0
    assert "MaxNodeCount" in refused[0].detail
    await dynamic.slurm.deregister(list(known))


async def test_a_node_with_a_new_address_is_replaced(dynamic: Bench) -> None:
    (old,) = bare_specs(1)
    new = node_spec("i-0c9f3a52c7de10002", old.hostname, "10.78.9.9")
    await dynamic.slurm.register([old])
    assert await dynamic.slurm.register([new]) == {old.hostname: DONE}
    nodes = await dynamic.slurm.controller.nodes()
    assert (nodes[old.hostname].address, nodes[old.hostname].is_drained) == ("10.78.9.9", False)


async def test_a_busy_node_is_not_replaced_and_goes_on(dynamic: Bench) -> None:
    (hostname,) = await dynamic.join(dynamic.launch(1))
    job = dynamic.cluster.submit()
    await dynamic.state_becomes(job, "RUNNING")
    results = await dynamic.slurm.register([node_spec("i-0c9f3a52c7de10002", hostname, "10.78.9.9")])
    assert results[hostname].outcome is Outcome.BUSY
    assert "10.78.9.9" in results[hostname].detail
    node = await dynamic.node(hostname)
    assert (node.jobs, NodeState.DRAIN in node.states) == (frozenset({job}), False)


async def test_names_that_could_be_syntax_never_reach_slurm(bench: Bench) -> None:
    bad = [node_spec("i-0c9f3a52c7de10001", name, "10.78.9.9") for name in ("n[1-3]", "a b", "x,y", "-n")]
    worse = node_spec("i-0c9f3a52c7de10001", "good", "example.com")
    results = await bench.slurm.register([*bad, worse])
    assert {result.outcome for result in results.values()} == {Outcome.REFUSED}
    assert len(results) == 5
    assert await bench.slurm.nodes() == ()


async def test_deregistering_an_absent_node_is_success(bench: Bench) -> None:
    assert await bench.slurm.deregister([Hostname("nobody")]) == {"nobody": NodeResult(outcome=Outcome.ABSENT)}


async def test_an_idle_node_is_forgotten(bench: Bench) -> None:
    hostnames = await bench.join(bench.launch(1), bench.launch(2))
    assert await bench.slurm.deregister(hostnames[:1]) == {hostnames[0]: DONE}
    assert [node.hostname for node in await bench.slurm.nodes()] == hostnames[1:]


async def test_a_job_on_a_node_that_is_forgotten_starts_again_elsewhere(bench: Bench) -> None:
    first = bench.launch(1)
    (hostname,) = await bench.join(first)
    job = bench.cluster.submit("-c4")
    await bench.state_becomes(job, "RUNNING")
    bench.cluster.kill(first.instance_id)
    assert await bench.slurm.deregister([hostname]) == {hostname: DONE}
    assert bench.cluster.job_states()[job] == "PENDING"
    await bench.join(bench.launch(2))
    await bench.state_becomes(job, "RUNNING")


async def test_an_address_and_a_name_are_used_again(bench: Bench) -> None:
    first = bench.launch(1)
    (hostname,) = await bench.join(first)
    bench.cluster.kill(first.instance_id)
    await bench.slurm.deregister([hostname])
    second = bench.launch(2)
    assert (second.address, second.hostname) == (first.address, first.hostname)
    assert await bench.join(second) == [hostname]
    job = bench.cluster.submit()
    await bench.state_becomes(job, "RUNNING")


async def test_a_daemon_that_reported_to_an_older_node_of_its_name_is_found_when_registered_again(bench: Bench) -> None:
    instance = bench.launch(1)
    (hostname,) = await bench.join(instance)
    await bench.slurm.deregister([hostname])
    await bench.slurm.register([bench.spec(instance)])
    assert (await bench.node(hostname)).states == {NodeState.AWAITED}
    assert await bench.slurm.register([bench.spec(instance)]) == {hostname: DONE}
    job = bench.cluster.submit()
    await bench.state_becomes(job, "RUNNING")


async def test_a_machine_that_comes_after_it_was_looked_for_joins_all_the_same(bench: Bench) -> None:
    instance = bench.launch(1)
    spec = bench.spec(instance)
    for _ in range(2):
        assert await bench.slurm.register([spec]) == {spec.hostname: DONE}
    job = bench.cluster.submit()
    assert not (await bench.node(spec.hostname)).is_usable
    await bench.join(instance)
    await bench.state_becomes(job, "RUNNING")


async def test_a_killed_machine_leaves_its_node_silent_or_down_never_idle(bench: Bench) -> None:
    instance = bench.launch(1)
    (hostname,) = await bench.join(instance)
    job = bench.cluster.submit()
    await bench.state_becomes(job, "RUNNING")
    bench.cluster.kill(instance.instance_id)
    bench.cluster.run("scontrol", "update", f"NodeName={hostname}", "State=NoResp")

    async def unusable() -> bool:
        return not (await bench.node(hostname)).is_usable

    await until(unusable, what="the node is seen as gone")
    node = await bench.node(hostname)
    assert (node.jobs, node.is_idle) == (frozenset({job}), False)


async def test_a_drained_node_takes_no_job_until_it_is_resumed(bench: Bench) -> None:
    (hostname,) = await bench.join(bench.launch(1))
    assert await bench.slurm.drain([hostname], reason='idle for "300" s [quietly]') == {hostname: DONE}
    node = await bench.node(hostname)
    assert (node.drained_by_us, node.reason, node.is_usable) == (True, "headnode: idle for 300 s quietly", False)
    assert await bench.slurm.drain([hostname], reason="another") == {hostname: DONE}
    assert (await bench.node(hostname)).reason == node.reason

    job = bench.cluster.submit()
    assert await bench.slurm.jobs_on([hostname]) == {hostname: frozenset()}
    assert await bench.slurm.resume([hostname]) == {hostname: DONE}
    await bench.state_becomes(job, "RUNNING")
    assert await bench.slurm.resume([hostname]) == {hostname: DONE}


async def test_a_job_that_runs_goes_on_while_its_node_drains(bench: Bench) -> None:
    (hostname,) = await bench.join(bench.launch(1))
    job = bench.cluster.submit()
    await bench.state_becomes(job, "RUNNING")
    assert await bench.slurm.drain([hostname], reason="old") == {hostname: DONE}
    assert await bench.slurm.jobs_on([hostname, Hostname("nobody")]) == {hostname: frozenset({job}), "nobody": frozenset()}
    assert bench.cluster.job_states()[job] == "RUNNING"


async def test_an_administrators_drain_is_left_alone(bench: Bench) -> None:
    (hostname,) = await bench.join(bench.launch(1))
    bench.cluster.run("scontrol", "update", f"NodeName={hostname}", "State=DRAIN", "Reason=disk")
    drained = (await bench.slurm.drain([hostname], reason="idle"))[hostname]
    resumed = (await bench.slurm.resume([hostname]))[hostname]
    assert (drained.outcome, resumed.outcome) == (Outcome.REFUSED, Outcome.REFUSED)
    assert "disk" in drained.detail
    node = await bench.node(hostname)
    assert (node.reason, node.drained_by_us) == ("disk", False)


async def test_draining_and_resuming_nodes_that_are_not_there(bench: Bench) -> None:
    absent = {"nobody": NodeResult(outcome=Outcome.ABSENT)}
    assert await bench.slurm.drain([Hostname("nobody")], reason="idle") == absent
    assert await bench.slurm.resume([Hostname("nobody")]) == absent


async def test_a_cycle_without_change_costs_the_same_for_few_nodes_and_many(dynamic: Bench) -> None:
    async def cost() -> int:
        before = commands(dynamic)
        await dynamic.slurm.nodes()
        await dynamic.slurm.demand()
        await dynamic.slurm.jobs_on([spec.hostname for spec in bare_specs(200)])
        return commands(dynamic) - before

    few = await cost()
    await dynamic.slurm.register(bare_specs(200))
    assert await cost() == few <= 9


async def test_nodes_survive_a_restart_of_slurmctld(dynamic: Bench) -> None:
    (hostname,) = await dynamic.join(dynamic.launch(1))
    await dynamic.slurm.register([node_spec("i-0c9f3a52c7de10002", "awaited", "10.78.9.9", GPU)])
    await dynamic.slurm.drain([hostname], reason="idle")
    dynamic.cluster.stop_controller()
    with pytest.raises(SchedulerUnavailable):
        await dynamic.slurm.nodes()
    dynamic.cluster.start_controller()
    await dynamic.slurm.advertise(dynamic.fleets)
    assert (await dynamic.node(hostname)).drained_by_us
    awaited = await dynamic.node(Hostname("awaited"))
    assert (awaited.states, awaited.total) == (frozenset({NodeState.AWAITED}), GPU.shape)


async def test_a_stopped_slurmctld_is_noticed_at_once(bench: Bench) -> None:
    bench.cluster.stop_controller()
    try:
        started = time.monotonic()
        for ask in (bench.slurm.nodes, bench.slurm.demand):
            with pytest.raises(SchedulerUnavailable, match="DOWN"):
                await ask()
        assert time.monotonic() - started < 5
    finally:
        bench.cluster.start_controller()


async def test_a_slurmctld_that_hangs_is_no_empty_cluster(bench: Bench) -> None:
    settings = SlurmSettings.model_validate({**bench.cluster.settings, "timeout_s": 0.5})
    slurm = Slurm.open(settings, cluster="test", fleets=bench.fleets)
    await slurm.nodes()
    with bench.cluster.frozen_controller():
        started = time.monotonic()
        for ask in (slurm.nodes, slurm.demand, lambda: slurm.jobs_on([Hostname("n")]), lambda: slurm.deregister([Hostname("n")])):
            with pytest.raises(SchedulerUnavailable):
                await ask()
        assert time.monotonic() - started < 10
    assert await bench.slurm.nodes() == ()
