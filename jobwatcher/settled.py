"""Whether the fleets stay as they are until somebody submits a job. Pure."""

from daemons.model import BlockedBy
from jobwatcher.observe import Observation
from jobwatcher.plan import Action, CapacityPlan


def is_settled(seen: Observation, plan: CapacityPlan) -> bool:
    """No job waits for room, all that was asked for is there and takes jobs, and nothing has failed."""
    waits = any(job.blocked_by is BlockedBy.NOTHING for job in seen.demand)
    return (
        not waits
        and not seen.failures
        and all(one.action is Action.HOLD and not one.coming and one.held == one.desired for one in plan.decisions)
    )
