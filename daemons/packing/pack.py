"""Puts waiting jobs onto room: live nodes first, then nodes on their way, then new ones of the fleets that fit. Pure.

Identical jobs are placed by count and identical nodes are one room, so the cost grows with the shapes there are, not with jobs or
nodes. A job that spans nodes gets all of them or none.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daemons.model import Fleet, FleetName, Hostname, JobDemand, Node
from daemons.packing.answers import Answers, Placement
from daemons.packing.expander import PackOptions
from daemons.packing.fill import Filling
from daemons.packing.rooms import Dimensions, Kind, headroom, live_lines
from daemons.packing.runs import Run, alike_jobs, runs_of
from daemons.packing.stops import Lot, Use


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """`uses` says which job has what on which node, alike ones together: enough to check every claim of the rest."""

    placements: tuple[Placement, ...]  # in the order in which the jobs got their turn; the blocked ones at the end
    new_nodes: Mapping[FleetName, int]  # how many more nodes each fleet is asked for; fleets without any are left out
    coming_used: Mapping[FleetName, int]  # of the nodes that are coming, how many waiting jobs have a use for
    used_hosts: frozenset[Hostname]  # live nodes that are empty now and about to be used
    uses: tuple[Use, ...]


def pack(
    demand: Sequence[JobDemand],
    *,
    live: Sequence[Node],
    coming: Mapping[FleetName, int],
    fleets: Sequence[Fleet],
    options: PackOptions | None = None,
) -> Packing:
    """Place everything, highest priority first, then the largest. The order of `demand` and `live` makes no difference.

    `coming` counts each fleet's nodes that have been asked for and take no jobs yet. What is asked for is enough: the same jobs
    with the new nodes among those that are coming ask for none.
    """
    alike = alike_jobs(demand)
    dimensions = Dimensions.of(shape for jobs in alike.values() for shape in (jobs[0].per_task, jobs[0].per_node))
    runs = runs_of(alike, fleets, dimensions, options or PackOptions())
    ground = _Ground(runs, live, coming, fleets, dimensions)
    filling, lots = ground.fill({})
    answers = Answers(fleets, dimensions)
    return Packing(
        placements=(*answers.to_runs(runs, lots), *answers.to_blocked(demand)),
        new_nodes=ground.enough(filling),
        coming_used=filling.used_nodes(Kind.COMING),
        used_hosts=filling.woken,
        uses=filling.uses,
    )


def needed_hostnames(demand: Sequence[JobDemand], *, nodes: Sequence[Node], fleets: Sequence[Fleet]) -> frozenset[Hostname]:
    """The empty nodes that waiting jobs are about to use."""
    return pack(demand, live=nodes, coming={}, fleets=fleets).used_hosts


@dataclass(frozen=True, slots=True)
class _Ground:
    """What jobs are placed on."""

    runs: Sequence[Run]
    live: Sequence[Node]
    coming: Mapping[FleetName, int]
    fleets: Sequence[Fleet]
    dimensions: Dimensions

    def fill(self, asked: Mapping[FleetName, int]) -> tuple[Filling, list[list[Lot]]]:
        """Place every run, as if `asked` nodes were coming already. Also where the jobs of each run went."""
        named = frozenset().union(*{run.asked.want.named() for run in self.runs})
        counts = {}
        for fleet in self.fleets:
            more = asked.get(fleet.name, 0)
            counts[Kind.COMING, fleet.name] = self.coming.get(fleet.name, 0) + more
            counts[Kind.NEW, fleet.name] = headroom(fleet) - more
        filling = Filling(live_lines(self.live, named, self.dimensions), counts, self.fleets, self.dimensions)
        return filling, [filling.place(run.asked, sum(job.count for job in run.demands)) for run in self.runs]

    def enough(self, filling: Filling) -> Mapping[FleetName, int]:
        """The new nodes that this filling uses, and any more that it takes until the same jobs would ask for none.

        With one fleet for each job none are lacking: coming nodes fill up as new ones do. With several, a job may prefer a node
        that another would have needed, once both are coming.
        """
        asked = Counter(filling.used_nodes(Kind.NEW))
        if all(len(run.asked.fleets) <= 1 for run in self.runs):
            return dict(asked)
        more = asked
        while more:
            again, _ = self.fill(asked)
            more = Counter(again.used_nodes(Kind.NEW))
            asked += more
        return dict(asked)
