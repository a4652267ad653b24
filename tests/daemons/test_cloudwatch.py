"""Log lines on their way to CloudWatch Logs: within its limits, through faults, none lost."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons.cloudwatch import Limits, Line, Shipper, Spool, take
from daemons.cloudwatch.batch import fitted, in_order, size_of, timely
from daemons.errors import AwsUnavailable

SMALL = Limits(events=100, size_bytes=8_000, event_bytes=2_000)
DEADLINE_S = 120.0


@dataclass
class FakeLogs:
    """What CloudWatch Logs has; it holds its own limits. It can be unplugged, fail at random, and lose its answers."""

    limits: Limits = field(default_factory=Limits)
    luck: Random = field(default_factory=lambda: Random(7))  # noqa: S311  no secret
    failing: float = 0.0  # so often it refuses before storing
    forgetful: float = 0.0  # so often it stores, and its answer is lost
    is_away: bool = False
    lines: list[Line] = field(default_factory=list)
    unanswered: int = 0  # lines that are there, and nobody knows
    hang: asyncio.Event | None = None

    async def put(self, lines: Sequence[Line]) -> int:
        await asyncio.sleep(0)
        if self.hang is not None:
            await self.hang.wait()
        if self.is_away or self.luck.random() < self.failing:
            raise AwsUnavailable("throttled")
        assert 0 < len(lines) <= self.limits.events
        assert sum(size_of(line, self.limits) for line in lines) <= self.limits.size_bytes
        assert all(len(line.text.encode()) + self.limits.overhead_bytes <= self.limits.event_bytes for line in lines)
        times = [line.at_ms for line in lines]
        assert times == sorted(times)
        assert times[-1] - times[0] < self.limits.span_ms
        self.lines += lines
        if self.luck.random() < self.forgetful:
            self.unanswered += len(lines)
            raise AwsUnavailable("the connection was closed")
        return 0


def shipper(
    logs: FakeLogs, directory: Path, *, most_bytes: int = 1 << 30, memory_bytes: int = 20_000, now: float = 1e9
) -> Shipper:
    spool = Spool(directory=directory, most_bytes=most_bytes)
    return Shipper(
        store=logs,
        spool=spool,
        clock_ms=lambda: int(now * 1000),
        period_s=0.01,
        memory_bytes=memory_bytes,
        limits=logs.limits,
        jitter=lambda: 0.0,
    )


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off takes no time: what is tested is that nothing is lost, not how long it takes."""

    async def at_once(stop: asyncio.Event, period_s: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr("daemons.cloudwatch.ship.sleep_unless", at_once)


async def until(condition: object, what: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("no_waiting")
async def test_a_hundred_thousand_lines_through_faults_all_arrive(tmp_path: Path) -> None:
    logs = FakeLogs(failing=0.2, forgetful=0.1)
    one = shipper(logs, tmp_path / "spool", memory_bytes=1 << 20)
    stop = asyncio.Event()
    running = asyncio.create_task(one.run(stop))
    for number in range(100_000):
        one.offer(json.dumps({"event": "node.registered", "number": number}))
        if number % 5_000 == 0:
            await asyncio.sleep(0)
            logs.is_away = number % 30_000 == 0
    logs.is_away = False
    await until(lambda: len({line.text for line in logs.lines}) == 100_000, "all lines are there")
    stop.set()
    await running
    assert one.dropped == 0
    assert len(logs.lines) - 100_000 == logs.unanswered > 0, "a line is there twice where an answer was lost, and nowhere else"
    assert one.sent == 100_000


@pytest.mark.usefixtures("no_waiting")
async def test_without_lost_answers_no_line_comes_twice(tmp_path: Path) -> None:
    logs = FakeLogs(SMALL, failing=0.3)
    one = shipper(logs, tmp_path / "spool")
    stop = asyncio.Event()
    running = asyncio.create_task(one.run(stop))
    for number in range(5_000):
        one.offer(f"line {number}")
        if number % 100 == 0:
            await asyncio.sleep(0.001)
    await until(lambda: len(logs.lines) == 5_000, "all lines are there")
    stop.set()
    await running
    assert sorted(line.text for line in logs.lines) == sorted(f"line {number}" for number in range(5_000))


async def test_what_has_not_gone_at_the_end_goes_with_the_next_process(tmp_path: Path) -> None:
    logs = FakeLogs(SMALL, is_away=True)
    one = shipper(logs, tmp_path / "spool")
    stop = asyncio.Event()
    running = asyncio.create_task(one.run(stop))
    for number in range(1_000):
        one.offer(f"line {number}")
    stop.set()
    await running
    assert not logs.lines
    logs.is_away = False
    other = shipper(logs, tmp_path / "spool")
    stop = asyncio.Event()
    running = asyncio.create_task(other.run(stop))
    other.offer("and one more")
    await until(lambda: len(logs.lines) == 1_001, "all lines are there")
    stop.set()
    await running
    assert [line.text for line in logs.lines] == [*(f"line {number}" for number in range(1_000)), "and one more"]
    assert other.spool.is_empty
    assert not list((tmp_path / "spool").iterdir())


async def test_nobody_waits_and_memory_is_bounded_while_aws_hangs(tmp_path: Path) -> None:
    logs = FakeLogs(SMALL, hang=asyncio.Event())
    one = shipper(logs, tmp_path / "spool", memory_bytes=10_000)
    stop = asyncio.Event()
    running = asyncio.create_task(one.run(stop))
    for number in range(2_000):
        one.offer(f"line {number}")
        if number % 50 == 0:
            await asyncio.sleep(0.001)
    await until(lambda: one._size <= one.memory_bytes, "memory is relieved")
    assert not one.spool.is_empty
    assert logs.hang is not None
    logs.hang.set()
    await until(lambda: len(logs.lines) == 2_000, "all lines are there")
    stop.set()
    await running


async def test_a_batch_under_way_when_the_process_must_end_is_not_lost(tmp_path: Path) -> None:
    logs = FakeLogs(SMALL, hang=asyncio.Event())
    one = shipper(logs, tmp_path / "spool")
    running = asyncio.create_task(one.run(asyncio.Event()))
    for number in range(50):
        one.offer(f"line {number}")
    await until(lambda: not one._count, "the batch is under way")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [line.text for _, lines in [one.spool.first() or (0, [])] for line in lines] == [f"line {n}" for n in range(50)]


@pytest.mark.usefixtures("no_waiting")
async def test_of_a_spooled_batch_that_takes_two_calls_the_first_does_not_go_twice(tmp_path: Path) -> None:
    spool = Spool(directory=tmp_path / "spool", most_bytes=1 << 20)
    spool.put([Line(1_000, f"line {number}") for number in range(150)])  # as one with other limits had left it

    class FailsAtTheSecond(FakeLogs):
        calls = 0

        async def put(self, lines: Sequence[Line]) -> int:
            self.calls += 1
            self.is_away = self.calls == 2
            return await super().put(lines)

    logs = FailsAtTheSecond(SMALL)
    one = shipper(logs, tmp_path / "spool", now=2.0)
    stop = asyncio.Event()
    running = asyncio.create_task(one.run(stop))
    await until(lambda: one.sent == 150, "all lines are there")
    stop.set()
    await running
    assert [line.text for line in logs.lines] == [f"line {number}" for number in range(150)]
    assert one.spool.is_empty


def test_a_burst_beyond_what_memory_can_hold_is_cut_and_counted(tmp_path: Path) -> None:
    one = shipper(FakeLogs(SMALL), tmp_path / "spool")
    one.burst_bytes = 10_000
    for number in range(1_000):
        one.offer(f"line {number}")
    assert 10_000 < one._size < 10_100
    assert one.dropped == 1_000 - one._count > 0


async def test_a_full_spool_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    logs = FakeLogs(SMALL, is_away=True)
    one = shipper(logs, tmp_path / "spool", most_bytes=5_000)
    stop = asyncio.Event()
    running = asyncio.create_task(one.run(stop))
    for number in range(1_000):
        one.offer(f"line {number}")
    stop.set()
    await running
    assert one.dropped > 0
    kept = [json.loads(text)[1] for path in sorted((tmp_path / "spool").iterdir()) for text in path.read_text().splitlines()]
    assert len(kept) + one.dropped == 1_000
    assert kept == [f"line {number}" for number in range(1_000 - len(kept), 1_000)]


def test_a_spool_that_cannot_be_written_drops_and_counts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    spool = Spool(directory=tmp_path / "file" / "spool", most_bytes=1_000)
    spool.put([Line(1, "a"), Line(2, "b")])
    assert (spool.is_empty, spool.dropped, spool.first()) == (True, 2, None)


def test_what_cannot_be_read_in_a_spool_is_dropped(tmp_path: Path) -> None:
    for number, text in enumerate(["{", "[1]\n", '["a", "b"]\n', '[1, "good"]\n']):
        (tmp_path / f"{number:012d}.lines").write_text(text)
    spool = Spool(directory=tmp_path, most_bytes=1_000)
    assert spool.first() == (3, [Line(1, "good")])
    assert spool.dropped == 3


def test_lines_that_aws_would_refuse_for_their_time() -> None:
    limits, now = Limits(), 1_000_000_000_000
    old, fresh, ahead = Line(now - limits.oldest_ms, "old"), Line(now - 1, "fresh"), Line(now + limits.ahead_ms + 1, "ahead")
    assert timely([old, fresh, ahead], now) == [fresh, Line(now, "ahead")]


@pytest.mark.parametrize("text", ["", "a" * 300_000, "é" * 200_000, "\ud800", "plain"])
def test_a_line_that_aws_would_refuse_for_its_text(text: str) -> None:
    line = fitted(Line(1, text))
    assert 26 < size_of(line) <= 262_144
    if text == "plain":
        assert line.text == "plain"
    if len(text) > 1_000:
        assert line.text.endswith("bytes in all")


@given(st.lists(st.tuples(st.integers(0, 10**9), st.text(max_size=300)), max_size=60))
def test_any_lines_are_cut_into_calls_that_aws_takes(pairs: list[tuple[int, str]]) -> None:
    limits = Limits(events=7, size_bytes=1_500, event_bytes=700, span_ms=10**8)
    left = [fitted(Line(at_ms, text), limits) for at_ms, text in pairs]
    gone = 0
    while left:
        count = take(left, limits)
        batch = in_order(left[:count])
        assert 0 < count <= limits.events
        assert sum(size_of(line, limits) for line in batch) <= limits.size_bytes
        assert batch[-1].at_ms - batch[0].at_ms < limits.span_ms
        del left[:count]
        gone += count
    assert gone == len(pairs)
