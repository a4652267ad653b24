"""What the log has not been told yet: one line for each alarm, decision or answer that changed."""

import structlog

from daemons.alarms import tell_alarms
from daemons.model import FleetName
from jobwatcher.memory import Memory
from jobwatcher.plan import Action, Answer, CapacityPlan, Decision

log = structlog.get_logger()

_JOBS_SHOWN = 3


class News:
    """Remembers what has been said. A plan like the last one is no news."""

    def __init__(self, *, dry_run: bool) -> None:
        self._dry_run = dry_run
        self._reasons: dict[FleetName, str] = {}
        self._sentences: frozenset[str] = frozenset()
        self._unknown: frozenset[str] = frozenset()

    def tell(self, plan: CapacityPlan, before: Memory) -> None:
        """Log what is new in the plan. `before` is the memory that it was made from."""
        tell_alarms(plan.alarms, before.standing)
        for decision in plan.decisions:
            if self._reasons.get(decision.fleet) != decision.reason:
                self._tell_decision(decision)
        self._reasons = {one.fleet: one.reason for one in plan.decisions if self._dry_run or one.action is Action.HOLD}
        self._tell_answers(plan.answers)
        for reason in plan.unknown_reasons:
            if reason not in self._unknown:
                log.warning("demand.reason_unknown", reason=reason, because="jobs that wait for it are not scaled for")
        self._unknown |= frozenset(plan.unknown_reasons)

    def _tell_decision(self, one: Decision) -> None:
        """What is asked for is told once it has been."""
        if one.action is Action.HOLD:
            log.info("capacity.held", fleet=one.fleet, desired=one.desired, because=one.reason)
        elif self._dry_run:
            log.info(
                "capacity.not_asked", fleet=one.fleet, action=one.action, target=one.target, because=f"dry run: {one.reason}"
            )

    def _tell_answers(self, answers: tuple[Answer, ...]) -> None:
        new: dict[str, Answer] = {}
        for answer in answers:
            new.setdefault(answer.sentence, answer)
        for sentence, answer in new.items():
            if sentence not in self._sentences:
                log.info("demand.answered", jobs=list(answer.jobs[:_JOBS_SHOWN]), count=answer.count, because=sentence)
        self._sentences = frozenset(new)
