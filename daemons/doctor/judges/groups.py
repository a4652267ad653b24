"""The Auto Scaling groups behind the fleets, and what they launch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from daemons.doctor.findings import Finding, Severity, judged
from daemons.model import FleetSpec, Launch, Purchase

NOTICES = frozenset(f"autoscaling:EC2_INSTANCE_{word}" for word in ("LAUNCH", "LAUNCH_ERROR", "TERMINATE", "TERMINATE_ERROR"))
USUAL_SHARE = 0.97  # what an operating system leaves of an instance's memory at most
_NEEDED = frozenset({"Launch", "Terminate"})
_HELPFUL = frozenset({"HealthCheck", "ReplaceUnhealthy"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFacts:
    name: str
    launching: bool
    timeout_s: int
    result: str  # CONTINUE or ABANDON
    target: str  # "" : EventBridge alone hears of it


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """One group as AWS tells of it. `spot` is None where nothing says how its instances are bought."""

    name: str
    minimum: int
    maximum: int
    protects_new: bool
    suspended: frozenset[str]
    zones: tuple[str, ...]
    health_check: str
    has_template: bool
    instance_types: tuple[str, ...]  # the template's, or those of a mixed group; (): nothing says
    weights: frozenset[str] = frozenset()  # of a mixed group's types, other than 1
    spot: bool | None = None
    warm_pool: bool = False
    lifetime_s: int = 0  # after which Auto Scaling replaces an instance; 0: never
    rebalances_capacity: bool = False  # replaces Spot instances that EC2 recommends to leave
    notices: Mapping[str, frozenset[str]]  # by topic's ARN
    hooks: tuple[HookFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeFacts:
    """An instance type."""

    name: str
    vcpus: int
    memory_mib: int
    gpus: int


def check_group(fleet: FleetSpec, group: GroupFacts) -> Iterator[Finding]:
    """Everything about one group but its hooks."""
    yield Finding(id="group-exists", severity=Severity.OK, looked_at=group.name, found=f"fleet {fleet.name}")
    yield check_bounds(group)
    yield check_protection(group)
    yield check_rebalancing(group)
    yield check_processes(group)
    yield check_health(group)
    yield check_launch(fleet, group)
    yield check_types(fleet, group)
    yield check_weights(group)
    yield check_purchase(fleet, group)
    yield check_warm_pool(group)
    yield check_lifetime(group)
    yield check_capacity_rebalance(group)
    yield check_notices(group)


def check_bounds(group: GroupFacts) -> Finding:
    found = f"between {group.minimum} and {group.maximum} instances"
    static = group.minimum == group.maximum and group.maximum > 0
    return judged(
        "group-bounds",
        group.name,
        f"{found}: it is never scaled" if static else found,
        holds=group.maximum > 0 and not static,
        otherwise=Severity.NOTE if static else Severity.WARNING,
        remedy=_update(group, "--max-size N") + ", if the fleet is to grow",
    )


def check_protection(group: GroupFacts) -> Finding:
    return judged(
        "group-protection",
        group.name,
        f"new instances are {'' if group.protects_new else 'not '}protected from scale-in",
        holds=group.protects_new,
        remedy=_update(group, "--new-instances-protected-from-scale-in"),
    )


def check_rebalancing(group: GroupFacts) -> Finding:
    suspended = "AZRebalance" in group.suspended
    return judged(
        "group-az-rebalance",
        group.name,
        "AZRebalance is suspended" if suspended else "AZRebalance may end instances to even out zones",
        holds=suspended,
        otherwise=Severity.ERROR if len(group.zones) > 1 else Severity.WARNING,
        remedy=f"aws autoscaling suspend-processes --auto-scaling-group-name {group.name} --scaling-processes AZRebalance",
    )


def check_processes(group: GroupFacts) -> Finding:
    missing = sorted((_NEEDED | _HELPFUL) & group.suspended)
    return judged(
        "group-processes",
        group.name,
        f"suspended: {', '.join(missing)}" if missing else "it launches, ends and replaces instances",
        holds=not missing,
        otherwise=Severity.ERROR if _NEEDED & group.suspended else Severity.WARNING,
        remedy=f"aws autoscaling resume-processes --auto-scaling-group-name {group.name} --scaling-processes {' '.join(missing)}",
    )


def check_health(group: GroupFacts) -> Finding:
    """A load balancer's opinion of a compute node would end it with its jobs."""
    return judged(
        "group-health-check",
        group.name,
        f"health is judged by {group.health_check}",
        holds=set(group.health_check.split(",")) <= {"EC2", "EBS"},
        otherwise=Severity.WARNING,
        remedy=_update(group, "--health-check-type EC2"),
    )


