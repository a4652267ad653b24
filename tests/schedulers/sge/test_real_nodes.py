"""The plugin's nodes, in a real Grid Engine: joining, leaving, draining, silence."""

import pytest

from daemons.model import Hostname, NodeState
from schedulers.base import NodeResult, Outcome
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
    assert sge_bench.commands() - before <= 2 + 2 + 2  # look, two batches, look
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
        await sge_bench.runs(job, states="r")
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
    await sge_bench.runs(job, states="r")
    sge_bench.cluster.kill(instance.instance_id)
    sge_bench.cluster.run("qdel", job)
    assert await sge_bench.sge.jobs_on([hostname]) == {hostname: frozenset({job})}
    assert await sge_bench.sge.deregister([hostname]) == {hostname: DONE}
    assert await sge_bench.sge.demand() == ()


async def test_a_node_that_still_lives_is_forgotten_with_its_job(sge_bench: Bench) -> None:
    first = sge_bench.launch(1)
    (hostname,) = await sge_bench.join(first)
    job = sge_bench.cluster.submit()
    await sge_bench.runs(job, states="r")
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


async def test_a_lost_machine_leaves_its_node_down_never_idle_and_its_jobs_can_be_had_back(sge_bench: Bench) -> None:
    """A qmaster that starts anew believes in no daemon before it has reported; else it would take one minute to give up."""
    lost, other = sge_bench.launch(1), sge_bench.launch(2)
    hostname, beside = await sge_bench.join(lost, other)
    job, healthy = (sge_bench.cluster.submit("-l", f"hostname={name}") for name in (hostname, beside))
    await sge_bench.runs(job, states="r")
    await sge_bench.runs(healthy, states="r")
    sge_bench.cluster.kill(lost.instance_id)
    sge_bench.cluster.stop_controller()
    sge_bench.cluster.start_controller()

    async def down() -> bool:
        nodes = {node.hostname: node.states for node in await sge_bench.sge.nodes()}
        return NodeState.DOWN in nodes[hostname] and NodeState.DOWN not in nodes[beside]

    await until(down, what="the node is seen as gone, and its neighbour as there", deadline_s=120.0)
    node = await sge_bench.node(hostname)
    assert (node.jobs, node.is_idle, node.is_awaited) == (frozenset({job}), False, False)
    await sge_bench.sge.drain([hostname], reason="unhealthy")
    results = await sge_bench.sge.requeue([hostname, beside])
    assert (results[hostname].outcome, results[beside].outcome) == (Outcome.DONE, Outcome.BUSY)
    assert {name for one in await sge_bench.sge.demand() for name in one.jobs} == {job}
    assert (await sge_bench.node(beside)).jobs == {healthy}


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


async def test_a_node_that_got_into_two_groups_leaves_both(sge_bench: Bench) -> None:
    (spec,) = bare_specs(1)
    await sge_bench.sge.register([spec])
    sge_bench.cluster.run("qconf", "-aattr", "hostgroup", "hostlist", spec.hostname, "@headnode-gpu")
    assert await sge_bench.sge.deregister([spec.hostname]) == {spec.hostname: DONE}
    groups = (await sge_bench.sge.qmaster.cell()).our_groups
    assert set(groups.values()) == {("head",)}


async def test_the_placeholders_name_is_nobodys(sge_bench: Bench) -> None:
    spec = node_spec("i-0c9f3a52c7de10002", "head", "10.80.0.1")
    results = await sge_bench.sge.register([spec, *bare_specs(1)])
    assert (results[spec.hostname].outcome, results[Hostname("bare-0")]) == (Outcome.REFUSED, DONE)
    assert [node.hostname for node in await sge_bench.sge.nodes()] == ["bare-0"]
