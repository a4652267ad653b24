"""What an operator should know without asking: everything that is wrong now, under a key that lasts as long as it is. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from daemons.alarms import Alarm
from daemons.config.values import BudgetConfig, JobwatcherConfig
from daemons.model import FleetName
from daemons.packing import Limit
from jobwatcher.memory import Memory
from jobwatcher.stance import Stance


def plan_alarms(
    stances: Sequence[Stance],
    targets: Mapping[FleetName, int],
    surplus: Mapping[FleetName, int],
    memory: Memory,
    now: float,
    options: JobwatcherConfig,
    budget: BudgetConfig,
    *,
    refused: bool,
) -> tuple[Alarm, ...]:
    """`targets` are the desired capacities decided on; `refused`: the budget kept something from being asked for."""
    return (
        *_about_fleets(stances),
        *_about_surplus(surplus, memory, now, options),
        *_about_budget(stances, targets, memory, budget, refused=refused),
    )


def _about_fleets(stances: Sequence[Stance]) -> Iterator[Alarm]:
    events = {Limit.SHORTAGE: "capacity.short", Limit.BREAKER: "fleet.stopped"}
    for stance in stances:
        if stance.cap is not None:
            event = events[stance.cap.limit]
            yield Alarm(key=f"{event} {stance.name}", event=event, because=stance.cap.sentence, fleet=stance.name)


def _about_surplus(surplus: Mapping[FleetName, int], memory: Memory, now: float, options: JobwatcherConfig) -> Iterator[Alarm]:
    for fleet, count in surplus.items():
        since = memory.of(fleet).surplus_since
        if count and since is not None and now - since >= options.surplus_alarm_s:
            because = f"{count} nodes of fleet {fleet} have been idle without demand for more than {options.surplus_alarm_s:g} s"
            yield Alarm(key=f"capacity.unused {fleet}", event="capacity.unused", because=because, fleet=fleet)


def _about_budget(
    stances: Sequence[Stance], targets: Mapping[FleetName, int], memory: Memory, budget: BudgetConfig, *, refused: bool
) -> Iterator[Alarm]:
    nodes = sum(targets.values())
    per_hour = sum(targets[stance.name] * stance.fleet.spec.price_per_hour for stance in stances)
    spent = memory.ledger.spent if memory.ledger is not None else 0.0
    measures = (
        ("nodes", nodes, budget.warn_nodes, "nodes are asked for"),
        ("per-hour", per_hour, budget.warn_per_hour, "an hour is what the fleets cost"),
        ("per-day", spent, budget.warn_per_day, "have been spent today"),
    )
    for name, measured, limit, what in measures:
        if limit and measured > limit:
            because = f"{measured:.2f} {what}; the budget warns beyond {limit:g}"
            yield Alarm(key=f"budget.warned {name}", event="budget.warned", because=because)
    if refused:
        because = f"waiting jobs want more than the budget allows: {nodes} nodes, {per_hour:.2f} an hour, {spent:.2f} spent today"
        yield Alarm(key="budget.reached", event="budget.reached", because=because)
