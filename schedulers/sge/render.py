"""Command lines of qconf, qmod, qstat and qdel. Pure; every word that goes in has been validated as a name or a number before."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from daemons.model import FleetSpec, Shape
from daemons.names import parse_word
from schedulers.base import DRAIN_MARK
from schedulers.sge.cell import ADDRESS, DRAIN_NOTE, PLACEHOLDER_NOTE, Cell, group_name

_HOSTS_EACH = 200  # how many hosts one command names: some hundred are well within what an argument may hold
_REASON_CHARS = 200

Command = tuple[str, ...]
T = TypeVar("T")

SHOW_NAMES: Command = ("qconf", "-spl", "-shgrpl")
SHOW_HEAD: Command = ("qconf", "-sss")
SHOW_LATER: Command = ("qstat", "-s", "ha", "-u", "*", "-xml")
SHOW_VERDICTS: Command = ("qstat", "-j", "-xml")
_SNAPSHOT = ("qstat", "-f", "-r", "-u", "*")  # without -u, root sees its own jobs only


def batched(items: Iterable[T], size: int = _HOSTS_EACH) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def show_cell(names: Iterable[str]) -> Command:
    """The whole configuration, with these parallel environments and host groups (whose names begin with `@`)."""
    objects = [word for name in names for word in (("-shgrp" if name.startswith("@") else "-sp"), name)]
    return ("qconf", "-sc", "-sq", "*", *objects)


def show_rolls(groups: Iterable[str]) -> Command:
    """Hosts that the qmaster listens to, the names of all host groups, and these groups."""
    return ("qconf", "-sh", "-shgrpl", *(word for group in groups for word in ("-shgrp", group)))


def show_jobs(resources: Iterable[str], *, waiting: bool) -> Command:
    """Every queue instance with these complexes and what runs there, and the waiting jobs if wanted."""
    shown = ",".join(dict.fromkeys((ADDRESS, DRAIN_NOTE, *resources)))
    return (*_SNAPSHOT, *(() if waiting else ("-s", "rs")), "-F", shown, "-xml")


def show_details(jobs: Sequence[str]) -> Command:
    return ("qstat", "-j", ",".join(jobs), "-xml")


def render_join(group: str, addresses: Mapping[str, str], *, submit: bool) -> Command:
    """Make these hosts ones whose daemons the qmaster listens to, put them into a group, which gives them a queue instance, and
    write their addresses down. Nobody gets into the group if the qmaster cannot resolve one of the names.
    """
    names = ",".join(addresses)
    command = ["qconf", "-ah", names, *(("-as", names) if submit else ())]
    command += ["-aattr", "hostgroup", "hostlist", " ".join(addresses), group]
    for host, address in addresses.items():
        command += ["-mattr", "exechost", "complex_values", f"{ADDRESS}={address}", host]
    return tuple(command)


def render_leave(hosts: Sequence[str], groups: Iterable[str]) -> Command:
    """Out of the groups first: an execution host that a queue still has cannot be deleted."""
    names = ",".join(hosts)
    out = [word for group in groups for word in ("-dattr", "hostgroup", "hostlist", " ".join(hosts), group)]
    return ("qconf", *out, "-dh", names, "-ds", names, "-de", names)


def render_purge(overrides: Iterable[tuple[str, str]]) -> list[Command]:
    """Drop all that queues have set for these hosts by name. `overrides` are (queue, host)."""
    return [
        ("qconf", *(word for queue, host in some for word in ("-purge", "queue", "*", f"{queue}@{host}")))
        for some in batched(overrides, 50)
    ]


def render_disable(hosts: Iterable[str]) -> list[Command]:
    return [("qmod", "-d", *(f"*@{host}" for host in some)) for some in batched(hosts)]


def render_enable(hosts: Iterable[str]) -> list[Command]:
    return [("qmod", "-e", *(f"*@{host}" for host in some)) for some in batched(hosts)]


def render_note(hosts: Iterable[str], note: str) -> list[Command]:
    return [("qconf", "-mattr", "exechost", "complex_values", f"{DRAIN_NOTE}={note}", *some) for some in batched(hosts)]


def render_unnote(hosts: Iterable[str]) -> list[Command]:
    return [("qconf", "-dattr", "exechost", "complex_values", DRAIN_NOTE, *some) for some in batched(hosts)]


def render_requeue(jobs: Iterable[str]) -> list[Command]:
    return [("qmod", "-rj", *some) for some in batched(jobs)]


def render_delete(jobs: Iterable[str]) -> list[Command]:
    """Forget jobs whose host will not tell of their end. A task of an array is deleted as `qdel -f 18 -t 2`."""
    commands: list[Command] = []
    for job in jobs:
        number, _, task = job.partition(".")
        commands.append(("qdel", "-f", number, *(("-t", task) if task else ())))
    return commands


def render_reason(reason: str) -> str:
    """`headnode: <reason>`, as `render_words` has it."""
    return f"{DRAIN_MARK} {render_words(reason)}".rstrip()


def render_words(reason: str) -> str:
    """A reason without what Grid Engine takes for syntax."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in " ._:/+-()%") else " " for char in reason)
    return " ".join(plain.split())[:_REASON_CHARS]


