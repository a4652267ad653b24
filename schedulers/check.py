"""A plugin against the cluster that it is configured for: what can be seen of the contract without a test bench."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from daemons.errors import HeadnodeError
from daemons.model import Hostname, NodeSpec
from schedulers.base import DRAIN_MARK, Outcome, Results, Scheduler

_LONGEST_S = 120.0  # for one call
_LONGEST_GAP_S = 0.25  # in which the event loop does nothing else
_BEAT_S = 0.005
_HOSTILE = "headnode check;reboot"
_NOBODY = Hostname("headnode-nobody")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One promise, whether it is kept, and what was seen."""

    promise: str
    kept: bool
    seen: str


class BrokenPromise(Exception):
    """What was seen instead."""


async def check_reading(scheduler: Scheduler) -> tuple[Finding, ...]:
    """Only reads. Raises nothing: what goes wrong is a finding."""

    async def demand() -> str:
        waiting = await scheduler.demand()
        ordered = [-each.priority for each in waiting]
        _must(ordered == sorted(ordered), "demand is not in the order of priority")
        _must(all(each.count > 0 and each.jobs for each in waiting), "some demand is of no job")
        return f"{sum(each.count for each in waiting)} jobs or tasks wait, in {len(waiting)} values"

    async def nodes() -> str:
        known = await scheduler.nodes()
        names = [node.hostname for node in known]
        _must(len(names) == len(set(names)), "a node is listed twice")
        _must(all(not node.is_idle or not node.jobs for node in known), "a node with jobs is called idle")
        return f"{len(known)} nodes, {sum(node.is_idle for node in known)} of them idle"

    async def jobs_on() -> str:
        names = [node.hostname for node in await scheduler.nodes()]
        told = await scheduler.jobs_on([*names, _NOBODY])
        _must(set(told) == {*names, _NOBODY}, "it does not answer for every name it was asked for")
        _must(not told[_NOBODY], "a node that is not there has jobs")
        return f"{sum(bool(jobs) for jobs in told.values())} of {len(names)} nodes have jobs"

    return (
        await _found("demand is answered, in order", demand),
        await _found("nodes are answered, each once", nodes),
        await _found("jobs_on answers for every node asked for", jobs_on),
    )


async def check_changing(scheduler: Scheduler, node: NodeSpec) -> tuple[Finding, ...]:
    """Lets a throw-away node in, drains it, takes it back, and lets it out again. It never takes a job: nothing runs there. A
    node that is known before is somebody's: it is left alone, and nothing is tried.
    """
    hostile = Hostname(_HOSTILE)

    async def nobodys() -> str:
        _must(node.hostname not in {each.hostname for each in await scheduler.nodes()}, f"there is a node {node.hostname}")
        return f"there is no node {node.hostname} yet"

    async def refused() -> str:
        (result,) = (await scheduler.register([replace(node, hostname=hostile)])).values()
        _must(result.outcome is Outcome.REFUSED, f"it was {result.outcome}")
        return result.detail

    async def registered() -> str:
        for _ in range(2):
            _is_done(await scheduler.register([node]), node.hostname)
        _must(node.hostname in {each.hostname for each in await scheduler.nodes()}, "it is not among the nodes")
        return f"{node.hostname} was registered twice, and is there once"

    async def drained() -> str:
        _is_done(await scheduler.drain([node.hostname], reason="check"), node.hostname)
        (known,) = [each for each in await scheduler.nodes() if each.hostname == node.hostname]
        _must(known.drained_by_us and known.reason.startswith(DRAIN_MARK), f"the drain is not told as ours: {known.reason!r}")
        _is_done(await scheduler.resume([node.hostname]), node.hostname)
        return f"{node.hostname} was drained, as ours, and taken back"

    async def left() -> str:
        _is_done(await scheduler.deregister([node.hostname]), node.hostname)
        again = (await scheduler.deregister([node.hostname]))[node.hostname].outcome
        _must(again is Outcome.ABSENT, f"once it is gone, it is {again}")
        _must(node.hostname not in {each.hostname for each in await scheduler.nodes()}, "it is still among the nodes")
        return f"{node.hostname} is gone"

    findings = [await _found("the throw-away node is nobody's", nobodys)]
    if findings[0].kept:
        findings.append(await _found("a hostile name is refused", refused))
    if not findings[-1].kept:
        return tuple(findings)
    try:
        findings.append(await _found("a node is registered, and again", registered))
        if findings[-1].kept:
            findings.append(await _found("a drain is ours, and is taken back", drained))
    finally:
        findings.append(await _found("a node is deregistered, and is absent then", left))
    return tuple(findings)


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenPromise(otherwise)


def _is_done(results: Results, hostname: Hostname) -> None:
    result = results[hostname]
    _must(result.outcome is Outcome.DONE, f"it was {result.outcome} for {hostname}: {result.detail}")


async def _found(promise: str, look: Callable[[], Awaitable[str]]) -> Finding:
    async with _beating() as gaps:
        try:
            seen, kept = await asyncio.wait_for(look(), _LONGEST_S), True
        except TimeoutError:
            seen, kept = f"no answer within {_LONGEST_S:g} s", False
        except (BrokenPromise, HeadnodeError) as err:
            seen, kept = str(err), False
    if kept and max(gaps, default=0.0) > _LONGEST_GAP_S:
        return Finding(promise=promise, kept=False, seen=f"the event loop was blocked for {max(gaps):.2f} s")
    return Finding(promise=promise, kept=kept, seen=seen)


@contextlib.asynccontextmanager
async def _beating() -> AsyncIterator[Sequence[float]]:
    """How long the loop took for each of its turns."""
    gaps: list[float] = []

    async def beat() -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(_BEAT_S)
            gaps.append(loop.time() - before)

    beats = asyncio.create_task(beat())
    try:
        yield gaps
        await asyncio.sleep(2 * _BEAT_S)
    finally:
        beats.cancel()
        await asyncio.gather(beats, return_exceptions=True)
