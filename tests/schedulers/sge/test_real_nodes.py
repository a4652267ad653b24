"""The plugin's nodes, in a real Grid Engine: joining, leaving, draining, silence."""

import time

import pytest

from daemons.errors import SchedulerUnavailable
from daemons.model import Hostname, NodeState
from schedulers.base import NodeResult, Outcome
from schedulers.sge import Sge, SgeSettings
from tests.schedulers.sge.bench import BATCH, BIG, GPU, Bench, bare_specs, node_spec, until

pytestmark = pytest.mark.sge
DONE = NodeResult(outcome=Outcome.DONE)
ABSENT = NodeResult(outcome=Outcome.ABSENT)


async def test_a_cluster_without_machines_has_no_nodes(sge_bench: Bench) -> None:
    assert await sge_bench.sge.nodes() == ()


async def test_a_registered_node_is_awaited_until_its_daemon_reports(sge_bench: Bench) -> None:
    instance = sge_bench.launch(1)
    spec = sge_bench.spec(instance)
    assert await sge_bench.sge.register([spec]) == {spec.hostname: DONE}
    node = await sge_bench.node(spec.hostname)
    assert node.states == {NodeState.AWAITED}
    assert (node.total, node.is_usable, node.features) == (BATCH.shape, False, frozenset({"batch", "c5"}))

    await sge_bench.join(instance)
    node = await sge_bench.node(spec.hostname)
    assert (node.total, node.is_idle, node.partitions) == (BATCH.shape, True, frozenset({"compute"}))


async def test_registering_twice_is_registering_once(sge_bench: Bench) -> None:
    instance = sge_bench.launch(1)
    (hostname,) = await sge_bench.join(instance)
    before = await sge_bench.sge.nodes()
    assert await sge_bench.sge.register([sge_bench.spec(instance)]) == {hostname: DONE}
    assert await sge_bench.sge.nodes() == before


async def test_registering_needs_nobody_to_have_advertised(sge_bench: Bench) -> None:
    await sge_bench.sge.advertise([BATCH])  # the other fleets' groups go
    assert set((await sge_bench.sge.qmaster.cell()).groups) == {"@headnode-batch"}
    (spec,) = bare_specs(1, GPU)
    assert await sge_bench.sge.register([spec]) == {spec.hostname: DONE}


async def test_nodes_of_several_fleets_and_queues(sge_bench: Bench) -> None:
    big, gpu = await sge_bench.join(sge_bench.launch(1, BIG), sge_bench.launch(2, GPU))
    job = sge_bench.cluster.submit("-q", "gpu", "-l", "gpu=1,h_vmem=1G", "-pe", "smp", "2")
    scratch = sge_bench.cluster.submit("-l", "scratch=30")
    await sge_bench.runs(job)
    await sge_bench.runs(scratch)
    node, other = await sge_bench.node(gpu), await sge_bench.node(big)
    assert (node.total, node.partitions) == (GPU.shape, frozenset({"gpu"}))
    assert (node.used.cpus, node.used.gpus, node.used.gpu_type, node.used.memory_mib) == (2, 2, "a100", 2048)
    assert (other.total, other.used.consumables) == (BIG.shape, (("scratch", 30),))
    assert await sge_bench.sge.jobs_on([big, gpu]) == {big: frozenset({scratch}), gpu: frozenset({job})}


async def test_hundreds_of_nodes_come_and_go_in_a_handful_of_commands(sge_bench: Bench) -> None:
    specs = bare_specs(400)
    before = sge_bench.commands()
    results = await sge_bench.sge.register(specs)
    assert set(results.values()) == {DONE}
    assert len(results) == 400
    assert sge_bench.commands() - before <= 5 + 2 * 4 + 5
    assert {node.hostname for node in await sge_bench.sge.nodes()} == {spec.hostname for spec in specs}

    before = sge_bench.commands()
    results = await sge_bench.sge.deregister([spec.hostname for spec in specs])
    assert set(results.values()) == {DONE}
    assert sge_bench.commands() - before <= 5 + 2 + 1 + 2 + 5
    assert await sge_bench.sge.nodes() == ()


async def test_a_name_that_does_not_resolve_keeps_nobody_else_out(sge_bench: Bench) -> None:
    good, bad = bare_specs(1)[0], node_spec("i-0c9f3a52c7de10002", "nowhere", "10.81.9.9")
    results = await sge_bench.sge.register([bad, good])
    assert results[good.hostname] == DONE
    assert results[bad.hostname].outcome is Outcome.UNKNOWN
    assert "can't resolve hostname" in results[bad.hostname].detail
    assert [node.hostname for node in await sge_bench.sge.nodes()] == [good.hostname]


