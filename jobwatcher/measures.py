"""What a look is worth telling in numbers."""

from collections import Counter

from daemons.meter import note
from daemons.model import BlockedBy, State
from jobwatcher.failures import classify
from jobwatcher.observe import Observation
from jobwatcher.plan import CapacityPlan


def note_look(seen: Observation, plan: CapacityPlan) -> None:
    """Note the metrics of one look and what was decided after it."""
    _note_jobs(seen)
    _note_fleets(seen, plan)
    for failure in seen.failures:
        note("LaunchFailures", failure=classify(failure).value)


def _note_jobs(seen: Observation) -> None:
    helped = [job for job in seen.demand if job.blocked_by is BlockedBy.NOTHING]
    waiting = sum(job.count for job in helped)
    note("JobsWaiting", waiting)
    note("JobsBlocked", sum(job.count for job in seen.demand) - waiting)
    note("LongestWait", max((seen.now - job.submitted_at for job in helped if 0 < job.submitted_at <= seen.now), default=0.0))


def _note_fleets(seen: Observation, plan: CapacityPlan) -> None:
    states = Counter((row.fleet, row.state) for row in seen.rows)
    targets = {decision.fleet: decision.target for decision in plan.decisions}
    for fleet in seen.fleets:
        note("Desired", targets.get(fleet.name, fleet.desired), fleet=fleet.name)
        note("Maximum", fleet.maximum, fleet=fleet.name)
        note("Instances", len(fleet.staying), fleet=fleet.name)
        booting = states[fleet.name, State.PENDING] + states[fleet.name, State.READY]
        note("Booting", booting, fleet=fleet.name)
        note("Registered", states[fleet.name, State.REGISTERED] + states[fleet.name, State.DRAINING], fleet=fleet.name)
    note("CostRate", sum(len(fleet.members) * fleet.spec.price_per_hour for fleet in seen.fleets))
