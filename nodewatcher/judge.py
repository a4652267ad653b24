"""What to do about one node, looked at by itself, and the sentence that says why. Pure.

Nothing that was not said leads to an end: silence is not idleness, and no word is no metrics.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from daemons.config.values import NodewatcherConfig
from daemons.model import Fleet, FleetName, Hostname, Instance, InstanceId, JobId, Node, State
from nodewatcher.observe import NodeSnapshot

RETRY_END_S = 120.0  # how long an end that has been asked for may take to show before it is asked for again


class Action(StrEnum):
    KEEP = "keep"
    DRAIN = "drain"  # drain it now, then look again
    RESUME = "resume"  # take our drain back
    LEAVE = "leave"  # its end is under way already: record that
    END = "end"  # it has never taken jobs, or its end was asked for and came to nothing: end it as it is


class Cause(StrEnum):
    """What a drain is for; the bounds differ."""

    NONE = ""
    IDLE = "idle"
    NOTICE = "notice"  # AWS takes it away anyway
    HEALTH = "health"  # it is broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do about one node. `idle_since` is the idle clock to store; `relaunch`: the desired capacity stays; `requeue`: it
    is lost with jobs that the scheduler has not given up, and that are to wait again.
    """

    row: Instance
    action: Action
    reason: str
    cause: Cause = Cause.NONE
    idle_since: float | None = None
    relaunch: bool = False
    requeue: bool = False

    @property
    def clock_changed(self) -> bool:
        return self.idle_since != self.row.idle_since


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What the judgement of each node needs besides the node. `down_since` and `booting_since` are without unobserved time."""

    now: float
    unobserved_s: float
    options: NodewatcherConfig
    fleets: Mapping[FleetName, Fleet]
    known: Collection[Hostname]  # to the scheduler, whoever's they are
    needed: Collection[Hostname]  # that pending demand is about to use
    in_demand: Collection[FleetName]  # that waiting jobs could run on
    down_since: Mapping[InstanceId, float]
    booting_since: Mapping[InstanceId, float]


def judge(snapshot: NodeSnapshot, bench: Bench) -> Verdict:
    """The verdict on one node by itself."""
    row, node, member = snapshot.row, snapshot.node, snapshot.member
    if member is None:
        return _keep(row, "Auto Scaling has not mentioned it: its end is not ours to ask for")
    if member.is_leaving and row.state is not State.TERMINATING:
        return Verdict(row=row, action=Action.LEAVE, reason=f"Auto Scaling says {member.lifecycle}")
    if row.state is State.TERMINATING:
        return _judge_ending(snapshot, bench)
    if (until := row.hold_ends_at(bench.now)) is not None:
        return _judge_held(row, until)
    if row.state in (State.PENDING, State.READY):
        if row.hostname is not None and row.hostname in bench.known:
            return _keep(row, "the scheduler knows it already, and may start jobs there: its row is about to say so")
        return _judge_boot(row, bench)
    if node is None:
        return _keep(row, "the scheduler has not mentioned it")
    if row.state is State.DRAINING:
        return _judge_draining(snapshot, node, bench)
    return _judge_registered(snapshot, node, bench)


def _judge_registered(snapshot: NodeSnapshot, node: Node, bench: Bench) -> Verdict:
    """The verdict on a node that the scheduler knows and that nobody is taking away yet."""
    row = snapshot.row
    if snapshot.notice is not None and (node.is_usable or node.drained_by_us):
        return Verdict(
            row=row,
            action=Action.DRAIN,
            cause=Cause.NOTICE,
            reason=f"AWS announced a {snapshot.notice}",
            idle_since=row.idle_since,
        )
    if node.drained_by_us and not snapshot.is_down:
        return Verdict(row=row, action=Action.RESUME, reason="drained by an interrupted pass that did not record it")
    if node.is_awaited:
        return _judge_boot(row, bench)
    if snapshot.is_down:
        return _judge_down(snapshot, node, bench)
    if not node.is_usable:
        said = node.reason or ", ".join(sorted(node.states))
        return _keep(row, f"the scheduler says {said}: an administrator's or the scheduler's matter")
    if not node.is_idle:
        return _keep(row, f"busy: {some_jobs(node.jobs) or 'reserved or completing'}")
    return _judge_idle(snapshot, node, bench)


def busy_by_metrics(snapshot: NodeSnapshot, now: float, options: NodewatcherConfig) -> str:
    """Why the node's own metrics keep it, "" if they do not. Where metrics are required, none or old ones keep it."""
    if not (options.busy_cpu_share or options.busy_gpu_share or options.sessions_keep):
        return ""
    reading = snapshot.reading
    if reading is None:
        return "kept: its own metrics are required, and it has sent none"
    if reading.gone:
        return "kept: its own metrics are required, and its agent is gone"
    if (age_s := now - reading.at) > options.metrics_stale_s:
        return f"kept: its own metrics are required, and the last are {age_s:.0f} s old"
    if -age_s > options.metrics_stale_s:
        return "kept: its own metrics are required, and the last came before the clock was set back"
    host = reading.host
    if options.busy_cpu_share and host.cpu_share >= options.busy_cpu_share:
        return f"busy: {host.cpu_share:.0%} of its CPU time, from {options.busy_cpu_share:.0%} on it is not idle"
    if options.busy_gpu_share and (host.gpu_share or 0.0) >= options.busy_gpu_share:
        return f"busy: {host.gpu_share or 0.0:.0%} of its GPU time, from {options.busy_gpu_share:.0%} on it is not idle"
    if options.sessions_keep and host.sessions:
        return f"kept: {host.sessions} people are logged in"
    return ""


