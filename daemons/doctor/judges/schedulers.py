"""What a scheduler has to be set to, so that jobs queue on an empty cluster and nodes can come and go."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from daemons.doctor.findings import Finding, Severity, judged
from daemons.model import FleetSpec

OLDEST_SLURM = (22, 5)
_SLURM_CONF = "slurm.conf, and restart slurmctld"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmFacts:
    """`config` is `scontrol show config`. `most` is the fleets' greatest size together, None where AWS did not say."""

    config: Mapping[str, str]
    partitions: Collection[str]
    dynamic: bool
    placeholders: int
    kinds: int  # of nodes, by shape and features
    most: int | None
    largest: int | None  # the greatest of one fleet


def check_slurm(slurm: SlurmFacts, fleets: Sequence[FleetSpec]) -> Iterator[Finding]:
    """Everything about slurmctld's settings."""
    yield check_slurm_version(slurm)
    yield check_part_limits(slurm)
    yield from check_partitions("slurm-partition", slurm.partitions, fleets, "add PartitionName={0} Nodes=ALL to " + _SLURM_CONF)
    yield check_select(slurm)
    yield check_return_to_service(slurm)
    yield check_power_saving(slurm)
    if any(fleet.shape.gpus for fleet in fleets):
        yield check_gres(slurm)
    if slurm.dynamic:
        yield check_node_count(slurm)
        yield check_placeholders(slurm)


def check_slurm_version(slurm: SlurmFacts) -> Finding:
    said = slurm.config.get("SLURM_VERSION", "")
    found = re.match(r"(\d+)\.(\d+)", said)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    return judged(
        "slurm-version",
        "slurmctld",
        f"it is Slurm {said or 'of an unknown version'}",
        holds=version >= OLDEST_SLURM or not slurm.dynamic,
        remedy='update to Slurm 22.05 or newer, which has dynamic nodes, or set scheduler.settings.mode = "declared"',
    )


def check_part_limits(slurm: SlurmFacts) -> Finding:
    value = slurm.config.get("EnforcePartLimits", "NO")
    return judged(
        "slurm-part-limits",
        "EnforcePartLimits",
        f"it is {value}",
        holds=value == "NO",
        remedy="set EnforcePartLimits=NO in slurm.conf and run `scontrol reconfigure`: jobs for nodes to come are rejected now",
    )


def check_select(slurm: SlurmFacts) -> Finding:
    value = slurm.config.get("SelectType", "")
    return judged(
        "slurm-select-type",
        "SelectType",
        f"it is {value}",
        holds=value.endswith(("cons_tres", "cons_res")),
        otherwise=Severity.NOTE,
        remedy=f"set SelectType=select/cons_tres in {_SLURM_CONF}, unless each job is to have whole nodes",
    )


def check_return_to_service(slurm: SlurmFacts) -> Finding:
    value = slurm.config.get("ReturnToService", "0")
    return judged(
        "slurm-return-to-service",
        "ReturnToService",
        f"it is {value}",
        holds=value.startswith("2"),
        otherwise=Severity.WARNING,
        remedy="set ReturnToService=2 in slurm.conf and run `scontrol reconfigure`: a node that was away stays down now",
    )


def check_power_saving(slurm: SlurmFacts) -> Finding:
    program = slurm.config.get("SuspendProgram", "(null)")
    return judged(
        "slurm-power-saving",
        "SuspendProgram",
        f"Slurm suspends nodes itself, with {program}" if program != "(null)" else "Slurm suspends no nodes",
        holds=program == "(null)",
        otherwise=Severity.WARNING,
        remedy="take SuspendProgram, ResumeProgram and SuspendTime out of slurm.conf: only nodewatcher ends nodes",
    )


def check_gres(slurm: SlurmFacts) -> Finding:
    value = slurm.config.get("GresTypes", "(null)")
    return judged(
        "slurm-gres-types",
        "GresTypes",
        f"it is {value}",
        holds="gpu" in value.split(","),
        remedy=f"set GresTypes=gpu in {_SLURM_CONF}",
    )


def check_node_count(slurm: SlurmFacts) -> Finding:
    """Of dynamic nodes, placeholders count as well."""
    said = slurm.config.get("MaxNodeCount", "0")
    room = int(said) if said.isdigit() else 0
    needed = (slurm.most or 0) + slurm.placeholders * slurm.kinds
    return judged(
        "slurm-max-node-count",
        "MaxNodeCount",
        f"it is {said}; the fleets and {slurm.placeholders} placeholders for each of {slurm.kinds} kinds of node take {needed}",
        holds=room >= needed,
        remedy=f"set MaxNodeCount={max(1024, 2 * needed)} in {_SLURM_CONF}",
    )


def check_placeholders(slurm: SlurmFacts) -> Finding:
    largest = slurm.largest or 0
    return judged(
        "slurm-placeholders",
        "scheduler.settings.placeholders",
        f"it is {slurm.placeholders}, and the largest fleet may have {largest} nodes",
        holds=slurm.placeholders >= largest,
        otherwise=Severity.WARNING,
        remedy=f"set scheduler.settings.placeholders = {largest}: jobs for more nodes than that may be rejected",
    )


