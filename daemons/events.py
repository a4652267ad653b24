"""Every event that headnode's services and its agent log: the one list that docs, commands, dashboards and tests are made of.
So it is for metrics.

tests/daemons/test_events.py holds it against the code: nothing is logged that is not here, nothing is here that is not logged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

_ERROR = "code error hint"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent:
    """A line that can be logged. `next` is what an operator does about it, "" for nothing. `tells_error`: an error's facts may be
    fields too.
    """

    name: str
    levels: tuple[str, ...]
    meaning: str
    next: str = ""
    fields: tuple[str, ...] = ()

    @property
    def tells_error(self) -> bool:
        return frozenset(_ERROR.split()) <= frozenset(self.fields)


class Sums(StrEnum):
    """What becomes of several measures within a minute."""

    COUNT = "count"  # summed up
    GAUGE = "gauge"  # the last counts
    TIMES = "times"  # all are told


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric. `by` are its dimensions besides the cluster; `statistic` is the one to look at; `unit` is CloudWatch's word."""

    name: str
    sums: Sums
    unit: str
    statistic: str
    meaning: str
    by: tuple[str, ...] = ()


def _event(level: str, name: str, fields: str, meaning: str, then: str = "") -> LogEvent:
    return LogEvent(name=name, levels=tuple(level.split()), meaning=meaning, next=then, fields=tuple(fields.split()))


