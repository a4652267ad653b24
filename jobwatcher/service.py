"""One cycle: observe, plan, record, apply."""

import asyncio
from collections.abc import Callable
from importlib.metadata import version

from daemons.meter import note
from daemons.model import LaunchFailure
from daemons.ports import Groups, Rows
from daemons.rest import Rest
from jobwatcher.apply import apply_decisions
from jobwatcher.measures import note_look
from jobwatcher.memory import Memory
from jobwatcher.news import News
from jobwatcher.observe import observe
from jobwatcher.plan import Options, plan_capacity
from jobwatcher.record import Record, Recorder, outcome_of
from jobwatcher.settled import is_settled
from schedulers.base import Scheduler

_VERSION = version("headnode")


class Growing:
    """Asks for the capacity that waiting work needs. In a dry run it decides and records, and asks nobody.

    `cycle` is a whole look and what follows from it, `glance` is that as often as it may be of use.
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        groups: Groups,
        rows: Rows,
        recorder: Recorder,
        options: Options,
        clock: Callable[[], float],
    ) -> None:
        self._scheduler = scheduler
        self._groups = groups
        self._rows = rows
        self._recorder = recorder
        self._options = options
        self._clock = clock
        self._memory: Memory | None = None
        self._told: tuple[LaunchFailure, ...] = ()
        self._news = News(dry_run=options.jobwatcher.dry_run)
        self._rest = Rest()

    async def glance(self, *, is_woken: bool = False) -> None:
        """Look, unless nothing was left to be done by the last look, less than `rest_s` ago, and the same jobs wait. Who wakes
        the service wants a look.
        """
        if not is_woken and self._rest.lasts(self._clock()) and self._rest.is_undisturbed(await self._scheduler.demand()):
            return
        self._rest.end()
        await self.cycle()

    async def cycle(self) -> None:
        before = self._memory if self._memory is not None else await asyncio.to_thread(self._recorder.open)
        began = self._clock()
        seen = await observe(self._scheduler, self._groups, self._rows, now=began, memory=before, told=self._told)
        plan = await asyncio.to_thread(plan_capacity, seen, before, self._options)
        self._memory, self._told = plan.memory, ()
        self._news.tell(plan, before)
        note_look(seen, plan)
        record = Record(
            version=_VERSION,
            seen=seen,
            memory=before,
            options=self._options,
            outcome=outcome_of(plan),
        )
        await asyncio.to_thread(self._recorder.keep, record)
        if self._options.jobwatcher.dry_run:
            await asyncio.to_thread(self._recorder.keep_memory, self._memory)
        else:
            applied = await apply_decisions(plan.decisions, seen.fleets, self._groups, memory=plan.memory, now=seen.now)
            self._memory, self._told = applied.memory, tuple(applied.failures)
            await asyncio.to_thread(self._recorder.keep_memory, self._memory)
            note("LookTime", max(0.0, self._clock() - began))
            if applied.unanswered is not None:
                raise applied.unanswered
        if is_settled(seen, plan):
            self._rest.begin(now=began, until=began + self._options.jobwatcher.rest_s, signs=seen.demand)
