"""No answer is an error, in time, with nothing assumed; and whoever waits for one does not stop the event loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable

import pytest

from daemons.errors import SchedulerUnavailable
from schedulers.base import Outcome, Scheduler
from schedulers.contract.bench import Bench

METHODS = ("demand", "nodes", "jobs_on", "register", "deregister", "drain", "resume", "advertise")
LONGEST_GAP_S = 1.0  # far more than a loop that is not blocked ever waits, far less than a server that hangs


def call(bench: Bench, method: str) -> Awaitable[object]:
    """The method, about the first node where it is about nodes."""
    plugin, spec = bench.plugin, bench.spec(1)
    arguments: dict[str, tuple[object, ...]] = {
        "jobs_on": ([spec.hostname],),
        "register": ([spec],),
        "deregister": ([spec.hostname],),
        "requeue": ([spec.hostname],),
        "resume": ([spec.hostname],),
        "give_back": ([spec.hostname],),
        "advertise": ([bench.fleet],),
    }
    if method in ("drain", "set_aside"):
        drain: Awaitable[object] = getattr(plugin, method)([spec.hostname], reason="idle")
        return drain
    answer: Awaitable[object] = getattr(plugin, method)(*arguments.get(method, ()))
    return answer


@contextlib.asynccontextmanager
async def heartbeat() -> AsyncIterator[list[float]]:
    """How long each beat of the loop took, from one to the next."""
    gaps: list[float] = []

    async def beat() -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(0.01)
            gaps.append(loop.time() - last)
            last = loop.time()

    beating = asyncio.create_task(beat())
    try:
        yield gaps
        await asyncio.sleep(0.02)  # a beat that the body has kept waiting is counted
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


class SilenceContract:
    @pytest.mark.parametrize("method", [*METHODS, "requeue", "set_aside", "give_back"])
    async def test_silence_is_an_error(self, bench: Bench, method: str) -> None:
        if getattr(type(bench.plugin), method) is getattr(Scheduler, method):
            pytest.skip("the plugin leaves this to the scheduler's own commands")
        with bench.silence(), pytest.raises(SchedulerUnavailable):
            await call(bench, method)

    @pytest.mark.parametrize("method", METHODS)
    async def test_a_server_that_hangs_is_given_up_in_time_and_stops_nobody_else(self, bench: Bench, method: str) -> None:
        if method not in bench.hangs:
            return
        async with heartbeat() as gaps:
            with bench.hang():
                try:
                    await asyncio.wait_for(call(bench, method), bench.bound_s)
                except SchedulerUnavailable:
                    pass
                except TimeoutError:
                    pytest.fail(f"{method} has not given up within {bench.bound_s:g} s")
                else:
                    pytest.fail(f"{method} took no answer for an answer")
        assert max(gaps) < LONGEST_GAP_S, f"{method} blocked the event loop"

    async def test_after_silence_everything_is_as_it_was(self, bench: Bench) -> None:
        (name,) = await bench.joins(1)
        with bench.silence(), pytest.raises(SchedulerUnavailable):
            await bench.plugin.deregister([name])
        assert set(await bench.known()) == {name}
        assert (await bench.plugin.register([bench.spec(1)]))[name].outcome is Outcome.DONE

    async def test_many_nodes_do_not_block_the_event_loop(self, bench: Bench) -> None:
        specs = [bench.spec(number) for number in range(1, bench.many + 1)]
        async with heartbeat() as gaps:
            await bench.plugin.register(specs)
            await bench.plugin.nodes()
            await bench.plugin.demand()
            await bench.plugin.jobs_on([spec.hostname for spec in specs])
        assert max(gaps) < LONGEST_GAP_S
