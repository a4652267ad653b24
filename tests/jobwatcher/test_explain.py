"""Each question an operator asks, answered with the true reason in a sentence."""

from dataclasses import replace
from pathlib import Path

from daemons.config.values import JobwatcherConfig
from daemons.model import BlockedBy, JobId, Shape
from daemons.record import read_last
from jobwatcher.explain import explain_fleet, explain_job, explain_last, explain_node
from jobwatcher.record import Record
from tests.fakes import BATCH, FakeGroups, hostname, instance_id
from tests.jobwatcher.cluster import Cluster
from tests.jobwatcher.test_shortages import failed


def last(one: Cluster) -> Record:
    record = read_last(one.directory, Record)
    assert record is not None
    return record


async def job(one: Cluster, name: str = "7") -> str:
    await one.look()
    return " | ".join(explain_job(last(one), name).sentences)


async def test_a_job_that_new_nodes_are_asked_for_says_so_with_the_arithmetic(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(1)
    assert await job(one) == (
        "job 7 needs new nodes of fleet batch, which grows from 0 to 1 "
        "(1 more for waiting jobs; desired 0: 0 there, 0 not launched yet; maximum 10)"
    )
    assert await job(one) == "job 7 waits for nodes that are coming"


async def test_a_job_that_is_blocked_says_by_what(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(1, blocked_by=BlockedBy.HOLD, reason="JobHeldUser")
    assert await job(one) == "job 7 waits: blocked by hold (JobHeldUser); more nodes would not help"


async def test_a_throttled_array_has_two_answers(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(2, job="7_[1-6%2]")
    one.waits(4, job="7_[1-6%2]", blocked_by=BlockedBy.ARRAY_LIMIT, reason="Resources")
    said = (await job(one)).split(" | ")
    assert len(said) == 2
    assert said[0].startswith("job 7 (2 jobs or tasks like it wait): 2 on new nodes of batch")
    assert said[1] == "job 7 waits: blocked by array-limit (Resources); more nodes would not help"
    assert (await job(one, "7_3")).count("|") == 1


async def test_a_job_larger_than_the_fleet_may_get_names_the_limit(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of(maximum=4))
    one.waits(1, tasks=6, nodes_min=6, nodes_max=6)
    assert await job(one) == "job 7 waits: needs 6 nodes; fleet batch may hold 4"


async def test_each_of_several_alike_jobs_has_its_own_fate_in_the_order_of_their_age(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of(1, maximum=2))
    one.registered(1)
    one.waits(3, jobs=(JobId("1"), JobId("2"), JobId("3")))
    await one.look()
    record = last(one)
    fates = [explain_job(record, name).sentences[0] for name in ("1", "2", "3")]
    assert fates[0] == "job 1 is about to start: there is room for it on live nodes"
    assert fates[1].startswith("job 2 needs new nodes of fleet batch, which grows from 1 to 2")
    assert fates[2] == "job 3 waits: fleet batch may hold no more than 2 nodes"


async def test_a_shortage_is_told_in_awss_own_words_with_the_time_of_the_next_try(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(1)
    await one.look()
    failed(one, 1)
    said = await job(one)
    assert "gets no c5.2xlarge (insufficient-capacity: We currently do not have sufficient c5.2xlarge capacity" in said
    assert said.endswith("it is tried again at 12:01:20 UTC")
    (verdict, history, *_) = explain_fleet(last(one), "batch").sentences
    assert verdict.startswith("fleet batch is no longer asked for 1 of 1 nodes: 0 more for waiting jobs")
    assert history.startswith("c5.2xlarge could not be had 1 time in a row, last at 12:00:20 UTC, until 12:01:20 UTC")


async def test_a_running_and_an_unknown_job(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of(1))
    one.registered(1)
    one.scheduler.work(hostname(1), "5")
    assert await job(one, "5") == "job 5 runs on ip-10-0-0-1"
    unknown = explain_job(last(one), "99")
    assert not unknown.found
    assert unknown.sentences[0].startswith("job 99 was not among the waiting jobs at 12:00:10 UTC")


async def test_a_node_from_its_launch_to_its_use(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of(), options=JobwatcherConfig(interval_s=1))
    one.waits(1)
    await one.look()
    one.groups.arrive(BATCH.name, 1, lifecycle="Pending")
    await one.look()
    await one.look(after_s=75)
    said = explain_node(last(one), instance_id(1)).sentences
    assert any(sentence.endswith("takes no jobs yet, for 75 s of at most 900 s") for sentence in said)
    one.registered(1)
    await one.look()
    said = explain_node(last(one), hostname(1)).sentences
    assert "ip-10-0-0-1 stands empty, and waiting jobs are about to use it" in said
    one.scheduler.work(hostname(1), "7")
    one.scheduler.waiting.clear()
    await one.look()
    said = explain_node(last(one), hostname(1)).sentences
    assert "ip-10-0-0-1 is busy for the scheduler, 8 of 8 cpus in use, by job 7" in said
    assert not explain_node(last(one), "elsewhere").found


async def test_the_last_decision_in_full(tmp_path: Path) -> None:
    priced = replace(BATCH, price_per_hour=0.5, shape=Shape(cpus=8, memory_mib=16_000))
    one = Cluster(tmp_path, FakeGroups.of(spec=priced))
    one.waits(2)
    one.waits(1, job="9", blocked_by=BlockedBy.DEPENDENCY, reason="Dependency")
    await one.look()
    explanation = explain_last(last(one))
    assert explanation.sentences[0] == "at 12:00:10 UTC:"
    assert explanation.sentences[1].startswith("fleet batch grows from 0 to 2: 2 more for waiting jobs")
    assert explanation.sentences[2:] == (
        "of 2 waiting jobs: 2 on new nodes of batch",
        "of 1 waiting jobs: 1 wait: blocked by dependency (Dependency)",
    )
    assert explanation.facts["decisions"][0]["target"] == 2
    assert "at 2 nodes it costs 1.00 an hour" in explain_fleet(last(one), "batch").sentences
