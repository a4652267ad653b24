"""Which fleets' nodes a waiting job may have, by its queues, its parallel environment and its requests. Pure.

A fleet is a host group in the queue that is its partition; its features are BOOL complexes there.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from daemons.model import FleetSpec, Hostname
from schedulers.sge import amounts
from schedulers.sge.cell import Cell, Complex, group_name
from schedulers.sge.parse import Row, first_label

_HOST = re.compile(r"!?[A-Za-z0-9][A-Za-z0-9.-]*")
_LIMIT_PREFIXES = ("h_", "s_")
_MEMORIES = frozenset({"mem_total", "mem_free", "virtual_total", "virtual_free"})
_PROCESSORS = frozenset({"num_proc", "m_core", "m_thread"})
_HARMLESS = frozenset(  # load values and queue attributes that any ordinary node has a fitting value of
    {
        "arch", "calendar", "cpu", "display_win_gui", "load_avg", "load_long", "load_medium", "load_short", "m_socket",
        "m_topology", "m_topology_inuse", "mem_used", "min_cpu_interval", "np_load_avg", "np_load_long", "np_load_medium",
        "np_load_short", "rerun", "seq_no", "slots", "swap_free", "swap_rate", "swap_rsvd", "swap_total", "swap_used", "tmpdir",
        "virtual_used",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Where a job may go, in a `JobDemand`'s terms. `problem` says why no fleet will do, "" if one does."""

    partitions: frozenset[str] = frozenset()
    features: tuple[frozenset[str], ...] = ()
    hostnames: frozenset[Hostname] = frozenset()
    excluded: frozenset[Hostname] = frozenset()
    environments: frozenset[str] = frozenset()  # that the job asks for and a queue of these fleets offers
    names_hosts: str = ""  # the words by which the job asks for hosts
    problem: str = ""


@dataclass(slots=True, kw_only=True)
class _Search:
    """The fleets that are left, narrowed step by step."""

    cell: Cell
    able: list[FleetSpec]
    by_queue: bool = False  # has a queue or an environment been asked for?
    trues: set[str] = field(default_factory=set)
    names_hosts: list[str] = field(default_factory=list)
    problem: str = ""

    def keep(self, fits: Callable[[FleetSpec], bool], otherwise: str) -> None:
        self.able = [fleet for fleet in self.able if fits(fleet)]
        if not self.able and not self.problem:
            self.problem = otherwise


def choose(row: Row, cell: Cell, fleets: Sequence[FleetSpec]) -> Choice:
    """Raises ValueError for a request that cannot be read."""
    requests = dict(row.requests)
    queues = (*row.queues, *filter(None, [requests.get("qname", "")]))
    search = _Search(cell=cell, able=list(fleets))
    if queues:
        _narrow_by_queues(search, queues)
        if not search.able:  # another queue than any of ours
            return Choice(partitions=frozenset(queue.partition("@")[0] or "*" for queue in queues))
    environments = _narrow_by_environment(search, row.pe)
    for name, value in requests.items():
        _narrow_by_request(search, name, value)
    return _chosen(search, fleets, environments)


def matches(pattern: str, name: str) -> bool:
    """Grid Engine's `*`, `?` and `[…]`, and `a|b` for one or the other."""
    return any(fnmatchcase(name, part) for part in pattern.split("|"))


def _chosen(search: _Search, fleets: Sequence[FleetSpec], environments: frozenset[str]) -> Choice:
    able = search.able
    partitions = frozenset(fleet.partition for fleet in able) if search.by_queue else frozenset[str]()
    trues = frozenset(search.trues)
    others = [fleet for fleet in fleets if fleet not in able and trues <= fleet.features]
    features: tuple[frozenset[str], ...] = (trues,) if trues else ()
    if able and any(not partitions or fleet.partition in partitions for fleet in others):
        features = tuple(trues | {fleet.name} for fleet in able)  # nothing else tells them from the others
    hosts = [word for text in search.names_hosts for word in text.split("|")]
    plain = all(_HOST.fullmatch(host) for host in hosts)
    return Choice(
        partitions=partitions,
        features=features,
        hostnames=_labels(host for host in hosts if plain and len(hosts) == 1 and not host.startswith("!")),
        excluded=_labels(host[1:] for host in hosts if plain and len(hosts) == 1 and host.startswith("!")),
        environments=environments,
        names_hosts=", ".join(text for text in search.names_hosts if not (plain and len(hosts) == 1 and text.startswith("!"))),
        problem=search.problem,
    )


