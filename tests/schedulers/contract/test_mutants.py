"""The kit finds each planted bug: the test that is named passes on the plugin as it is, and fails on the mutant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from schedulers.contract import Bench, JobAsk, SchedulerContract
from schedulers.contract import bench as bench_module
from schedulers.local import Local
from schedulers.torque import Torque
from tests.schedulers.contract import mutants
from tests.schedulers.contract.local import LocalBench
from tests.schedulers.contract.torque import TorqueBench

LOCAL: list[tuple[type[Local], str, tuple[Any, ...]]] = [
    (mutants.NoDemandOnError, "test_silence_is_an_error", ("demand",)),
    (mutants.NoNodesOnError, "test_silence_is_an_error", ("nodes",)),
    (mutants.IdleOnError, "test_a_server_that_hangs_is_given_up_in_time_and_stops_nobody_else", ("jobs_on",)),
    (mutants.ForgetsThrottle, "test_no_more_tasks_are_in_demand_than_may_run_at_once", ()),
    (mutants.CountsHeldJobs, "test_a_held_job_is_told_and_buys_nothing", ()),
    (mutants.CountsDependentJobs, "test_a_job_that_depends_on_another_buys_nothing", ()),
    (mutants.CountsLaterJobs, "test_a_job_that_is_to_start_later_buys_nothing_yet", ()),
    (mutants.LosesMemory, "test_what_a_job_asks_for_is_what_its_demand_says", (JobAsk(memory_mib=500), ())),
    (mutants.LosesGpus, "test_what_a_job_asks_for_is_what_its_demand_says", (JobAsk(gpus=1), ())),
    (mutants.SharesExclusiveNodes, "test_what_a_job_asks_for_is_what_its_demand_says", (JobAsk(exclusive=True), ())),
    (mutants.SpanningJobsNeedOneNode, "test_what_a_job_asks_for_is_what_its_demand_says", (JobAsk(nodes=3), ())),
    (mutants.LosesFeatures, "test_a_feature_is_asked_for", ()),
    (mutants.ArraysAreOneJob, "test_all_tasks_of_an_array_are_counted", ()),
    (mutants.LowestPriorityFirst, "test_who_has_the_higher_priority_comes_first", ()),
    (mutants.CollapsesByHostname, "test_hundreds_at_once_are_all_there_and_all_go", ()),
    (mutants.CallsAwaitedNodesIdle, "test_a_registered_node_is_awaited_until_its_daemon_reports_and_then_idle", ()),
    (mutants.EveryDrainIsOurs, "test_an_administrators_drain_is_theirs", ()),
    (mutants.ForgetsWhoRuns, "test_jobs_on_answers_for_every_name_it_was_asked_for", ()),
    (mutants.DrainsBeforeReading, "test_an_administrators_drain_is_theirs", ()),
    (mutants.ResumesAnything, "test_an_administrators_drain_is_theirs", ()),
    (mutants.SetsAsideAsOurs, "test_what_is_set_aside_for_an_administrator_is_theirs_until_it_is_given_back", ()),
    (mutants.GivesBackWhatIsOurs, "test_what_headnode_drains_is_not_the_administrators_to_take", ()),
    (mutants.GivesNothingBack, "test_an_administrators_own_drain_is_given_back_as_well", ()),
    (mutants.SaysDrainedAndIsNot, "test_a_drained_node_starts_nothing_until_it_is_taken_back", ()),
    (mutants.SaysRegisteredAndIsNot, "test_hundreds_at_once_are_all_there_and_all_go", ()),
    (mutants.RegistersTwice, "test_registering_again_changes_nothing", ()),
    (mutants.AcceptsHostileNames, "test_a_hostile_name_is_refused", ("$(reboot)",)),
    (mutants.OneBadNodeKeepsAllOut, "test_some_new_some_known_and_one_hostile_each_get_their_own_answer", ()),
    (mutants.AbsentNodesAreDone, "test_what_is_not_there_is_absent_and_what_idles_goes", ()),
    (mutants.EndsJobsOfLostNodes, "test_the_job_of_a_node_that_goes_waits_again", ()),
    (mutants.BlocksTheLoop, "test_a_server_that_hangs_is_given_up_in_time_and_stops_nobody_else", ("drain",)),
    (mutants.WaitsForEver, "test_a_server_that_hangs_is_given_up_in_time_and_stops_nobody_else", ("register",)),
    (mutants.NothingIsUsed, "test_a_job_queues_on_an_empty_cluster_and_starts_when_a_node_comes", ()),
]
TORQUE: list[tuple[type[Torque], str, tuple[Any, ...]]] = [
    (mutants.TorqueLeavesItsNote, "test_a_drain_of_ours_is_not_an_administrators_later_one", ()),
    (mutants.TorqueForgetsThrottle, "test_no_more_tasks_are_in_demand_than_may_run_at_once", ()),
    (mutants.TorqueBelievesExitCodes, "test_a_node_that_is_not_there_is_absent", ()),
    (mutants.TorqueCountsPlaceholders, "test_an_empty_cluster_has_no_nodes", ()),
]


@asynccontextmanager
async def local(directory: Path, plugin: type[Local]) -> AsyncIterator[Bench]:
    directory.mkdir()
    made = LocalBench(directory, plugin)
    made.bound_s = 5.0
    await made.plugin.advertise([made.fleet])
    try:
        yield made
    finally:
        made.cluster.stop()


async def check(bench: Bench, test: str, arguments: tuple[Any, ...]) -> None:
    await getattr(SchedulerContract(), test)(bench, *arguments)


@pytest.mark.parametrize(("mutant", "test", "arguments"), LOCAL, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_bug_planted_in_the_local_plugin_is_found(
    mutant: type[Local], test: str, arguments: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local(tmp_path / "healthy", Local) as bench:
        await check(bench, test, arguments)
    monkeypatch.setattr(bench_module, "DEADLINE_S", 3.0)
    async with local(tmp_path / "mutant", mutant) as bench:
        with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
            await check(bench, test, arguments)


@pytest.mark.parametrize(("mutant", "test", "arguments"), TORQUE, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_bug_planted_in_the_torque_plugin_is_found(
    mutant: type[Torque], test: str, arguments: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = TorqueBench(tmp_path / "healthy")
    await healthy.plugin.advertise([healthy.fleet])
    await check(healthy, test, arguments)
    monkeypatch.setattr(bench_module, "DEADLINE_S", 3.0)
    bench = TorqueBench(tmp_path / "mutant", mutant)
    await bench.plugin.advertise([bench.fleet])
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
        await check(bench, test, arguments)


def test_every_mutant_is_run() -> None:
    planted = {
        value
        for value in vars(mutants).values()
        if isinstance(value, type) and issubclass(value, Local | Torque) and value.__module__ == mutants.__name__
    }
    assert planted - {mutants.ChangesDemand} == {mutant for mutant, _, _ in (*LOCAL, *TORQUE)}
    assert len(planted) > 30