def some_jobs(jobs: Iterable[JobId], most: int = 3) -> str:
    """A few of the jobs, for a sentence."""
    names = sorted(jobs)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"job {', '.join(names[:most])}{rest}" if names else ""


def clock(at: float) -> str:
    """A time for a sentence: 18:00 UTC, with the date."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _keep(row: Instance, reason: str) -> Verdict:
    """Kept, and not idle as far as anybody knows: the clock begins anew."""
    return Verdict(row=row, action=Action.KEEP, reason=reason)


def _judge_held(row: Instance, until: float) -> Verdict:
    who = f" by {row.held_by}" if row.held_by else ""
    why = f": {row.hold_reason}" if row.hold_reason else ""
    reason = f"held{who} until {clock(until)}{why}"
    return Verdict(row=row, action=Action.RESUME if row.state is State.DRAINING else Action.KEEP, reason=reason)


def _judge_ending(snapshot: NodeSnapshot, bench: Bench) -> Verdict:
    """Its end has been asked for. If Auto Scaling still has it long after, the call was lost; then it is asked for again, unless
    anything could be running there; a node that the scheduler knows is drained first.
    """
    row, node, member = snapshot.row, snapshot.node, snapshot.member
    waited_s = bench.now - row.terminating_at if row.terminating_at is not None else 0.0
    is_safe = row.hostname not in bench.known or (node is not None and node.is_empty)
    if member is not None and not member.is_leaving and waited_s >= RETRY_END_S and is_safe and not row.terminate_hook:
        reason = f"its end was asked for {waited_s:.0f} s ago, and Auto Scaling says {member.lifecycle}"
        return Verdict(row=row, action=Action.END, reason=reason)
    return Verdict(row=row, action=Action.KEEP, reason="on its way out", idle_since=row.idle_since)


def _judge_boot(row: Instance, bench: Bench) -> Verdict:
    """It takes no jobs yet, and has no idle clock. One that had its time is ended; the group may launch another."""
    timeout_s = bench.fleets[row.fleet].spec.boot_timeout_s
    waited_s = bench.now - bench.booting_since.get(row.instance_id, bench.now)
    if waited_s <= timeout_s:
        return _keep(row, f"booting for {waited_s:.0f} s of at most {timeout_s:.0f} s")
    reason = f"never came up: it took no jobs within {timeout_s:.0f} s of its launch"
    if row.state is State.REGISTERED:
        return Verdict(row=row, action=Action.DRAIN, cause=Cause.HEALTH, reason=reason)
    return Verdict(row=row, action=Action.END, reason=reason)


def _judge_down(snapshot: NodeSnapshot, node: Node, bench: Bench) -> Verdict:
    """The scheduler calls it down. Somebody else has to say so too, or it has to stay so.

    Jobs that the scheduler has not given up may run on without its daemon: only a second witness's word is enough to have them
    wait again. Then another node takes this one's place for them.
    """
    row = snapshot.row
    waited_s = bench.now - bench.down_since.get(row.instance_id, bench.now)
    said = f"down ({node.reason})" if node.reason and not node.drained_by_us else "down"
    evidence = ""
    if snapshot.impaired:
        evidence = "EC2's checks fail"
    elif snapshot.reading is not None and snapshot.reading.gone:
        evidence = "its agent is gone"
    elif node.jobs:
        return _keep(row, f"{said}, and the scheduler has not given up {some_jobs(node.jobs)}")
    elif waited_s >= bench.options.down_for_s:
        evidence = f"for {waited_s:.0f} s"
    if not evidence:
        return _keep(row, f"{said} for {waited_s:.0f} s of {bench.options.down_for_s:.0f} s")
    jobs = f", with {some_jobs(node.jobs)}" if node.jobs else ""
    return Verdict(
        row=row,
        action=Action.DRAIN,
        cause=Cause.HEALTH,
        reason=f"unhealthy: {said}, {evidence}{jobs}",
        relaunch=bool(node.jobs) or _is_missed(row.fleet, bench),
        requeue=bool(node.jobs),
    )


def _is_missed(fleet: FleetName, bench: Bench) -> bool:
    """Should another take its place? Jobs wait that could run there, or the fleet has one size only."""
    return fleet in bench.in_demand or bench.fleets[fleet].is_static


def _judge_idle(snapshot: NodeSnapshot, node: Node, bench: Bench) -> Verdict:
    """The scheduler says that it is up, with nothing there."""
    row, options = snapshot.row, bench.options
    if because := busy_by_metrics(snapshot, bench.now, options):
        return _keep(row, because)
    since = min(bench.now, row.idle_since + bench.unobserved_s) if row.idle_since is not None else bench.now
    idle_s = bench.now - since
    action, cause, reason = Action.KEEP, Cause.IDLE, f"idle {idle_s:.0f} s of {options.idle_for_s:.0f} s"
    if bench.fleets[row.fleet].is_static:
        cause, reason = Cause.NONE, "kept: the fleet is static"
    elif node.hostname in bench.needed:
        cause, reason = Cause.NONE, "kept: waiting jobs are about to use it"
    elif idle_s >= options.idle_for_s:
        action, reason = Action.DRAIN, f"idle for {idle_s:.0f} s"
    return Verdict(row=row, action=action, cause=cause, reason=reason, idle_since=since)


def _judge_draining(snapshot: NodeSnapshot, node: Node, bench: Bench) -> Verdict:
    """A drain that an earlier pass began: go on with it, unless work turned up or there is no more cause for it."""
    row = snapshot.row
    if snapshot.notice is not None:  # it goes whatever we do: nothing new may start there
        return Verdict(
            row=row,
            action=Action.DRAIN,
            cause=Cause.NOTICE,
            reason=f"AWS announced a {snapshot.notice}",
            idle_since=row.idle_since,
        )
    if snapshot.is_down and node.jobs and (lost := _judge_down(snapshot, node, bench)).requeue:
        return lost
    if node.jobs:
        return Verdict(row=row, action=Action.RESUME, reason=f"work turned up: {some_jobs(node.jobs)}")
    if snapshot.is_down:
        reason = row.drain_reason or "unhealthy: down"
        return Verdict(row=row, action=Action.DRAIN, cause=Cause.HEALTH, reason=reason, relaunch=_is_missed(row.fleet, bench))
    if bench.fleets[row.fleet].is_static:
        return Verdict(row=row, action=Action.RESUME, reason="the fleet is static")
    if node.hostname in bench.needed:
        return Verdict(row=row, action=Action.RESUME, reason="waiting jobs are about to use it")
    if because := busy_by_metrics(snapshot, bench.now, bench.options):
        return Verdict(row=row, action=Action.RESUME, reason=because)
    return Verdict(
        row=row, action=Action.DRAIN, cause=Cause.IDLE, reason=row.drain_reason or "draining", idle_since=row.idle_since
    )
