"""Does what `plan_batch` decided, in bulk, and acknowledges a message only when its consequence is durable.

Every phase goes on past an instance that fails: that one's messages come again, and each step is repeatable.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from daemons.errors import HeadnodeError
from daemons.model import FleetName, FleetSpec, Hostname, Instance, InstanceId
from daemons.ports import Groups, Queue, Received, Records, Rows, Zone
from schedulers.base import NodeResult, Outcome, Scheduler
from sqswatcher.plan import Effect, Plan, Step, node_spec

log = structlog.get_logger()

RETRY_S = 5
RETRY_CEILING_S = 300
POSTPONE_S = 2  # a node whose address is not known yet is worth asking for again soon


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What sqswatcher can change."""

    queue: Queue
    rows: Rows
    scheduler: Scheduler
    groups: Groups
    zone: Zone | None  # None: the cluster has no hosted zone
    fleets: Mapping[FleetName, FleetSpec]


class Batch:
    """One plan under way. `failed` says which instances did not make it, and why; `written` holds the rows as stored now."""

    def __init__(self, plan: Plan, world: World) -> None:
        self._world = world
        self._plan = plan
        self._steps = {step.instance_id: step for step in plan.steps}
        self.failed: dict[InstanceId, str] = {}
        self.abandoned: set[InstanceId] = set()  # refused for good by the scheduler, and given back to Auto Scaling
        self.written: dict[InstanceId, Instance] = {}

    async def apply(self) -> None:
        await self._write({step.instance_id: step.before for step in self._plan.steps if step.before})
        leaving, joining = self._with(Effect.DEREGISTER), self._with(Effect.REGISTER)
        await self._deregister(leaving)
        await self._change_dns(leaving, joining)
        await self._register(self._with(Effect.REGISTER))
        await self._linger(self._with(Effect.LINGER))
        await self._write({step.instance_id: step.after for step in self._going_on() if step.after and step.lasts})
        for step in self._going_on():
            await self._answer_hooks(step)
        await self._acknowledge()

    def _going_on(self) -> list[Step]:
        return [step for step in self._plan.steps if step.instance_id not in self.failed.keys() | self.abandoned]

    def _with(self, effect: Effect) -> dict[Hostname, Step]:
        """The steps still going on that have this effect, by the hostname that it is about."""
        return {
            step.after.hostname: step
            for step in self._going_on()
            if step.effect is effect and step.after is not None and step.after.hostname is not None
        }

    async def _attempt(self, steps: Iterable[Step], doing: Awaitable[object]) -> bool:
        """Await `doing`; if it fails transiently, all these steps have failed. Refusals are bugs or broken set-ups: they do too,
        because the next message may well be about something else, but they are logged as errors.
        """
        concerned = list(steps)
        try:
            await doing
        except HeadnodeError as err:
            (log.warning if err.transient else log.error)(
                "batch.step_failed",
                instance_ids=[step.instance_id for step in concerned],
                message_ids=[one for step in concerned for one in step.message_ids],
                **err.to_event(),
            )
            for step in concerned:
                self.failed[step.instance_id] = str(err)
            return False
        return True

    async def _write(self, rows: Mapping[InstanceId, Instance]) -> None:
        """Write rows planned from the observed versions, or from what this batch itself has written since."""
        if not rows:
            return
        current = [replace(row, version=self.written[key].version) if key in self.written else row for key, row in rows.items()]
        answers: Mapping[InstanceId, Instance | None] = {}

        async def put() -> None:
            nonlocal answers
            answers = await self._world.rows.put(current)

        if not await self._attempt([self._steps[key] for key in rows], put()):
            return
        for instance_id, row in answers.items():
            if row is None:
                self.failed[instance_id] = "the row was changed by somebody else meanwhile"
            else:
                self.written[instance_id] = row
                ids = self._steps[instance_id].message_ids
                log.debug("row.written", instance_id=instance_id, message_ids=ids, state=row.state, version=row.version)

    async def _deregister(self, leaving: Mapping[Hostname, Step]) -> None:
        if not leaving:
            return

        async def deregister() -> None:
            results = await self._world.scheduler.deregister(list(leaving))
            self._judge(leaving, results, good=(Outcome.DONE, Outcome.ABSENT))

        await self._attempt(leaving.values(), deregister())

    async def _register(self, joining: Mapping[Hostname, Step]) -> None:
        if not joining:
            return
        specs = [node_spec(step.after, self._world.fleets[step.after.fleet]) for step in joining.values() if step.after]

        async def register() -> None:
            results = await self._world.scheduler.register(specs)
            self._judge(joining, results, good=(Outcome.DONE,))
            for hostname, step in joining.items():
                if step.hooks and hostname in results and results[hostname].outcome is Outcome.REFUSED:
                    await self._abandon(step)

        await self._attempt(joining.values(), register())

    async def _abandon(self, step: Step) -> None:
        """Trying again would not help, and a launching hook waits: Auto Scaling ends the instance and launches another."""
        log.error(
            "instance.abandoned",
            instance_id=step.instance_id,
            message_ids=step.message_ids,
            because=self.failed[step.instance_id],
        )
        for hook in step.hooks:
            await self._world.groups.complete_hook(step.fleet, hook, step.instance_id, proceed=False)
        self.abandoned.add(step.instance_id)
        del self.failed[step.instance_id]

    async def _linger(self, lingering: Mapping[Hostname, Step]) -> None:
        """Start nothing new on nodes whose end is held up for the jobs that run there."""
        if lingering:
            drain = self._world.scheduler.drain(list(lingering), reason="its instance is ending")
            await self._attempt(lingering.values(), drain)

    def _judge(self, steps: Mapping[Hostname, Step], results: Mapping[Hostname, NodeResult], *, good: Sequence[Outcome]) -> None:
        for hostname, step in steps.items():
            result = results.get(hostname, NodeResult(outcome=Outcome.UNKNOWN, detail="the scheduler did not mention it"))
            if result.outcome not in good:
                self.failed[step.instance_id] = f"{step.effect} {hostname}: {result.outcome}: {result.detail}"
                log.warning(
                    "node.not_changed",
                    instance_id=step.instance_id,
                    message_ids=step.message_ids,
                    hostname=hostname,
                    effect=step.effect,
                    outcome=result.outcome,
                    detail=result.detail,
                )
            else:
                log.debug(
                    "node.changed",
                    instance_id=step.instance_id,
                    message_ids=step.message_ids,
                    hostname=hostname,
                    effect=step.effect,
                    outcome=result.outcome,
                )

    async def _change_dns(self, leaving: Mapping[Hostname, Step], joining: Mapping[Hostname, Step]) -> None:
        """One change for the whole batch. A name that leaves and joins in one batch is upserted only."""
        upserts = {name: step.after.address for name, step in joining.items() if step.after}
        deletes = {
            name: step.after.address
            for name, step in leaving.items()
            if step.after and step.after.address and name not in upserts and step.instance_id not in self.failed
        }
        if self._world.zone is None or not (upserts or deletes):
            return
        steps = [*joining.values(), *(leaving[name] for name in deletes)]
        records = Records(upserts=upserts, deletes=deletes)
        if await self._attempt(steps, self._world.zone.change(records, await_sync=self._world.scheduler.resolves_names)):
            for hostname, step in {**leaving, **joining}.items():
                if hostname in upserts or hostname in deletes:
                    log.debug(
                        "dns.changed",
                        instance_id=step.instance_id,
                        message_ids=step.message_ids,
                        hostname=hostname,
                        address=upserts.get(hostname),
                    )

    async def _answer_hooks(self, step: Step) -> None:
        groups = self._world.groups
        for hook in step.hooks:
            if step.effect is Effect.LINGER:
                await self._attempt([step], groups.extend_hook(step.fleet, hook, step.instance_id))
            else:
                await self._attempt([step], groups.complete_hook(step.fleet, hook, step.instance_id, proceed=True))

    @property
    def lingering(self) -> tuple[Received, ...]:
        """The messages of instances whose end is held up: neither done nor failed, to be looked at again soon."""
        return tuple(message for step in self._going_on() if step.effect is Effect.LINGER for message in step.messages)

    async def _acknowledge(self) -> None:
        """Delete what is done; let the rest come again, later each time. A message is done if all its instances are."""
        again = {
            message.message_id: message
            for step in self._plan.steps
            if step.instance_id in self.failed
            for message in step.messages
        }
        wait = {message.message_id: message for message, _ in self._plan.postpone}
        held = {message.message_id for message in self.lingering}
        done = [message for step in self._plan.steps if step.instance_id not in self.failed for message in step.messages]
        done += [message for message, _ in self._plan.drop]
        finished = {
            message.message_id: message for message in done if message.message_id not in again.keys() | wait.keys() | held
        }
        if finished:
            await self._world.queue.delete(list(finished.values()))
            for message_id in finished:
                log.debug("message.deleted", message_id=message_id)
        await _postpone(self._world.queue, wait.values(), lambda message: min(POSTPONE_S * message.receives, RETRY_CEILING_S))
        await _postpone(self._world.queue, again.values(), lambda message: min(RETRY_S * 2**message.receives, RETRY_CEILING_S))


async def _postpone(queue: Queue, messages: Iterable[Received], delay_s: Callable[[Received], int]) -> None:
    by_delay: dict[int, list[Received]] = {}
    for message in messages:
        by_delay.setdefault(delay_s(message), []).append(message)
    for delay, group in by_delay.items():
        await queue.postpone(group, delay)