def check_launch(fleet: FleetSpec, group: GroupFacts) -> Finding:
    needs = fleet.launch is Launch.LAUNCH_INSTANCES
    return judged(
        "group-launch-template",
        group.name,
        "it has a launch template" if group.has_template else "it has none",
        holds=group.has_template,
        otherwise=Severity.ERROR if needs else Severity.NOTE,
        remedy=_update(group, "--launch-template LaunchTemplateName=…")
        + (f', or set launch = "desired-capacity" for fleet {fleet.name}' if needs else ""),
    )


def check_types(fleet: FleetSpec, group: GroupFacts) -> Finding:
    others = [name for name in group.instance_types if name != fleet.instance_type]
    launches = ", ".join(group.instance_types) or "what its template leaves open"
    return judged(
        "group-instance-type",
        group.name,
        f"it launches {launches}, and fleet {fleet.name} is of {fleet.instance_type}",
        holds=not others,
        otherwise=Severity.ERROR if fleet.instance_type not in group.instance_types else Severity.WARNING,
        remedy=f"set instance_type, cpus, memory_mib and gpus of fleet {fleet.name} to what the group launches"
        + ("; of several types, to the smallest, or make a group for each" if len(group.instance_types) > 1 else ""),
    )


def check_weights(group: GroupFacts) -> Finding:
    return judged(
        "group-weights",
        group.name,
        f"capacity is counted in units: {', '.join(sorted(group.weights))}"
        if group.weights
        else "capacity is counted in instances",
        holds=not group.weights,
        remedy="take WeightedCapacity out of the group's mixed instances policy: headnode counts instances",
    )


def check_purchase(fleet: FleetSpec, group: GroupFacts) -> Finding:
    told = "unknown" if group.spot is None else "spot" if group.spot else "on-demand"
    return judged(
        "group-purchase",
        group.name,
        f"its instances are {told}, and fleet {fleet.name} is {fleet.purchase}",
        holds=group.spot is None or group.spot == (fleet.purchase is Purchase.SPOT),
        otherwise=Severity.WARNING,
        remedy=f'set purchase = "{told}" for fleet {fleet.name}',
    )


def check_warm_pool(group: GroupFacts) -> Finding:
    return judged(
        "group-warm-pool",
        group.name,
        "it has a warm pool" if group.warm_pool else "it has no warm pool",
        holds=not (group.warm_pool and (group.spot or len(group.instance_types) > 1)),
        otherwise=Severity.WARNING,
        remedy=f"aws autoscaling delete-warm-pool --auto-scaling-group-name {group.name}: warm pools go with neither Spot nor"
        " mixed instances",
    )


def check_lifetime(group: GroupFacts) -> Finding:
    return judged(
        "group-lifetime",
        group.name,
        f"instances are replaced after {group.lifetime_s} s, jobs or not"
        if group.lifetime_s
        else "instances may get as old as they like",
        holds=group.lifetime_s == 0,
        remedy=_update(group, "--max-instance-lifetime 0"),
    )


def check_capacity_rebalance(group: GroupFacts) -> Finding:
    return judged(
        "group-capacity-rebalance",
        group.name,
        "Auto Scaling ends Spot instances that may be interrupted, before they are"
        if group.rebalances_capacity
        else "it does not",
        holds=not group.rebalances_capacity,
        otherwise=Severity.WARNING,
        remedy=_update(group, "--no-capacity-rebalance") + ": sqswatcher drains such nodes itself, and lets their jobs finish",
    )


def check_notices(group: GroupFacts) -> Finding:
    """Notifications, or hooks with a target: without either only the comparison every few minutes sees what happens."""
    told = frozenset[str]().union(*group.notices.values())
    hooked = {hook.launching for hook in group.hooks if hook.target}
    missing = sorted(NOTICES - told)
    covered = not missing or hooked == {True, False}
    found = f"it does not tell of {', '.join(name.rpartition(':')[2] for name in missing)}" if missing else "it tells of all"
    return judged(
        "group-notifications",
        group.name,
        f"{found}; {len(group.hooks)} hooks",
        holds=covered,
        otherwise=Severity.ERROR if not told and not hooked else Severity.WARNING,
        remedy="aws autoscaling put-notification-configuration --auto-scaling-group-name"
        f" {group.name} --topic-arn … --notification-types {' '.join(sorted(NOTICES))}",
    )