async def test_a_node_with_a_new_address_is_replaced(sge_bench: Bench) -> None:
    (old,) = bare_specs(1)
    new = node_spec("i-0c9f3a52c7de10002", old.hostname, "10.81.9.9")
    await sge_bench.sge.register([old])
    await sge_bench.sge.drain([old.hostname], reason="idle")
    assert await sge_bench.sge.register([new]) == {old.hostname: DONE}
    world = await sge_bench.sge.membership.look()
    assert (world.hosts[old.hostname].address, world.hosts[old.hostname].is_drained) == ("10.81.9.9", False)


async def test_a_node_becomes_another_fleets(sge_bench: Bench) -> None:
    (old,), (new,) = bare_specs(1), bare_specs(1, GPU)
    await sge_bench.sge.register([old])
    assert await sge_bench.sge.register([new]) == {old.hostname: DONE}
    node = await sge_bench.node(old.hostname)
    assert (node.partitions, node.total) == (frozenset({"gpu"}), GPU.shape)


async def test_a_busy_node_is_not_replaced_and_goes_on(sge_bench: Bench) -> None:
    (hostname,) = await sge_bench.join(sge_bench.launch(1))
    job = sge_bench.cluster.submit()
    await sge_bench.runs(job)
    results = await sge_bench.sge.register([node_spec("i-0c9f3a52c7de10002", hostname, "10.81.9.9")])
    assert results[hostname].outcome is Outcome.BUSY
    assert "10.81.9.9" in results[hostname].detail
    node = await sge_bench.node(hostname)
    assert (node.jobs, NodeState.DRAIN in node.states) == (frozenset({job}), False)


async def test_names_that_could_be_syntax_never_reach_the_qmaster(sge_bench: Bench) -> None:
    names = ("n[1-3]", "a b", "x,y", "-n", "@allhosts", "a.b", "UPPER")
    bad = [node_spec("i-0c9f3a52c7de10001", name, "10.81.9.9") for name in names]
    worse = node_spec("i-0c9f3a52c7de10001", "good", "example.com")
    before = sge_bench.commands()
    results = await sge_bench.sge.register([*bad, worse])
    assert {result.outcome for result in results.values()} == {Outcome.REFUSED}
    assert (len(results), sge_bench.commands()) == (len(names) + 1, before)


async def test_deregistering_an_absent_node_is_success(sge_bench: Bench) -> None:
    assert await sge_bench.sge.deregister([Hostname("nobody")]) == {"nobody": ABSENT}


async def test_the_head_is_no_node_to_forget(sge_bench: Bench) -> None:
    assert await sge_bench.sge.deregister([Hostname("head")]) == {"head": ABSENT}


async def test_an_idle_node_is_forgotten(sge_bench: Bench) -> None:
    hostnames = await sge_bench.join(sge_bench.launch(1), sge_bench.launch(2))
    assert await sge_bench.sge.deregister(hostnames[:1]) == {hostnames[0]: DONE}
    assert [node.hostname for node in await sge_bench.sge.nodes()] == hostnames[1:]
    assert hostnames[0] not in (await sge_bench.sge.qmaster.hosts()).administrative


async def test_what_half_a_registration_left_is_forgotten_too(sge_bench: Bench) -> None:
    (spec,) = bare_specs(1)
    sge_bench.cluster.run("qconf", "-ah", spec.hostname)
    assert await sge_bench.sge.deregister([spec.hostname]) == {spec.hostname: DONE}
    assert await sge_bench.sge.deregister([spec.hostname]) == {spec.hostname: ABSENT}


async def test_overrides_for_a_name_go_with_the_node(sge_bench: Bench) -> None:
    (spec,) = bare_specs(1)
    await sge_bench.sge.register([spec])
    sge_bench.cluster.run("qconf", "-aattr", "queue", "slots", f"[{spec.hostname}=99]", "compute")
    assert (await sge_bench.node(spec.hostname)).total.cpus == 99
    assert await sge_bench.sge.deregister([spec.hostname]) == {spec.hostname: DONE}
    await sge_bench.sge.register([spec])
    assert (await sge_bench.node(spec.hostname)).total.cpus == 4


async def test_jobs_of_a_lost_node_start_again_elsewhere_and_others_end(sge_bench: Bench) -> None:
    """An array's task and a plain job may start again; one job's owner forbade that."""
    first = sge_bench.launch(1)
    (hostname,) = await sge_bench.join(first)
    again = sge_bench.cluster.submit("-pe", "smp", "2")
    array = sge_bench.cluster.submit("-t", "3")
    never = sge_bench.cluster.submit("-r", "n")
    for job in (again, array, never):
        await sge_bench.runs(job)
    sge_bench.cluster.kill(first.instance_id)
    assert await sge_bench.sge.deregister([hostname]) == {hostname: DONE}
    assert await sge_bench.sge.nodes() == ()
    waiting = [job for one in await sge_bench.sge.demand() for job in one.jobs]
    assert sorted(waiting) == sorted([again, f"{array}.3"])
    await sge_bench.join(sge_bench.launch(2))
    await sge_bench.runs(again)
    await sge_bench.runs(array)


