"""What the manager hears of a service, on a real socket."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons.errors import SchedulerUnavailable
from daemons.loop import run_every
from daemons.notify import Progress, progress_of


class Manager:
    """The manager's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        words: list[str] = []
        while True:
            try:
                words += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return words

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


async def cycles(progress: Progress, *outcomes: bool) -> None:
    """Run so many cycles, which go well or fail; stop then."""
    stop, left = asyncio.Event(), list(outcomes)

    async def cycle() -> None:
        well = left.pop(0)
        if not left:
            stop.set()
        if not well:
            raise SchedulerUnavailable("slurmctld\ndoes not answer")

    await run_every(0.0, cycle, stop, jitter=lambda: 0.0, progress=progress)


async def test_the_first_cycle_that_goes_well_makes_it_ready(manager: Manager) -> None:
    progress = progress_of({"NOTIFY_SOCKET": str(manager.path)})
    await cycles(progress, False, True, True)
    heard = manager.heard()
    assert heard.count("READY=1") == 1
    failed = next(words for words in heard if "does not answer" in words)
    assert failed == "STATUS=1 cycles in a row failed, tried again in 1 s: slurmctld does not answer"
    assert heard.index(failed) < heard.index("READY=1") < heard.index("STATUS=2 cycles, the last one went well")
    assert "STOPPING=1" not in heard, "another turn may follow"


def test_a_reload_is_told_from_its_beginning_to_its_end() -> None:
    said: list[str] = []
    progress = Progress(say=said.append, awake=lambda: 12.5)
    progress.reloads()
    progress.goes_on()
    assert said == ["STATUS=goes on"], "one that is not ready yet does not become so by it"
    progress.ends("fine")
    del said[:]
    progress.reloads()
    progress.begins_anew()
    progress.fails("AWS is away")
    progress.ends("fine")
    progress.ends("fine")
    assert said == [
        "RELOADING=1\nMONOTONIC_USEC=12500000\nSTATUS=reads its configuration again",
        "STATUS=AWS is away\nWATCHDOG=1",
        "READY=1\nSTATUS=fine\nWATCHDOG=1",
        "STATUS=fine\nWATCHDOG=1",
    ]


def test_what_was_refused_stands_behind_every_status_until_something_is_taken() -> None:
    said: list[str] = []
    progress = Progress(say=said.append)
    progress.ends("fine")
    progress.reloads()
    del said[:]
    progress.goes_on("refused:\nport is no number")
    progress.ends("3 cycles")
    progress.begins_anew()
    progress.ends("1 cycle")
    assert said == [
        "READY=1\nSTATUS=goes on; refused: port is no number",
        "STATUS=3 cycles; refused: port is no number\nWATCHDOG=1",
        "READY=1\nSTATUS=1 cycle\nWATCHDOG=1",
    ]


async def test_a_service_that_never_got_anywhere_is_never_ready(manager: Manager) -> None:
    await cycles(progress_of({"NOTIFY_SOCKET": str(manager.path)}), False)
    assert "READY=1" not in manager.heard()


async def test_an_abstract_socket() -> None:
    name = f"headnode-test-{id(object())}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        progress_of({"NOTIFY_SOCKET": f"@{name}"}).ends("fine")
        assert listener.recv(4096) == b"READY=1\nSTATUS=fine\nWATCHDOG=1"


def test_a_cycle_that_never_ends_lets_the_watchdog_bite() -> None:
    said: list[str] = []
    now = [0.0]
    progress = Progress(say=said.append, watchdog_s=30.0, awake=lambda: now[0])
    progress.feed()
    progress.begins()
    now[0] = 29.0
    progress.feed()
    assert said == ["WATCHDOG=1"] * 2
    now[0] = 30.0
    progress.feed()
    assert said == ["WATCHDOG=1"] * 2, "overdue: not fed any more"
    progress.ends("late")
    now[0] = 3600.0
    progress.feed()
    assert said[-1] == "WATCHDOG=1", "a service that waits for its next cycle is fed"


async def test_the_watchdog_is_fed_while_the_service_waits(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "30000", "WATCHDOG_PID": "7"}
    stop = asyncio.Event()
    heard: list[str] = []

    async def cycle() -> None:
        pass

    service = asyncio.create_task(run_every(3600.0, cycle, stop, progress=progress_of(environ, pid=7)))
    async with asyncio.timeout(30):
        while heard.count("WATCHDOG=1") < 5:
            await asyncio.sleep(0.005)
            heard += manager.heard()
    stop.set()
    await service


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_whose_watchdog_it_is(environ: dict[str, str], watchdog_s: float | None) -> None:
    assert progress_of({"NOTIFY_SOCKET": "/nonexistent", **environ}, pid=7).watchdog_s == watchdog_s


@pytest.mark.parametrize(
    "environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "/nonexistent"}]
)
async def test_without_a_manager_nothing_is_different(environ: dict[str, str]) -> None:
    await cycles(progress_of(environ), True, False, True)
