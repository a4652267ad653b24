"""Grid Engine's words for waiting jobs, recorded and made up, as demand."""

import json
from dataclasses import replace

import pytest

from daemons.errors import SchedulerUnavailable
from daemons.model import BlockedBy, FleetName, Hostname, JobDemand, Shape
from schedulers.sge import demand
from schedulers.sge.asks import Site
from schedulers.sge.cell import parse_cell
from schedulers.sge.details import (
    Details,
    JobDetails,
    Rule,
    Verdicts,
    parse_job_details,
    parse_job_ids,
    parse_verdicts,
)
from schedulers.sge.parse import licences, parse_snapshot
from tests.schedulers.sge.bench import BATCH as COMPUTE
from tests.schedulers.sge.bench import BIG, GPU
from tests.schedulers.sge.submissions import SUBMISSIONS, Submission, bare
from tests.schedulers.sge.words import (
    BATCH,
    environment,
    instance,
    qstat,
    recorded_site,
    recording,
    request,
    waiting_job,
)

IDS: dict[str, str] = json.loads(recording("ids.json"))
LATER = Details(later=frozenset({"66", "89", "34"}))
OTHER = replace(BATCH, name=FleetName("plain"), features=frozenset(), shape=Shape(cpus=2, memory_mib=2_000))


def parsed(*jobs: str, site: Site | None = None, details: Details | None = None) -> tuple[JobDemand, ...]:
    return demand.parse_demand(parse_snapshot(qstat(*jobs)), site or recorded_site(), details or Details())


def only(inside: str = "", *, slots: int = 1, site: Site | None = None) -> JobDemand:
    (job,) = parsed(waiting_job(slots=slots, inside=inside), site=site)
    return job


@pytest.fixture(scope="module")
def mixed() -> dict[str, JobDemand]:
    """The recorded waiting jobs by number."""
    snapshot = parse_snapshot(recording("20_mixed.qstat_f_r.xml"))
    jobs = demand.parse_demand(snapshot, recorded_site(), LATER)
    return {name.partition(".")[0]: job for job in jobs for name in job.jobs}


@pytest.mark.parametrize(
    ("number", "tasks", "nodes_max", "count"),
    [("55", 100, None, 2), ("75", 3, None, 1), ("77", 4, None, 1), ("79", 2, 1, 1), ("58", 2, 1, 77), ("76", 1, 1, 10)],
)
def test_slots_are_tasks(mixed: dict[str, JobDemand], number: str, tasks: int, nodes_max: int | None, count: int) -> None:
    job = mixed[number]
    assert (job.tasks, job.per_task.cpus, job.nodes_min, job.nodes_max, job.count) == (tasks, 1, 1, nodes_max, count)


@pytest.mark.parametrize("submission", SUBMISSIONS, ids=lambda submission: submission.label)
def test_a_recorded_job_asks_for_what_its_submission_did(submission: Submission) -> None:
    snapshot = parse_snapshot(recording("submitted.xml"))
    mine = tuple(row for row in snapshot.waiting if row.job_id == IDS[submission.label])
    site = Site(
        cell=parse_cell(recording("submitted_cell.txt")),
        fleets=(COMPUTE, BIG, GPU),
        memory="h_vmem",
        gpu="gpu",
        licences=licences(snapshot.instances),
    )
    details = Details(
        later=parse_job_ids(recording("submitted_later.xml")), jobs=parse_job_details(recording("submitted_details.xml"))
    )
    assert tuple(bare(one) for one in demand.parse_demand(replace(snapshot, waiting=mine), site, details)) == submission.asks


def test_arrays_of_one_shape_are_one_value(mixed: dict[str, JobDemand]) -> None:
    assert mixed["76"].jobs == ("76.1-9:2", "80.1-9:2")


def test_memory_is_asked_for_each_slot_and_has_a_default(mixed: dict[str, JobDemand]) -> None:
    assert (mixed["79"].per_task.memory_mib, mixed["75"].per_task.memory_mib) == (2048, 512)


def test_gpus_and_exclusiveness(mixed: dict[str, JobDemand]) -> None:
    assert mixed["85"].per_task == Shape(cpus=1, memory_mib=4096, gpus=2)
    assert (mixed["86"].exclusive, mixed["86"].tasks, mixed["85"].exclusive) == (True, 4, False)


@pytest.mark.parametrize(
    ("number", "by"),
    [
        ("59", BlockedBy.HOLD), ("60", BlockedBy.DEPENDENCY), ("84", BlockedBy.DEPENDENCY), ("66", BlockedBy.BEGIN_TIME),
        ("67", BlockedBy.NODE_LIST), ("55", BlockedBy.NOTHING), ("87", BlockedBy.NOTHING), ("93", BlockedBy.NOTHING),
    ],
)  # fmt: skip
def test_why_recorded_jobs_wait(mixed: dict[str, JobDemand], number: str, by: BlockedBy) -> None:
    assert mixed[number].blocked_by is by


