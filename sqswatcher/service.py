"""Two cycles: messages (receive, observe, plan, apply), and now and then a comparison of everything with everything."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass

import structlog

from daemons.errors import HeadnodeError
from daemons.meter import note
from daemons.model import InstanceId, State
from daemons.ports import Places, Queue, Received
from sqswatcher import reconcile
from sqswatcher.apply import Batch, World
from sqswatcher.checking import Check, take_as_it_is
from sqswatcher.deliver import read_delivery
from sqswatcher.observe import Directory, observe, receive_batch, survey
from sqswatcher.plan import Effect, Plan, plan_batch

log = structlog.get_logger()

LINGER_S = 5  # how often nodes whose end is held up are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    wait_s: int  # how long a poll waits for messages
    receivers: int  # how many polls at a time once there is a backlog
    terminate_grace_s: float  # how long the end of an instance whose hook asks is held up for its jobs
    visibility_s: int  # how long a received message stays ours without another word
    resync_s: float  # how often everything is compared with everything
    resync: reconcile.Options


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


class Membership:
    """Keeps scheduler, table and zone true to the messages, and to Auto Scaling where messages were lost."""

    def __init__(
        self,
        world: World,
        *,
        places: Places,
        settings: Settings,
        clock: Callable[[], float],
        ring: Callable[[str], None] = lambda _: None,
        new_id: Callable[[], str] = _new_id,
        check: Check = take_as_it_is,
    ) -> None:
        """`check` says what may be read of a message. `ring` is called with a word when something has happened that jobwatcher
        should look at. `new_id` names each batch and each comparison: every line about it, adapters' and plugins' too, carries
        that name.
        """
        self._new_id = new_id
        self._check = check
        self._ring = ring
        self._world = world
        self._places = places
        self._settings = settings
        self._clock = clock
        self._directory = Directory(())
        self._lingering: tuple[Received, ...] = ()  # still ours, and not done: seen again with every batch
        self._started = False
        self._resync_at = float("-inf")
        self._suspects: frozenset[tuple[str, InstanceId]] = frozenset()

    async def cycle(self, stop: asyncio.Event) -> None:
        """Wait for messages and see one batch through. A stop while waiting ends the wait; a batch in hand is finished."""
        if not self._started:
            await self._start()
        if not 0 < self._resync_at - self._clock() <= self._settings.resync_s:  # due, or the clock was set back
            await self.resync()
        fresh = await _unless_stopped(stop, self._receive())
        _note_received(fresh, self._clock())
        received = tuple({message.message_id: message for message in (*self._lingering, *fresh)}.values())
        if received:
            with structlog.contextvars.bound_contextvars(batch=self._new_id()):
                async with _kept_invisible(self._world.queue, received, self._settings.visibility_s):
                    await self._process(received)

    async def compare(self) -> reconcile.Reconciliation:
        """What a resync would do now. A source that does not answer in full raises, and nothing follows from the others."""
        seen = await survey(self._world, self._places, now=self._clock())
        found = reconcile.plan_reconcile(seen, self._suspects, self._settings.resync)
        self._suspects = found.suspects
        return found

    async def resync(self) -> reconcile.Reconciliation:
        """Compare, and mend. What raises ends it with nothing done; the next one is due later."""
        self._resync_at = self._clock() + self._settings.resync_s
        with structlog.contextvars.bound_contextvars(batch=self._new_id()):
            return await self._resync()

    async def _resync(self) -> reconcile.Reconciliation:
        found = await self.compare()
        for finding in found.findings:
            log.warning("membership.differs", kind=finding.kind, instance_id=finding.instance_id, because=finding.sentence)
        if found.refused:
            log.error("resync.refused", because=found.refused)
        await self._apply(found.plan)
        return found

    async def _start(self) -> None:
        """Learn which hostnames are taken, and let the scheduler queue jobs for the fleets' shapes. Tried until it works."""
        self._directory = Directory(await self._world.rows.live())
        await self._world.scheduler.advertise(list(self._world.fleets.values()))
        self._started = True
        log.info("membership.started", hostnames=len(self._directory.holders))

    async def _receive(self) -> tuple[Received, ...]:
        settings = self._settings
        wait_s = min(settings.wait_s, LINGER_S) if self._lingering else settings.wait_s
        return await receive_batch(self._world.queue, wait_s=wait_s, receivers=settings.receivers)

    async def _process(self, received: Sequence[Received]) -> None:
        started = self._clock()
        checked = await asyncio.gather(*(self._check(message.body) for message in received))
        deliveries = [read_delivery(message, words) for message, words in zip(received, checked, strict=True)]
        for delivery in deliveries:
            log.debug(
                "message.received",
                message_id=delivery.received.message_id,
                receives=delivery.received.receives,
                instance_ids=[happening.instance_id for happening in delivery.happenings],
            )
        if any(delivery.launch_failed for delivery in deliveries):
            self._ring("launch failed")
        seen = await observe(
            deliveries,
            now=started,
            rows=self._world.rows,
            groups=self._world.groups,
            places=self._places,
            scheduler=self._world.scheduler,
            directory=self._directory,
            terminate_grace_s=self._settings.terminate_grace_s,
        )
        plan = plan_batch(seen, self._world.fleets)
        failed = await self._apply(plan)
        took_s = self._clock() - started
        note("BatchTime", took_s)
        if self._lingering:
            await self._world.queue.postpone(self._lingering, self._settings.visibility_s)
        log.info(
            "batch.finished",
            messages=len(received),
            instances=len(plan.steps),
            failed=failed,
            dropped=len(plan.drop),
            postponed=len(plan.postpone),
            took_s=round(took_s, 3),
        )

    async def _apply(self, plan: Plan) -> int:
        """Apply a plan and say what became of it. How many instances failed."""
        batch = Batch(plan, self._world)
        try:
            await batch.apply()
        finally:
            self._directory.note(batch.written.values())
        self._lingering = batch.lingering
        if any(row.state in (State.REGISTERED, State.GONE) for row in batch.written.values()):
            self._ring("membership changed")
        _report(plan, batch)
        _note_applied(plan, batch, self._clock())
        return len(batch.failed)


