"""One cycle: observe, plan, record, apply; one line for each node whose sentence changed. A rest while nothing is due."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version

import structlog

from daemons.alarms import tell_alarms
from daemons.config.values import NodewatcherConfig
from daemons.model import InstanceId
from daemons.rest import Rest
from nodewatcher.apply import World, apply_verdicts, store_clocks
from nodewatcher.due import longest_rest_s, next_look_at, signs_of
from nodewatcher.judge import Verdict
from nodewatcher.measures import note_nodes
from nodewatcher.memory import Memory
from nodewatcher.observe import Observation, observe
from nodewatcher.plan import NodePlan, plan_nodes, unobserved_s
from nodewatcher.record import Record, Recorder, Sentence, gist, sentences_of

log = structlog.get_logger()

_VERSION = version("headnode")
_LATE_LOOKS, _LATE_S = 6, 60.0  # a look may be so late, whichever is more, before the time counts as unobserved


class Shrinking:
    """Gives back the nodes that no one needs. In a dry run it decides and records, and changes nothing.

    `cycle` is a whole look and what follows from it, `glance` is that as often as it may be of use.

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
        self._live: tuple[InstanceId, ...] = ()  # of the last look
        self._rest = Rest()

    async def glance(self) -> None:
        """Look, unless nothing is due yet and nothing has stirred: the rows that are not settled are the same, and so are the
        nodes that say that they are about to go.
        """
        signs = signs_of(await self._world.rows.unsettled(), self._world.readings())  # before the look: what comes later is news
        if self._rest.lasts(self._clock()) and self._rest.is_undisturbed(signs):
            await self._world.looked(self._live)
            return
        self._rest.end()
        began = self._clock()
        self._rest.begin(now=began, until=await self.cycle(), signs=signs)

    async def cycle(self) -> float:
        """When the next one has to be, if nothing stirs before."""
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
            return next_look_at(seen, plan, self._options)
        if seen.unobserved_s < 0:  # at most once: put into a clock twice, it would be idle time
            await self._remember(plan.memory)
        are_stored = await store_clocks(plan.verdicts, self._world, now=seen.now)
        if are_stored or seen.unobserved_s <= 0:
            await self._remember(plan.memory)
        else:  # time that nobody observed is not forgotten before it has been taken out of every clock
            await self._remember(replace(plan.memory, looked_at=memory.looked_at))
        await apply_verdicts(plan.verdicts, self._world, now=seen.now, options=self._options, clock=self._clock)
        return next_look_at(seen, plan, self._options) if are_stored else seen.now

    async def _look(self, memory: Memory) -> Observation:
        now, awake, interval_s = self._clock(), self._awake(), self._options.interval_s
        lost_s = unobserved_s(
            now,
            memory.looked_at,
            awake_s=awake - self._awake_at if self._awake_at is not None else None,
            longest_s=max(_LATE_LOOKS * interval_s, _LATE_S) + longest_rest_s(self._options),
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
        self._live = tuple(snapshot.row.instance_id for snapshot in seen.snapshots)
        await world.looked(self._live)
        if lost_s:
            log.warning(
                "clock.unobserved", seconds=round(lost_s, 1), because="asleep, off, or the clock was set: it does not count"
            )
        return seen

    def _write(self, seen: Observation, memory: Memory, plan: NodePlan, said: tuple[Sentence, ...]) -> None:
        record = Record(version=_VERSION, seen=seen, memory=memory, options=self._options, verdicts=said, alarms=plan.alarms)
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
