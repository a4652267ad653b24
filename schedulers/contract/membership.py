"""Nodes join and leave: `register`, `deregister`, `nodes`."""

from dataclasses import replace

import pytest

from daemons.model import Hostname, NodeState
from schedulers.base import Capability, Outcome
from schedulers.contract.bench import Bench, JobAsk, JobState

ABSENT = Hostname("headnode-nobody")
HOSTILE = ["n1 state=down", "n1;reboot", "-f", "n1\nquit", "../n1", "$(reboot)", "n1,n2", "*", "", "a" * 300]


class MembershipContract:
    async def test_an_empty_cluster_has_no_nodes(self, bench: Bench) -> None:
        assert await bench.plugin.nodes() == ()

    async def test_a_registered_node_is_awaited_until_its_daemon_reports_and_then_idle(self, bench: Bench) -> None:
        spec = bench.spec(1)
        assert (await bench.plugin.register([spec]))[spec.hostname].outcome is Outcome.DONE
        assert set(await bench.known()) == {spec.hostname}
        (node,) = await bench.plugin.nodes()
        assert node.hostname == spec.hostname
        assert node.is_awaited
        assert not node.is_idle
        await bench.joins(1)
        (node,) = await bench.plugin.nodes()
        assert node.is_idle
        assert (node.jobs, node.used.cpus) == (frozenset(), 0)
        assert node.total.cpus == spec.shape.cpus
        assert spec.partition in node.partitions
        assert spec.features <= node.features

    async def test_registering_again_changes_nothing(self, bench: Bench) -> None:
        (name,) = await bench.joins(1)
        job = await bench.submit(JobAsk())
        await bench.becomes(job, JobState.RUNNING)
        before = {node.hostname: (node.jobs, node.states) for node in await bench.plugin.nodes()}
        for _ in range(2):
            assert (await bench.plugin.register([bench.spec(1)]))[name].outcome is Outcome.DONE
        assert {node.hostname: (node.jobs, node.states) for node in await bench.plugin.nodes()} == before
        assert await bench.state(job) is JobState.RUNNING

    async def test_some_new_some_known_and_one_hostile_each_get_their_own_answer(self, bench: Bench) -> None:
        await bench.plugin.register([bench.spec(1)])
        hostile = replace(bench.spec(2), hostname=Hostname("n2 state=down"))
        results = await bench.plugin.register([bench.spec(1), hostile, bench.spec(3)])
        assert results[hostile.hostname].outcome is Outcome.REFUSED
        assert results[hostile.hostname].detail
        good = {bench.spec(1).hostname, bench.spec(3).hostname}
        assert {results[name].outcome for name in good} == {Outcome.DONE}
        assert set(await bench.known()) == good

    @pytest.mark.parametrize("name", HOSTILE)
    async def test_a_hostile_name_is_refused(self, bench: Bench, name: str) -> None:
        results = await bench.plugin.register([replace(bench.spec(1), hostname=Hostname(name))])
        assert results[Hostname(name)].outcome is Outcome.REFUSED
        assert set(await bench.known()) == set()

    async def test_hundreds_at_once_are_all_there_and_all_go(self, bench: Bench) -> None:
        specs = [bench.spec(number) for number in range(1, bench.many + 1)]
        names = {spec.hostname for spec in specs}
        results = await bench.plugin.register(specs)
        assert {name: result.outcome for name, result in results.items()} == dict.fromkeys(names, Outcome.DONE)
        assert set(await bench.known()) == names
        nodes = await bench.plugin.nodes()
        assert (len(nodes), {node.hostname for node in nodes}) == (len(names), names)
        results = await bench.plugin.deregister(names)
        assert {result.outcome for result in results.values()} == {Outcome.DONE}
        assert set(await bench.known()) == set()

    async def test_what_is_not_there_is_absent_and_what_idles_goes(self, bench: Bench) -> None:
        one, two = await bench.joins(1, 2)
        results = await bench.plugin.deregister([one, ABSENT])
        assert {name: result.outcome for name, result in results.items()} == {one: Outcome.DONE, ABSENT: Outcome.ABSENT}
        assert set(await bench.known()) == {two}
        assert (await bench.plugin.deregister([one]))[one].outcome is Outcome.ABSENT

    async def test_no_nodes_ask_for_nothing(self, bench: Bench) -> None:
        for answer in (
            await bench.plugin.register([]),
            await bench.plugin.deregister([]),
            await bench.plugin.requeue([]),
            await bench.plugin.drain([], reason="idle"),
            await bench.plugin.resume([]),
            await bench.plugin.jobs_on([]),
        ):
            assert answer == {}

    async def test_the_job_of_a_node_that_goes_waits_again(self, bench: Bench) -> None:
        (name,) = await bench.joins(1)
        job = await bench.submit(JobAsk())
        await bench.becomes(job, JobState.RUNNING)
        result = (await bench.plugin.deregister([name]))[name]
        if result.outcome is Outcome.BUSY:
            assert await bench.state(job) is JobState.RUNNING, "the scheduler does not let go of it yet"
            return
        assert result.outcome is Outcome.DONE
        assert set(await bench.known()) == set()
        await bench.becomes(job, JobState.WAITING if bench.can(Capability.REQUEUE) else JobState.ENDED)

    async def test_the_jobs_of_a_node_that_is_up_are_not_taken_from_it(self, bench: Bench) -> None:
        busy, idle = await bench.joins(1, 2)
        job = await bench.submit(JobAsk(node=busy) if bench.can(Capability.NAMED_NODES) else JobAsk())
        await bench.becomes(job, JobState.RUNNING)
        results = await bench.plugin.requeue([busy, idle])
        assert sorted(result.outcome for result in results.values()) == [Outcome.BUSY, Outcome.DONE]
        assert await bench.state(job) is JobState.RUNNING

    async def test_a_known_name_at_another_address_is_replaced_unless_jobs_are_there(self, bench: Bench) -> None:
        (name,) = await bench.joins(1)
        moved = replace(bench.spec(1), address="10.255.255.1")
        if not bench.can(Capability.ADDRESSES):
            assert (await bench.plugin.register([moved]))[name].outcome is Outcome.DONE, "as far as it can tell, it is the same"
            return
        job = await bench.submit(JobAsk())
        await bench.becomes(job, JobState.RUNNING)
        assert (await bench.plugin.register([moved]))[name].outcome is Outcome.BUSY
        assert await bench.state(job) is JobState.RUNNING
        await bench.cancel(job)
        await bench.becomes(job, JobState.ENDED)
        assert (await bench.plugin.register([moved]))[name].outcome in (Outcome.DONE, Outcome.BUSY)

    async def test_an_unusable_node_is_never_called_idle(self, bench: Bench) -> None:
        await bench.plugin.register([bench.spec(1), bench.spec(2)])
        await bench.joins(1)
        states = {node.hostname: node for node in await bench.plugin.nodes()}
        assert states[bench.spec(1).hostname].is_idle
        assert NodeState.AWAITED in states[bench.spec(2).hostname].states
