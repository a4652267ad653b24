"""What may be rested upon: each thing that is not as it should stay, by itself."""

from dataclasses import replace

import pytest

from daemons.model import BlockedBy, FleetName, JobDemand, JobId, LaunchFailure, Shape
from jobwatcher.memory import Memory
from jobwatcher.observe import Observation
from jobwatcher.plan import Action, CapacityPlan, Decision
from jobwatcher.settled import is_settled

NOW = 1_800_000_000.0
BATCH, GPU = FleetName("batch"), FleetName("gpu")
STAYS = Decision(fleet=BATCH, action=Action.HOLD, target=2, desired=2, maximum=9, held=2, coming=0, wanted=0, reason="")
HELD = JobDemand(jobs=(JobId("7"),), count=1, per_task=Shape(cpus=1), blocked_by=BlockedBy.HOLD)
SEEN = Observation(now=NOW, fleets=(), rows=(), nodes=(), demand=(HELD,))


def settled(*decisions: Decision, seen: Observation = SEEN) -> bool:
    plan = CapacityPlan(decisions=decisions, answers=(), used_hosts=frozenset(), alarms=(), unknown_reasons=(), memory=Memory())
    return is_settled(seen, plan)


def test_fleets_that_are_as_they_were_asked_to_be_are_settled_whoever_is_held() -> None:
    assert settled(STAYS, replace(STAYS, fleet=GPU, desired=0, held=0))


@pytest.mark.parametrize(
    "change",
    [
        {"action": Action.RAISE, "target": 3},
        {"action": Action.CANCEL, "target": 1},
        {"coming": 1},
        {"held": 1},
        {"held": 3},
    ],
    ids=["raised", "cancelled", "coming", "lacking, and not waited for", "too many"],
)
def test_one_fleet_that_is_not_is_enough(change: dict[str, object]) -> None:
    other = replace(STAYS, fleet=GPU, **change)  # type: ignore[arg-type]  # fields of Decision
    assert not settled(STAYS, other)
    assert not settled(other, STAYS)


def test_a_job_that_waits_for_room_or_a_launch_that_failed_is_enough() -> None:
    assert not settled(STAYS, seen=replace(SEEN, demand=(HELD, replace(HELD, blocked_by=BlockedBy.NOTHING))))
    assert not settled(STAYS, seen=replace(SEEN, failures=(LaunchFailure(fleet=BATCH, at=NOW, message="no"),)))
