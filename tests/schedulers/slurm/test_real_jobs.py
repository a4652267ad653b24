"""The plugin's demand, from a real Slurm: what waits, why, and that it starts once a node comes."""

import pytest

from daemons.errors import SchedulerRefused
from daemons.model import BlockedBy, FleetName, FleetSpec, JobDemand, JobId, Shape
from schedulers.slurm.placeholders import Placeholders
from tests.schedulers.slurm.bench import GPU, Bench, bare_specs, until
from tests.schedulers.slurm.submissions import SUBMISSIONS, Submission, bare

pytestmark = pytest.mark.slurm


async def becomes_blocked(bench: Bench, job: JobId, by: BlockedBy) -> JobDemand:
    async def blocked() -> JobDemand | None:
        waiting = await bench.waiting(job)
        return waiting if waiting is not None and waiting.blocked_by is by else None

    found = await until(blocked, what=f"job {job} is blocked by {by}")
    assert found is not None
    return found


@pytest.mark.parametrize("submission", SUBMISSIONS, ids=lambda submission: submission.label)
async def test_a_job_asks_for_what_its_submission_did(dynamic: Bench, submission: Submission) -> None:
    options = submission.options
    if "afterok" in options:
        options = f"--dependency=afterok:{dynamic.cluster.submit('--hold')}"
    job = dynamic.cluster.submit(*options.split())
    asked = [bare(one) for one in await dynamic.slurm.demand() if any(id_.split("_")[0].split("+")[0] == job for id_ in one.jobs)]
    assert tuple(asked) == submission.asks


async def test_jobs_queue_on_an_empty_cluster_and_start_when_a_node_comes(bench: Bench) -> None:
    jobs = [bench.cluster.submit("-c2", "-C", "c5"), bench.cluster.submit("--mem=6000", "-c1")]
    waiting = await bench.slurm.demand()
    assert [job.blocked_by for job in waiting] == [BlockedBy.NOTHING, BlockedBy.NOTHING]
    await bench.join(bench.launch(1))
    for job in jobs:
        await bench.state_becomes(job, "RUNNING")
    assert await bench.slurm.demand() == ()


async def test_a_job_of_several_nodes_queues_while_too_few_of_its_kind_exist(dynamic: Bench) -> None:
    """One GPU node exists and several others: Slurm would reject this, if there were one placeholder only."""
    await dynamic.join(*[dynamic.launch(number) for number in (1, 2)])
    await dynamic.slurm.register(bare_specs(5))
    job = dynamic.cluster.submit("-N3", "--gpus-per-node=a100:2")
    await dynamic.join(*[dynamic.launch(number, GPU) for number in (3, 4, 5)])
    await dynamic.state_becomes(job, "RUNNING")


async def test_what_no_fleet_could_run_is_rejected_at_once(dynamic: Bench) -> None:
    for options in (["-C", "moon"], ["--gpus-per-node=a100:3"], ["--mem=99999"], ["-c9"]):
        with pytest.raises(OSError, match="sbatch"):
            dynamic.cluster.submit(*options)


async def test_a_licence_in_use_is_no_reason_for_nodes(bench: Bench) -> None:
    await bench.join(bench.launch(1))
    first, second = (bench.cluster.submit("--licenses=matlab:1") for _ in range(2))
    await bench.state_becomes(first, "RUNNING")
    await becomes_blocked(bench, second, BlockedBy.LICENCE)


async def test_the_throttle_of_an_array_counts_the_tasks_that_run(bench: Bench) -> None:
    await bench.join(bench.launch(1))
    job = bench.cluster.submit("-c2", "--array=1-20%5")
    await bench.state_becomes(JobId(f"{job}_2"), "RUNNING")

    async def counts() -> list[tuple[int, BlockedBy]]:
        mine = [one for one in await bench.slurm.demand() if one.jobs[0].startswith(job)]
        seen = [(one.count, one.blocked_by) for one in mine]
        return seen if seen == [(3, BlockedBy.NOTHING), (15, BlockedBy.ARRAY_LIMIT)] else []

    await until(counts, what="three more tasks may run, fifteen wait for the array")