async def test_a_job_that_was_being_deleted_on_a_lost_node_keeps_it_no_longer(sge_bench: Bench) -> None:
    instance = sge_bench.launch(1)
    (hostname,) = await sge_bench.join(instance)
    job = sge_bench.cluster.submit()
    await sge_bench.runs(job)
    sge_bench.cluster.kill(instance.instance_id)
    sge_bench.cluster.run("qdel", job)
    assert await sge_bench.sge.jobs_on([hostname]) == {hostname: frozenset({job})}
    assert await sge_bench.sge.deregister([hostname]) == {hostname: DONE}
    assert await sge_bench.sge.demand() == ()


async def test_a_node_that_still_lives_is_forgotten_with_its_job(sge_bench: Bench) -> None:
    first = sge_bench.launch(1)
    (hostname,) = await sge_bench.join(first)
    job = sge_bench.cluster.submit()
    await sge_bench.runs(job)
    assert await sge_bench.sge.deregister([hostname]) == {hostname: DONE}
    waiting = await sge_bench.waiting(job)
    assert waiting is not None
    assert await sge_bench.sge.nodes() == ()


async def test_an_address_and_a_name_are_used_again(sge_bench: Bench) -> None:
    first = sge_bench.launch(1)
    (hostname,) = await sge_bench.join(first)
    sge_bench.cluster.kill(first.instance_id)
    await sge_bench.sge.deregister([hostname])
    second = sge_bench.launch(2)
    assert (second.address, second.hostname) == (first.address, first.hostname)
    assert await sge_bench.join(second) == [hostname]
    job = sge_bench.cluster.submit()
    await sge_bench.runs(job)


async def test_a_killed_machine_leaves_its_node_silent_never_idle(sge_bench: Bench) -> None:
    instance = sge_bench.launch(1)
    (hostname,) = await sge_bench.join(instance)
    job = sge_bench.cluster.submit()
    await sge_bench.runs(job)
    sge_bench.cluster.kill(instance.instance_id)

    async def silent() -> bool:
        return NodeState.SILENT in (await sge_bench.node(hostname)).states

    await until(silent, what="the node is seen as gone")
    node = await sge_bench.node(hostname)
    assert (node.jobs, node.is_idle, node.is_awaited) == (frozenset({job}), False, False)


async def test_a_drained_node_takes_no_job_until_it_is_resumed(sge_bench: Bench) -> None:
    (hostname,) = await sge_bench.join(sge_bench.launch(1))
    assert await sge_bench.sge.drain([hostname], reason='idle for "300" s, [=quietly]') == {hostname: DONE}
    node = await sge_bench.node(hostname)
    assert (node.drained_by_us, node.reason, node.is_usable) == (True, "headnode: idle for 300 s quietly", False)
    assert await sge_bench.sge.drain([hostname], reason="another") == {hostname: DONE}
    assert (await sge_bench.node(hostname)).reason == node.reason

    job = sge_bench.cluster.submit()
    assert await sge_bench.sge.jobs_on([hostname]) == {hostname: frozenset()}
    assert await sge_bench.sge.resume([hostname]) == {hostname: DONE}
    await sge_bench.runs(job)
    assert await sge_bench.sge.resume([hostname]) == {hostname: DONE}
    assert (await sge_bench.node(hostname)).reason == ""


async def test_a_job_that_runs_goes_on_while_its_node_drains(sge_bench: Bench) -> None:
    (hostname,) = await sge_bench.join(sge_bench.launch(1))
    job = sge_bench.cluster.submit()
    await sge_bench.runs(job)
    assert await sge_bench.sge.drain([hostname], reason="old") == {hostname: DONE}
    assert await sge_bench.sge.jobs_on([hostname, Hostname("nobody")]) == {hostname: frozenset({job}), "nobody": frozenset()}
    assert [row.state for _, row in sge_bench.cluster.running()] == ["r"]


async def test_a_suspended_job_occupies_its_node(sge_bench: Bench) -> None:
    (hostname,) = await sge_bench.join(sge_bench.launch(1))
    job = sge_bench.cluster.submit()
    await sge_bench.runs(job)
    sge_bench.cluster.run("qmod", "-sj", job)
    await sge_bench.runs(job, state="s")
    assert await sge_bench.sge.jobs_on([hostname]) == {hostname: frozenset({job})}


