"""One cycle: observe, plan, record, apply; one line for each node whose sentence changed."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version

import structlog

from daemons.alarms import tell_alarms
from daemons.config.values import NodewatcherConfig
from nodewatcher.apply import World, apply_verdicts, store_clocks
from nodewatcher.judge import Verdict
from nodewatcher.measures import note_nodes
from nodewatcher.memory import Memory
from nodewatcher.observe import Observation, observe
from nodewatcher.plan import NodePlan, plan_nodes, unobserved_s
from nodewatcher.record import Record, Recorder, Sentence, gist, sentences_of

log = structlog.get_logger()

_LATE_LOOKS, _LATE_S = 6, 60.0  # a look may be so late, whichever is more, before the time counts as unobserved


class Shrinking:
    """Gives back the nodes that no one needs, one pass a cycle. In a dry run it decides and records, and changes nothing.

    `clock` tells the time of day, `awake` counts seconds that only pass while the machine is awake and that nobody can set.
    """

    def __init__(
        self,
        world: World,
        *,
        recorder: Recorder,
        options: NodewatcherConfig,
        clock: Callable[[], float],
        awake: Callable[[], float],
    ) -> None:
        self._world = world
        self._recorder = recorder
        self._options = options
        self._clock = clock
        self._awake = awake
        self._memory: Memory | None = None
        self._awake_at: float | None = None
        self._said: dict[str, str] = {}

    async def cycle(self) -> None:
        memory = self._memory if self._memory is not None else await asyncio.to_thread(self._recorder.open)
        seen = await self._look(memory)
        plan = await asyncio.to_thread(plan_nodes, seen, memory, self._options)
        tell_alarms(plan.alarms, memory.standing)
        note_nodes(seen)
        said = sentences_of(plan)
        self._report(plan.verdicts, said)
        await asyncio.to_thread(self._write, seen, memory, plan, said)
        if self._options.dry_run:
            await self._remember(plan.memory)
            return
        if seen.unobserved_s < 0:  # at most once: put into a clock twice, it would be idle time
            await self._remember(plan.memory)
        if await store_clocks(plan.verdicts, self._world, now=seen.now) or seen.unobserved_s <= 0:
            await self._remember(plan.memory)
        else:  # time that nobody observed is not forgotten before it has been taken out of every clock
            await self._remember(replace(plan.memory, looked_at=memory.looked_at))
        await apply_verdicts(plan.verdicts, self._world, now=seen.now, options=self._options, clock=self._clock)

    async def _look(self, memory: Memory) -> Observation:
        now, awake, interval_s = self._clock(), self._awake(), self._options.interval_s
        lost_s = unobserved_s(
            now,
            memory.looked_at,
            awake_s=awake - self._awake_at if self._awake_at is not None else None,
            longest_s=max(_LATE_LOOKS * interval_s, _LATE_S),
            interval_s=interval_s,
        )
        world = self._world
        seen = await observe(
            world.scheduler,
            world.groups,
            world.rows,
            world.checks,
            now=now,
            unobserved_s=lost_s,
            readings=world.readings(),
        )
        self._awake_at = awake
        await world.looked([snapshot.row.instance_id for snapshot in seen.snapshots])
        if lost_s:
            log.warning(
                "clock.unobserved", seconds=round(lost_s, 1), because="asleep, off, or the clock was set: it does not count"
            )
        return seen

    def _write(self, seen: Observation, memory: Memory, plan: NodePlan, said: tuple[Sentence, ...]) -> None:
        record = Record(
            version=version("headnode"), seen=seen, memory=memory, options=self._options, verdicts=said, alarms=plan.alarms
        )
        self._recorder.keep(record)

    async def _remember(self, memory: Memory) -> None:
        self._memory = memory
        await asyncio.to_thread(self._recorder.keep_memory, memory)

    def _report(self, verdicts: Sequence[Verdict], said: Sequence[Sentence]) -> None:
        now_said = {}
        for verdict, sentence in zip(verdicts, said, strict=True):
            instance_id = verdict.row.instance_id
            now_said[sentence.instance_id] = gist(sentence)
            if self._said.get(instance_id) != now_said[instance_id]:
                log.info(
                    "node.judged",
                    instance_id=instance_id,
                    hostname=verdict.row.hostname,
                    action=verdict.action,
                    because=verdict.reason,
                )
        self._said = now_said
