"""The plugin's demand, from a real Grid Engine: what waits, why, and that it starts once a node comes."""

from dataclasses import replace

import pytest

from daemons.errors import SchedulerRefused
from daemons.model import BlockedBy, FleetName, FleetSpec, JobDemand, JobId, Shape
from schedulers.sge import demand, render
from schedulers.sge.asks import Site
from schedulers.sge.details import Details, parse_job_details, parse_job_ids
from schedulers.sge.parse import licences, parse_snapshot
from tests.schedulers.sge.bench import BATCH, BIG, GPU, Bench, Resting, until
from tests.schedulers.sge.submissions import SUBMISSIONS, bare

pytestmark = pytest.mark.sge


async def becomes_blocked(bench: Bench, job: JobId, by: BlockedBy) -> JobDemand:
    async def blocked() -> JobDemand | None:
        waiting = await bench.waiting(job)
        return waiting if waiting is not None and waiting.blocked_by is by else None

    found = await until(blocked, what=f"job {job} is blocked by {by}")
    assert found is not None
    return found


async def test_jobs_ask_for_what_their_submissions_did(sge_bench: Bench) -> None:
    """All at once, then each by itself: those that ask for the same would be one value."""
    cluster, cell = sge_bench.cluster, await sge_bench.sge.qmaster.cell()
    held, array = cluster.submit("-h"), cluster.submit("-h", "-t", "1-3")
    jobs = [cluster.submit(*one.options.format(held=held, array=array).split()) for one in SUBMISSIONS]
    snapshot = parse_snapshot(cluster.run(*render.show_jobs(cell.complexes, waiting=True)).stdout)
    arrays = demand.needed_details(snapshot).details
    details = Details(
        later=parse_job_ids(cluster.run(*render.SHOW_LATER).stdout),
        jobs=parse_job_details(cluster.run(*render.show_details(arrays)).stdout),
    )
    site = Site(cell=cell, fleets=sge_bench.fleets, memory="h_vmem", gpu="gpu", licences=licences(snapshot.instances))
    asked = {}
    for submission, job in zip(SUBMISSIONS, jobs, strict=True):
        mine = replace(snapshot, waiting=tuple(row for row in snapshot.waiting if row.job_id == job))
        asked[submission.label] = tuple(bare(one) for one in demand.parse_demand(mine, site, details))
    assert asked == {submission.label: submission.asks for submission in SUBMISSIONS}
    assert sum(one.count for one in await sge_bench.sge.demand()) == 4 + sum(
        ask.count for submission in SUBMISSIONS for ask in submission.asks
    )


async def test_jobs_queue_on_an_empty_cluster_and_start_when_a_node_comes(sge_bench: Bench) -> None:
    jobs = [sge_bench.cluster.submit("-pe", "smp", "2", "-l", "c5"), sge_bench.cluster.submit("-l", "h_vmem=6000M")]
    waiting = await sge_bench.sge.demand()
    assert [job.blocked_by for job in waiting] == [BlockedBy.NOTHING, BlockedBy.NOTHING]
    await sge_bench.join(sge_bench.launch(1))
    for job in jobs:
        await sge_bench.runs(job)
    assert await sge_bench.sge.demand() == ()


async def test_a_job_of_several_nodes_runs_on_all_of_them(sge_bench: Bench) -> None:
    job = sge_bench.cluster.submit("-pe", "by4", "8", "-l", "h_vmem=1G,exclusive=true")
    hostnames = await sge_bench.join(sge_bench.launch(1), sge_bench.launch(2))
    await sge_bench.runs(job)
    assert await sge_bench.sge.jobs_on(hostnames) == {hostname: frozenset({job}) for hostname in hostnames}
    assert {node.used for node in await sge_bench.sge.nodes()} == {Shape(cpus=4, memory_mib=4096)}


async def test_a_feature_keeps_jobs_off_other_fleets_nodes(sge_bench: Bench) -> None:
    job = sge_bench.cluster.submit("-l", "m5=true")
    other = sge_bench.cluster.submit("-q", "compute@@headnode-batch")
    await sge_bench.join(sge_bench.launch(1, BIG))
    await sge_bench.runs(job)
    waiting = await sge_bench.waiting(other)
    assert waiting is not None
    assert waiting.features == (frozenset({"batch"}),)


async def test_a_licence_in_use_is_no_reason_for_nodes(sge_resting: Resting) -> None:
    bench, _ = sge_resting
    first, second = (bench.cluster.submit("-l", "matlab=1") for _ in range(2))
    await bench.runs(first)
    await becomes_blocked(bench, second, BlockedBy.LICENCE)


async def test_a_quota_is_a_limit_and_one_of_each_host_is_not(sge_resting: Resting) -> None:
    bench, _ = sge_resting
    bench.add_quota("of_user", "users {*} to matlab=0")
    bench.add_quota("of_host", "hosts {*} to slots=1")
    running = bench.cluster.submit()
    await bench.runs(running)
    limited = bench.cluster.submit("-l", "matlab=1")
    other = bench.cluster.submit("-l", "h_vmem=1G")
    assert "of_user/1" in (await becomes_blocked(bench, limited, BlockedBy.LIMIT)).reason
    waiting = await bench.waiting(other)
    assert waiting is not None
    assert waiting.blocked_by is BlockedBy.NOTHING


async def test_the_throttle_of_an_array_counts_the_tasks_that_run(sge_resting: Resting) -> None:
    bench, _ = sge_resting
    job = bench.cluster.submit("-pe", "smp", "2", "-t", "1-20", "-tc", "5")

    async def counts() -> bool:
        mine = [one for one in await bench.sge.demand() if one.jobs[0].startswith(job)]
        seen = {by: sum(one.count for one in mine if one.blocked_by is by) for by in (BlockedBy.NOTHING, BlockedBy.ARRAY_LIMIT)}
        return seen == {BlockedBy.NOTHING: 3, BlockedBy.ARRAY_LIMIT: 15}

    await until(counts, what="three more tasks may run, fifteen wait for the array")


