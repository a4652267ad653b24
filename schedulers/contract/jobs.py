"""Work that waits and work that runs: `advertise`, `demand`, `jobs_on`."""

from collections.abc import Sequence

import pytest

from daemons.model import BlockedBy, Hostname, JobDemand, NodeState
from schedulers.base import Capability
from schedulers.contract.bench import Bench, JobAsk, JobState, until

KINDS = [
    (JobAsk(), ()),
    (JobAsk(cpus=2), ()),
    (JobAsk(nodes=3), (Capability.MULTI_NODE,)),
    (JobAsk(memory_mib=500), (Capability.MEMORY,)),
    (JobAsk(gpus=1), (Capability.GPUS,)),
    (JobAsk(exclusive=True), (Capability.EXCLUSIVE,)),
]


def declared(bench: Bench, *needed: Capability) -> None:
    """The test is left out, with its reason in the report, where the bench declares that the scheduler lacks something."""
    if lacking := sorted(set(needed) - bench.capabilities):
        pytest.skip(f"declared: this scheduler lacks {', '.join(lacking)}")


async def waiting(bench: Bench, job: str) -> Sequence[JobDemand]:
    """The values that speak of the job, or of tasks of the array."""
    return [demand for demand in await bench.plugin.demand() if any(is_of(job, each) for each in demand.jobs)]


def is_of(job: str, told: str) -> bool:
    """`17` and `17_[1-5]`, `17.1-5`, `17[].server` are the same job, `1` and `17` are not."""
    number, rest = job.partition("[")[0].partition(".")[0], told.removeprefix(job.partition("[")[0].partition(".")[0])
    return told == job or (told.startswith(number) and rest[:1] in ("", "_", ".", "[", "+"))


async def blocked(bench: Bench, job: str, why: BlockedBy) -> Sequence[JobDemand]:
    """Once the scheduler has given its reason, which it may do some moments after the submission."""

    async def is_so() -> Sequence[JobDemand]:
        found = await waiting(bench, job)
        return found if any(demand.blocked_by is why for demand in found) else ()

    return await until(is_so, what=f"job {job} is told to be blocked by {why}: {await waiting(bench, job)}")