EVENTS: tuple[LogEvent, ...] = (
    # all services
    _event("info", "service.started", "version pid fleets", "A service begins."),
    _event("info", "service.stopped", "", "A service has ended as it was told to; the cycle in hand was finished."),
    _event(
        "error",
        "service.failed",
        _ERROR,
        "A service ends for something that another cycle would not mend. systemd starts it again, unless its set-up is wrong.",
        "Do what `hint` says. `headnode config check` finds what is wrong with the configuration.",
    ),
    _event(
        "warning",
        "service.held_back",
        "failures wait_s because",
        "So many starts in a row failed; this one begins after `wait_s`, which doubles each time up to five minutes. One that was"
        " ready for a minute has not failed.",
        "Mend what `because` says, then `systemctl restart` the service: that starts it at once.",
    ),
    _event(
        "warning",
        "service.starts_not_counted",
        "path error",
        "The file that counts failed starts could not be written: the next start is not held back.",
        "See that the service may write its runtime directory (`RuntimeDirectory=` in its unit), and that it is not full.",
    ),
    _event(
        "info",
        "config.changed",
        "source changes count",
        "SIGHUP brought a configuration that can be used. It takes effect once the cycle in hand is finished; a change of"
        " `log.level` alone at once.",
    ),
    _event("info", "config.unchanged", "source", "SIGHUP came, and the configuration says what it said before."),
    _event(
        "error",
        "config.refused",
        "source problems count hint",
        "SIGHUP came, and the changed configuration cannot be used, or only after a restart. The old one stays in effect.",
        "Correct each of `problems` and reload again, or restart the service where they say so.",
    ),
    _event(
        "warning",
        "cycle.failed",
        f"failures next_try_s {_ERROR}",
        "A cycle was given up because AWS or the scheduler gave no answer. Nothing was concluded from that; it is tried again.",
        "Nothing if it stops. If `failures` grows: do what `hint` says, and see whether what `error` names can be reached.",
    ),
    _event("debug", "service.woken", "by", "The service looks at once, because somebody woke it."),
    _event(
        "info",
        "lease.taken",
        "service fence after",
        "Of two heads this one acts for this service from now on. `after` held the lease before.",
    ),
    _event(
        "info", "lease.released", "service fence", "This head has given the lease back as it stopped: the other one takes it."
    ),
    _event(
        "warning",
        "lease.lost",
        "service fence holder new_fence",
        "The other head has taken the lease over. This one begins nothing any more, and stands by.",
        "See why this head was not heard of: it slept, was stopped, or did not reach DynamoDB. `headnode ha` shows who acts now.",
    ),
    _event(
        "warning",
        "lease.unanswered",
        "service holding error",
        "DynamoDB did not say who holds the lease, or did not take its renewal. Told once, until it answers again.",
        "Nothing if it stops. Otherwise see whether this head reaches DynamoDB: unanswered, it acts no longer than its lease.",
    ),
    _event(
        "warning",
        "lease.not_released",
        "service fence",
        "The lease could not be given back at the end. The other head takes it when its time is over.",
        "Nothing.",
    ),
    _event(
        "warning",
        "cycle.abandoned",
        _ERROR,
        "A cycle was given up in the middle: this head lost its lease (`lease-lost`), or the service was told to stop and AWS did"
        " not answer what it had asked (`cut-short`). Nothing was begun since; whoever acts next looks anew.",
        "Look at `lease.lost` or `lease.unanswered` just before it. Nothing for one that was told to stop.",
    ),
    _event("info", "alarm.ended", "alarm", "What an alarm was about is over."),
    _event("info", "broker.connected", "host topics", "There is a connection to the MQTT broker."),
    _event(
        "warning",
        "broker.lost",
        "host error failures next_try_s",
        "There is no connection to the MQTT broker. Metrics and wake-ups are missing until there is; nothing else depends on it.",
        "See whether the broker runs, and whether [mqtt] names it and its credentials rightly.",
    ),
    _event(
        "warning",
        "row.unreadable",
        f"table key {_ERROR}",
        "A row of the table is not one of ours, or broken. It is left alone.",
        "Look at the row; delete it if it is nobody's.",
    ),
    _event(
        "warning",
        "memory.unreadable",
        f"path {_ERROR}",
        "What a service had learnt could not be read after its start. It begins anew, and more careful than before.",
        "Nothing; the file is written again.",
    ),
    _event(
        "warning",
        "memory.not_written",
        "directory error",
        "What a service has learnt could not be written down. It goes on, and would have forgotten it after a restart.",
        "Make room on that file system, or give headnode's user leave to write there.",
    ),
    _event(
        "warning",
        "record.not_written",
        "directory error",
        "The record of decisions could not be written. Decisions are made all the same; `headnode explain` shows old ones.",
        "Make room on that file system, or give headnode's user leave to write there.",
    ),
    _event(
        "warning",
        "cloudwatch.away",
        _ERROR,
        "CloudWatch Logs takes no lines. They wait in memory and on disk; standard output has them as ever.",
        "Do what `hint` says; `headnode iam render` prints what the role has to allow.",
    ),
    _event("info", "cloudwatch.back", "target", "CloudWatch Logs takes lines again; those that waited follow."),
    _event(
        "warning",
        "cloudwatch.refused",
        "lines target",
        "CloudWatch Logs refused lines, usually for their time. Told once until it takes everything again.",
        "See whether this host's clock is right.",
    ),
    _event(
        "warning",
        "cloudwatch.dropped",
        "lines",
        "So many lines never reached CloudWatch Logs: the spool was full, or AWS refused them. Standard output had them.",
        "Give the spool more room (log.cloudwatch.spool_mib) if outages are long.",
    ),
    _event(
        "warning",
        "logfile.not_written",
        "path error",
        "A line could not be written to the log file. Standard output has it. Told once until lines can be written again.",
        "Make room on that file system, or give headnode's user leave to write there.",
    ),
    _event(
        "info",
        "metrics.measured",
        "",
        "Metrics of the last minute, in CloudWatch's embedded metric format: `_aws` says which of the fields they are.",
    ),
    # sqswatcher
    _event("info", "membership.started", "hostnames", "sqswatcher knows which host names are taken, and begins."),
    _event("debug", "message.received", "message_id receives instance_ids", "A message was received, about these instances."),
    _event("debug", "message.deleted", "message_id", "A message was acknowledged: its consequences are durable."),
    _event(
        "info",
        "message.dropped",
        "message_id because",
        "A message was acknowledged and nothing done, because it asks for nothing, or is about a stranger.",
    ),
    _event(
        "info",
        "message.postponed",
        "message_id receives because",
        "A message cannot be acted on yet, and comes again later.",
        "If `receives` grows: the reason says what it waits for. Malformed ones end in `headnode queue quarantine`.",
    ),
    _event(
        "info",
        "batch.finished",
        "messages instances failed dropped postponed took_s",
        "A batch of messages was seen through.",
    ),
    _event(
        "warning error",
        "batch.step_failed",
        f"instance_ids message_ids {_ERROR}",
        "One step of a batch failed for these instances; their messages come again, later each time.",
        "Nothing for a warning that does not come again. An error is a refusal: do what `hint` says.",
    ),
    _event(
        "info",
        "instance.advanced",
        "state instance_id message_ids hostname fleet address because",
        "An instance has entered a new state of its life, and everything that belongs to it is done.",
    ),
    _event(
        "warning",
        "instance.not_advanced",
        "instance_id message_ids effect error",
        "An instance did not get to its next state. Its messages come again.",
        "Look at `error`. What never succeeds ends in the dead-letter queue: `headnode queue depth`.",
    ),
    _event(
        "error",
        "instance.abandoned",
        "instance_id message_ids because",
        "The scheduler refused the node for good, so Auto Scaling was told to end the instance and launch another.",
        "Correct what `because` says in the scheduler's configuration or the fleet's shape: the next one will be refused too.",
    ),
    _event(
        "debug",
        "node.changed",
        "instance_id message_ids hostname effect outcome",
        "The scheduler has registered or deregistered the node.",
    ),
    _event(
        "warning",
        "node.not_changed",
        "instance_id message_ids hostname effect outcome detail",
        "The scheduler did not register or deregister the node. It is tried again.",
        "Look at `detail`, and at the scheduler's own log.",
    ),
    _event(
        "debug",
        "dns.changed",
        "instance_id message_ids hostname address",
        "The zone has the node's record; no address: has it no more.",
    ),
    _event("debug", "row.written", "instance_id message_ids state version", "The table has the instance's row in this state."),
    _event(
        "warning",
        "membership.differs",
        "kind instance_id because",
        "Group, table, scheduler and zone do not agree about an instance. What is missing is mended, what is left over is "
        "removed once it was seen twice.",
        "Nothing for single ones. Many of them: messages are lost; look at the groups' notifications and the queue's policy.",
    ),
    _event(
        "error",
        "resync.refused",
        "because",
        "A comparison would have removed more nodes than it may (sqswatcher.max_removal_share), and removed none.",
        "See whether the scheduler and Auto Scaling tell the truth; then `headnode resync --apply`.",
    ),
    _event(
        "warning",
        "visibility.not_extended",
        _ERROR,
        "Messages in work could not be kept ours. Another may receive them too; each step can be repeated.",
        "Nothing if it stops; otherwise do what `hint` says.",
    ),
    # jobwatcher
    _event(
        "warning",
        "wake.unusable",
        _ERROR,
        "jobwatcher cannot be woken at its socket. It looks at its interval, as ever.",
        "Do what `hint` says.",
    ),
    _event("info", "capacity.raised", "fleet previous target because", "A fleet was asked to grow."),
    _event(
        "info",
        "capacity.launched",
        "fleet previous target because launched refused",
        "Instances were launched at once; so many were refused.",
        "If many are refused: `headnode explain fleet NAME` says what AWS answered.",
    ),
    _event("info", "capacity.held", "fleet desired because", "A fleet is not asked to grow, for this reason. Told once."),
    _event(
        "info",
        "capacity.not_asked",
        "fleet action target because",
        "A dry run: this is what would have been asked for.",
    ),
    _event(
        "info",
        "capacity.cancelled",
        "fleet previous target desired because",
        "Capacity that did not come is no longer asked for.",
    ),
    _event(
        "info",
        "capacity.not_cancelled",
        "fleet previous target desired because",
        "Capacity that had not come was to be given up, and came meanwhile.",
    ),
    _event(
        "warning",
        "capacity.unanswered",
        f"fleet action target {_ERROR}",
        "AWS did not answer when capacity was asked for. What it did shows at the next look.",
        "Nothing if it stops.",
    ),
    _event(
        "warning",
        "capacity.refused",
        f"fleet action target {_ERROR}",
        "AWS refused what was asked for. It counts as a failed launch, and the fleet is left alone for a while.",
        "Do what `hint` says: usually a permission, a quota or the group's own bounds.",
    ),
    _event(
        "warning",
        "capacity.short",
        "fleet because",
        "An alarm: AWS has no capacity for a fleet. Its jobs go to the next fleet that fits, and it is tried again later.",
        "Give the fleet more zones or instance types, or wait. `headnode explain fleet NAME` says when it is tried.",
    ),
    _event(
        "warning",
        "fleet.stopped",
        "fleet because",
        "An alarm: a fleet has stopped growing, since its configuration cannot work or its instances never take jobs.",
        "Look at the launch template, and at the console of an instance (node.never_came_up). One at a time is tried meanwhile.",
    ),
    _event(
        "warning",
        "capacity.unused",
        "fleet because",
        "An alarm: nodes have stood idle for long without demand, and are paid for.",
        "`headnode nodes` says why each of them is kept.",
    ),
    _event(
        "warning",
        "budget.warned",
        "fleet because",
        "An alarm: more is asked for than the budget warns at.",
        "Nothing, or lower [budget] max_*.",
    ),
    _event(
        "warning",
        "budget.reached",
        "fleet because",
        "An alarm: jobs wait because the budget allows no more.",
        "Raise [budget] max_*, or let them wait.",
    ),
    _event("info", "demand.answered", "jobs count because", "What becomes of these waiting jobs. Told once."),
    _event(
        "warning",
        "demand.reason_unknown",
        "reason because",
        "The scheduler gives a reason to wait that headnode does not know; such jobs are not scaled for.",
        "If more nodes would help those jobs, report the reason.",
    ),
    # nodewatcher
    _event(
        "info", "node.judged", "instance_id hostname action because", "What becomes of a node, and why. Told when it changes."
    ),
    _event(
        "info", "node.draining", "instance_id hostname fleet because", "A node starts no more jobs, since it is to be given back."
    ),
    _event("info", "node.resumed", "instance_id hostname because", "A drain of ours was taken back: there is work for the node."),
    _event("info", "node.ended", "instance_id hostname fleet because", "Auto Scaling was asked to end this instance."),
    _event(
        "warning",
        "node.jobs_requeued",
        "hostname jobs outcome",
        "A node was lost, as a second witness confirmed, and the scheduler was told to have its jobs wait again.",
        "If `outcome` is not done: requeue or cancel those jobs by hand, or they wait for a node that does not come back.",
    ),
    _event("info", "node.not_ended", "instance_id because", "A drained node was not ended yet. The next look decides anew."),
    _event(
        "warning",
        "node.end_unknown",
        f"instance_id {_ERROR}",
        "AWS did not answer when asked to end an instance. It is asked again.",
        "Nothing if it stops.",
    ),
    _event(
        "error",
        "node.end_refused",
        f"instance_id {_ERROR}",
        "AWS refused to end an instance. The node takes jobs again.",
        "Do what `hint` says: usually a permission.",
    ),
    _event(
        "warning",
        "node.never_came_up",
        "instance_id fleet console",
        "An instance did not take jobs within its fleet's boot_timeout_s, and is ended.",
        "Look at `console`, the last that it said: usually its boot script, or it cannot reach the queue or the head.",
    ),
    _event(
        "warning",
        "clock.unobserved",
        "seconds because",
        "Nobody looked for so long (asleep, off, or the clock was set). No node counts as idle for that time.",
        "Nothing, unless the head was not meant to sleep.",
    ),
    _event(
        "warning",
        "fleet.unhealthy",
        "fleet because",
        "An alarm: so much of a fleet looks broken at once that none of it is replaced.",
        "Look for a common cause (network, file server, scheduler) before you end nodes by hand.",
    ),
    _event(
        "warning",
        "fleet.never_came_up",
        "fleet because",
        "An alarm: so much of a fleet at its minimum never took jobs that its instances are replaced one at a time, not all.",
        "Look at the console of one (node.never_came_up), the launch template, and whether nodes reach scheduler and queue."
        " The others follow by themselves once one comes up; `headnode hold` keeps one to look at.",
    ),
    _event(
        "warning",
        "reading.refused",
        "topic error",
        "What a node sent is no reading. Told once for each topic in a row.",
        "See who publishes there, and whether that node's agent is as new as the head.",
    ),
    # the agent on compute nodes
    _event("info", "agent.started", "", "The agent knows which instance it is on, and begins."),
    _event("info", "agent.stopped", "", "The agent has ended as it was told to."),
    _event(
        "warning",
        "agent.reload_refused",
        "because",
        "The agent was told to read its file again, and goes on with what it read at its start.",
        "`systemctl restart headnode-agent`: the node's jobs do not notice.",
    ),
    _event(
        "info",
        "agent.announced",
        "tries next_look_s",
        "The node has told the queue that it is ready, and waits to be registered.",
    ),
    _event("info", "agent.registered", "tries", "The head has registered this node."),
    _event(
        "warning",
        "agent.announcement_failed",
        "tries exit_code error next_try_s",
        "The node could not say that it is ready. It is tried again.",
        "Look at `error`: usually the node's role may not send to the queue, or the queue cannot be reached.",
    ),
    _event("warning", "agent.notice", "spot_action rebalance", "AWS has announced that it will take this instance, or might."),
    _event("warning", "agent.cannot_look", "error", "The agent could not read how busy its host is.", "Look at `error`."),
    _event(
        "error",
        "agent.ends_its_node",
        "because",
        "The dead-man rule: the head has been silent and the node idle for too long, so it ends itself.",
        "See why the head is silent: nodewatcher, the broker, the network.",
    ),
    _event(
        "error",
        "agent.shutdown_failed",
        "argv exit_code error",
        "The program that ends the node failed. It is tried again.",
        "Correct `shutdown` in the agent's configuration, or what its user may do.",
    ),
    _event(
        "warning",
        "imds.failed",
        f"failures {_ERROR}",
        "The instance metadata service did not answer the agent.",
        "See whether IMDSv2 is on for the instance, and its hop limit if the agent runs in a container.",
    ),
    # plugins
    _event(
        "warning",
        "torque.skipped",
        "entries what command because",
        "Torque's answer held entries that could not be read; they are left out.",
        "Run the command and look for damaged jobs or nodes.",
    ),
    _event(
        "warning",
        "torque.probe_failed",
        "error because hint",
        "No job could be submitted to see that Torque's limits are loaded.",
        "Do what `hint` says.",
    ),
)