async def test_a_requeued_job_is_demand_again_once_it_may_start(bench: Bench) -> None:
    instance = bench.launch(1)
    (hostname,) = await bench.join(instance)
    job = bench.cluster.submit("-c4")
    await bench.state_becomes(job, "RUNNING")
    bench.cluster.kill(instance.instance_id)
    await bench.slurm.deregister([hostname])
    await becomes_blocked(bench, job, BlockedBy.BEGIN_TIME)
    await becomes_blocked(bench, job, BlockedBy.NOTHING)


async def test_excluded_nodes_are_part_of_the_demand(bench: Bench) -> None:
    (hostname,) = await bench.join(bench.launch(1))
    job = bench.cluster.submit(f"--exclude={hostname}")
    waiting = await bench.waiting(job)
    assert waiting is not None
    assert waiting.excluded == {hostname}


async def test_a_job_that_names_a_busy_node_is_not_to_be_helped(bench: Bench) -> None:
    (hostname,) = await bench.join(bench.launch(1))
    first = bench.cluster.submit("-c4")
    await bench.state_becomes(first, "RUNNING")
    second = bench.cluster.submit(f"--nodelist={hostname}")
    waiting = await becomes_blocked(bench, second, BlockedBy.NODE_LIST)
    assert waiting.hostnames == {hostname}


async def test_higher_priority_comes_first(bench: Bench) -> None:
    low = bench.cluster.submit("--nice=1000")
    high = bench.cluster.submit("-c2")
    assert [job.jobs[0] for job in await bench.slurm.demand()] == [high, low]


async def test_many_alike_jobs_are_few_values(bench: Bench) -> None:
    bench.cluster.submit("--array=1-5000", "--hold")
    jobs = [bench.cluster.submit() for _ in range(20)]
    demand = await bench.slurm.demand()
    assert sorted(one.count for one in demand) == [20, 5000]
    assert [one.jobs for one in demand if one.count == 20] == [tuple(jobs)]


async def test_advertising_twice_changes_nothing(dynamic: Bench) -> None:
    before = await dynamic.slurm.controller.nodes()
    calls = sum(dynamic.slurm.controller.commands.calls.values())  # type: ignore[attr-defined]
    await dynamic.slurm.advertise(dynamic.fleets)
    assert sum(dynamic.slurm.controller.commands.calls.values()) - calls == 3  # type: ignore[attr-defined]
    assert await dynamic.slurm.controller.nodes() == before


async def test_placeholders_follow_the_fleets(dynamic: Bench) -> None:
    big = FleetSpec(
        name=FleetName("big"),
        group="g",
        shape=Shape(cpus=64, memory_mib=60_000),
        instance_type="c5.metal",
        features=frozenset({"huge"}),
    )
    await dynamic.slurm.advertise([big])
    dynamic.cluster.submit("-c64", "-C", "huge")
    with pytest.raises(OSError, match="sbatch"):
        dynamic.cluster.submit("-C", "c5")
    await dynamic.slurm.advertise(dynamic.fleets)
    dynamic.cluster.submit("-C", "c5")


async def test_a_gpus_type_survives_a_restart(dynamic: Bench) -> None:
    dynamic.cluster.stop_controller()
    dynamic.cluster.start_controller()
    dynamic.cluster.submit("--gres=gpu:a100:2")


async def test_room_for_too_few_placeholders_is_said(dynamic: Bench) -> None:
    greedy = Placeholders(controller=dynamic.slurm.controller, each=2_000, may_create=True)
    with pytest.raises(SchedulerRefused, match="did not create") as refused:
        await greedy.advertise(dynamic.fleets)
    assert "MaxNodeCount" in refused.value.hint
    await dynamic.slurm.advertise(dynamic.fleets)


async def test_a_declared_cluster_that_lacks_a_shape_is_told_what_to_declare(dynamic: Bench) -> None:
    declared = Placeholders(controller=dynamic.slurm.controller, each=1, may_create=False)
    await declared.advertise(dynamic.fleets)
    other = FleetSpec(name=FleetName("big"), group="g", shape=Shape(cpus=64, memory_mib=1_000), instance_type="c5.metal")
    with pytest.raises(SchedulerRefused) as refused:
        await declared.advertise([other])
    assert "State=FUTURE NodeAddr=192.0.2.1 CPUs=64 RealMemory=1000 Feature=big,compute" in refused.value.hint
