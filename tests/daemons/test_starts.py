"""Starts that fail in a row, with a clock that is turned by hand and a file on a real disk."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemons.errors import AwsRefused, ConfigError
from daemons.notify import Progress
from daemons.starts import (
    ATTEMPT_S,
    LONGEST_WAIT_S,
    NONE,
    SETTLED_S,
    Failures,
    Starts,
    counted,
    held_back,
    parse_failures,
    plan_wait_s,
    render_failures,
    starts_of,
)


def never() -> bool:
    return False


@dataclass
class Machine:
    """Each process that it starts finds what the ones before have left in the runtime directory."""

    directory: Path
    now: float = 1000.0
    said: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.directory / "jobwatcher.starts"

    def process(self, *, jitter: float = 0.5, first_s: float = 5.0) -> Starts:
        return Starts(self.path, awake=lambda: self.now, jitter=lambda: jitter, first_s=first_s)

    def progress(self) -> Progress:
        return Progress(say=self.said.append, awake=lambda: self.now)

    def fail(self, because: str = "no") -> None:
        """A process starts, once it may, and ends by itself."""
        starts = self.process()
        self.now += starts.wait_s()
        starts.begins()
        self.now += 1.0
        starts.fails(because)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_each_start_in_a_row_waits_longer_up_to_five_minutes(machine: Machine) -> None:
    waits = []
    for _ in range(9):
        waits.append(machine.process().wait_s())
        machine.fail()
    assert waits == [0.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]


def test_the_wait_counts_from_the_end_of_the_last_one_so_that_systemds_own_is_part_of_it(machine: Machine) -> None:
    machine.fail()
    machine.fail()
    machine.now += 4.0
    assert machine.process().wait_s() == 6.0
    machine.now += 600.0
    assert machine.process().wait_s() == 0.0


def test_the_waits_of_many_are_spread_and_still_grow_each_time() -> None:
    def wait_s(count: int, jitter: float) -> float:
        return plan_wait_s(Failures(count=count, at=100.0), now=100.0, first_s=5.0, jitter=jitter)

    assert [wait_s(1, 0.0), wait_s(1, 1.0)] == [3.75, 6.25]
    assert all(wait_s(count, 1.0) < wait_s(count + 1, 0.0) for count in range(1, 6))
    assert wait_s(10**6, 1.0) == LONGEST_WAIT_S * 1.25


def test_one_that_is_killed_has_failed_without_a_word(machine: Machine) -> None:
    machine.fail("the table is not there")
    killed = machine.process()
    killed.begins()
    machine.now += 2.0
    assert machine.process().failures() == Failures(count=2, at=machine.now - 2.0)
    assert str(machine.process().failures()) == "2 starts in a row failed, the last without a word"


def test_why_the_last_one_failed_is_kept_in_one_short_line_without_secrets(machine: Machine) -> None:
    machine.fail("refused:\n\x1b[31m https://ops:swordfish@example.org/ " + "x" * 5000)
    told = str(machine.process().failures())
    assert told.startswith("the last start failed because refused: ")
    assert "swordfish" not in told
    assert told.isprintable()
    assert len(told) < 200


def test_what_was_forgotten_stays_forgotten_when_the_service_dies_later(machine: Machine) -> None:
    machine.fail()
    up = machine.process()
    up.begins()
    up.forget()
    up.fails("died after an hour")
    assert machine.process().failures() == NONE
    assert not machine.path.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"[" * 4000,
        b"[1, 2]",
        b'{"failures": "many", "at": 1, "because": ""}',
        b'{"failures": 3}',
        b'{"failures": -3, "at": 1.0, "because": ""}',
        b'{"failures": 1e999, "at": 1.0, "because": ""}',
        b'{"failures": 3, "at": NaN, "because": ""}',
        b'{"failures": 3, "at": -1.0, "because": ""}',
        b'{"failures": 3, "at": 1000.1, "because": "of a boot that had lasted longer"}',
        b'{"failures": 99999999, "at": 1.0, "because": ""}',
        b'{"failures": 3, "at": 1.0, "because": "' + b"x" * 10_000_000 + b'"}',
    ],
)
def test_a_file_that_says_nothing_that_can_be_is_no_reason_to_wait_or_to_fail(content: bytes, machine: Machine) -> None:
    machine.path.write_bytes(content)
    starts = machine.process()
    assert starts.wait_s() == 0.0
    starts.begins()
    assert machine.process().failures().count == 1


def test_what_was_written_is_what_is_read() -> None:
    failures = Failures(count=3, at=12.5, because="it was 7 o'clock")
    assert parse_failures(render_failures(failures), now=12.5) == failures


def test_a_link_is_neither_followed_nor_written_through(machine: Machine, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(render_failures(Failures(count=7, at=999.0)))
    machine.path.symlink_to(elsewhere)
    starts = machine.process()
    assert starts.failures() == NONE
    starts.begins()
    assert not machine.path.is_symlink()
    assert json.loads(elsewhere.read_bytes())["failures"] == 7
    assert json.loads(machine.path.read_bytes())["failures"] == 1


def test_a_pipe_in_its_place_keeps_nobody_waiting(machine: Machine) -> None:
    os.mkfifo(machine.path)
    assert machine.process().failures() == NONE


def test_a_place_that_cannot_be_written_is_told_and_nothing_else(machine: Machine) -> None:
    machine.path.mkdir()
    with capture_logs() as events:
        machine.process().begins()
        machine.process().forget()
    assert [line["event"] for line in events] == ["service.starts_not_counted"]
    assert machine.process().wait_s() == 0.0


def test_one_that_was_started_by_hand_counts_nothing(tmp_path: Path) -> None:
    for environ in ({}, {"RUNTIME_DIRECTORY": ""}, {"RUNTIME_DIRECTORY": "run"}):
        starts = starts_of(environ, "jobwatcher", awake=lambda: 1000.0)
        starts.begins()
        starts.fails("no")
        assert starts.failures() == NONE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "wait_s"),
    [("", 5.0), ("0.5", 0.5), ("0", 5.0), ("-1", 5.0), ("nan", 5.0), ("inf", 5.0), ("soon", 5.0), ("1e9", 5.0)],
)
def test_systemd_says_where_and_the_unit_may_say_how_long(setting: str, wait_s: float, machine: Machine) -> None:
    machine.fail()
    environ = {"RUNTIME_DIRECTORY": f"{machine.directory}:/run/other", "HEADNODE_BACK_OFF_S": setting}
    starts = starts_of(environ, "jobwatcher", awake=lambda: machine.now, jitter=lambda: 0.5)
    assert starts.wait_s() == wait_s


async def test_who_waits_says_why_and_how_long_and_is_not_taken_for_late(machine: Machine) -> None:
    for _ in range(4):
        machine.fail("AWS refused with AccessDenied")
    with capture_logs() as events:
        assert await held_back(machine.process(), machine.progress(), 0.05)
    assert events == [
        {
            "event": "service.held_back",
            "log_level": "warning",
            "failures": 4,
            "wait_s": 0.1,
            "because": "AWS refused with AccessDenied",
        }
    ]
    extended, status, fed = machine.said[0].split("\n")
    assert status == "STATUS=4 starts in a row failed, the last because AWS refused with AccessDenied; tries again in 0 s"
    assert int(extended.removeprefix("EXTEND_TIMEOUT_USEC=")) >= ATTEMPT_S * 1e6
    assert fed == "WATCHDOG=1"
    assert machine.process().failures().count == 4, "to wait is not to start"


async def during(wait: Awaitable[bool], then: Callable[[], None]) -> bool:
    """The outcome of that wait, during which that happens."""
    waiting = asyncio.ensure_future(wait)
    await asyncio.sleep(0)  # it has begun
    then()
    return await asyncio.wait_for(waiting, 60.0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_who_is_told_to_stop_meanwhile_stops_at_once_and_the_next_start_is_not_held_back(
    number: signal.Signals, machine: Machine
) -> None:
    machine.fail()
    wait = held_back(machine.process(), machine.progress(), 3600.0)
    assert not await during(wait, lambda: os.kill(os.getpid(), number))
    assert machine.said[-1].startswith("STOPPING=1")
    assert machine.process().wait_s() == 0.0


async def test_who_is_told_to_read_again_meanwhile_begins_at_once_and_still_counts(machine: Machine) -> None:
    machine.fail()
    wait = held_back(machine.process(), machine.progress(), 3600.0)
    assert await during(wait, lambda: os.kill(os.getpid(), signal.SIGHUP))
    assert machine.process().failures().count == 1


async def test_a_start_that_ends_with_an_error_is_counted_and_one_that_ends_well_forgets(machine: Machine) -> None:
    with pytest.raises(AwsRefused), counted(machine.process(), machine.progress(), is_told_to_end=never):
        raise AwsRefused("scanning hpc: AWS refused", error_code="AccessDenied")
    assert machine.process().failures() == Failures(count=1, at=machine.now, because="scanning hpc: AWS refused")
    with counted(machine.process(), machine.progress(), is_told_to_end=never):
        pass
    assert machine.process().failures() == NONE


async def test_one_that_was_told_to_end_has_not_failed_whatever_goes_wrong_then(machine: Machine) -> None:
    machine.fail()
    with pytest.raises(AwsRefused), counted(machine.process(), machine.progress(), is_told_to_end=lambda: True):
        raise AwsRefused("no", error_code="AccessDenied")
    assert machine.process().wait_s() == 0.0


async def test_what_only_a_person_can_mend_is_not_counted(machine: Machine) -> None:
    machine.fail()
    with pytest.raises(ConfigError), counted(machine.process(), machine.progress(), is_told_to_end=never):
        raise ConfigError("no fleet")
    assert machine.process().failures() == NONE


async def test_ready_for_a_minute_it_has_come_up_and_not_before(machine: Machine) -> None:
    later: list[tuple[float, Callable[[], None]]] = []

    def dies(*, after: Callable[[], None]) -> int:
        """A process that gets ready and dies after that; how many failures there are then."""
        progress = machine.progress()
        start = counted(machine.process(), progress, is_told_to_end=never, later=lambda *asked: later.append(asked))
        with contextlib.suppress(AwsRefused), start:
            progress.ends("1 cycle, it went well")
            progress.ends("2 cycles, the last one went well")
            after()
            raise AwsRefused("died", error_code="AccessDenied")
        return machine.process().failures().count

    def a_minute() -> None:
        [(after_s, settle)] = later
        assert after_s == SETTLED_S
        settle()

    assert dies(after=later.clear) == 1
    assert dies(after=later.clear) == 2
    assert dies(after=a_minute) == 0
