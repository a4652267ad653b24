"""What holds of every plan, whatever waits, whatever is there, and whatever has been learnt."""

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from daemons.config.values import BudgetConfig, JobwatcherConfig
from daemons.model import (
    BlockedBy,
    Fleet,
    FleetName,
    FleetSpec,
    Instance,
    JobDemand,
    JobId,
    LaunchFailure,
    Member,
    Node,
    NodeState,
    Shape,
    State,
)
from jobwatcher.memory import Memory
from jobwatcher.observe import Observation
from jobwatcher.plan import Action, CapacityPlan, Options, plan_capacity
from tests.fakes import BATCH, hostname, instance_id

NOW = 1_800_000_000.0
NIGHT = replace(BATCH, name=FleetName("night"), group="hpc-night", partition="night", price_per_hour=1.5)
LARGE = replace(BATCH, name=FleetName("large"), group="hpc-large", shape=Shape(cpus=32, memory_mib=64_000), price_per_hour=3.0)
SPECS = (BATCH, NIGHT, LARGE)
OPEN = Options(jobwatcher=JobwatcherConfig(max_raise=1000), budget=BudgetConfig())

jobs = st.builds(
    JobDemand,
    jobs=st.integers(1, 999).map(lambda number: (JobId(str(number)),)),
    count=st.integers(1, 12),
    tasks=st.sampled_from([1, 1, 2, 9]),
    per_task=st.builds(Shape, cpus=st.integers(1, 9), memory_mib=st.sampled_from([0, 500, 9000])),
    nodes_min=st.sampled_from([1, 1, 1, 3]),
    exclusive=st.sampled_from([False, False, True]),
    partitions=st.sampled_from([frozenset(), frozenset({"compute"}), frozenset({"night"})]),
    priority=st.integers(0, 2),
    blocked_by=st.sampled_from([BlockedBy.NOTHING] * 4 + [BlockedBy.HOLD]),
)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    """Fleets with members in every stage of their lives."""
    fleets, rows, nodes, number = [], [], [], 0
    for spec in draw(st.sampled_from([SPECS, SPECS[:1], SPECS[1:]])):
        members = []
        for _ in range(draw(st.integers(0, 4))):
            number += 1
            lifecycle = draw(st.sampled_from(["Pending", "InService", "InService", "Terminating"]))
            members.append(Member(instance_id=instance_id(number), lifecycle=lifecycle, zone="a"))
            state = draw(st.sampled_from([None, State.PENDING, State.REGISTERED, State.REGISTERED, State.DRAINING]))
            if state is None:
                continue
            rows.append(Instance(instance_id=instance_id(number), fleet=spec.name, state=state, hostname=hostname(number)))
            if state is not State.PENDING:
                nodes.append(draw(node_of(number, spec)))
        staying = sum(member.lifecycle != "Terminating" for member in members)
        minimum = draw(st.integers(0, 3))
        maximum = draw(st.integers(max(minimum, staying), 12))
        desired = draw(st.integers(max(minimum, staying), maximum))
        fleets.append(
            Fleet(spec=spec, minimum=minimum, desired=desired, maximum=maximum, members=tuple(members), protects_new=True)
        )
    failures = draw(st.lists(st.sampled_from([spec.name for spec in SPECS]), max_size=1))
    return Observation(
        now=NOW,
        fleets=tuple(fleets),
        rows=tuple(rows),
        nodes=tuple(nodes),
        demand=tuple(draw(st.lists(jobs, max_size=6))),
        failures=tuple(LaunchFailure(fleet=name, at=NOW, message="Insufficient capacity") for name in failures),
    )


@st.composite
def node_of(draw: st.DrawFn, number: int, spec: FleetSpec) -> Node:
    used = draw(st.sampled_from([0, 0, 3, 8]))
    states = draw(st.sampled_from([frozenset(), frozenset(), frozenset({NodeState.AWAITED}), frozenset({NodeState.DOWN})]))
    return Node(
        hostname=hostname(number),
        states=states | (frozenset({NodeState.BUSY}) if used else frozenset()),
        total=spec.shape,
        used=Shape(cpus=used),
        jobs=frozenset({JobId("5")}) if used else frozenset(),
        partitions=frozenset({spec.partition}),
        features=frozenset({spec.name}),
    )


options = st.builds(
    Options,
    jobwatcher=st.builds(JobwatcherConfig, max_raise=st.sampled_from([1, 100]), cancel_after_s=st.sampled_from([0.0, 60.0])),
    budget=st.builds(BudgetConfig, max_nodes=st.sampled_from([0, 0, 5]), max_per_hour=st.sampled_from([0.0, 0.0, 6.0])),
)