async def test_a_job_in_error_asks_for_nothing(sge_resting: Resting) -> None:
    bench, _ = sge_resting
    job = bench.cluster.submit("-wd", "/no/such/directory")
    await becomes_blocked(bench, job, BlockedBy.ERROR)


async def test_higher_priority_comes_first(sge_bench: Bench) -> None:
    low = sge_bench.cluster.submit()
    high = sge_bench.cluster.submit("-pe", "smp", "4")

    async def order() -> list[JobId]:
        waiting = await sge_bench.sge.demand()
        return [job.jobs[0] for job in waiting] if all(job.priority for job in waiting) else []

    assert await until(order, what="the scheduler has looked at both") == [high, low]  # Grid Engine favours slots


async def test_many_alike_jobs_are_few_values(sge_bench: Bench) -> None:
    sge_bench.cluster.submit("-t", "1-5000", "-h")
    jobs = [sge_bench.cluster.submit() for _ in range(20)]
    waiting = await sge_bench.sge.demand()
    assert sum(one.count for one in waiting) == 5020
    assert len(waiting) <= 4
    assert sorted(job for one in waiting if one.blocked_by is BlockedBy.NOTHING for job in one.jobs) == sorted(jobs)


async def test_names_with_syntax_in_them_hide_nobody(sge_bench: Bench) -> None:
    odd = sge_bench.cluster.submit("-N", "a<b>&\"c'd")
    plain = sge_bench.cluster.submit()
    jobs = {job for one in await sge_bench.sge.demand() for job in one.jobs}
    assert jobs == {odd, plain}


async def test_advertising_twice_changes_nothing(sge_bench: Bench) -> None:
    cell, before = await sge_bench.sge.qmaster.cell(), sge_bench.commands()
    await sge_bench.sge.advertise(sge_bench.fleets)
    assert sge_bench.commands() - before == 4
    assert await sge_bench.sge.qmaster.cell() == cell


async def test_groups_follow_the_fleets(sge_bench: Bench) -> None:
    big = FleetSpec(
        name=FleetName("huge"),
        group="g",
        shape=Shape(cpus=64, memory_mib=60_000, consumables=(("nvme", 4),)),
        instance_type="c5.metal",
        features=frozenset({"huge"}),
    )
    await sge_bench.sge.advertise([big, replace(BATCH, shape=Shape(cpus=2, memory_mib=3_000))])
    cell = await sge_bench.sge.qmaster.cell()
    queue = cell.queues["compute"]
    assert set(cell.groups) == {"@headnode-huge", "@headnode-batch"}
    assert (queue.slots("@headnode-huge"), queue.slots("@headnode-batch")) == ("64", "2")
    assert queue.complexes("@headnode-huge") == {"h_vmem": "60000M", "nvme": "4", "exclusive": "TRUE", "huge": "TRUE"}
    assert queue.complexes("@headnode-batch") == {"h_vmem": "3000M", "exclusive": "TRUE", "c5": "TRUE"}
    assert set(queue.hosts) == {"head", "@headnode-huge", "@headnode-batch"}
    sge_bench.cluster.submit("-l", "nvme=2,huge")


async def test_a_fleet_moves_to_another_queue(sge_bench: Bench) -> None:
    await sge_bench.sge.advertise([BATCH, replace(BIG, partition="gpu"), GPU])
    cell = await sge_bench.sge.qmaster.cell()
    assert (cell.queues["gpu"].slots("@headnode-big"), cell.queues["compute"].names("@headnode-big")) == ("16", False)


async def test_what_somebody_broke_is_mended(sge_bench: Bench) -> None:
    before = await sge_bench.sge.qmaster.cell()
    sge_bench.cluster.run("qconf", "-purge", "queue", "*", "compute@@headnode-batch")
    sge_bench.cluster.run("qconf", "-rattr", "queue", "slots", "[@headnode-big=1]", "compute")
    sge_bench.cluster.run("qmod", "-e", "compute@head")
    await sge_bench.sge.advertise(sge_bench.fleets)
    after = await sge_bench.sge.qmaster.cell()
    assert {name: after.queues[name].overridden() for name in after.queues} == {
        name: before.queues[name].overridden() for name in before.queues
    }
    (head,) = [one for one in sge_bench.cluster.snapshot().instances if one.name == "compute@head"]
    assert (head.slots_total, "d" in head.states) == (0, True)


async def test_a_missing_queue_is_an_administrators_to_make(sge_bench: Bench) -> None:
    with pytest.raises(SchedulerRefused, match="there is no queue 'night'") as refused:
        await sge_bench.sge.advertise([*sge_bench.fleets, replace(BATCH, name=FleetName("night"), partition="night")])
    assert "qconf -aq night" in refused.value.hint


async def test_a_complex_that_is_not_counted_is_an_administrators_to_change(sge_bench: Bench) -> None:
    counting = replace(BATCH, shape=replace(BATCH.shape, consumables=(("num_proc", 4),)))
    with pytest.raises(SchedulerRefused, match="'num_proc' exists but is no consumable"):
        await sge_bench.sge.advertise([counting, BIG, GPU])


async def test_a_feature_that_is_something_else_to_grid_engine_is_refused(sge_bench: Bench) -> None:
    with pytest.raises(SchedulerRefused, match="'arch' exists as"):
        await sge_bench.sge.advertise([replace(BATCH, features=frozenset({"arch"})), BIG, GPU])
