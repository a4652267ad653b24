"""Asks Auto Scaling for what was decided."""

from collections.abc import Iterable

import structlog

from daemons.errors import HeadnodeError
from daemons.ports import Groups
from jobwatcher.plan import Decision

log = structlog.get_logger()


async def apply_decisions(decisions: Iterable[Decision], groups: Groups) -> None:
    """Raise the fleets that are to be raised. One that fails does not keep the others from theirs; the last error is raised."""
    failed: HeadnodeError | None = None
    for decision in decisions:
        if decision.target is None:
            continue
        fleet = decision.fleet
        try:
            await groups.raise_desired(fleet, decision.target)
        except HeadnodeError as err:
            log.warning("capacity.not_raised", fleet=fleet.name, target=decision.target, **err.to_event())
            failed = err
        else:
            log.info("capacity.raised", fleet=fleet.name, previous=fleet.desired, target=decision.target, because=decision.reason)
    if failed is not None:
        raise failed
