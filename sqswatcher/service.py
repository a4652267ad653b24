"""One cycle: receive, observe, plan, apply."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass

import structlog

from daemons.errors import HeadnodeError
from daemons.model import Instance
from daemons.ports import Addresses, Queue, Received
from sqswatcher.apply import Batch, World
from sqswatcher.deliver import read_delivery
from sqswatcher.observe import Directory, observe, receive_batch
from sqswatcher.plan import Plan, plan_batch

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    wait_s: int  # how long a poll waits for messages
    receivers: int  # how many polls at a time once there is a backlog
    visibility_s: int  # how long a received message stays ours without another word


class Membership:
    """Keeps scheduler, table and zone true to the messages."""

    def __init__(self, world: World, *, addresses: Addresses, settings: Settings, clock: Callable[[], float]) -> None:
        self._world = world
        self._addresses = addresses
        self._settings = settings
        self._clock = clock
        self._directory = Directory(())
        self._started = False

    async def cycle(self, stop: asyncio.Event) -> None:
        """Wait for messages and see one batch through. A stop while waiting ends the wait; a batch in hand is finished."""
        if not self._started:
            await self._start()
        received = await _unless_stopped(stop, self._receive())
        if received:
            async with _kept_invisible(self._world.queue, received, self._settings.visibility_s):
                await self._process(received)

    async def _start(self) -> None:
        """Learn which hostnames are taken, and let the scheduler queue jobs for the fleets' shapes. Tried until it works."""
        self._directory = Directory(await self._world.rows.live())
        await self._world.scheduler.advertise(list(self._world.fleets.values()))
        self._started = True
        log.info("membership.started", hostnames=len(self._directory.holders))

    async def _receive(self) -> tuple[Received, ...]:
        settings = self._settings
        return await receive_batch(self._world.queue, wait_s=settings.wait_s, receivers=settings.receivers)

    async def _process(self, received: Sequence[Received]) -> None:
        started = self._clock()
        seen = await observe(
            [read_delivery(message) for message in received],
            now=started,
            rows=self._world.rows,
            groups=self._world.groups,
            addresses=self._addresses,
            directory=self._directory,
        )
        plan = plan_batch(seen, self._world.fleets)
        batch = Batch(plan, self._world)
        try:
            await batch.apply()
        finally:
            self._directory.note(batch.written.values())
        _report(plan, batch, took_s=self._clock() - started)


def _report(plan: Plan, batch: Batch, *, took_s: float) -> None:
    for step in plan.steps:
        row: Instance | None = batch.written.get(step.instance_id)
        if step.instance_id in batch.failed:
            why = batch.failed[step.instance_id]
            log.warning(
                "instance.not_advanced", instance_id=step.instance_id, effect=step.effect, error=why, because=step.because
            )
        elif row is not None:
            log.info(
                "instance.advanced",
                state=row.state,
                instance_id=row.instance_id,
                hostname=row.hostname,
                fleet=row.fleet,
                address=row.address,
                because=step.because,
            )
    for message, why in plan.drop:
        log.info("message.dropped", message_id=message.message_id, because=why)
    for message, why in plan.postpone:
        log.info("message.postponed", message_id=message.message_id, receives=message.receives, because=why)
    log.info(
        "batch.finished",
        instances=len(plan.steps),
        failed=len(batch.failed),
        dropped=len(plan.drop),
        postponed=len(plan.postpone),
        took_s=round(took_s, 3),
    )


async def _unless_stopped(
    stop: asyncio.Event, receiving: Coroutine[object, object, tuple[Received, ...]]
) -> tuple[Received, ...]:
    """The messages, or () as soon as `stop` is set. Messages of a poll that was given up come again when their time is over."""
    poll = asyncio.create_task(receiving)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({poll, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return await poll if poll.done() else ()
    finally:
        for task in (poll, stopped):
            task.cancel()
        await asyncio.gather(poll, stopped, return_exceptions=True)


@contextlib.asynccontextmanager
async def _kept_invisible(queue: Queue, messages: Sequence[Received], visibility_s: int) -> AsyncIterator[None]:
    """Keep these messages ours while work on them is under way, however long it takes."""

    async def extend() -> None:
        while True:
            await asyncio.sleep(visibility_s / 2)
            try:
                await queue.postpone(messages, visibility_s)
            except HeadnodeError as err:
                log.warning("visibility.not_extended", **err.to_event())

    extending = asyncio.create_task(extend())
    try:
        yield
    finally:
        extending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await extending
