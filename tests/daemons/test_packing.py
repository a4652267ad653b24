from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons.model import BlockedBy, Fleet, FleetName, FleetSpec, Hostname, JobDemand, JobId, Node, NodeState, Shape
from daemons.packing import Cap, Limit, Packing, pack
from tests.fakes import BATCH, hostname

GPU = FleetSpec(
    name=FleetName("gpu"),
    group="hpc-gpu",
    shape=Shape(cpus=16, memory_mib=64_000, gpus=2, gpu_type="a100"),
    instance_type="p4d.24xlarge",
    partition="gpu",
    features=frozenset({"fast"}),
)


def fleet(spec: FleetSpec = BATCH, *, desired: int = 0, maximum: int = 10, minimum: int = 0) -> Fleet:
    return Fleet(spec=spec, minimum=minimum, desired=desired, maximum=maximum)


def job(number: int = 1, *, cpus: int = 1, memory_mib: int = 0, **fields: object) -> JobDemand:
    return replace(
        JobDemand(jobs=(JobId(str(number)),), per_task=Shape(cpus=cpus, memory_mib=memory_mib)),
        **fields,  # type: ignore[arg-type]  # fields of JobDemand
    )


def node(number: int, *, used: Shape | None = None, states: frozenset[NodeState] = frozenset()) -> Node:
    busy = frozenset({NodeState.BUSY}) if used else frozenset()
    jobs = frozenset({JobId("busy")}) if used else frozenset()
    return Node(
        hostname=hostname(number),
        total=BATCH.shape,
        used=used or Shape(),
        states=states | busy,
        jobs=jobs,
        partitions=frozenset({"compute"}),
    )


def packed(
    *jobs: JobDemand, live: Sequence[Node] = (), coming: int = 0, fleets: Sequence[Fleet] = (fleet(),), coming_of: str = "batch"
) -> Packing:
    return pack(jobs, live=live, coming={FleetName(coming_of): coming}, fleets=fleets)


def test_free_room_of_busy_nodes_is_used_before_anything_is_asked_for() -> None:
    result = packed(job(count=6), live=[node(1, used=Shape(cpus=2, memory_mib=100))])
    assert result.new_nodes == {}
    assert (result.placements[0].live, result.used_hosts) == (6, frozenset())


def test_what_is_coming_is_not_asked_for_again() -> None:
    result = packed(job(count=20), coming=2)
    assert (result.placements[0].coming, result.placements[0].new, result.new_nodes) == (16, {"batch": 4}, {"batch": 1})


def test_nodes_that_take_no_jobs_offer_no_room() -> None:
    for state in (NodeState.DRAIN, NodeState.DOWN, NodeState.SILENT, NodeState.AWAITED, NodeState.RESERVED, NodeState.UNKNOWN):
        assert packed(job(), live=[node(1, states=frozenset({state}))]).new_nodes == {"batch": 1}


def test_a_node_planned_for_a_waiting_job_is_room_for_waiting_work() -> None:
    planned = node(1, states=frozenset({NodeState.PLANNED}))
    result = packed(job(cpus=8, exclusive=True), live=[planned])
    assert (result.new_nodes, result.used_hosts) == ({}, frozenset({hostname(1)}))
    assert not planned.is_idle


def test_memory_counts_as_much_as_cpus() -> None:
    assert packed(job(count=4, memory_mib=15_000)).new_nodes == {"batch": 4}
    uncounted = fleet(replace(BATCH, shape=Shape(cpus=8)))
    assert packed(job(count=4, memory_mib=15_000), fleets=[uncounted]).new_nodes == {"batch": 1}


def test_an_exclusive_job_takes_whole_nodes_only() -> None:
    result = packed(job(count=3, exclusive=True), live=[node(1), node(2, used=Shape(cpus=1))])
    assert (result.placements[0].live, result.new_nodes) == (1, {"batch": 2})
    assert result.used_hosts == {hostname(1)}


def test_a_job_over_several_nodes_gets_all_of_them_or_none() -> None:
    wide = job(nodes_min=3, nodes_max=3, tasks=24)
    assert packed(wide, live=[node(1)]).new_nodes == {"batch": 2}
    too_wide = packed(job(nodes_min=12, tasks=12), live=[node(1)])
    assert (too_wide.new_nodes, too_wide.used_hosts) == ({}, frozenset())
    assert str(too_wide.placements[0].why) == "needs 12 nodes; fleet batch may hold 10"


