"""One cycle: observe, plan, apply; one line for each decision or answer that changed."""

import structlog

from daemons.model import FleetName
from daemons.ports import Groups, Rows
from jobwatcher.apply import apply_decisions
from jobwatcher.observe import observe
from jobwatcher.plan import CapacityPlan, plan_capacity
from schedulers.base import Scheduler

log = structlog.get_logger()


class Growing:
    """Asks for the capacity that waiting work needs, one pass a cycle."""

    def __init__(self, *, scheduler: Scheduler, groups: Groups, rows: Rows) -> None:
        self._scheduler = scheduler
        self._groups = groups
        self._rows = rows
        self._held: dict[FleetName, str] = {}
        self._answered: frozenset[str] = frozenset()

    async def cycle(self) -> None:
        plan = plan_capacity(await observe(self._scheduler, self._groups, self._rows))
        self._report(plan)
        await apply_decisions(plan.decisions, self._groups)

    def _report(self, plan: CapacityPlan) -> None:
        """What has not been said yet: why a fleet is held although work waits, and what becomes of waiting jobs."""
        for decision in plan.decisions:
            if decision.target is None and self._held.get(decision.fleet.name) != decision.reason:
                log.info("capacity.held", fleet=decision.fleet.name, desired=decision.fleet.desired, because=decision.reason)
        self._held = {decision.fleet.name: decision.reason for decision in plan.decisions if decision.target is None}
        for answer in plan.answers:
            if answer.sentence not in self._answered:
                log.info("demand.answered", jobs=list(answer.jobs[:3]), count=answer.count, because=answer.sentence)
        self._answered = frozenset(answer.sentence for answer in plan.answers)
