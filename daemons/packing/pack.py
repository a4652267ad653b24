"""Puts waiting jobs onto room: live nodes first, then nodes on their way, then new ones of the fleets that fit. Pure.

Identical jobs are placed by count and identical nodes are one room, so the cost grows with the shapes there are, not with jobs or
nodes. A job that spans nodes gets all of them or none.
"""

import gc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from daemons.model import Fleet, FleetName, Hostname, JobDemand, Node
from daemons.packing.answers import Answers, Placement
from daemons.packing.expander import Offer, PackOptions, offers_of
from daemons.packing.fill import Filling
from daemons.packing.limits import Cap
from daemons.packing.rooms import Dimensions, Kind, live_lines
from daemons.packing.runs import Queue, alike_jobs, queue_of
from daemons.packing.stops import Use

_NO_CAPS: Mapping[FleetName, Cap] = {}


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
    caps: Mapping[FleetName, Cap] = _NO_CAPS,
    options: PackOptions | None = None,
) -> Packing:
    """Place everything, highest priority first, then the largest. The order of `demand` and `live` makes no difference.

    `coming` counts each fleet's nodes that have been asked for and take no jobs yet; `caps` keep fleets from growing as far as
    their maximum. What is asked for is enough: the same jobs
    with the new nodes among those that are coming ask for none.
    """
    with _uncollected():
        return _pack(demand, live=live, coming=coming, fleets=fleets, caps=caps, options=options or PackOptions())


@contextmanager
def _uncollected() -> Iterator[None]:
    """Nothing that is made here refers to itself, and to search a hundred thousand values for what does takes longer than to pack
    them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _pack(
    demand: Sequence[JobDemand],
    *,
    live: Sequence[Node],
    coming: Mapping[FleetName, int],
    fleets: Sequence[Fleet],
    caps: Mapping[FleetName, Cap],
    options: PackOptions,
) -> Packing:
    alike = alike_jobs(demand)
    dimensions = Dimensions.of(shape for jobs in alike.values() for shape in (jobs[0].per_task, jobs[0].per_node))
    offers = offers_of(fleets, dimensions, caps)
    queue = queue_of(alike, offers, dimensions, options)
    ground = _Ground(queue, live, coming, offers, dimensions)
    filling = ground.fill({})
    answers = Answers(offers, dimensions)
    return Packing(
        placements=(*answers.to_runs(queue.runs, filling.lots), *answers.to_blocked(demand)),
        new_nodes=ground.enough(filling),
        coming_used=filling.used_nodes(Kind.COMING),
        used_hosts=filling.woken,
        uses=filling.uses,
    )


@dataclass(frozen=True, slots=True)
class _Ground:
    """What waits, and what it is placed on."""

    queue: Queue
    live: Sequence[Node]
    coming: Mapping[FleetName, int]
    offers: Sequence[Offer]
    dimensions: Dimensions

    def fill(self, asked: Mapping[FleetName, int]) -> Filling:
        """Place every job, as if `asked` nodes were coming already.

        Live nodes go by priority. Beyond them priority decides who goes without, and where nobody does, size decides, because
        that wastes the least.
        """
        filling = self._empty(asked)
        left = {shape: shape.count for shape in self.queue.shapes}
        for run in self.queue.runs:
            left[run.asked] -= filling.start(run.asked, run.jobs)
        for shape in self.queue.shapes:
            left[shape] -= filling.place(shape, left[shape])
        if not self.queue.is_contested or not any(rest and filling.could_hold(shape) for shape, rest in left.items()):
            return filling
        filling = self._empty(asked)
        for run in self.queue.runs:
            filling.place(run.asked, run.jobs)
        return filling

    def enough(self, filling: Filling) -> Mapping[FleetName, int]:
        """The new nodes that this filling uses, and any more that it takes until the same jobs would ask for none.

        None are lacking if no coming node is used or each job has one fleet to go to: then coming nodes fill up as the new ones
        do here. Else a job may prefer a node that another one needs, once both are coming.
        """
        asked = Counter(filling.used_nodes(Kind.NEW))
        if not filling.used_nodes(Kind.COMING) or all(len(shape.offers) <= 1 for shape in self.queue.shapes):
            return dict(asked)
        more = asked
        while more:
            more = Counter(self.fill(asked).used_nodes(Kind.NEW))
            asked += more
        return dict(asked)

    def _empty(self, asked: Mapping[FleetName, int]) -> Filling:
        named = frozenset().union(*(shape.want.named() for shape in self.queue.shapes))
        counts = {}
        for offer in self.offers:
            name = offer.fleet.name
            more = asked.get(name, 0)
            counts[Kind.COMING, name] = self.coming.get(name, 0) + more
            counts[Kind.NEW, name] = offer.new_nodes - more
        return Filling(live_lines(self.live, named, self.dimensions), counts, self.offers)