def test_tasks_of_one_job_spread_over_as_many_nodes_as_they_need() -> None:
    assert packed(job(tasks=20)).new_nodes == {"batch": 3}
    assert packed(job(tasks=20, tasks_per_node=2)).new_nodes == {"batch": 10}
    assert packed(job(tasks=20, nodes_max=2)).new_nodes == {}


def test_a_blocked_job_asks_for_nothing_and_says_by_what() -> None:
    for reason in BlockedBy:
        if reason is not BlockedBy.NOTHING:
            result = packed(job(blocked_by=reason, reason="why"))
            assert (result.new_nodes, str(result.placements[0].why)) == ({}, f"blocked by {reason} (why)")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (job(partitions=frozenset({"night"})), "no fleet serves partition night"),
        (job(features=(frozenset({"a100"}),)), "no fleet offers features a100"),
        (job(memory_mib=99_000), "a node of fleet batch has 16000 MiB of memory, and it needs 99000"),
        (job(cpus=9), "a node of fleet batch has 8 cpus, and it needs 9"),
        (job(hostnames=frozenset({Hostname("n7")})), "it must have n7, where there is no room"),
        (job(count=100), "fleet batch may hold no more than 10 nodes"),
    ],
)
def test_a_job_without_room_is_told_the_limit(asked: JobDemand, why: str) -> None:
    assert str(packed(asked).placements[0].why) == why


def test_demand_goes_to_the_fleet_that_fits_by_partition_feature_and_gpu_type() -> None:
    fleets = (fleet(), fleet(GPU))
    assert packed(job(partitions=frozenset({"gpu"})), fleets=fleets).new_nodes == {"gpu": 1}
    assert packed(job(features=(frozenset({"fast"}),)), fleets=fleets).new_nodes == {"gpu": 1}
    a100 = job(per_node=Shape(gpus=1, gpu_type="a100"))
    assert packed(a100, fleets=fleets).new_nodes == {"gpu": 1}
    assert packed(job(per_node=Shape(gpus=1, gpu_type="v100")), fleets=fleets).new_nodes == {}
    assert packed(job(count=8), fleets=fleets).new_nodes == {"batch": 1}


def test_what_one_fleet_cannot_hold_goes_to_the_next_that_fits() -> None:
    second = fleet(replace(BATCH, name=FleetName("more"), group="hpc-more"))
    assert packed(job(count=24), fleets=[fleet(maximum=1), second]).new_nodes == {"batch": 1, "more": 2}


def test_a_static_fleet_grows_by_none() -> None:
    assert packed(job(), fleets=[fleet(minimum=2, desired=2, maximum=2)]).new_nodes == {}


def test_higher_priority_takes_the_room_first() -> None:
    low, high = job(1, count=8, priority=1), job(2, count=8, priority=9)
    result = packed(low, high, live=[node(1)], fleets=[fleet(maximum=0)])
    assert {placement.demand.jobs[0]: placement.live for placement in result.placements} == {"2": 8, "1": 0}


def test_excluded_nodes_are_not_used_and_named_ones_only() -> None:
    nodes = [node(1), node(2)]
    assert packed(job(excluded=frozenset({hostname(1)})), live=nodes).used_hosts == {hostname(2)}
    assert packed(job(hostnames=frozenset({hostname(2)})), live=nodes).used_hosts == {hostname(2)}


def test_idle_nodes_that_waiting_jobs_are_about_to_use_are_named() -> None:
    nodes = [node(1), node(2), node(3, used=Shape(cpus=1))]
    assert packed(job(cpus=8), live=nodes).used_hosts == {hostname(1)}
    assert packed(job(cpus=7), live=nodes).used_hosts == frozenset()


demands = st.lists(
    st.builds(
        job,
        st.integers(1, 99),
        cpus=st.integers(1, 9),
        memory_mib=st.sampled_from([0, 1000, 9000, 20_000]),
        count=st.integers(1, 30),
        priority=st.integers(0, 2),
        tasks=st.integers(1, 4),
        nodes_min=st.integers(1, 4),
        exclusive=st.booleans(),
        blocked_by=st.sampled_from([BlockedBy.NOTHING, BlockedBy.NOTHING, BlockedBy.HOLD]),
    ),
    max_size=8,
)
uses = st.lists(st.integers(0, 8), max_size=6)