def _note_received(fresh: Sequence[Received], now: float) -> None:
    note("MessagesReceived", len(fresh))
    ages = [max(0.0, now - message.sent_at) for message in fresh if message.sent_at is not None and message.receives == 1]
    note("QueueAge", max(ages, default=0.0))


def _note_applied(plan: Plan, batch: Batch, now: float) -> None:
    note("InstancesFailed", len(batch.failed))
    for step in plan.steps:
        row = batch.written.get(step.instance_id)
        sent = [message.sent_at for message in step.messages if message.sent_at is not None]
        if sent and row is not None and row.state is State.REGISTERED and step.effect is Effect.REGISTER:
            note("JoinTime", max(0.0, now - min(sent)))


def _report(plan: Plan, batch: Batch) -> None:
    for step in plan.steps:
        row = batch.written.get(step.instance_id)
        if step.instance_id in batch.failed:
            error = batch.failed[step.instance_id]
            log.warning(
                "instance.not_advanced",
                instance_id=step.instance_id,
                message_ids=step.message_ids,
                effect=step.effect,
                error=error,
            )
        elif row is not None:
            log.info(
                "instance.advanced",
                state=row.state,
                instance_id=row.instance_id,
                message_ids=step.message_ids,
                hostname=row.hostname,
                fleet=row.fleet,
                address=row.address,
                because=step.because,
            )
    for message, why in plan.drop:
        log.info("message.dropped", message_id=message.message_id, because=why)
    for message, why in plan.postpone:
        log.info("message.postponed", message_id=message.message_id, receives=message.receives, because=why)


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
