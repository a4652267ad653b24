"""The record of decisions: what is written, what may be read back, and that it leads to the same decisions again."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from daemons.config.values import BudgetConfig, JobwatcherConfig
from daemons.errors import ConfigError, InvalidValue
from daemons.model import Fleet, FleetName, JobDemand, Node
from daemons.plain import parse_json, render_json, to_plain
from daemons.record import DECISIONS, LAST, MEMORY, read_last, read_records
from jobwatcher.memory import Memory
from jobwatcher.plan import Action, Options
from jobwatcher.record import Record, Recorder
from jobwatcher.replay import replay
from tests.fakes import BATCH, FakeGroups, hostname
from tests.jobwatcher.cluster import Cluster
from tests.jobwatcher.test_shortages import failed, two_fleets

SECOND = FleetName("second")


async def an_eventful_hour(directory: Path) -> Cluster:
    """Jobs come and go, a fleet is short, a node comes up, the budget is reached, and nothing happens for a while."""
    one = Cluster(directory, two_fleets(), budget=BudgetConfig(max_nodes=6))
    one.waits(3, job="1", priority=5, excluded=frozenset({hostname(8), hostname(9)}))
    await one.look()
    failed(one, 1)
    await one.look()
    one.groups.arrive(SECOND, 1, 2)
    one.registered(1, spec=replace(BATCH, name=SECOND))
    await one.look()
    one.scheduler.work(hostname(1), "1")
    one.waits(9, job="2")
    for _ in range(4):
        await one.look()
    one.scheduler.waiting.clear()
    for _ in range(9):
        await one.look(after_s=60)
    return one


async def test_recorded_decisions_come_out_the_same_to_the_last_bit(tmp_path: Path) -> None:
    await an_eventful_hour(tmp_path)
    records = list(read_records(tmp_path, Record))
    actions = {decision.action for record in records for decision in record.outcome.decisions}
    assert actions == set(Action)
    assert [replay(record).differences for record in records] == [()] * len(records)


async def test_a_decision_that_is_made_differently_shows_what_is_different(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(3)
    await one.look()
    (record,) = read_records(tmp_path, Record)
    other = replace(record, options=Options(jobwatcher=JobwatcherConfig(max_raise=2), budget=BudgetConfig()))
    assert "fleet batch: target was 3 then, is 2 now" in replay(other).differences


async def test_equal_looks_are_written_once_and_the_last_one_is_always_there(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    for _ in range(5):
        await one.look()
    one.waits(1, cpus=99)
    for _ in range(5):
        await one.look()
    assert len(list(read_records(tmp_path, Record))) == 2
    one.waits(1, cpus=99, job="8")
    await one.look()
    last = read_last(tmp_path, Record)
    assert last is not None
    assert [answer.jobs for answer in last.outcome.answers] == [("7",), ("8",)]
    assert len(list(read_records(tmp_path, Record))) == 2


async def test_a_dry_run_decides_and_records_beside_the_real_one_and_asks_for_nothing(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of(), options=JobwatcherConfig(dry_run=True))
    one.waits(2)
    for _ in range(3):
        await one.look()
    (record,) = read_records(tmp_path, Record)
    assert [(one.action, one.target) for one in record.outcome.decisions] == [(Action.RAISE, 2)]
    assert (one.desired, one.groups.calls["raise_desired"]) == (0, 0)


async def test_the_record_is_rotated_compressed_and_bounded(tmp_path: Path) -> None:
    one = Cluster(tmp_path / "small", FakeGroups.of())
    await one.look()
    record = read_last(tmp_path / "small", Record)
    assert record is not None
    directory = tmp_path / "record"
    recorder = Recorder(directory, most_bytes=1 << 18)
    recorder.open()
    for number in range(1200):
        waiting = JobDemand(jobs=(), count=number, reason=f"{number:x}" * 40)
        answer = record.outcome.decisions[0]
        outcome = replace(record.outcome, decisions=(replace(answer, wanted=number),))
        recorder.keep(replace(record, seen=replace(record.seen, now=float(number), demand=(waiting,)), outcome=outcome))
    sizes = [path.stat().st_size for path in directory.glob(f"{DECISIONS}*")]
    assert 2 < len(sizes) <= 9
    assert sum(sizes) <= 1 << 18
    times = [one.seen.now for one in read_records(directory, Record)]
    assert times == sorted(times)
    assert times[-1] == 1199


async def test_a_line_that_was_cut_short_is_left_out_and_one_that_is_something_else_is_named(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(1)
    await one.look()
    path = tmp_path / DECISIONS
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:100])
    assert len(list(read_records(path, Record))) == 1
    path.write_bytes(whole + b'{"version":"1"}\n')
    with pytest.raises(InvalidValue, match=rf"{DECISIONS}:2: this is no Record: seen"):
        list(read_records(path, Record))
    packed = tmp_path / "some.gz"
    packed.write_bytes(gzip.compress(whole))
    assert len(list(read_records(packed, Record))) == 1


async def test_a_memory_that_cannot_be_read_is_put_aside(tmp_path: Path) -> None:
    tmp_path.joinpath(MEMORY).write_text('{"fleets": 7}')
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(1)
    await one.look()
    assert one.desired == 1
    assert tmp_path.joinpath("memory.json.unreadable").exists()


def test_a_state_directory_that_cannot_be_used_is_a_matter_of_configuration(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        Recorder(blocked / "state", most_bytes=1 << 20).open()
    assert "jobwatcher.state_dir" in caught.value.hint


def test_what_is_read_back_is_what_was_written(tmp_path: Path) -> None:
    assert parse_json(Memory, render_json(Memory())) == Memory()
    fleet = Fleet(spec=replace(BATCH, features=frozenset({"b", "a"})), minimum=0, desired=1, maximum=2, zones=("a",))
    assert parse_json(Fleet, render_json(fleet)) == fleet
    assert to_plain(fleet)["spec"]["features"] == ["a", "b"]
    assert tmp_path.exists()


@given(st.builds(JobDemand, submitted_at=st.floats(allow_nan=False, allow_infinity=False)))
def test_any_demand_survives_being_written_down(demand: JobDemand) -> None:
    assert parse_json(JobDemand, render_json(demand)) == demand


@given(st.from_type(Node))
def test_any_node_survives_being_written_down(node: Node) -> None:
    assert parse_json(Node, render_json(node)) == node


async def test_the_files_are_json_for_everybody(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    one.waits(1)
    await one.look()
    for name in (LAST, DECISIONS, MEMORY):
        assert isinstance(json.loads(tmp_path.joinpath(name).read_text()), dict)
    assert isinstance(read_last(tmp_path, Record), Record)


async def test_a_disk_that_is_full_stops_the_record_and_not_the_service(tmp_path: Path) -> None:
    one = Cluster(tmp_path, FakeGroups.of())
    await one.look()
    for name in (LAST, MEMORY):
        tmp_path.joinpath(f"{name}.new").mkdir()  # where the next one would be written
    one.waits(1)
    with capture_logs() as events:
        await one.look()
    assert one.desired == 1
    assert {"record.not_written", "memory.not_written"} <= {event["event"] for event in events}