def nodes_with(used: Sequence[int]) -> list[Node]:
    return [node(number, used=Shape(cpus=cpus) if cpus else None) for number, cpus in enumerate(used, start=1)]


@given(demands, uses, st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_the_arguments_makes_no_difference(
    jobs: list[JobDemand], used: list[int], coming: int, random: Random
) -> None:
    live, mixed_jobs, mixed_live = nodes_with(used), list(jobs), nodes_with(used)
    random.shuffle(mixed_jobs)
    random.shuffle(mixed_live)
    one, other = packed(*jobs, live=live, coming=coming), packed(*mixed_jobs, live=mixed_live, coming=coming)
    assert (one.new_nodes, one.used_hosts) == (other.new_nodes, other.used_hosts)


@given(demands, uses, st.integers(0, 5), st.integers(0, 12))
def test_never_more_than_the_maximum_every_job_answered_and_blocked_jobs_change_nothing(
    jobs: list[JobDemand], used: list[int], coming: int, desired: int
) -> None:
    held = fleet(desired=desired)
    result = packed(*jobs, live=nodes_with(used), coming=coming, fleets=[held])
    assert 0 <= result.new_nodes.get(BATCH.name, 0) <= max(0, held.maximum - desired)
    for placement in result.placements:
        assert placement.live + placement.coming + sum(placement.new.values()) + placement.rest == placement.demand.count
        assert bool(placement.why) == bool(placement.rest)
    wanting = [each for each in jobs if each.blocked_by is BlockedBy.NOTHING]
    assert packed(*wanting, live=nodes_with(used), coming=coming, fleets=[held]).new_nodes == result.new_nodes


@given(demands, uses)
def test_what_was_asked_for_is_not_asked_for_twice(jobs: list[JobDemand], used: list[int]) -> None:
    first = packed(*jobs, live=nodes_with(used))
    asked = first.new_nodes.get(BATCH.name, 0)
    assert packed(*jobs, live=nodes_with(used), coming=asked, fleets=[fleet(desired=asked)]).new_nodes == {}


@given(demands, uses)
def test_the_new_nodes_are_no_fewer_than_what_is_placed_on_them_needs(jobs: list[JobDemand], used: list[int]) -> None:
    result = packed(*jobs, live=nodes_with(used))
    on_new = [(placement.demand, sum(placement.new.values())) for placement in result.placements]
    cpus = sum(count * each.tasks * each.per_task.cpus for each, count in on_new if each.nodes_min == each.tasks == 1)
    assert result.new_nodes.get(BATCH.name, 0) * BATCH.shape.cpus >= cpus


def test_a_fleet_that_is_kept_from_growing_passes_its_jobs_on_to_the_next_that_fits_and_says_so_where_there_is_none() -> None:
    second = fleet(replace(BATCH, name=FleetName("second"), group="hpc-second"))
    short = Cap(most=1, limit=Limit.SHORTAGE, sentence="fleet batch has had no luck")
    both = pack([job(cpus=8, count=3)], live=[], coming={}, fleets=[fleet(), second], caps={FleetName("batch"): short})
    assert both.new_nodes == {"batch": 1, "second": 2}
    alone = pack([job(cpus=8, count=3)], live=[], coming={}, fleets=[fleet()], caps={FleetName("batch"): short})
    assert (alone.new_nodes, alone.placements[0].rest) == ({"batch": 1}, 2)
    assert (alone.placements[0].why and alone.placements[0].why.limit) is Limit.SHORTAGE
    assert str(alone.placements[0].why) == "fleet batch has had no luck"


def test_a_cap_beyond_the_maximum_changes_nothing() -> None:
    wide = Cap(most=50, limit=Limit.BUDGET, sentence="never said")
    result = pack([job(cpus=8, count=11)], live=[], coming={}, fleets=[fleet()], caps={FleetName("batch"): wide})
    assert result.new_nodes == {"batch": 10}
    assert str(result.placements[0].why) == "fleet batch may hold no more than 10 nodes"