def render_values(shape: Shape, features: Iterable[str], *, cell: Cell, memory: str, gpu: str, exclusive: str) -> str:
    """A fleet's `complex_values`: `h_vmem=7000M,gpu=2,exclusive=TRUE,c5=TRUE`.

    Memory is named only where it is a consumable: elsewhere it would be a limit of each job.
    """
    values: dict[str, str] = {}
    known = cell.complexes.get(memory)
    if shape.memory_mib and known is not None and known.is_consumable:
        values[memory] = f"{shape.memory_mib}M"
    if shape.gpus:
        values[gpu] = str(shape.gpus)
    values |= {parse_word(name): str(amount) for name, amount in shape.consumables if amount}
    values |= {parse_word(name): "TRUE" for name in (exclusive, *sorted(features))}
    return ",".join(f"{name}={value}" for name, value in values.items())


def render_fleet(fleet: FleetSpec, values: str, *, joins: bool) -> Command:
    """Make a queue treat a fleet's group as the fleet's shape says."""
    group, queue = group_name(fleet.name), parse_word(fleet.partition)
    return (
        "qconf",
        *(("-aattr", "queue", "hostlist", group, queue) if joins else ()),
        *("-rattr", "queue", "slots", f"[{group}={fleet.shape.cpus}]", queue),
        *("-rattr", "queue", "complex_values", f"[{group}={values}]", queue),
    )


def render_placeholder(host: str, queue: str, groups: Iterable[str]) -> list[Command]:
    """A queue instance that takes nothing, in every group of the queue: without one, Grid Engine rejects jobs for that group.

    It has no slots, whatever its groups have, and no other value of theirs: several groups' would be ambiguous.
    """
    return [
        (
            "qconf",
            *("-rattr", "queue", "slots", f"[{host}=0]", queue, "-rattr", "queue", "complex_values", f"[{host}=NONE]", queue),
            *("-aattr", "queue", "hostlist", host, queue),
            *("-mattr", "exechost", "complex_values", f"{DRAIN_NOTE}={PLACEHOLDER_NOTE}", host),
            *(word for group in groups for word in ("-aattr", "hostgroup", "hostlist", host, group)),
        ),
        ("qmod", "-d", f"{queue}@{host}"),
    ]


def render_group(group: str) -> str:
    """The file that makes a group of no host."""
    return f"group_name {group}\nhostlist NONE\n"


def render_table(cell: Cell, lines: Iterable[str]) -> str:
    """The file of all complexes, these lines added: `qconf -Mc` takes nothing less."""
    return "".join(f"{line}\n" for line in (*(known.line for known in cell.complexes.values()), *lines))