BOUND: Mapping[str, str] = {
    "timestamp": "when it was written, UTC",
    "level": "debug, info, warning or error",
    "daemon": "which service: sqswatcher, jobwatcher, nodewatcher or headnode-agent",
    "cluster": "the cluster's name in the configuration",
    "scheduler": "its scheduler (services only)",
    "batch": "sqswatcher: the batch of messages, or the comparison, that the line belongs to, adapters' and plugins' lines too",
    "logger": "who logged it, for lines of libraries",
    "exception": "of a crash: its kind, text and where it was, without local variables",
    "cut_fields": "so many more fields there were",
}

FIELDS: Mapping[str, str] = {
    "action": "what was decided: raise, hold or cancel for a fleet; keep, drain, resume, end, leave, … for a node",
    "address": "the node's IP address",
    "after": "the head that held the lease before; empty: none, or it had given it back",
    "alarm": "the key of the alarm",
    "argv": "the program and its arguments",
    "because": "the reason, in a sentence",
    "by": "who woke it, in their words",
    "changes": "the settings that changed, each with its old and its new value; secrets are not shown",
    "code": "headnode's code for this kind of error, which stays the same",
    "command": "the scheduler's command",
    "console": "the last lines of the instance's console",
    "count": "how many",
    "desired": "the fleet's desired capacity afterwards, or now",
    "detail": "the scheduler's words",
    "directory": "where it was to be written",
    "dropped": "messages that asked for nothing",
    "effect": "what was to be done: register, deregister, linger, none",
    "entries": "how many entries",
    "error": "what went wrong",
    "exit_code": "the program's; -1: it did not start, or did not end in time",
    "failed": "instances that did not make it",
    "failures": "how many times in a row",
    "fence": "the lease's number, which grows with every change of holder",
    "fleet": "the fleet's name",
    "fleets": "the fleets' names",
    "hint": "the next step",
    "holder": "the head that holds the lease",
    "holding": "whether this head still holds the lease",
    "host": "the broker's host",
    "hostname": "the node's name at the scheduler",
    "hostnames": "how many host names are taken",
    "instance_id": "the EC2 instance",
    "instance_ids": "the EC2 instances",
    "instances": "how many instances",
    "jobs": "some of the jobs, by id",
    "key": "the row's key",
    "kind": "in what they differ",
    "launched": "how many came",
    "lines": "how many lines",
    "message_id": "the SQS message",
    "message_ids": "the SQS messages that led to it; none: a comparison did",
    "messages": "how many messages",
    "new_fence": "the number of the lease that the other head has now",
    "next_look_s": "seconds until it looks again",
    "next_try_s": "seconds until it is tried again",
    "outcome": "done, absent, refused or unknown",
    "path": "the file",
    "pid": "the process",
    "postponed": "messages that come again later",
    "previous": "the fleet's desired capacity before",
    "problems": "everything that is wrong with it",
    "reason": "the scheduler's own word",
    "rebalance": "AWS recommends to leave",
    "receives": "how many times the message has been received",
    "refused": "how many were refused",
    "seconds": "for how long",
    "service": "the service that the lease is for",
    "source": "the file",
    "spot_action": "what EC2 will do: terminate, stop or hibernate",
    "state": "pending, ready, registered, draining, terminating or gone",
    "table": "the DynamoDB table",
    "target": "the desired capacity that was asked for; or the log group and stream",
    "took_s": "seconds",
    "topic": "the MQTT topic",
    "topics": "the MQTT topics",
    "tries": "how many times",
    "version": "headnode's version; or the row's",
    "wait_s": "how long it waits first",
    "what": "what the entries are of",
}


