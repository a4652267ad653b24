"""Ceilings for growing: how much of what waiting work wants may be asked for. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from daemons.config.values import BudgetConfig
from daemons.model import BlockedBy, FleetName, JobDemand
from daemons.packing import Cap, Limit, Packing
from jobwatcher.memory import Ledger
from jobwatcher.stance import Stance

Pack = Callable[[Sequence[JobDemand], Mapping[FleetName, Cap]], Packing]

_CENT = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Where the fleets are below the ceilings."""

    budget: BudgetConfig
    nodes: int  # asked for so far
    per_hour: float  # what they cost
    spent: float  # today
    prices: Mapping[FleetName, float]

    @property
    def is_used_up(self) -> bool:
        """Is there nothing left for anybody?"""
        budget = self.budget
        no_money = self._is_day_spent or bool(budget.max_per_hour and self.per_hour >= budget.max_per_hour)
        return bool(budget.max_nodes and self.nodes >= budget.max_nodes) or (no_money and all(self.prices.values()))

    @property
    def _is_day_spent(self) -> bool:
        return bool(self.budget.max_per_day) and self.spent >= self.budget.max_per_day

    def holds(self, new_nodes: Mapping[FleetName, int]) -> bool:
        """May so many nodes be asked for besides? What costs nothing, as far as is known, is bounded by its number alone."""
        price = self._price(new_nodes)
        budget = self.budget
        if not new_nodes:
            return True
        if budget.max_nodes and self.nodes + sum(new_nodes.values()) > budget.max_nodes:
            return False
        if price and budget.max_per_hour and self.per_hour + price > budget.max_per_hour + _CENT:
            return False
        return not (price and self._is_day_spent)

    def sentence(self, granted: Mapping[FleetName, int]) -> str:
        """Names each ceiling, and how far it is reached with what is granted."""
        budget, parts = self.budget, []
        if budget.max_nodes:
            parts.append(f"{self.nodes + sum(granted.values())} of at most {budget.max_nodes} nodes")
        if budget.max_per_hour:
            parts.append(f"{self.per_hour + self._price(granted):.2f} of at most {budget.max_per_hour:.2f} an hour")
        if budget.max_per_day:
            parts.append(f"{self.spent:.2f} of at most {budget.max_per_day:.2f} today")
        return f"the budget allows no more: {', '.join(parts)}"

    def _price(self, nodes: Mapping[FleetName, int]) -> float:
        return sum(count * self.prices[fleet] for fleet, count in nodes.items())


def room_left(stances: Sequence[Stance], budget: BudgetConfig, ledger: Ledger | None) -> Room:
    return Room(
        budget=budget,
        nodes=sum(stance.fleet.desired for stance in stances),
        per_hour=hourly_price(stances),
        spent=ledger.spent if ledger is not None else 0.0,
        prices={stance.name: stance.fleet.spec.price_per_hour for stance in stances},
    )


def hourly_price(stances: Sequence[Stance]) -> float:
    """What the fleets cost an hour once everything that has been asked for is there, as far as prices are known."""
    return sum(stance.fleet.desired * stance.fleet.spec.price_per_hour for stance in stances)


def pack_within(room: Room, demand: Sequence[JobDemand], caps: Mapping[FleetName, Cap], pack: Pack) -> tuple[Packing, bool]:
    """The packing of all demand that stays below the ceilings, and whether they kept anything from being asked for.

    Of what waits, as much as possible is granted, in the order in which the jobs get their turn; who comes after that gets room
    that is there, or the ceilings as the answer.
    """
    packing = pack(demand, caps)
    if room.holds(packing.new_nodes):
        return packing, False
    queue = [placement.demand for placement in packing.placements if placement.demand.blocked_by is BlockedBy.NOTHING]
    granted: Mapping[FleetName, int] = {}
    low, high = 0, 1 if room.is_used_up else sum(job.count for job in queue)
    while high - low > 1:
        middle = (low + high) // 2
        wanted = pack(list(_first(queue, middle)), caps).new_nodes
        if room.holds(wanted):
            low, granted = middle, wanted
        else:
            high = middle
    return pack(demand, {**caps, **_tightened(room, caps, granted)}), True


def _first(queue: Sequence[JobDemand], jobs: int) -> Iterator[JobDemand]:
    """The first so many jobs of the queue."""
    left = jobs
    for job in queue:
        if left <= 0:
            return
        yield job if job.count <= left else replace(job, count=left)
        left -= job.count


def _tightened(room: Room, caps: Mapping[FleetName, Cap], granted: Mapping[FleetName, int]) -> Mapping[FleetName, Cap]:
    """A cap for each fleet at what was granted it; one that is as tight for another reason stays."""
    sentence = room.sentence(granted)
    budget = {name: Cap(most=granted.get(name, 0), limit=Limit.BUDGET, sentence=sentence) for name in room.prices}
    return {name: cap for name, cap in budget.items() if name not in caps or caps[name].most > cap.most}
