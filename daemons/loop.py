"""How a service lives: cycles until it is told to stop; the cycle in flight finishes, unless what it reads gets no answer."""

import asyncio
import contextlib
import random
import signal
from collections.abc import Awaitable, Callable

import structlog

from daemons.errors import CutShort, HeadnodeError, LeaseLost
from daemons.notify import Progress, progress_of_process
from daemons.wake import Wakeups

log = structlog.get_logger()

BACK_OFF_CEILING_S = 60.0

Gate = Callable[[asyncio.Event, Progress], Awaitable[bool]]  # waits until a cycle may begin; False: stopped before


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set, and that is all they do. Needs the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def sleep_unless(stop: asyncio.Event, period_s: float) -> None:
    """Wait for `period_s`, or less if `stop` is set meanwhile."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), period_s)


def back_off_s(failures: int, *, period_s: float, jitter: float, ceiling_s: float = BACK_OFF_CEILING_S) -> float:
    """The wait after so many failures in a row: `period_s` doubled each time up to the ceiling, spread by `jitter` (0 … 1)."""
    base = period_s * 2.0 ** min(failures - 1, 10)
    return min(base, max(period_s, ceiling_s)) * (0.75 + 0.5 * jitter)


async def run_every(
    period_s: float,
    cycle: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    *,
    jitter: Callable[[], float] = random.random,
    wakeups: Wakeups | None = None,
    progress: Progress | None = None,
    gate: Gate | None = None,
) -> None:
    """Run `cycle` every `period_s` until `stop`. A transient error is logged and backed off from; any other ends the service.

    With `period_s` 0 the cycle itself waits (a long poll); failures are still backed off from, starting at one second. Wake-ups
    shorten the period, and never the wait after a failure. `progress` hears of every cycle; the process's own unless told.
    `gate` is asked before each cycle; one that lost its lease goes back there at once.
    """
    failures, cycles = 0, 0
    told = progress or progress_of_process()
    async with told.watched():
        while not stop.is_set():
            if gate is not None and not await gate(stop, told):
                continue
            told.begins()
            try:
                await cycle()
            except (LeaseLost, CutShort) as err:
                log.warning("cycle.abandoned", **err.to_event())
                told.fails(str(err))
            except HeadnodeError as err:
                if not err.transient:
                    raise
                failures += 1
                wait_s = back_off_s(failures, period_s=period_s or 1.0, jitter=jitter())
                log.warning("cycle.failed", failures=failures, next_try_s=round(wait_s, 1), **err.to_event())
                told.fails(f"{failures} cycles in a row failed, tried again in {wait_s:.0f} s: {err}")
                await sleep_unless(stop, wait_s)
            else:
                failures, cycles = 0, cycles + 1
                told.ends(f"{cycles} cycles, the last one went well")
                if wakeups is not None:
                    if words := await wakeups.wait(period_s, stop):
                        log.debug("service.woken", by=list(words))
                elif period_s:
                    await sleep_unless(stop, period_s)