def test_the_whole_recording_counts_every_job_once_in_order(mixed: dict[str, JobDemand]) -> None:
    jobs = demand.parse_demand(parse_snapshot(recording("20_mixed.qstat_f_r.xml")), recorded_site(), LATER)
    assert sum(job.count for job in jobs) == 26 - 5 + 77 + 5 + 100 + 5 + 5
    assert [job.priority for job in jobs] == sorted((job.priority for job in jobs), reverse=True)
    assert len(jobs) < 26


def test_jobs_wait_although_there_is_no_queue_instance() -> None:
    snapshot = parse_snapshot(recording("10_pend_zero_hosts.qstat_f_r.xml"))
    jobs = demand.parse_demand(snapshot, recorded_site(), LATER)
    assert sum(job.count for job in jobs if job.blocked_by is BlockedBy.NOTHING) == 9 - 1 + 5 + 100
    needed = demand.needed_details(snapshot)
    assert (needed.later, needed.verdicts, needed.details) == (True, True, ("26", "25"))


def test_a_hundred_thousand_tasks_are_two_values() -> None:
    jobs = demand.parse_demand(parse_snapshot(recording("40_array_100k.qstat_r.xml")), recorded_site(), Details())
    assert [job.count for job in jobs] == [25_000, 75_000]


def test_an_array_in_several_rows_is_summed() -> None:
    snapshot = parse_snapshot(recording("41_array_fragmented.qstat_r.xml"))
    jobs = demand.parse_demand(snapshot, recorded_site(), Details())
    mine = [job for job in jobs if job.jobs[0].startswith("10104.")]
    assert sum(job.count for job in mine if job.blocked_by is BlockedBy.NOTHING) == 2 + 2 + 92 + 99 + 24_700
    assert [(job.count, job.reason) for job in mine if job.blocked_by is BlockedBy.HOLD] == [(101, "hqw")]


def test_the_throttle_of_an_array_is_shared_by_its_rows_and_counts_what_runs() -> None:
    running = [
        f"<job_list state='running'>{waiting_job(number=30, state='r', inside=f'<tasks>{n}</tasks>')[26:]}" for n in (1, 2)
    ]
    jobs = [
        waiting_job(number=30, inside="<tasks>3,4</tasks>"),
        waiting_job(number=30, priority=0, inside="<tasks>5-20:1</tasks>"),
    ]
    text = qstat(*jobs, instances=instance("all.q@n1", used=2, inside="".join(running)))
    able = demand.parse_demand(parse_snapshot(text), recorded_site(), Details(jobs=JobDetails(throttles={"30": 5})))
    assert [(job.count, job.blocked_by) for job in able] == [(3, BlockedBy.NOTHING), (15, BlockedBy.ARRAY_LIMIT)]


def test_jobs_in_error_and_rescheduled_ones() -> None:
    snapshot = parse_snapshot(recording("30_eqw_susp.qstat_f_r.xml"))
    assert BlockedBy.NOTHING in {job.blocked_by for job in demand.parse_demand(snapshot, recorded_site(), Details())}
    error, again, deleted, odd = parsed(
        waiting_job(number=1, state="Eqw"),
        waiting_job(number=2, state="Rq"),
        waiting_job(number=3, state="dRq"),
        waiting_job(number=4, state="qXw"),
    )
    assert [job.blocked_by for job in (error, again, deleted, odd)] == [
        BlockedBy.ERROR, BlockedBy.NOTHING, BlockedBy.HOLD, BlockedBy.UNKNOWN,
    ]  # fmt: skip
    assert (error.reason, again.reason) == ("Eqw", "")


@pytest.mark.parametrize(
    ("words", "slots", "tasks", "per_node", "nodes"),
    [
        (environment("smp", "3"), 3, 3, None, (1, 1)),
        (environment("mpi", "4-16"), 4, 4, None, (1, None)),
        (environment("mpirr", "4"), 4, 4, None, (1, None)),
        (environment("four", "8"), 8, 8, 4, (2, 2)),
        (environment("four", "5-16"), 5, 8, 4, (2, 2)),
        (environment("mpi*", "3"), 3, 3, None, (1, None)),
        (environment("*", "3"), 3, 3, None, (1, None)),
    ],
)
def test_the_rule_of_the_environment_says_how_slots_spread(
    words: str, slots: int, tasks: int, per_node: int | None, nodes: tuple[int, int | None]
) -> None:
    job = only(words, slots=slots)
    assert (job.tasks, job.tasks_per_node, (job.nodes_min, job.nodes_max)) == (tasks, per_node, nodes)
    assert job.blocked_by is BlockedBy.NOTHING