def _metric(name: str, sums: Sums, unit: str, statistic: str, meaning: str, *by: str) -> Metric:
    return Metric(name=name, sums=sums, unit=unit, statistic=statistic, meaning=meaning, by=by)


METRICS: tuple[Metric, ...] = (
    # sqswatcher
    _metric("MessagesReceived", Sums.COUNT, "Count", "Sum", "messages that sqswatcher received, repeated ones too"),
    _metric("QueueAge", Sums.TIMES, "Seconds", "Maximum", "how long new messages had waited in the queue; 0 without any"),
    _metric("JoinTime", Sums.TIMES, "Seconds", "p90", "from a node's first message until it is registered, named and recorded"),
    _metric("BatchTime", Sums.TIMES, "Seconds", "Average", "how long a batch of messages took"),
    _metric("InstancesFailed", Sums.COUNT, "Count", "Sum", "instances that did not get to their next state in a batch"),
    # jobwatcher
    _metric("JobsWaiting", Sums.GAUGE, "Count", "Maximum", "waiting jobs that more nodes would help"),
    _metric("JobsBlocked", Sums.GAUGE, "Count", "Maximum", "waiting jobs that more nodes would not help (held, limited, …)"),
    _metric("LongestWait", Sums.GAUGE, "Seconds", "Maximum", "how long the oldest of the jobs that nodes would help has waited"),
    _metric("LookTime", Sums.TIMES, "Seconds", "Average", "how long jobwatcher's look took, with its calls"),
    _metric("CostRate", Sums.GAUGE, "None", "Maximum", "price an hour of all instances whose fleet's price is configured"),
    _metric("Desired", Sums.GAUGE, "Count", "Maximum", "the fleet's desired capacity, as decided", "fleet"),
    _metric("Maximum", Sums.GAUGE, "Count", "Maximum", "the fleet's greatest size", "fleet"),
    _metric("Instances", Sums.GAUGE, "Count", "Maximum", "the fleet's instances that are there and stay", "fleet"),
    _metric("Booting", Sums.GAUGE, "Count", "Maximum", "those of them that take no jobs yet", "fleet"),
    _metric("Registered", Sums.GAUGE, "Count", "Maximum", "nodes of the fleet that the scheduler knows", "fleet"),
    _metric("LaunchFailures", Sums.COUNT, "Count", "Sum", "instances that AWS did not launch, by the kind of failure", "failure"),
    # nodewatcher
    _metric("Idle", Sums.GAUGE, "Count", "Maximum", "registered nodes of the fleet where nothing runs", "fleet"),
    _metric("Busy", Sums.GAUGE, "Count", "Maximum", "nodes of the fleet where jobs run", "fleet"),
    _metric("Draining", Sums.GAUGE, "Count", "Maximum", "nodes of the fleet that are to be given back", "fleet"),
    _metric("Ended", Sums.COUNT, "Count", "Sum", "instances of the fleet whose end was asked for", "fleet"),
    # all services
    _metric("Problems", Sums.COUNT, "Count", "Sum", "warnings and errors, by their event", "problem"),
)

