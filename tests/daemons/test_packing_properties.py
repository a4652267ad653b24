"""What holds of every packing, on any demand that Hypothesis thinks of."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.judge import Judge, Site, first_fit
from daemons.model import BlockedBy, Fleet, FleetName, FleetSpec, Hostname, JobDemand, JobId, Node, NodeState, Shape
from daemons.packing import Cap, Limit, Packing, pack

SMALL = FleetSpec(
    name=FleetName("small"), group="hpc-small", shape=Shape(cpus=4, memory_mib=8000), instance_type="c5.xlarge", partition="day"
)
LARGE = replace(
    SMALL,
    name=FleetName("large"),
    group="hpc-large",
    shape=Shape(cpus=16, memory_mib=64_000, consumables=(("scratch", 10),)),
    price_per_hour=2.0,
)
GPU = replace(
    SMALL,
    name=FleetName("gpu"),
    group="hpc-gpu",
    shape=Shape(cpus=8, memory_mib=32_000, gpus=4, gpu_type="a100"),
    features=frozenset({"fast"}),
)
NIGHT = replace(SMALL, name=FleetName("night"), group="hpc-night", partition="night", shape=Shape(cpus=8))  # counts no memory
SPECS = (SMALL, LARGE, GPU, NIGHT)


@dataclass(frozen=True, kw_only=True)
class Case:
    demand: tuple[JobDemand, ...]
    live: tuple[Node, ...] = ()
    coming: Mapping[FleetName, int]
    fleets: tuple[Fleet, ...]
    caps: Mapping[FleetName, Cap] = field(default_factory=dict)

    def packed(self) -> Packing:
        return pack(self.demand, live=self.live, coming=self.coming, fleets=self.fleets, caps=self.caps)

    def judge(self) -> Judge:
        return Judge(self.demand, self.live, self.coming, self.fleets, self.caps)

    def with_coming(self, more: Mapping[FleetName, int]) -> "Case":
        """Those nodes are on their way besides; the desired capacity is what it was."""
        return replace(self, coming=Counter(self.coming) + Counter(more))

    def once_asked(self, asked: Mapping[FleetName, int]) -> "Case":
        """The fleets have been raised by that many nodes, which are on their way now."""
        raised = tuple(replace(fleet, desired=fleet.desired + asked.get(fleet.name, 0)) for fleet in self.fleets)
        caps = {name: replace(cap, most=cap.most - asked.get(name, 0)) for name, cap in self.caps.items()}
        return replace(self.with_coming(asked), fleets=raised, caps=caps)


def node(number: int, spec: FleetSpec, used: Shape, state: NodeState | None = None) -> Node:
    is_used = used != Shape()
    return Node(
        hostname=Hostname(f"n{number}"),
        total=spec.shape,
        used=used,
        states=frozenset({state} if state else ()) | ({NodeState.BUSY} if is_used else frozenset()),
        jobs=frozenset({JobId("1")} if is_used else ()),
        partitions=frozenset({spec.partition}),
        features=spec.features | {spec.name},
    )


names = st.frozensets(st.sampled_from([Hostname(f"n{number}") for number in range(6)]), max_size=2)
tasks = st.builds(
    Shape,
    cpus=st.integers(0, 6),
    memory_mib=st.sampled_from([0, 0, 500, 3000, 9000, 40_000]),
    gpus=st.sampled_from([0, 0, 0, 0, 1]),
    gpu_type=st.sampled_from(["", "", "a100", "v100"]),
    consumables=st.sampled_from([(), (), (), (("scratch", 3),)]),
)
rare = st.sampled_from([True, *[False] * 7])
plain_jobs = st.builds(
    JobDemand,
    jobs=st.integers(1, 99).map(lambda number: (JobId(str(number)),)),
    count=st.integers(1, 30),
    per_task=st.builds(Shape, cpus=st.integers(1, 4), memory_mib=st.sampled_from([0, 500, 1000, 3000, 5000])),
    submitted_at=st.sampled_from([0.0, 1.0]),
)
any_jobs = st.builds(
    JobDemand,
    jobs=st.integers(1, 99).map(lambda number: (JobId(str(number)),)),
    count=st.integers(0, 12),
    tasks=st.sampled_from([1, 1, 1, 2, 5, 12]),
    per_task=tasks,
    per_node=st.one_of(st.just(Shape()), tasks),
    nodes_min=st.sampled_from([1, 1, 1, 2, 5]),
    nodes_max=st.sampled_from([None, None, 1, 2, 6]),
    tasks_per_node=st.sampled_from([None, None, 1, 3]),
    exclusive=rare,
    partitions=st.sampled_from([frozenset(), frozenset({"day"}), frozenset({"night", "day"}), frozenset({"none"})]),
    features=st.sampled_from([(), (), (), (frozenset({"fast"}), frozenset({"large"}))]),
    hostnames=st.one_of(st.just(frozenset()), st.just(frozenset()), names),
    excluded=st.one_of(st.just(frozenset()), names),
    priority=st.integers(0, 2),
    submitted_at=st.sampled_from([0.0, 1.0]),
    blocked_by=st.sampled_from([BlockedBy.NOTHING] * 5 + [BlockedBy.HOLD]),
)


caps = st.builds(Cap, most=st.integers(0, 5), limit=st.just(Limit.SHORTAGE), sentence=st.just("there is none to be had"))


@st.composite
def live_nodes(draw: st.DrawFn, specs: Sequence[FleetSpec], *, any_state: bool = False) -> tuple[Node, ...]:
    nodes = []
    for number in range(draw(st.integers(0, 6))):
        spec = draw(st.sampled_from(specs))
        used = Shape(cpus=draw(st.integers(0, spec.shape.cpus)), memory_mib=draw(st.integers(0, spec.shape.memory_mib)))
        state = draw(st.sampled_from([None] * 6 + list(NodeState))) if any_state else None
        nodes.append(node(number, spec, draw(st.sampled_from([used, Shape()])), state))
    return tuple(nodes)


@st.composite
def cases(
    draw: st.DrawFn, jobs: st.SearchStrategy[JobDemand] = any_jobs, specs: Sequence[FleetSpec] = SPECS, most_jobs: int = 8
) -> Case:
    fleets = []
    for spec in draw(st.permutations(specs)):
        maximum = draw(st.integers(0, 20))
        fleets.append(
            Fleet(spec=spec, minimum=draw(st.sampled_from([0, maximum])), desired=draw(st.integers(0, 20)), maximum=maximum)
        )
    return Case(
        demand=tuple(draw(st.lists(jobs, max_size=most_jobs, unique_by=lambda job: job.jobs))),
        live=draw(live_nodes(specs, any_state=True)),
        coming={fleet.name: draw(st.integers(0, 4)) for fleet in fleets},
        fleets=tuple(fleets),
        caps=draw(st.dictionaries(st.sampled_from([spec.name for spec in specs]), caps, max_size=2)),
    )


@given(cases())
@settings(max_examples=300)
def test_every_claim_of_a_packing_can_be_replayed_node_by_node(case: Case) -> None:
    case.judge().check(case.packed())


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_demand_and_nodes_changes_nothing(case: Case, random: Random) -> None:
    mixed = replace(
        case, demand=tuple(random.sample(case.demand, len(case.demand))), live=tuple(random.sample(case.live, len(case.live)))
    )
    assert mixed.packed() == case.packed()


@given(cases())
@settings(max_examples=200)
def test_what_was_asked_for_is_enough(case: Case) -> None:
    asked = case.packed().new_nodes
    assert case.once_asked(asked).packed().new_nodes == {}


@given(cases())
def test_blocked_jobs_change_nothing(case: Case) -> None:
    wanting = replace(case, demand=tuple(job for job in case.demand if job.blocked_by is BlockedBy.NOTHING))
    one, other = case.packed(), wanting.packed()
    assert (one.new_nodes, one.used_hosts, one.uses) == (other.new_nodes, other.used_hosts, other.uses)


@given(cases(jobs=any_jobs.map(lambda job: replace(job, priority=0)), specs=(LARGE,)), st.integers(1, 5))
def test_with_one_fleet_that_may_grow_more_nodes_on_their_way_never_mean_more_new_ones(case: Case, more: int) -> None:
    """Where it may not, one more can be what a job of several nodes lacked: then the rest is asked for."""
    case = replace(case, fleets=tuple(replace(fleet, maximum=10_000) for fleet in case.fleets), caps={})
    before = case.packed().new_nodes.get(LARGE.name, 0)
    assert case.with_coming({LARGE.name: more}).packed().new_nodes.get(LARGE.name, 0) <= before


@given(cases(jobs=plain_jobs, specs=(LARGE,)), st.integers(1, 5))
def test_with_one_fleet_more_idle_nodes_never_mean_more_new_ones_for_jobs_of_one_node(case: Case, more: int) -> None:
    idle = tuple(node(100 + number, LARGE, Shape()) for number in range(more))
    before = case.packed().new_nodes.get(LARGE.name, 0)
    assert replace(case, live=case.live + idle).packed().new_nodes.get(LARGE.name, 0) <= before


@given(cases(jobs=plain_jobs, most_jobs=1), live_nodes(SPECS), st.sampled_from(SPECS))
def test_for_jobs_of_one_shape_more_room_of_any_kind_never_means_more_new_nodes(
    case: Case, nodes: tuple[Node, ...], spec: FleetSpec
) -> None:
    renamed = tuple(replace(node, hostname=Hostname(f"more-{node.hostname}")) for node in nodes)
    more = replace(case.with_coming({spec.name: 1}), live=case.live + renamed)
    assert sum(more.packed().new_nodes.values()) <= sum(case.packed().new_nodes.values())


@given(cases(jobs=plain_jobs, specs=(LARGE,)))
def test_counting_alike_jobs_and_nodes_together_comes_to_the_same_as_first_fit_one_by_one(case: Case) -> None:
    usable = [each for each in case.live if each.is_usable and NodeState.RESERVED not in each.states]
    tightest = sorted(usable, key=lambda node: (node.is_empty, *free_of(node), node.hostname))
    fleet = case.fleets[0]
    coming = case.coming[LARGE.name]
    new = 0 if fleet.is_static else max(0, fleet.maximum - fleet.desired)
    new = min(new, case.caps[LARGE.name].most) if LARGE.name in case.caps else new
    packing = case.packed()
    turns = [placement.demand for placement in packing.placements for _ in range(placement.demand.count)]
    got = first_fit(turns, [*map(Site.of_node, tightest), *(Site.of_fleet(fleet) for _ in range(coming + new))])
    ends = (len(tightest), len(tightest) + coming)
    placed = [(id(job), index) for job, index in zip(turns, got, strict=True) if index is not None]
    kinds = Counter((job, sum(index >= end for end in ends)) for job, index in placed)
    for placement in packing.placements:
        told = (placement.live, placement.coming, placement.new.get(LARGE.name, 0))
        alike = [each for each in packing.placements if each.demand is placement.demand]
        assert tuple(kinds[id(placement.demand), kind] for kind in range(3)) == told or len(alike) > 1
    assert packing.new_nodes.get(LARGE.name, 0) == len({index for _, index in placed if index >= ends[1]})
    assert packing.used_hosts == {tightest[index].hostname for _, index in placed if index < ends[0]} & {
        each.hostname for each in tightest if each.is_empty
    }


def free_of(node: Node) -> tuple[int, int]:
    return node.total.cpus - node.used.cpus, node.total.memory_mib - node.used.memory_mib


@given(st.lists(plain_jobs, min_size=2, max_size=8), live_nodes(SPECS))
def test_jobs_of_lower_priority_take_no_live_room_from_those_of_higher(jobs: list[JobDemand], live: tuple[Node, ...]) -> None:
    ranked = tuple(replace(job, priority=-turn) for turn, job in enumerate(jobs))
    among_all = Case(demand=ranked, live=live, coming={}, fleets=()).packed()
    alone = Case(demand=ranked[:-1], live=live, coming={}, fleets=()).packed()
    assert [(each.demand, each.live) for each in among_all.placements[:-1]] == [
        (each.demand, each.live) for each in alone.placements
    ]