class JobContract:
    async def test_without_jobs_there_is_no_demand(self, bench: Bench) -> None:
        assert await bench.plugin.demand() == ()

    async def test_a_job_queues_on_an_empty_cluster_and_starts_when_a_node_comes(self, bench: Bench) -> None:
        job = await bench.submit(JobAsk())
        (demand,) = await blocked(bench, job, BlockedBy.NOTHING)
        assert (demand.count, demand.nodes_min, demand.exclusive) == (1, 1, False)
        (name,) = await bench.joins(1)
        await bench.becomes(job, JobState.RUNNING)
        assert await waiting(bench, job) == []
        (node,) = await bench.plugin.nodes()
        assert NodeState.BUSY in node.states
        assert not node.is_idle
        assert node.used.cpus >= 1
        assert {job} == set(node.jobs) == set((await bench.plugin.jobs_on([name]))[name])

    async def test_advertising_again_changes_nothing(self, bench: Bench) -> None:
        for _ in range(2):
            await bench.plugin.advertise([bench.fleet])
        assert set(await bench.known()) == set()
        assert await bench.plugin.nodes() == ()
        assert await bench.plugin.demand() == ()

    @pytest.mark.parametrize(("ask", "needed"), KINDS)
    async def test_what_a_job_asks_for_is_what_its_demand_says(
        self, bench: Bench, ask: JobAsk, needed: tuple[Capability, ...]
    ) -> None:
        declared(bench, *needed)
        job = await bench.submit(ask)
        (demand,) = await blocked(bench, job, BlockedBy.NOTHING)
        assert demand.count == 1
        assert demand.nodes_min == ask.nodes
        assert total(demand, "cpus") == ask.nodes * ask.cpus
        assert total(demand, "gpus") == ask.nodes * ask.gpus
        assert total(demand, "memory_mib") >= ask.nodes * ask.memory_mib
        assert demand.exclusive is ask.exclusive

    async def test_a_feature_is_asked_for(self, bench: Bench) -> None:
        declared(bench, Capability.FEATURES)
        feature = min(bench.fleet.features)
        job = await bench.submit(JobAsk(feature=feature))
        (demand,) = await blocked(bench, job, BlockedBy.NOTHING)
        assert any(feature in alternative for alternative in demand.features)

    async def test_jobs_that_are_alike_are_all_counted(self, bench: Bench) -> None:
        jobs = [await bench.submit(JobAsk()) for _ in range(5)]
        await blocked(bench, jobs[-1], BlockedBy.NOTHING)
        found = await bench.plugin.demand()
        assert sum(demand.count for demand in found) == 5
        assert all(any(is_of(job, told) for demand in found for told in demand.jobs) for job in jobs)
        assert all(demand.blocked_by is BlockedBy.NOTHING for demand in found)

    async def test_all_tasks_of_an_array_are_counted(self, bench: Bench) -> None:
        declared(bench, Capability.ARRAYS)
        job = await bench.submit(JobAsk(array=12))
        found = await blocked(bench, job, BlockedBy.NOTHING)
        assert sum(demand.count for demand in found) == 12

    async def test_no_more_tasks_are_in_demand_than_may_run_at_once(self, bench: Bench) -> None:
        declared(bench, Capability.ARRAYS, Capability.ARRAY_THROTTLE)
        job = await bench.submit(JobAsk(array=12, throttle=3))
        found = await blocked(bench, job, BlockedBy.ARRAY_LIMIT)
        assert {demand.blocked_by: demand.count for demand in found} == {BlockedBy.NOTHING: 3, BlockedBy.ARRAY_LIMIT: 9}

    async def test_a_held_job_is_told_and_buys_nothing(self, bench: Bench) -> None:
        declared(bench, Capability.HOLDS)
        job = await bench.submit(JobAsk(held=True))
        assert {demand.blocked_by for demand in await blocked(bench, job, BlockedBy.HOLD)} == {BlockedBy.HOLD}

    async def test_a_job_that_depends_on_another_buys_nothing(self, bench: Bench) -> None:
        declared(bench, Capability.DEPENDENCIES, Capability.HOLDS)
        first = await bench.submit(JobAsk(held=True))
        second = await bench.submit(JobAsk(after=first))
        found = await blocked(bench, second, BlockedBy.DEPENDENCY)
        assert {demand.blocked_by for demand in found} == {BlockedBy.DEPENDENCY}

    async def test_a_job_that_is_to_start_later_buys_nothing_yet(self, bench: Bench) -> None:
        declared(bench, Capability.LATER_START)
        job = await bench.submit(JobAsk(later=True))
        found = await blocked(bench, job, BlockedBy.BEGIN_TIME)
        assert {demand.blocked_by for demand in found} == {BlockedBy.BEGIN_TIME}

    async def test_who_has_the_higher_priority_comes_first(self, bench: Bench) -> None:
        declared(bench, Capability.PRIORITIES)
        low = await bench.submit(JobAsk(cpus=2))
        high = await bench.submit(JobAsk(cpus=1, priority=5))

        async def order() -> list[str]:
            found: list[str] = [each for demand in await bench.plugin.demand() for each in demand.jobs]
            return found if found and is_of(high, found[0]) else []

        found = await until(order, what="the job of higher priority is first")
        assert is_of(low, found[-1])

    async def test_a_job_on_several_nodes_is_told_of_each(self, bench: Bench) -> None:
        declared(bench, Capability.MULTI_NODE)
        names = await bench.joins(1, 2)
        job = await bench.submit(JobAsk(nodes=2))
        await bench.becomes(job, JobState.RUNNING)
        assert await bench.plugin.jobs_on(names) == dict.fromkeys(names, frozenset({job}))

    async def test_jobs_on_answers_for_every_name_it_was_asked_for(self, bench: Bench) -> None:
        one, two = await bench.joins(1, 2)
        job = await bench.submit(JobAsk())
        await bench.becomes(job, JobState.RUNNING)
        nobody = Hostname("headnode-nobody")
        answer = await bench.plugin.jobs_on([one, two, nobody])
        assert set(answer) == {one, two, nobody}
        assert answer[nobody] == frozenset()
        assert sorted(map(len, answer.values())) == [0, 0, 1]
        assert await bench.plugin.jobs_on([two]) == {two: answer[two]}

    async def test_a_node_whose_job_has_ended_is_idle_again(self, bench: Bench) -> None:
        (name,) = await bench.joins(1)
        job = await bench.submit(JobAsk())
        await bench.becomes(job, JobState.RUNNING)
        await bench.cancel(job)

        async def is_idle() -> bool:
            (node,) = await bench.plugin.nodes()
            return node.is_idle

        await until(is_idle, what="the node is idle")
        assert await bench.plugin.jobs_on([name]) == {name: frozenset()}


def total(demand: JobDemand, amount: str) -> int:
    """Of the whole job, on as few nodes as it may have."""
    per_task, per_node = int(getattr(demand.per_task, amount)), int(getattr(demand.per_node, amount))
    return demand.tasks * per_task + demand.nodes_min * per_node