def test_slots_that_no_rule_can_deal_out_are_an_error() -> None:
    job = only(environment("four", "6"), slots=6)
    assert (job.blocked_by, "multiple of 4" in job.reason) == (BlockedBy.ERROR, True)


def test_the_slots_of_an_environment_are_a_limit() -> None:
    site = replace(recorded_site(), environment_slots={"mpi": 99_990})
    assert only(environment("mpi", "9"), slots=9, site=site).blocked_by is BlockedBy.NOTHING
    job = only(environment("mpi", "10"), slots=10, site=site)
    assert (job.blocked_by, job.reason) == (BlockedBy.LIMIT, "parallel environment mpi has 9 slots left")


def test_an_environment_that_no_queue_of_ours_offers() -> None:
    job = only(environment("elsewhere", "4"), slots=4)
    assert (job.blocked_by, "elsewhere" in job.reason) == (BlockedBy.UNKNOWN, True)


def test_a_consumable_of_kind_job_is_needed_once() -> None:
    job = only(environment("smp", "2") + request("perjob", "1"), slots=2)
    assert (job.per_node.consumables, job.per_task.consumables) == ((("perjob", 1),), ())


def test_a_licence_that_is_in_use_is_no_reason_for_nodes() -> None:
    assert only(request("lic", "1")).blocked_by is BlockedBy.NOTHING
    job = only(request("lic", "1") + environment("smp", "2"), slots=2)
    assert (job.blocked_by, "1 left" in job.reason) == (BlockedBy.LICENCE, True)


def test_a_consumable_that_no_fleet_has_is_not_bought_nodes_for() -> None:
    job = only(request("lic", "1"), site=replace(recorded_site(), licences={}))
    assert (job.blocked_by, job.reason) == (BlockedBy.UNKNOWN, "it asks for lic=1, which no fleet has")


@pytest.mark.parametrize(
    "words",
    [
        request("h_rt", "3600") + request("arch", "lx-amd64") + request("mem_free", "1G"),
        request("num_proc", "4"),
        request("h_rt", "48:00:00"),
        request("s_vmem", "8G"),
        '<soft_request name="moon">1</soft_request>',
        "<hard_req_queue>all.q</hard_req_queue>",
    ],
)
def test_requests_that_any_node_of_the_fleet_meets(words: str) -> None:
    assert only(words).blocked_by is BlockedBy.NOTHING


@pytest.mark.parametrize("words", [("h_rt", "48:00:01"), ("mem_total", "8G"), ("num_proc", "5"), ("moon", "1"), ("no_such", "1")])
def test_requests_that_no_node_of_the_fleet_meets(words: tuple[str, str]) -> None:
    job = only(request(*words))
    assert (job.blocked_by, f"{words[0]}={words[1]}" in job.reason) == (BlockedBy.UNKNOWN, True)


def test_features_are_boolean_complexes() -> None:
    site = recorded_site(BATCH, OTHER)
    assert only(request("c5.big-x_1", "TRUE"), site=site).features == (frozenset({"c5.big-x_1"}),)
    assert only(request("c5.big-x_1", "false"), site=site).features == (frozenset({"plain"}),)
    assert only(site=site).features == ()


def test_what_only_some_fleets_can_run_names_them() -> None:
    job = only(request("mem_total", "4G"), site=recorded_site(BATCH, OTHER))
    assert (job.features, job.partitions) == ((frozenset({"batch_1"}),), frozenset())


@pytest.mark.parametrize(
    ("queue", "partitions", "features"),
    [
        ("all.q", frozenset({"all.q"}), ()),
        ("*", frozenset({"all.q", "long.q"}), ()),
        ("l*", frozenset({"long.q"}), ()),
        ("*@@headnode-plain", frozenset({"long.q"}), ()),
        ("all.q@@headnode-*", frozenset({"all.q"}), ()),
        ("other.q", frozenset({"other.q"}), ()),
    ],
)
def test_queues_are_partitions(queue: str, partitions: frozenset[str], features: tuple[frozenset[str], ...]) -> None:
    site = recorded_site(BATCH, replace(OTHER, partition="long.q"))
    job = only(f"<hard_req_queue>{queue}</hard_req_queue>", site=site)
    assert (job.partitions, job.features, job.blocked_by) == (partitions, features, BlockedBy.NOTHING)


def test_a_host_group_of_a_shared_queue_is_a_fleet() -> None:
    job = only("<hard_req_queue>all.q@@headnode-plain</hard_req_queue>", site=recorded_site(BATCH, OTHER))
    assert (job.partitions, job.features) == (frozenset({"all.q"}), (frozenset({"plain"}),))


