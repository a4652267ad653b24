"""A node is taken out and given back: `drain`, `resume`, and who drained it."""

import asyncio

import pytest

from daemons.model import Hostname, NodeState
from schedulers.base import DRAIN_MARK, Outcome, Scheduler
from schedulers.contract.bench import Bench, JobAsk, JobState, until

NOBODY = Hostname("headnode-nobody")
RACES = 5


class DrainContract:
    async def test_a_drained_node_starts_nothing_until_it_is_taken_back(self, bench: Bench) -> None:
        (name,) = await bench.joins(1)
        assert (await bench.plugin.drain([name], reason="idle for 600 s"))[name].outcome is Outcome.DONE
        assert await bench.is_drained(name)
        (node,) = await bench.plugin.nodes()
        assert node.drained_by_us
        assert node.reason.startswith(f"{DRAIN_MARK} idle for 600 s")
        assert not node.is_usable
        job = await bench.submit(JobAsk())
        for _ in range(3):
            await bench.plugin.demand()
            assert await bench.state(job) is JobState.WAITING
        assert (await bench.plugin.resume([name]))[name].outcome is Outcome.DONE
        await bench.becomes(job, JobState.RUNNING)
        assert not await bench.is_drained(name)

    async def test_draining_and_resuming_twice_is_doing_it_once(self, bench: Bench) -> None:
        (name,) = await bench.joins(1)
        for _ in range(2):
            assert (await bench.plugin.drain([name], reason="idle"))[name].outcome is Outcome.DONE
        for _ in range(2):
            assert (await bench.plugin.resume([name]))[name].outcome is Outcome.DONE

        async def is_idle() -> bool:
            (node,) = await bench.plugin.nodes()
            return node.is_idle and not node.drained_by_us

        await until(is_idle, what="the node is idle again")

    async def test_a_job_that_runs_goes_on_where_it_is_drained(self, bench: Bench) -> None:
        (name,) = await bench.joins(1)
        job = await bench.submit(JobAsk())
        await bench.becomes(job, JobState.RUNNING)
        assert (await bench.plugin.drain([name], reason="idle"))[name].outcome is Outcome.DONE
        assert await bench.state(job) is JobState.RUNNING
        assert await bench.plugin.jobs_on([name]) == {name: frozenset({job})}
        (node,) = await bench.plugin.nodes()
        assert {NodeState.BUSY, NodeState.DRAIN} <= node.states

    async def test_a_node_that_is_not_there_is_absent(self, bench: Bench) -> None:
        (name,) = await bench.joins(1)
        results = await bench.plugin.drain([name, NOBODY], reason="idle")
        assert {each: result.outcome for each, result in results.items()} == {name: Outcome.DONE, NOBODY: Outcome.ABSENT}
        assert (await bench.plugin.resume([NOBODY]))[NOBODY].outcome is Outcome.ABSENT

    async def test_an_administrators_drain_is_theirs(self, bench: Bench) -> None:
        (name,) = await bench.joins(1)
        await bench.administrator_drains(name, "kernel test")
        (before,) = await bench.plugin.nodes()
        assert not before.drained_by_us
        assert NodeState.DRAIN in before.states
        assert (await bench.plugin.drain([name], reason="idle"))[name].outcome is Outcome.REFUSED
        assert (await bench.plugin.resume([name]))[name].outcome is Outcome.REFUSED
        assert await bench.is_drained(name)
        (after,) = await bench.plugin.nodes()
        assert (after.drained_by_us, after.reason) == (False, before.reason)

    async def test_a_drain_of_ours_is_not_an_administrators_later_one(self, bench: Bench) -> None:
        (name,) = await bench.joins(1)
        await bench.plugin.drain([name], reason="idle")
        await bench.plugin.resume([name])
        await bench.administrator_drains(name, "kernel test")
        (node,) = await bench.plugin.nodes()
        assert not node.drained_by_us

    async def test_a_job_that_comes_at_the_moment_of_the_drain_runs_and_is_told_or_waits(self, bench: Bench) -> None:
        (name,) = await bench.joins(1)
        for _ in range(RACES):
            job, results = await asyncio.gather(bench.submit(JobAsk()), bench.plugin.drain([name], reason="idle"))
            assert results[name].outcome is Outcome.DONE
            told = (await bench.plugin.jobs_on([name]))[name]
            state = await bench.state(job)
            assert state is (JobState.RUNNING if job in told else JobState.WAITING), "what runs there is told after the drain"
            await bench.plugin.resume([name])
            await bench.cancel(job)
            await bench.becomes(job, JobState.ENDED)

    async def test_what_is_drained_stays_so_through_a_registration(self, bench: Bench) -> None:
        (name,) = await bench.joins(1)
        await bench.plugin.drain([name], reason="idle")
        await bench.plugin.register([bench.spec(1)])
        assert await bench.is_drained(name)

    async def test_what_is_set_aside_for_an_administrator_is_theirs_until_it_is_given_back(self, bench: Bench) -> None:
        _able(bench)
        (name,) = await bench.joins(1)
        for _ in range(2):
            results = await bench.plugin.set_aside([name, NOBODY], reason=f"{DRAIN_MARK} kernel test (alice)")
            assert {each: one.outcome for each, one in results.items()} == {name: Outcome.DONE, NOBODY: Outcome.ABSENT}
        assert await bench.is_drained(name)
        (node,) = await bench.plugin.nodes()
        assert NodeState.DRAIN in node.states
        assert (node.drained_by_us, "kernel test (alice)" in node.reason) == (False, True)
        assert (await bench.plugin.drain([name], reason="idle"))[name].outcome is Outcome.REFUSED
        assert (await bench.plugin.resume([name]))[name].outcome is Outcome.REFUSED
        for _ in range(2):
            results = await bench.plugin.give_back([name, NOBODY])
            assert {each: one.outcome for each, one in results.items()} == {name: Outcome.DONE, NOBODY: Outcome.ABSENT}
        assert not await bench.is_drained(name)
        job = await bench.submit(JobAsk())
        await bench.becomes(job, JobState.RUNNING)

    async def test_an_administrators_own_drain_is_given_back_as_well(self, bench: Bench) -> None:
        _able(bench)
        (name,) = await bench.joins(1)
        await bench.administrator_drains(name, "kernel test")
        assert (await bench.plugin.give_back([name]))[name].outcome is Outcome.DONE
        assert not await bench.is_drained(name)

    async def test_what_headnode_drains_is_not_the_administrators_to_take(self, bench: Bench) -> None:
        _able(bench)
        (name,) = await bench.joins(1)
        await bench.plugin.drain([name], reason="idle")
        assert (await bench.plugin.set_aside([name], reason="kernel test"))[name].outcome is Outcome.REFUSED
        assert (await bench.plugin.give_back([name]))[name].outcome is Outcome.REFUSED
        (node,) = await bench.plugin.nodes()
        assert node.drained_by_us


def _able(bench: Bench) -> None:
    if type(bench.plugin).set_aside is Scheduler.set_aside:
        pytest.skip("the plugin leaves this to the scheduler's own commands")