DIMENSIONS: Mapping[str, str] = {
    "cluster": "the cluster's name, of every metric",
    "fleet": "the fleet's name",
    "failure": "insufficient-capacity, quota, price, configuration or other",
    "problem": "the name of the event",
}


def find_event(name: str) -> LogEvent | None:
    return next((event for event in EVENTS if event.name == name), None)


def render_markdown() -> str:
    """docs/events.md."""
    return "\n".join(_markdown())


def _markdown() -> Iterator[str]:
    yield from (
        "# What headnode logs",
        "",
        "Made from `daemons/events.py` by `make events`; `headnode events` shows the same. Every line is one JSON object. An",
        "event's name and level stay the same; sentences (`because`, `error`, `hint`) are for people and may change. Lines of",
        "libraries have their text as `event`. Texts, lists and lines are bounded, and what is cut says so; credentials are not",
        "shown.",
        "",
        "## On every line",
        "",
    )
    yield from _table(BOUND)
    yield from ("", "## Events", "", f"{len(EVENTS)} of them, by name.", "")
    for event in sorted(EVENTS, key=lambda each: each.name):
        yield from (f"### `{event.name}`", "", f"*{' or '.join(event.levels)}.* {event.meaning}")
        if event.next:
            yield from ("", f"**Next:** {event.next}")
        if event.fields:
            fields = ", ".join(f"`{name}`" for name in event.fields)
            yield from ("", f"Fields: {fields}{', and the facts of the error' if event.tells_error else ''}.")
        yield ""
    yield from ("## Fields", "")
    yield from _table(FIELDS)
    yield from (
        "",
        "## Metrics",
        "",
        "Written as `metrics.measured` lines, whatever `log.level` says, where `[log.metrics]` is configured. What was not",
        "measured is not written.",
        "",
        "| metric | unit | look at | dimensions | meaning |",
        "|---|---|---|---|---|",
    )
    for metric in METRICS:
        dimensions = ", ".join(("cluster", *metric.by))
        yield f"| `{metric.name}` | {metric.unit} | {metric.statistic} | {dimensions} | {metric.meaning} |"
    yield from ("", "Dimensions:", "")
    yield from _table(DIMENSIONS)
    yield ""


def _table(meanings: Mapping[str, str]) -> Iterator[str]:
    yield from ("| field | meaning |", "|---|---|")
    yield from (f"| `{name}` | {meaning} |" for name, meaning in meanings.items())