def _labels(hosts: Iterable[str]) -> frozenset[Hostname]:
    return frozenset(first_label(host) for host in hosts)


def _narrow_by_queues(search: _Search, queues: Sequence[str]) -> None:
    """`-q compute,*@@headnode-batch,compute@host`: any of them will do."""
    search.by_queue = True
    search.keep(lambda fleet: any(_is_in(fleet, queue) for queue in queues), "")
    hosts = [queue.partition("@")[2] for queue in queues]
    if all(host and not host.startswith("@") and host != "*" for host in hosts):
        search.names_hosts.append("|".join(hosts))


def _is_in(fleet: FleetSpec, queue: str) -> bool:
    name, _, where = queue.partition("@")
    return matches(name or "*", fleet.partition) and (not where.startswith("@") or matches(where, group_name(fleet.name)))


def _narrow_by_environment(search: _Search, wanted: str) -> frozenset[str]:
    if not wanted:
        return frozenset()

    def offered(fleet: FleetSpec) -> frozenset[str]:
        queue = search.cell.queues.get(fleet.partition)
        return frozenset(name for name in queue.environments if matches(wanted, name)) if queue else frozenset()

    if not all(offered(fleet) for fleet in search.able):
        search.by_queue = True
    search.keep(lambda fleet: bool(offered(fleet)), f"no fleet's queue offers the parallel environment {wanted}")
    return frozenset(name for fleet in search.able for name in offered(fleet))


def _narrow_by_request(search: _Search, name: str, value: str) -> None:
    known = search.cell.complexes.get(name)
    if name == "hostname":
        search.names_hosts += [value] if value != "*" else []
    elif name == "qname" or name in _HARMLESS or (known is not None and known.is_consumable):
        return
    elif known is not None and known.kind == "BOOL":
        _narrow_by_feature(search, name, wanted=amounts.is_true(value))
    elif name in _MEMORIES:
        mib = amounts.parse_mib(value)
        search.keep(lambda fleet: not 0 < fleet.shape.memory_mib < mib, f"no fleet's nodes have {name}={value}")
    elif name in _PROCESSORS:
        count = amounts.parse_count(value)
        search.keep(lambda fleet: fleet.shape.cpus >= count, f"no fleet's nodes have {name}={value}")
    elif known is not None and name.startswith(_LIMIT_PREFIXES):
        asked = amounts.parse_limit(value)
        search.keep(lambda fleet: asked <= _limit(search.cell, fleet, known), f"no fleet's queue allows {name}={value}")
    else:
        search.keep(lambda _: False, f"it asks for {name}={value}, which headnode does not know any fleet to have")


def _narrow_by_feature(search: _Search, name: str, *, wanted: bool) -> None:
    if wanted:
        search.trues.add(name)
    says = "true" if wanted else "false"
    search.keep(lambda fleet: (name in fleet.features) is wanted, f"no fleet has {name}={says}")


def _limit(cell: Cell, fleet: FleetSpec, known: Complex) -> float:
    """What the fleet's queue allows at most, where nothing else is set for its group."""
    queue = cell.queues.get(fleet.partition)
    settings: Mapping[str, object] = queue.settings if queue else {}
    if queue is None or known.name not in settings:
        return float("inf")
    setting = queue.settings[known.name]
    return amounts.parse_limit(setting.overrides.get(group_name(fleet.name), setting.default))