def check_partitions(check: str, known: Collection[str], fleets: Sequence[FleetSpec], remedy: str) -> Iterator[Finding]:
    """Each fleet's partition or queue is there."""
    for name in sorted({fleet.partition for fleet in fleets}):
        there = name in known
        yield judged(
            check,
            name,
            "it is there" if there else f"there is none; there are: {', '.join(sorted(known)) or 'none'}",
            holds=there,
            remedy=remedy.format(name) + ", or correct the fleet's partition",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SgeComplex:
    """A resource, as far as it matters: is it counted, and what does a job have that asks for none?"""

    consumable: bool
    default: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SgeFacts:
    queues: Collection[str]
    groups: Collection[str]  # of hosts
    wanted_groups: Collection[str]  # those of the fleets
    complexes: Mapping[str, SgeComplex]
    memory: str  # the complex by which jobs ask for memory
    counted: Collection[str]  # complexes that have to be consumables
    placeholder: str  # the host that stands for nodes to come
    stands: Collection[str]  # the queues that have an instance there


def check_sge(sge: SgeFacts, fleets: Sequence[FleetSpec]) -> Iterator[Finding]:
    """Everything about the cell's settings."""
    yield from check_partitions("sge-queue", sge.queues, fleets, "qconf -aq {0} (hostlist NONE, slots 0)")
    yield check_sge_memory(sge)
    for name in sorted(sge.counted):
        yield check_sge_consumable(sge, name)
    missing = sorted(set(sge.wanted_groups) - set(sge.groups))
    yield judged(
        "sge-host-groups",
        "host groups of the fleets",
        f"missing: {', '.join(missing)}" if missing else ", ".join(sorted(sge.wanted_groups)),
        holds=not missing,
        otherwise=Severity.WARNING,
        remedy="systemctl start sqswatcher, which makes them",
    )
    without = sorted({fleet.partition for fleet in fleets} - set(sge.stands))
    yield judged(
        "sge-placeholder",
        f"{sge.placeholder} in the queues of the fleets",
        f"it does not stand in {', '.join(without)}" if without else "it stands for nodes to come in each",
        holds=not without,
        otherwise=Severity.WARNING,
        remedy="systemctl start sqswatcher, which puts it there; if it stays away, name a host that resolves in"
        " scheduler.settings.placeholder",
    )


def check_sge_memory(sge: SgeFacts) -> Finding:
    """A limit of 0 kills every job that asked for nothing."""
    known = sge.complexes.get(sge.memory)
    deadly = known is not None and known.consumable and known.default == "0" and sge.memory.startswith(("h_", "s_"))
    said = "there is none" if known is None else f"consumable: {known.consumable}, default {known.default}"
    return judged(
        "sge-memory-default",
        f"complex {sge.memory}",
        said,
        holds=not deadly,
        remedy=f"give {sge.memory} a default with `qconf -mc`, such as 512M: jobs that ask for none are limited to 0 and die",
    )


def check_sge_consumable(sge: SgeFacts, name: str) -> Finding:
    known = sge.complexes.get(name)
    return judged(
        "sge-consumable",
        f"complex {name}",
        "it is not there yet" if known is None else "it is counted" if known.consumable else "it is no consumable",
        holds=known is None or known.consumable,
        remedy=f"change it with `qconf -mc` into: {name} {name} INT <= YES YES 0 0",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TorqueFacts:
    """`attributes` are the server's. `slots` of the placeholder is None where there is none."""

    attributes: Mapping[str, str]
    most_nodes: int
    slots: int | None
    wanted_slots: int
    largest: int | None  # the greatest size of a fleet, None where AWS did not say


def check_torque(torque: TorqueFacts) -> Iterator[Finding]:
    """Everything about pbs_server's settings."""
    nodect = torque.attributes.get("resources_available.nodect", "")
    yield judged(
        "torque-nodect",
        "resources_available.nodect",
        f"it is {nodect or 'not set'}, and scheduler.settings.most_nodes {torque.most_nodes}",
        holds=nodect == str(torque.most_nodes),
        remedy="systemctl start sqswatcher, which sets it; by hand: qmgr -c 'unset server resources_available.nodect', then"
        f" qmgr -c 'set server resources_available.nodect = {torque.most_nodes}'",
    )
    yield judged(
        "torque-placeholder",
        "the node that stands for nodes to come",
        "there is none" if torque.slots is None else f"it has {torque.slots} slots of {torque.wanted_slots}",
        holds=torque.slots == torque.wanted_slots,
        remedy="systemctl start sqswatcher, which makes it; if it stays away, name a host that resolves in"
        " scheduler.settings.placeholder",
    )
    largest = torque.largest or 0
    yield judged(
        "torque-most-nodes",
        "scheduler.settings.most_nodes",
        f"it is {torque.most_nodes}, and the largest fleet may have {largest} nodes",
        holds=torque.most_nodes >= largest,
        otherwise=Severity.WARNING,
        remedy=f"set scheduler.settings.most_nodes = {largest}",
    )
    scheduling = torque.attributes.get("scheduling", "True")
    yield judged(
        "torque-scheduling",
        "scheduling",
        f"it is {scheduling}",
        holds=scheduling == "True",
        remedy="qmgr -c 'set server scheduling = true'",
    )