async def test_an_administrators_drain_is_left_alone(sge_bench: Bench) -> None:
    (hostname,) = await sge_bench.join(sge_bench.launch(1))
    sge_bench.cluster.run("qmod", "-d", f"compute@{hostname}")
    drained = (await sge_bench.sge.drain([hostname], reason="idle"))[hostname]
    resumed = (await sge_bench.sge.resume([hostname]))[hostname]
    assert (drained.outcome, resumed.outcome) == (Outcome.REFUSED, Outcome.REFUSED)
    node = await sge_bench.node(hostname)
    assert (node.reason, node.drained_by_us, node.is_usable) == ("disabled", False, False)


async def test_an_administrator_may_take_over_our_drain_by_its_note(sge_bench: Bench) -> None:
    (hostname,) = await sge_bench.join(sge_bench.launch(1))
    await sge_bench.sge.drain([hostname], reason="idle")
    sge_bench.cluster.run("qconf", "-mattr", "exechost", "complex_values", "headnode_drain=disk", hostname)
    resumed = (await sge_bench.sge.resume([hostname]))[hostname]
    assert (resumed.outcome, "disk" in resumed.detail) == (Outcome.REFUSED, True)


async def test_an_interrupted_drain_is_no_drain_and_the_next_one_is(sge_bench: Bench) -> None:
    (hostname,) = await sge_bench.join(sge_bench.launch(1))
    sge_bench.cluster.run("qconf", "-mattr", "exechost", "complex_values", "headnode_drain=headnode: idle", hostname)
    assert (await sge_bench.node(hostname)).is_idle
    assert await sge_bench.sge.resume([hostname]) == {hostname: DONE}
    assert (await sge_bench.node(hostname)).reason == ""
    assert await sge_bench.sge.drain([hostname], reason="again") == {hostname: DONE}
    assert (await sge_bench.node(hostname)).reason == "headnode: again"


async def test_draining_and_resuming_nodes_that_are_not_there(sge_bench: Bench) -> None:
    assert await sge_bench.sge.drain([Hostname("nobody"), Hostname("head")], reason="idle") == {"nobody": ABSENT, "head": ABSENT}
    assert await sge_bench.sge.resume([Hostname("nobody")]) == {"nobody": ABSENT}


async def test_a_cycle_without_change_costs_the_same_for_few_nodes_and_many(sge_bench: Bench) -> None:
    async def cost() -> int:
        before = sge_bench.commands()
        await sge_bench.sge.nodes()
        await sge_bench.sge.demand()
        await sge_bench.sge.jobs_on([spec.hostname for spec in bare_specs(200)])
        return sge_bench.commands() - before

    few = await cost()
    await sge_bench.sge.register(bare_specs(200))
    assert await cost() == few <= 7


async def test_nodes_and_drains_survive_a_restart_of_the_qmaster(sge_bench: Bench) -> None:
    (hostname,) = await sge_bench.join(sge_bench.launch(1))
    (spec,) = bare_specs(1, GPU)
    await sge_bench.sge.register([spec])
    await sge_bench.sge.drain([hostname], reason="idle for long")
    sge_bench.cluster.stop_controller()
    with pytest.raises(SchedulerUnavailable):
        await sge_bench.sge.nodes()
    sge_bench.cluster.start_controller()
    node = await sge_bench.node(hostname)
    assert (node.drained_by_us, node.reason) == (True, "headnode: idle for long")
    assert await sge_bench.sge.register([spec]) == {spec.hostname: DONE}
    awaited = await sge_bench.node(spec.hostname)
    assert (awaited.states, awaited.total) == (frozenset({NodeState.AWAITED}), GPU.shape)


async def test_a_stopped_qmaster_is_noticed_at_once(sge_bench: Bench) -> None:
    sge_bench.cluster.stop_controller()
    try:
        started = time.monotonic()
        for ask in (sge_bench.sge.nodes, sge_bench.sge.demand):
            with pytest.raises(SchedulerUnavailable, match="no answer"):
                await ask()
        assert time.monotonic() - started < 10
    finally:
        sge_bench.cluster.start_controller()


async def test_a_qmaster_that_hangs_is_no_empty_cluster(sge_bench: Bench) -> None:
    settings = SgeSettings.model_validate({**sge_bench.cluster.settings, "timeout_s": 0.5})
    sge = Sge.open(settings, cluster="test", fleets=sge_bench.fleets)
    host = [Hostname("bare-0")]
    with sge_bench.cluster.frozen_controller():
        started = time.monotonic()
        for ask in (sge.nodes, sge.demand, lambda: sge.jobs_on(host), lambda: sge.deregister(host)):
            with pytest.raises(SchedulerUnavailable):
                await ask()
        assert time.monotonic() - started < 10
    assert await sge_bench.sge.nodes() == ()
