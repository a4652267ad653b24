"""qstat's and qconf's words, recorded and made up, as values."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons.errors import SchedulerUnavailable
from schedulers.sge import amounts
from schedulers.sge.cell import parse_cell, parse_rolls, parse_values, words
from schedulers.sge.details import Verdicts, parse_job_details, parse_job_ids, parse_verdicts
from schedulers.sge.parse import parse_snapshot, running_slots
from tests.schedulers.sge.words import instance, qstat, recorded_cell, recording, request, waiting_job


def test_a_recorded_snapshot_has_every_instance_and_every_job() -> None:
    snapshot = parse_snapshot(recording("20_mixed.qstat_f_r.xml"))
    assert [one.name for one in snapshot.instances] == [f"all.q@{host}" for host in ("ghost1", "head", "node1", "node2", "node3")]
    assert len(snapshot.waiting) == 26
    ghost, head, node1, node2, node3 = snapshot.instances
    assert (ghost.states, ghost.has_reported, ghost.slots_total) == ("du", False, 2)
    assert (head.states, head.slots_total) == ("du", 0)
    assert (node1.states, node1.has_reported, node1.slots_used) == ("", True, 2)
    assert [row.job for row in (*node1.jobs, *node2.jobs, *node3.jobs)] == ["56", "58.23", "62", "74"]
    assert node3.jobs[0].requests == (("gpu", "2"), ("h_vmem", "4G"))
    assert node3.jobs[1].defaults == (("h_vmem", "512M"),)


def test_an_answer_of_many_chunks_is_read_as_one() -> None:
    snapshot = parse_snapshot(qstat(*(waiting_job(number=number + 1, slots=1 + number % 90) for number in range(3_000))))
    assert [(row.job_id, row.slots, row.owner) for row in snapshot.waiting] == [
        (str(number + 1), 1 + number % 90, "alice") for number in range(3_000)
    ]
    assert len({row.submitted_at for row in snapshot.waiting}) == 60


def test_no_instance_and_no_job_is_an_empty_snapshot() -> None:
    snapshot = parse_snapshot(recording("00_zero_hosts_qstat_f.xml"))
    assert (snapshot.instances, snapshot.waiting) == ((), ())


def test_soft_requests_are_left_out() -> None:
    (soft,) = [row for row in parse_snapshot(recording("20_mixed.qstat_f_r.xml")).waiting if row.job_id == "87"]
    assert (soft.requests, soft.queues) == ((("gpu", "1"),), ("all.q",))


def test_consumables_of_a_host_group_are_resources_of_its_instances() -> None:
    (first, *_) = parse_snapshot(recording("50_hostgroup_consumables.qstat_f_F.xml")).instances
    assert {(one.name, one.value) for one in first.resources if one.kind == "qc"} == {
        ("slots", "8"), ("h_vmem", "16.000G"), ("gpu", "4"), ("exclusive", "1.000000"),
    }  # fmt: skip


def test_slots_of_an_environment_are_counted_over_all_hosts() -> None:
    assert running_slots(parse_snapshot(recording("32_queue_states_uoE.qstat_f_r.xml")).instances) == {"mpi": 5}


def test_a_name_that_no_xml_may_hold_hides_nobody_else() -> None:
    text = recording("60_odd_names.qstat.xml").replace("a%lt;b", "a\x07\x00b\ufffe")
    assert parse_job_ids(text) == {"1"}


def test_jobs_that_begin_later_are_known_by_number() -> None:
    assert parse_job_ids(recording("later.xml")) == {"24"}


def test_the_throttles_of_arrays() -> None:
    assert parse_job_details(recording("throttles.xml")).throttles == {"22": 5}
    assert parse_job_details(recording("61_unknown_job.qstat_j.xml")).throttles == {}


def test_a_scheduler_that_says_nothing_of_jobs_says_so() -> None:
    off = (
        "<message><element><SME_global_message_list><element><MES_message_number>83</MES_message_number><MES_message>(Collecting"
    )
    off += " of scheduler job information is turned off)</MES_message></element></SME_global_message_list></element></message>"
    assert parse_verdicts(off) == Verdicts()
    starting = "<comunication_error ><element><AN_text>Can not get job info messages</AN_text></element></comunication_error>"
    with pytest.raises(SchedulerUnavailable, match="Can not get job info messages"):
        parse_verdicts(starting)
    with pytest.raises(SchedulerUnavailable):
        parse_job_details("<message/>")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "error: commlib error: got select error (Connection refused)",
        "<qhost></qhost>",
        "<job_info/>",
        "<job_info><queue_info/></job_info>",
        qstat(waiting_job())[:-30],
        qstat(waiting_job().replace("<slots>1</slots>", "")),
        qstat(waiting_job().replace("<slots>1</slots>", "<slots>many</slots>")),
        qstat(waiting_job().replace("<JB_job_number>7<", "<JB_job_number>7; rm<")),
        qstat(waiting_job().replace("2026-11-23T", "yesterday ")),
        qstat(instances=instance("all.q")),
        qstat(instances=instance("all.q@n1").replace("<slots_used>0</slots_used>", "")),
    ],
)
def test_what_cannot_be_read_is_no_answer(text: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        parse_snapshot(text)


@given(st.text(max_size=300))
def test_no_text_is_taken_for_an_empty_cluster(text: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        parse_snapshot(text)


@given(st.text(max_size=50))
def test_any_request_is_read_as_it_was_written(text: str) -> None:
    safe = text.replace("&", "&amp;").replace("<", "&lt;")
    try:
        (row,) = parse_snapshot(qstat(waiting_job(inside=request("arch", safe)))).waiting
    except SchedulerUnavailable:
        pytest.fail("a request's value made the answer unreadable")
    assert len(row.requests) == 1


def test_the_recorded_cell() -> None:
    cell = recorded_cell()
    queue = cell.queues["all.q"]
    assert queue.hosts == ("@allhosts", "head", "@headnode-batch_1")
    assert (queue.slots("@headnode-batch_1"), queue.slots("head"), queue.slots("nobody")) == ("4", "0", None)
    assert queue.complexes("@headnode-batch_1") == {
        "h_vmem": "7000M", "gpu": "2", "exclusive": "true", "c5.big-x_1": "TRUE", "perjob": "3",
    }  # fmt: skip
    assert queue.environments == {"smp", "mpi", "mpirr", "make", "four"}
    assert queue.overridden() == {"@allhosts", "@headnode-batch_1", "head"}
    assert {name: one.rule for name, one in cell.environments.items()} == {
        "smp": "$pe_slots", "mpi": "$fill_up", "mpirr": "$round_robin", "make": "$round_robin", "four": "4",
    }  # fmt: skip
    assert cell.members() == {"node1": "batch_1", "node2": "batch_1", "node3": "batch_1"}
    memory, perjob, exclusive, hostname = (cell.complexes[name] for name in ("h_vmem", "perjob", "exclusive", "hostname"))
    assert (memory.consumable, memory.default, perjob.consumable) == ("YES", "512M", "JOB")
    assert (exclusive.is_exclusive, hostname.is_consumable) == (True, False)


def test_half_an_object_is_no_answer() -> None:
    with pytest.raises(SchedulerUnavailable):
        parse_cell("group_name @headnode-batch\n")
    with pytest.raises(SchedulerUnavailable):
        parse_cell("pe_name mpi\nslots many\nallocation_rule $fill_up\n")


def test_lists_and_values() -> None:
    assert words("NONE") == ()
    assert words("a b,c  d") == ("a", "b", "c", "d")
    assert parse_values("NONE") == {}
    with pytest.raises(ValueError, match="unreadable values"):
        parse_values("gpu")


@pytest.mark.parametrize(
    ("text", "count"), [("", 1), ("7", 1), ("1-9:2", 5), ("1-100:1", 100), ("3,4,8-99:1,101-199:1", 2 + 92 + 99), ("2-3", 2)]
)
def test_tasks_of_arrays_are_counted(text: str, count: int) -> None:
    assert amounts.count_tasks(text) == count


@pytest.mark.parametrize("text", ["x", "1-", "-3", "9-1:1", "1-9:0", "1;2", "²"])
def test_other_words_are_no_tasks(text: str) -> None:
    with pytest.raises(ValueError, match="unreadable array tasks"):
        amounts.count_tasks(text)


@pytest.mark.parametrize(
    ("text", "multiple", "slots"),
    [
        ("4", 1, 4), ("4-16", 1, 4), ("4-", 1, 4), ("-16", 1, 1), ("8,2-4", 1, 2), ("2-8:2", 1, 2),
        ("5-16", 4, 8), ("4-16", 4, 4), ("5-7", 4, None), ("6", 4, None), ("1-9:2", 2, None), ("9999999-", 4, 10_000_000),
        ("0", 1, None),
    ],
)  # fmt: skip
def test_the_fewest_slots_of_a_range(text: str, multiple: int, slots: int | None) -> None:
    assert amounts.least_slots(text, multiple) == slots


@pytest.mark.parametrize(
    ("text", "mib"), [("2G", 2048), ("512M", 512), ("1.5G", 1536), ("7000M", 7000), ("1048577", 2), ("6.836G", 7001), ("1k", 1)]
)
def test_memories(text: str, mib: int) -> None:
    assert amounts.parse_mib(text) == mib


def test_limits_are_seconds_or_infinite() -> None:
    assert amounts.parse_limit("48:00:00") == 48 * 3600
    assert amounts.parse_limit("5:00") == 300
    assert amounts.parse_limit("::30") == 30
    assert amounts.parse_limit("3600") == 3600
    assert amounts.parse_limit("INFINITY") == math.inf


@pytest.mark.parametrize(("text", "truth"), [("TRUE", True), ("true", True), ("1.000000", True), ("0", False), ("FALSE", False)])
def test_truths(text: str, truth: bool) -> None:
    assert amounts.is_true(text) is truth


ROLLS = """bare-1
head.example.internal
@headnode-batch
@headnode-big
@others
group_name @headnode-batch
hostlist head bare-1 bare-2
group_name @headnode-big
hostlist NONE
"""


def test_lists_of_hosts_and_groups() -> None:
    rolls = parse_rolls(ROLLS)
    assert rolls.administrative == {"bare-1", "head"}
    assert rolls.names == {"@headnode-batch", "@headnode-big", "@others"}
    assert rolls.groups == {"@headnode-batch": ("head", "bare-1", "bare-2"), "@headnode-big": ()}


@pytest.mark.parametrize("text", ["", "@headnode-batch\n", "error: commlib error\n", "head\ngroup_name @headnode-batch\n"])
def test_half_of_the_lists_is_no_answer(text: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        parse_rolls(text)