def check_shape(fleet: FleetSpec, known: TypeFacts) -> Iterator[Finding]:
    """What the fleet says of an instance against what AWS sells under that name."""
    where = f"fleet {fleet.name} ({known.name})"
    shape = fleet.shape
    yield judged(
        "fleet-cpus",
        where,
        f"{shape.cpus} CPUs are configured, the type has {known.vcpus}",
        holds=shape.cpus <= known.vcpus,
        remedy=f"set cpus = {known.vcpus} (or the cores, if jobs get no hyper-threads) for fleet {fleet.name}",
    )
    usable_mib = int(known.memory_mib * USUAL_SHARE)
    yield judged(
        "fleet-memory",
        where,
        f"{shape.memory_mib} MiB are configured, the type has {known.memory_mib}",
        holds=shape.memory_mib <= usable_mib,
        otherwise=Severity.ERROR if shape.memory_mib > known.memory_mib else Severity.WARNING,
        remedy=f"set memory_mib = {int(known.memory_mib * 0.93)} for fleet {fleet.name}: the system needs some itself",
    )
    yield judged(
        "fleet-gpus",
        where,
        f"{shape.gpus} GPUs are configured, the type has {known.gpus}",
        holds=shape.gpus == known.gpus,
        otherwise=Severity.ERROR if shape.gpus > known.gpus else Severity.WARNING,
        remedy=f"set gpus = {known.gpus} for fleet {fleet.name}",
    )


def check_hooks(fleet: FleetSpec, group: GroupFacts, *, heard: frozenset[str], grace_s: float) -> Iterator[Finding]:
    """The hooks of one group. `heard` are the ARNs whose messages reach us: the queue's, and those of topics that it hears."""
    for hook in group.hooks:
        where = f"{hook.name} of {group.name}"
        yield judged(
            "hook-target",
            where,
            f"it tells {hook.target or 'nobody'}",
            holds=hook.target in heard,
            otherwise=Severity.ERROR if hook.target else Severity.WARNING,
            remedy=f"aws autoscaling put-lifecycle-hook --lifecycle-hook-name {hook.name} --auto-scaling-group-name {group.name}"
            " --notification-target-arn … --role-arn …, with the topic that the queue is subscribed to",
        )
        yield from check_launching(fleet, group, hook) if hook.launching else check_terminating(group, hook, grace_s)


def check_launching(fleet: FleetSpec, group: GroupFacts, hook: HookFacts) -> Iterator[Finding]:
    where = f"{hook.name} of {group.name}"
    yield judged(
        "hook-launch-timeout",
        where,
        f"an instance may take {hook.timeout_s} s, and fleet {fleet.name} {fleet.boot_timeout_s:g} s until its node takes jobs",
        holds=hook.timeout_s >= fleet.boot_timeout_s,
        otherwise=Severity.WARNING,
        remedy=_hook(hook, group, f"--heartbeat-timeout {min(7200, int(fleet.boot_timeout_s) + 60)}"),
    )
    yield judged(
        "hook-launch-result",
        where,
        f"without an answer the launch goes on with {hook.result}",
        holds=hook.result == "ABANDON",
        otherwise=Severity.WARNING,
        remedy=_hook(hook, group, "--default-result ABANDON")
        + ": an instance whose node never joined would stay in service otherwise",
    )


def check_terminating(group: GroupFacts, hook: HookFacts, grace_s: float) -> Iterator[Finding]:
    """Auto Scaling ends the wait after a hundred heartbeats, or two days, whatever is said."""
    limit_s = min(48 * 3600, 100 * hook.timeout_s)
    yield judged(
        "hook-terminate-limit",
        f"{hook.name} of {group.name}",
        f"it can hold an instance for {limit_s} s, and sqswatcher wants {grace_s:g} s for jobs to finish",
        holds=limit_s >= grace_s,
        otherwise=Severity.WARNING,
        remedy=_hook(hook, group, f"--heartbeat-timeout {min(7200, max(30, int(grace_s / 100) + 1))}")
        + ", or lower sqswatcher.terminate_grace_s",
    )


def _update(group: GroupFacts, words: str) -> str:
    return f"aws autoscaling update-auto-scaling-group --auto-scaling-group-name {group.name} {words}"


def _hook(hook: HookFacts, group: GroupFacts, words: str) -> str:
    return f"aws autoscaling put-lifecycle-hook --lifecycle-hook-name {hook.name} --auto-scaling-group-name {group.name} {words}"