def after(seen: Observation, plan: CapacityPlan) -> Observation:
    """Auto Scaling has taken in what was decided, and nothing has been launched yet."""
    targets = {one.fleet: one.target for one in plan.decisions if one.action is not Action.HOLD}
    fleets = tuple(replace(fleet, desired=targets.get(fleet.name, fleet.desired)) for fleet in seen.fleets)
    return replace(seen, now=seen.now + 1, fleets=fleets, failures=())


@given(observations(), options)
@settings(max_examples=400)
def test_no_fleet_leaves_its_bounds_and_none_falls_below_what_it_holds(seen: Observation, chosen: Options) -> None:
    plan = plan_capacity(seen, Memory(), chosen)
    fleets = {fleet.name: fleet for fleet in seen.fleets}
    for decision in plan.decisions:
        fleet = fleets[decision.fleet]
        if decision.action is Action.HOLD:
            assert decision.target == fleet.desired
        else:
            assert not fleet.is_static
            assert max(fleet.minimum, len(fleet.staying)) <= decision.target <= fleet.maximum
            assert (decision.target > fleet.desired) == (decision.action is Action.RAISE)
            assert decision.target - fleet.desired <= chosen.jobwatcher.max_raise


@given(observations(), options)
@settings(max_examples=200)
def test_what_is_raised_stays_within_the_budget(seen: Observation, chosen: Options) -> None:
    plan = plan_capacity(seen, Memory(), chosen)
    raised = [one for one in plan.decisions if one.action is Action.RAISE]
    prices = {fleet.name: fleet.spec.price_per_hour for fleet in seen.fleets}
    if raised and chosen.budget.max_nodes:
        assert sum(max(one.target, one.desired) for one in plan.decisions) <= chosen.budget.max_nodes
    if any(prices[one.fleet] for one in raised) and chosen.budget.max_per_hour:
        hourly = sum(max(one.target, one.desired) * prices[one.fleet] for one in plan.decisions)
        assert hourly <= chosen.budget.max_per_hour + 0.01


@given(observations())
@settings(max_examples=400)
def test_a_settled_state_is_a_fixed_point(seen: Observation) -> None:
    plan = plan_capacity(seen, Memory(), OPEN)
    seen = after(seen, plan)
    again = plan_capacity(seen, plan.memory, OPEN)
    assert [one for one in again.decisions if one.action is Action.RAISE] == []
    third = plan_capacity(after(seen, again), again.memory, OPEN)
    assert all(one.action is Action.HOLD for one in third.decisions)


@given(observations(), options, st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_the_order_in_which_things_are_told_changes_nothing(seen: Observation, chosen: Options, random: Random) -> None:
    mixed = replace(
        seen,
        rows=tuple(random.sample(seen.rows, len(seen.rows))),
        nodes=tuple(random.sample(seen.nodes, len(seen.nodes))),
        demand=tuple(random.sample(seen.demand, len(seen.demand))),
        fleets=tuple(replace(fleet, members=tuple(random.sample(fleet.members, len(fleet.members)))) for fleet in seen.fleets),
    )
    one, other = plan_capacity(seen, Memory(), chosen), plan_capacity(mixed, Memory(), chosen)
    assert (one.decisions, one.memory, one.alarms) == (other.decisions, other.memory, other.alarms)
    assert sorted(answer.sentence for answer in one.answers) == sorted(answer.sentence for answer in other.answers)


@given(observations(), st.integers(1, 3))
@settings(max_examples=200)
def test_with_one_fleet_more_idle_nodes_never_mean_more_new_ones(seen: Observation, more: int) -> None:
    fleet = replace(seen.fleets[0], minimum=0)
    plain = tuple(
        replace(job, tasks=1, nodes_min=1, exclusive=False, priority=0, per_task=replace(job.per_task, memory_mib=0))
        for job in seen.demand
    )
    seen = replace(seen, fleets=(fleet,), demand=plain, failures=())
    shape, partitions = fleet.spec.shape, frozenset({fleet.spec.partition})
    idle = tuple(
        Node(hostname=hostname(200 + number), total=shape, partitions=partitions, features=frozenset({fleet.name}))
        for number in range(more)
    )
    before = plan_capacity(seen, Memory(), OPEN).decisions[0].wanted
    assert plan_capacity(replace(seen, nodes=(*seen.nodes, *idle)), Memory(), OPEN).decisions[0].wanted <= before


@given(observations(), options)
@settings(max_examples=200)
def test_every_waiting_job_has_one_answer_that_adds_up(seen: Observation, chosen: Options) -> None:
    plan = plan_capacity(seen, Memory(), chosen)
    assert sum(answer.count for answer in plan.answers) == sum(job.count for job in seen.demand)
    for answer in plan.answers:
        placed = answer.live + answer.coming + sum((answer.new or {}).values())
        assert placed + answer.rest == answer.count
        assert bool(answer.why) == bool(answer.rest)
        assert answer.sentence
