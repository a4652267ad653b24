"""Asks Auto Scaling for what was decided."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import structlog

from daemons.errors import AwsRefused, AwsUnavailable
from daemons.model import Fleet, FleetName, Launch, LaunchFailure
from daemons.ports import Groups
from jobwatcher.memory import Memory
from jobwatcher.plan import Action, Decision, noted

log = structlog.get_logger()


@dataclass
class Applied:
    """What became of the decisions. `memory` knows what was asked for; `failures` are what AWS could not give at once."""

    memory: Memory
    failures: list[LaunchFailure] = field(default_factory=list)
    unanswered: AwsUnavailable | None = None  # the last of the calls without an answer


async def apply_decisions(
    decisions: Iterable[Decision], fleets: Iterable[Fleet], groups: Groups, *, memory: Memory, now: float
) -> Applied:
    """Do what was decided, one fleet after the other: one that fails does not keep the others from theirs.

    A refusal is a failed launch like any other, to be backed off from. A call without an answer counts as asked: what it did
    shows at the next look.
    """
    applied = Applied(memory=memory)
    by_name = {fleet.name: fleet for fleet in fleets}
    for decision in decisions:
        if decision.action is Action.HOLD:
            continue
        fleet = by_name[decision.fleet]
        try:
            await _apply(decision, fleet, groups, applied, now)
        except AwsUnavailable as err:
            log.warning("capacity.unanswered", fleet=fleet.name, action=decision.action, target=decision.target, **err.to_event())
            applied.unanswered = err
            if decision.action is Action.RAISE:
                applied.memory = noted(applied.memory, decision, now)
        except AwsRefused as err:
            log.warning("capacity.refused", fleet=fleet.name, action=decision.action, target=decision.target, **err.to_event())
            if decision.action is Action.RAISE:
                applied.failures.append(_refusal(fleet.name, err, now))
    return applied


async def _apply(decision: Decision, fleet: Fleet, groups: Groups, applied: Applied, now: float) -> None:
    said = {"fleet": fleet.name, "previous": fleet.desired, "target": decision.target, "because": decision.reason}
    if decision.action is Action.CANCEL:
        left = await groups.cancel_unfulfilled(fleet, decision.target)
        if left < fleet.desired:
            log.info("capacity.cancelled", **said, desired=left)
        else:
            log.info("capacity.not_cancelled", **said, desired=left)
        return
    if decision.target <= fleet.desired:  # Auto Scaling shows it already
        return
    if fleet.spec.launch is Launch.DESIRED_CAPACITY:
        await groups.raise_desired(fleet, decision.target)
        applied.memory = noted(applied.memory, decision, now)
        log.info("capacity.raised", **said)
        return
    count = decision.target - fleet.desired
    token = f"{fleet.spec.group} {now!r} {fleet.desired} {decision.target}"
    answer = await groups.launch(fleet, count, zones=decision.zones, token=token)
    applied.failures += [replace(failure, at=now) for failure in answer.failures]
    target = fleet.desired + len(answer.launched)
    if answer.launched:
        applied.memory = noted(applied.memory, replace(decision, target=target), now)
    log.info("capacity.launched", **said, launched=len(answer.launched), refused=len(answer.failures))


def _refusal(fleet: FleetName, err: AwsRefused, now: float) -> LaunchFailure:
    return LaunchFailure(fleet=fleet, at=now, error_code=err.error_code, message=str(err))
