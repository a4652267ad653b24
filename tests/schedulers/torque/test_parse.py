"""What a real Torque 6.1.3 wrote, as rows. The golden values were read off the recorded text by hand."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons.errors import SchedulerUnavailable
from schedulers.torque.parse import JobRow, NodeRow, Tasks, parse_jobs, parse_nodes, parse_range, parse_tasks, task_indices

RECORDINGS = Path(__file__).parent / "recordings"
NODE_FILES = sorted(path.stem for path in RECORDINGS.glob("*pbsnodes-x*.out") if path.stat().st_size)
JOB_FILES = sorted(path.stem for path in RECORDINGS.glob("*qstat*x.out") if path.stat().st_size)


def recorded(name: str) -> str:
    return (RECORDINGS / f"{name}.out").read_text()


def nodes(name: str) -> dict[str, NodeRow]:
    rows, skipped = parse_nodes(recorded(name))
    assert skipped == ()
    return {row.name: row for row in rows}


def jobs(name: str) -> dict[str, JobRow]:
    rows, skipped = parse_jobs(recorded(name))
    assert skipped == 0
    return {row.job_id: row for row in rows}


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("pbsnodes-x-just-created", {"n1000": "down offline MOM-list-not-sent", "n0001": "down offline MOM-list-not-sent"}),
        ("pbsnodes-x-one-node", {"n0001": "free"}),
        (
            "pbsnodes-x-offline-and-down-offline",
            {
                "n1000": "down offline",
                "n0001": "offline",
                "n0002": "offline",
                "n0004": "offline",
                "n0003": "offline",
                "n0006": "down offline",
                "n0111": "down",
            },
        ),
        ("after-restart-0s-pbsnodes-x", {"n0001": "down job-exclusive", "n0002": "down", "n0003": "free", "n1000": "down"}),
    ],
)
def test_states_of_nodes(name: str, states: dict[str, str]) -> None:
    assert {row.name: set(row.states) for row in nodes(name).values()} == {
        each: set(said.split()) for each, said in states.items()
    }


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("running-pbsnodes-x", {"n0001": {"0.tbhead": 2, "2.tbhead": 2}, "n0002": {"0.tbhead": 2}, "n0004": {"1.tbhead": 4}}),
        (
            "before-delete-busy-pbsnodes-x",
            {
                "n0001": {"0.tbhead": 2, "16.tbhead": 2},
                "n0002": {"0.tbhead": 2, "5.tbhead": 1, "7.tbhead": 1},
                "n0004": {"1.tbhead": 4},
                "n0003": {"11[1].tbhead": 4},
            },
        ),
        (
            "during-delete-busy-pbsnodes-x",
            {
                "n0001": {"16.tbhead": 2},
                "n0002": {"5.tbhead": 1, "7.tbhead": 1},
                "n0004": {"1.tbhead": 4},
                "n0003": {"11[1].tbhead": 4},
            },
        ),
        (
            "after-delete-busy-pbsnodes-x",
            {"n0002": {"5.tbhead": 1, "7.tbhead": 1}, "n0004": {"1.tbhead": 4}, "n0003": {"11[1].tbhead": 4}},
        ),
        ("after-restart-0s-pbsnodes-x", {"n0001": {"0.tbhead": 2, "1.tbhead": 2}, "n0002": {"0.tbhead": 2}}),
        ("pbsnodes-x-free-and-down", {}),
    ],
)
def test_which_job_has_how_many_slots_where(name: str, taken: dict[str, dict[str, int]]) -> None:
    assert {row.name: dict(row.jobs) for row in nodes(name).values() if row.jobs} == taken


def test_a_node_in_all_detail() -> None:
    row = nodes("running-pbsnodes-x")["n0002"]
    assert (row.slots, row.gpus, row.note, row.properties) == (4, 2, "", frozenset())
    assert (row.status["physmem"], row.status["rectime"]) == ("24684084kb", "1795443469")
    assert nodes("running-pbsnodes-x")["n0003"].note == "locked by daemon"
    assert nodes("running-pbsnodes-x")["n1000"].status == {}


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("3.tbhead", ("Q", "n", "", {"nodes": "2:ppn=2+3:ppn=6", "nodect": "5", "neednodes": "2:ppn=2+3:ppn=6"})),
        ("5.tbhead", ("R", "n", "", {"ncpus": "4"})),
        ("6.tbhead", ("Q", "n", "", {"procs": "8"})),
        ("7.tbhead", ("R", "n", "", {"mem": "2gb", "walltime": "01:00:00", "nodes": "1", "nodect": "1", "neednodes": "1"})),
        ("11[].tbhead", ("R", "n", "1-100%5", {"nodes": "1:ppn=4", "nodect": "1", "neednodes": "1:ppn=4"})),
        ("12[].tbhead", ("Q", "n", "1-3", {"nodes": "4:ppn=4", "nodect": "4", "neednodes": "4:ppn=4"})),
        ("13.tbhead", ("H", "u", "", {"nodes": "1:ppn=2", "nodect": "1", "neednodes": "1:ppn=2"})),
        ("14.tbhead", ("H", "s", "", {"nodes": "1:ppn=4", "nodect": "1", "neednodes": "1:ppn=4"})),
        ("15.tbhead", ("W", "n", "", {"nodes": "1", "nodect": "1", "neednodes": "1"})),
    ],
)
def test_jobs_of_a_mixed_queue(job: str, expected: tuple[str, str, str, dict[str, str]]) -> None:
    row = jobs("pending-qstat-x")[job]
    assert (row.state, row.holds, row.array, dict(row.resources)) == expected
    assert row.queue == "batch"


def test_what_else_is_said_of_jobs() -> None:
    rows = jobs("pending-qstat-f-x")
    assert rows["14.tbhead"].depends == "afterok:13.tbhead"
    assert rows["15.tbhead"].eligible_at == 1798761540
    assert (rows["3.tbhead"].created_at, rows["11[].tbhead"].created_at) == (1795443476, 1795443476)
    assert [row.state for row in jobs("after-restart-0s-qstat-x").values()] == ["R", "R", "C"]
    assert rows["4.tbhead"].comment == "Not Running: Not enough of the right type of nodes are available"


def test_the_table_of_tasks() -> None:
    tasks = parse_tasks(recorded("pending-qstat-t"))
    assert tasks == {"11": Tasks(waiting=99, running=1, highest=100), "12": Tasks(waiting=3, running=0, highest=3)}


@pytest.mark.parametrize("name", NODE_FILES)
def test_every_recorded_list_of_nodes_is_read_whole(name: str) -> None:
    assert len(nodes(name)) == recorded(name).count("<Node>") > 0


@pytest.mark.parametrize("name", JOB_FILES)
def test_every_recorded_list_of_jobs_is_read_whole(name: str) -> None:
    assert len(jobs(name)) == recorded(name).count("<Job>")
    assert jobs(name) or name.startswith("empty")


@pytest.mark.parametrize(
    "text", ["", "\n", "qstat: oops", "<Data>", "<Data><Job></Data>", "<Data></Data> and more", "<Data>x</Data>"]
)
def test_what_is_no_whole_answer_is_no_answer(text: str) -> None:
    for parse in (parse_nodes, parse_jobs):
        with pytest.raises(SchedulerUnavailable):
            parse(text.replace("Job", "Node") if parse is parse_nodes else text)


@given(st.integers(1, 22_000))
def test_an_answer_that_is_cut_off_anywhere_is_never_fewer_jobs(length: int) -> None:
    text = recorded("pending-qstat-x").strip()
    if length >= len(text):
        return
    with pytest.raises(SchedulerUnavailable):
        parse_jobs(text[:length])


def test_words_of_users_that_break_the_xml_are_mended_or_told_of() -> None:
    good = "<Job><Job_Id>1.h</Job_Id><Job_Name>R&D \x08 run</Job_Name><job_state>Q</job_state></Job>"
    bad = "<Job><Job_Id>2.h</Job_Id><Job_Name>a < b</Job_Name><job_state>Q</job_state></Job>"
    rows, skipped = parse_jobs(f"<Data>{good}{bad}{good.replace('1.h', '3.h')}</Data>")
    assert ([row.job_id for row in rows], skipped) == (["1.h", "3.h"], 1)


def test_a_node_whose_entry_cannot_be_read_is_named_if_its_name_can() -> None:
    good = "<Node><name>n1</name><state>free</state><np>4</np></Node>"
    nameless, broken = good.replace("n1", "n<1"), good.replace("n1", "n2").replace("free", "fr<ee")
    rows, skipped = parse_nodes(f"<Data>{good}{nameless}{broken}</Data>")
    assert ([row.name for row in rows], skipped) == (["n1"], ("", "n2"))


def test_no_entity_grows_in_an_entry() -> None:
    bomb = '<Job><!DOCTYPE x [<!ENTITY a "aaaa">]><Job_Id>1.h</Job_Id><job_state>Q</job_state></Job>'
    assert parse_jobs(f"<Data>{bomb}</Data>") == ((), 1)


@pytest.mark.parametrize(
    ("text", "tasks", "limit"), [("1-100%5", 100, 5), ("0-9", 10, None), ("7", 1, None), ("1,3,5-7", 5, None), ("1-3%0", 3, 0)]
)
def test_ranges_of_arrays(text: str, tasks: int, limit: int | None) -> None:
    assert parse_range(text) == (tasks, limit)


@pytest.mark.parametrize("text", ["", "a", "1-", "1-2-3", "1-99999999999", "1 2", "%5"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match="array"):
        task_indices(text.partition("%")[0])
