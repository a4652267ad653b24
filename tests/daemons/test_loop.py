import asyncio

import pytest
from structlog.testing import capture_logs

from daemons.errors import AwsRefused, AwsUnavailable, CutShort
from daemons.loop import back_off_s, run_every


async def test_cycles_run_until_stop_and_the_one_in_flight_finishes() -> None:
    stop = asyncio.Event()
    finished: list[int] = []

    async def cycle() -> None:
        if len(finished) == 2:
            stop.set()
        await asyncio.sleep(0)
        finished.append(len(finished))

    await asyncio.wait_for(run_every(0.001, cycle, stop), 10)
    assert finished == [0, 1, 2]


async def test_a_transient_failure_is_logged_and_tried_again_later() -> None:
    stop, tries = asyncio.Event(), []

    async def cycle() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise AwsUnavailable("no answer", target="queue")
        stop.set()

    with capture_logs() as events:
        await asyncio.wait_for(run_every(0.001, cycle, stop, jitter=lambda: 0.5), 10)
    assert len(tries) == 3
    assert [(each["event"], each["failures"], each["code"]) for each in events] == [
        ("cycle.failed", 1, "aws-unavailable"),
        ("cycle.failed", 2, "aws-unavailable"),
    ]


async def test_a_refusal_ends_the_service() -> None:
    async def cycle() -> None:
        raise AwsRefused("no", error_code="AccessDenied")

    with pytest.raises(AwsRefused):
        await run_every(0.001, cycle, asyncio.Event())


async def test_a_cycle_that_was_cut_short_by_the_stop_is_no_failure_and_the_last() -> None:
    stop = asyncio.Event()

    async def cycle() -> None:
        stop.set()
        raise CutShort("told to stop, it no longer waited for an answer")

    with capture_logs() as events:
        await asyncio.wait_for(run_every(3600, cycle, stop), 10)
    assert [(each["event"], each["code"]) for each in events] == [("cycle.abandoned", "cut-short")]


async def test_a_stop_cuts_the_wait_between_cycles_short() -> None:
    stop = asyncio.Event()

    async def cycle() -> None:
        asyncio.get_running_loop().call_soon(stop.set)

    await asyncio.wait_for(run_every(3600, cycle, stop), 10)


@pytest.mark.parametrize(("failures", "waits_s"), [(1, 10), (2, 20), (3, 40), (4, 60), (50, 60)])
def test_the_wait_after_failures_doubles_up_to_a_minute(failures: int, waits_s: float) -> None:
    assert back_off_s(failures, period_s=10, jitter=0.5) == waits_s
    assert back_off_s(failures, period_s=10, jitter=0) == 0.75 * waits_s


def test_a_service_whose_period_is_longer_than_a_minute_never_waits_less_for_failing() -> None:
    assert back_off_s(3, period_s=300, jitter=0.5) == 300