def test_hosts_that_a_job_names_are_not_to_be_bought() -> None:
    named = only(request("hostname", "node1.cluster.example"))
    either = only(request("hostname", "node2|node3"))
    by_queue = only("<hard_req_queue>all.q@node1</hard_req_queue>")
    assert (named.hostnames, named.blocked_by) == (frozenset({Hostname("node1")}), BlockedBy.NODE_LIST)
    assert (either.hostnames, either.blocked_by) == (frozenset(), BlockedBy.NODE_LIST)
    assert (by_queue.hostnames, by_queue.blocked_by) == (frozenset({Hostname("node1")}), BlockedBy.NODE_LIST)


def test_a_host_that_a_job_will_not_have_is_excluded() -> None:
    job = only(request("hostname", "!node3"))
    assert (job.excluded, job.hostnames, job.blocked_by) == (frozenset({Hostname("node3")}), frozenset(), BlockedBy.NOTHING)


@pytest.mark.parametrize(
    "inside",
    [request("h_vmem", "much"), request("gpu", "two"), "<tasks>1-x</tasks>", environment("mpi", "4-x"), request("h_rt", "x:1")],
)
def test_what_cannot_be_read_is_no_answer(inside: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        only(inside)


def test_the_id_of_a_long_array_is_shortened() -> None:
    tasks = ",".join(map(str, range(1, 99, 2)))
    (job,) = only(f"<tasks>{tasks}</tasks>").jobs
    assert job.startswith("7.1,3,5,")
    assert job.endswith(",…")


def limited(*partitions: str, rule: str = "") -> list[tuple[str, BlockedBy, str]]:
    """The recorded jobs that quotas hold up, where fleets are in these queues; `rule` replaces the queue's."""
    snapshot = parse_snapshot(recording("limited.xml"))
    text = recording("limited_details.xml")
    jobs = parse_job_details(text.replace("///compute//", rule) if rule else text)
    fleets = tuple(replace(COMPUTE, name=FleetName(name), partition=name) for name in partitions)
    site = Site(
        cell=parse_cell(recording("submitted_cell.txt")), fleets=fleets, memory="h_vmem", gpu="gpu", licences={"matlab": 1}
    )
    details = Details(verdicts=parse_verdicts(recording("limited_verdicts.xml")), jobs=jobs)
    return [(one.jobs[0], one.blocked_by, one.reason) for one in demand.parse_demand(snapshot, site, details)]


def test_a_quota_is_a_limit() -> None:
    (first, second) = sorted(limited("compute"))
    assert first[1:] == (BlockedBy.LIMIT, "it would exceed a limit in rule of_user/1")
    assert second[1:] == (BlockedBy.LIMIT, "it would exceed a limit in rule of_queue/1")


def test_a_quota_of_one_queue_holds_nobody_up_who_may_go_to_another() -> None:
    assert [by for _, by, _ in sorted(limited("compute", "gpu"))] == [BlockedBy.LIMIT, BlockedBy.NOTHING]


def test_a_quota_of_each_host_is_no_limit_for_there_may_be_other_hosts() -> None:
    assert [by for _, by, _ in sorted(limited("compute", rule="////ip-10-80-1-1/"))] == [BlockedBy.LIMIT, BlockedBy.NOTHING]


def test_one_job_is_looked_at_for_all_its_like() -> None:
    jobs = [waiting_job(number=number, slots=1 + number // 5) for number in range(10)]
    snapshot = parse_snapshot(qstat(*jobs))
    verdicts = Verdicts(over_rule=frozenset(str(number) for number in range(9)))
    assert sorted(demand.examples(snapshot, verdicts)) == ["4", "8"]
    rule = Rule(user="alice", project="", environment="", queue="", host="", name="max/1")
    details = Details(verdicts=verdicts, jobs=JobDetails(rules={"4": (rule,)}))
    held = [job for job in demand.parse_demand(snapshot, recorded_site(), details) if job.blocked_by is BlockedBy.LIMIT]
    assert [job for one in held for job in one.jobs] == ["0", "1", "2", "3", "4"]


def test_the_limits_of_users_are_limits() -> None:
    message = "<SME_message_list><element><MES_job_number_list><ulong_sublist><ULNG_value>7</ULNG_value></ulong_sublist>"
    message += (
        "</MES_job_number_list><MES_message>Jobs dropped because of user limitations</MES_message></element></SME_message_list>"
    )
    (job,) = parsed(waiting_job(), details=Details(verdicts=parse_verdicts(f"<message><element>{message}</element></message>")))
    assert job.blocked_by is BlockedBy.LIMIT
