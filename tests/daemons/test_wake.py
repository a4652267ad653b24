"""Wake-ups: anybody may ring, a storm is one look, and nothing that is sent is believed."""

import asyncio
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons.errors import SchedulerUnavailable
from daemons.loop import run_every
from daemons.wake import NobodyListens, WakeSocketUnusable, Wakeups, listen_datagrams, parse_word, poke

LONG_S = 30.0


async def test_a_ring_ends_the_wait_and_says_who_it_was(tmp_path: Path) -> None:
    wakeups, stop = Wakeups(quiet_s=0), asyncio.Event()
    async with listen_datagrams(tmp_path / "wake", wakeups.ring):
        poke(tmp_path / "wake", "submit")
        assert await asyncio.wait_for(wakeups.wait(LONG_S, stop), 10) == ("submit",)
        wait = asyncio.create_task(wakeups.wait(LONG_S, stop))
        await asyncio.sleep(0)
        poke(tmp_path / "wake", "cron")
        assert await asyncio.wait_for(wait, 10) == ("cron",)


async def test_a_ring_during_a_look_is_kept_for_the_next() -> None:
    wakeups, stop = Wakeups(quiet_s=0), asyncio.Event()
    wakeups.ring("early")
    assert await asyncio.wait_for(wakeups.wait(LONG_S, stop), 10) == ("early",)
    assert wakeups.was_rung
    assert await wakeups.wait(0.01, stop) == ()
    assert not wakeups.was_rung


async def test_a_storm_of_rings_is_few_looks(tmp_path: Path) -> None:
    wakeups, stop, looks = Wakeups(quiet_s=0.5), asyncio.Event(), 0

    async def look() -> None:
        nonlocal looks
        looks += 1

    path = tmp_path / "wake"
    async with listen_datagrams(path, wakeups.ring):
        service = asyncio.create_task(run_every(LONG_S, look, stop, wakeups=wakeups))
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(1000):
            poke(path, f"storm {number}")
            await asyncio.sleep(0)
        took_s = loop.time() - began
        stop.set()
        await asyncio.wait_for(service, 10)
    assert 1 <= looks <= 3 + took_s / 0.5


async def test_stopping_waits_for_nobody() -> None:
    wakeups, stop = Wakeups(quiet_s=LONG_S), asyncio.Event()
    wakeups.ring("one")
    await asyncio.wait_for(wakeups.wait(LONG_S, stop), 10)
    wakeups.ring("two")
    wait = asyncio.create_task(wakeups.wait(LONG_S, stop))
    await asyncio.sleep(0)
    assert not wait.done()
    stop.set()
    await asyncio.wait_for(wait, 10)


async def test_rings_do_not_shorten_the_wait_after_a_failure() -> None:
    wakeups, stop, looks = Wakeups(quiet_s=0), asyncio.Event(), 0

    async def fail() -> None:
        nonlocal looks
        looks += 1
        wakeups.ring("again")
        asyncio.get_running_loop().call_later(0.05, stop.set)
        raise SchedulerUnavailable("silent")

    await asyncio.wait_for(run_every(LONG_S, fail, stop, wakeups=wakeups), 10)
    assert looks == 1


async def test_everybody_may_ring_and_the_socket_goes_with_the_service(tmp_path: Path) -> None:
    path = tmp_path / "wake"
    async with listen_datagrams(path, lambda _: None):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert not path.exists()
    with pytest.raises(NobodyListens, match="nobody listens"):
        poke(path, "hello")


async def test_a_dead_ones_socket_is_replaced_and_a_live_ones_is_not(tmp_path: Path) -> None:
    path = tmp_path / "wake"
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(path))
    dead.close()
    async with listen_datagrams(path, lambda _: None):
        with pytest.raises(WakeSocketUnusable, match="somebody listens"):
            async with listen_datagrams(path, lambda _: None):
                pass
        poke(path, "still here")


async def test_a_file_that_is_no_socket_and_a_missing_directory_are_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    for path in (file, tmp_path / "missing" / "wake", tmp_path / ("x" * 200)):
        with pytest.raises(WakeSocketUnusable) as caught:
            async with listen_datagrams(path, lambda _: None):
                pass
        assert "wake_socket" in caught.value.hint
    assert file.read_text() == "precious"


@given(st.binary(max_size=2000))
def test_whatever_is_sent_becomes_a_short_printable_word(payload: bytes) -> None:
    word = parse_word(payload)
    assert word.isprintable()
    assert word.isascii()
    assert 0 < len(word) <= 64


async def test_words_are_bounded() -> None:
    wakeups = Wakeups(quiet_s=0)
    for number in range(1000):
        wakeups.ring(f"word {number}")
    assert len(await wakeups.wait(1, asyncio.Event())) == 16
