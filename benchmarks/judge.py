"""Judges a packing without knowing how it was made: replays every use on single nodes, and counts everything again."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemons.model import BlockedBy, Fleet, FleetName, Hostname, JobDemand, Node, NodeState, Shape
from daemons.packing import Cap, Kind, Packing, Use

Spot = tuple[Kind, FleetName | Hostname, int]  # one node


@dataclass
class Site:
    """One node as jobs fill it up."""

    partitions: frozenset[str]
    features: frozenset[str]
    total: Shape
    free: Counter[str]
    is_empty: bool = True
    is_used: bool = False

    @classmethod
    def of_node(cls, node: Node) -> "Site":
        free = amounts(node.total)
        free.subtract(amounts(node.used))
        return cls(node.partitions, node.features, node.total, free, is_empty=node.is_empty)

    @classmethod
    def of_fleet(cls, fleet: Fleet) -> "Site":
        spec = fleet.spec
        return cls(frozenset({spec.partition}), spec.features | {spec.name}, spec.shape, amounts(spec.shape))

    def admits(self, job: JobDemand) -> bool:
        types = {shape.gpu_type for shape in (job.per_task, job.per_node) if shape.gpus and shape.gpu_type}
        return (
            (not job.partitions or bool(job.partitions & self.partitions))
            and (not job.features or any(wanted <= self.features for wanted in job.features))
            and types <= {self.total.gpu_type}
            and not (job.exclusive and (self.is_used or not self.is_empty))
        )

    def lacks(self, need: Mapping[str, int]) -> bool:
        ignored = set() if self.total.memory_mib else {"memory_mib"}
        return any(amount > self.free[name] for name, amount in need.items() if amount and name not in ignored)

    def take(self, job: JobDemand, need: Counter[str]) -> None:
        assert self.admits(job), f"{job} may not go to {self}"
        assert not self.lacks(need), f"{job} does not fit on {self}"
        self.free.subtract(need)
        self.is_used = True
        if job.exclusive:
            self.free.clear()


def amounts(shape: Shape) -> Counter[str]:
    return Counter(cpus=shape.cpus, memory_mib=shape.memory_mib, gpus=shape.gpus, **dict(shape.consumables))


def need_of(job: JobDemand, *, jobs: int, tasks: int) -> Counter[str]:
    need: Counter[str] = Counter()
    for shape, factor in ((job.per_task, tasks), (job.per_node, jobs)):
        need.update({name: amount * factor for name, amount in amounts(shape).items()})
    need["cpus"] = max(need["cpus"], jobs)
    return need


@dataclass
class Judge:
    demand: Sequence[JobDemand]
    live: Sequence[Node]
    coming: Mapping[FleetName, int]
    fleets: Sequence[Fleet]
    caps: Mapping[FleetName, Cap] = field(default_factory=dict)
    sites: dict[Spot, Site] = field(default_factory=dict)

    def check(self, packing: Packing, *, thorough: bool = True) -> None:
        """Raises AssertionError for anything that a packing may not do. `thorough` also looks for jobs that were left out, which
        takes time with every job times every node.
        """
        self._lay_out()
        for use in packing.uses:
            self._replay(use)
        self._check_spanning(packing)
        self._check_answers(packing)
        self._check_totals(packing)
        if thorough:
            self._check_nothing_is_left_out(packing)

    def _lay_out(self) -> None:
        """Every node there is or may be."""
        for node in self.live:
            if node.is_usable and NodeState.RESERVED not in node.states:
                self.sites[Kind.LIVE, node.hostname, 0] = Site.of_node(node)
        for fleet in self.fleets:
            more = 0 if fleet.minimum == fleet.maximum else max(0, fleet.maximum - fleet.desired)
            more = min(more, self.caps[fleet.name].most) if fleet.name in self.caps else more
            for kind, count in ((Kind.COMING, self.coming.get(fleet.name, 0)), (Kind.NEW, more)):
                for number in range(count):
                    self.sites[kind, fleet.name, number] = Site.of_fleet(fleet)

    def _replay(self, use: Use) -> None:
        job, spots = use.demand, list(spots_of(use))
        assert len(spots) == use.nodes > 0
        assert use.jobs == 1 or not use.spanning
        if not use.spanning:
            assert use.tasks == use.jobs * max(job.tasks, 1)
            assert job.nodes_min <= 1
            assert job.tasks_per_node is None or job.tasks <= job.tasks_per_node
        for kind, name, number in spots:
            assert kind is Kind.LIVE or not job.hostnames
            assert kind is not Kind.LIVE or (name not in job.excluded and (not job.hostnames or name in job.hostnames))
            site = self.sites[kind, name, number]  # a KeyError is a node that there may not be
            site.take(job, need_of(job, jobs=use.jobs, tasks=use.tasks))

    def _check_spanning(self, packing: Packing) -> None:
        """All or nothing, within the bounds, in one partition."""
        parts: dict[int, list[Use]] = defaultdict(list)
        for use in packing.uses:
            if use.spanning:
                parts[use.spanning].append(use)
        for uses in parts.values():
            job = uses[0].demand
            spots = [spot for use in uses for spot in spots_of(use)]
            assert len(set(spots)) == len(spots) >= job.nodes_min
            assert len(spots) <= (job.nodes_max or len(spots))
            assert sum(use.nodes * use.tasks for use in uses) == max(job.tasks, job.nodes_min)
            assert all(1 <= use.tasks <= (job.tasks_per_node or use.tasks) for use in uses)
            shared = frozenset.intersection(*(self.sites[spot].partitions for spot in spots))
            assert shared & (job.partitions or shared)

    def _check_answers(self, packing: Packing) -> None:
        """Every demand has one answer that adds up, and the answers say what the uses say."""
        assert Counter(map(id, self.demand)) == Counter(id(each.demand) for each in packing.placements)
        told: Counter[tuple[Any, Kind]] = Counter()
        for each in packing.placements:
            assert each.live + each.coming + sum(each.new.values()) + each.rest == each.demand.count
            assert min(each.live, each.coming, each.rest, *each.new.values()) >= 0
            assert (each.why is None) == (each.rest == 0)
            assert each.demand.blocked_by is BlockedBy.NOTHING or each.rest == each.demand.count
            for kind, count in ((Kind.LIVE, each.live), (Kind.COMING, each.coming), (Kind.NEW, sum(each.new.values()))):
                told[needs(each.demand), kind] += count
        seen: Counter[tuple[Any, Kind]] = Counter()
        spanning: dict[int, tuple[Any, Kind]] = {}
        for use in packing.uses:
            if use.spanning:
                _, kind = spanning.get(use.spanning, (None, Kind.LIVE))
                spanning[use.spanning] = needs(use.demand), max(kind, use.kind)
            else:
                seen[needs(use.demand), use.kind] += use.nodes * use.jobs
        seen.update(spanning.values())
        assert +told == +seen

    def _check_totals(self, packing: Packing) -> None:
        used = {spot for use in packing.uses for spot in spots_of(use)}
        new = Counter(name for kind, name, _ in used if kind is Kind.NEW)
        assert all(packing.new_nodes.get(FleetName(name), 0) >= count for name, count in new.items())
        assert all(count > 0 for count in packing.new_nodes.values())
        for fleet in self.fleets:
            assert packing.new_nodes.get(fleet.name, 0) + fleet.desired <= max(fleet.maximum, fleet.desired)
        assert packing.coming_used == Counter(name for kind, name, _ in used if kind is Kind.COMING)
        hosts = {name for kind, name, _ in used if kind is Kind.LIVE and self.sites[kind, name, 0].is_empty}
        assert packing.used_hosts == hosts

    def _check_nothing_is_left_out(self, packing: Packing) -> None:
        """No job that needs one node and waits would fit on a node as it is in the end."""
        for each in packing.placements:
            job = each.demand
            if not each.rest or job.blocked_by is not BlockedBy.NOTHING or job.nodes_min > 1 or job.tasks > 1:
                continue
            for (kind, name, _), site in self.sites.items():
                named = name in job.hostnames if job.hostnames else name not in job.excluded
                if (named if kind is Kind.LIVE else not job.hostnames) and site.admits(job):
                    assert site.lacks(need_of(job, jobs=1, tasks=1)), f"{job} waits, though it fits on {name}"


def needs(job: JobDemand) -> Any:
    """What jobs that are placed alike have in common."""
    return (
        *(job.tasks, job.per_task, job.per_node, job.nodes_min, job.nodes_max, job.tasks_per_node, job.exclusive),
        *(job.partitions, job.features, job.hostnames, job.excluded),
    )


def spots_of(use: Use) -> Iterator[Spot]:
    if use.kind is Kind.LIVE:
        yield from ((Kind.LIVE, host, 0) for host in use.hosts)
    elif use.fleet is not None:
        yield from ((use.kind, use.fleet, number) for number in range(use.first, use.first + use.nodes))


def first_fit(jobs: Sequence[JobDemand], sites: Sequence[Site]) -> list[int | None]:
    """Plain first-fit, one job and one node at a time: the index of the site that each one-node job gets."""
    got: list[int | None] = []
    for job in jobs:
        need = need_of(job, jobs=1, tasks=max(job.tasks, 1))
        fitting = (index for index, site in enumerate(sites) if site.admits(job) and not site.lacks(need))
        index = next(fitting, None)
        if index is not None:
            sites[index].take(job, need)
        got.append(index)
    return got
