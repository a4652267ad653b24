"""A dashboard, alarms, queries and the CloudWatch agent's configuration for one cluster, made of the catalogues. Pure.

Whatever these name is looked up in `daemons.events`, so nothing here can name an event, a field or a metric that there is not.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from daemons.config import Config
from daemons.config.values import MetricsConfig
from daemons.errors import ConfigError
from daemons.events import BOUND, EVENTS, FIELDS, METRICS, Metric, find_event

SERVICES = ("sqswatcher", "jobwatcher", "nodewatcher")
_WIDE, _HIGH, _COLUMNS = 12, 6, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """For Logs Insights. What is in capitals is to be replaced."""

    title: str
    text: str
    on_dashboard: bool = False


class What(StrEnum):
    """What can be rendered."""

    DASHBOARD = "dashboard"  # the body of a CloudWatch dashboard
    ALARMS = "alarms"  # a CloudFormation template
    QUERIES = "queries"  # a CloudFormation template
    AGENT = "agent"  # the amazon-cloudwatch-agent's configuration


def render(what: What, config: Config) -> dict[str, Any]:
    """Raises ConfigError where the configuration lacks what it would be about."""
    makers = {What.DASHBOARD: _dashboard, What.ALARMS: _alarms, What.QUERIES: _queries, What.AGENT: _agent}
    return makers[what](config)


def _metric(name: str) -> Metric:
    return next(metric for metric in METRICS if metric.name == name)


def _event(name: str) -> str:
    if find_event(name) is None:
        raise LookupError(name)
    return name


def _fields(*names: str) -> str:
    for name in names:
        if name not in FIELDS and name not in BOUND:
            raise LookupError(name)
    return ", ".join(names)


def _measured(config: Config) -> MetricsConfig:
    if config.log.metrics is None:
        raise ConfigError("the services write no metrics", hint="add a section [log.metrics] to the configuration")
    return config.log.metrics


def _period_s(chosen: MetricsConfig) -> int:
    """A period in which there is at least one line; CloudWatch takes multiples of a minute."""
    return max(60, 60 * math.ceil(chosen.period_s / 60))


def log_group(config: Config) -> str:
    """Where the lines are, or would be."""
    return config.log.cloudwatch.group if config.log.cloudwatch is not None else f"/headnode/{config.cluster}"


_PANES: Sequence[tuple[str, Sequence[str]]] = (
    ("Waiting jobs", ("JobsWaiting", "JobsBlocked")),
    ("How long the oldest waits", ("LongestWait",)),
    ("Capacity", ("Maximum", "Desired", "Instances", "Registered", "Booting")),
    ("What nodes do", ("Busy", "Idle", "Draining", "Ended")),
    ("Queue", ("MessagesReceived", "InstancesFailed")),
    ("Age of the queue, and time to join", ("QueueAge", "JoinTime")),
    ("Cost an hour", ("CostRate",)),
    ("How long a look and a batch take", ("LookTime", "BatchTime")),
    ("Launches that failed", ("LaunchFailures",)),
    ("Warnings and errors", ("Problems",)),
)


def _dashboard(config: Config) -> dict[str, Any]:
    chosen = _measured(config)
    widgets = [_pane(title, names, config, chosen) for title, names in _PANES]
    widgets += [_list(query, config) for query in _all_queries() if query.on_dashboard]
    for number, widget in enumerate(widgets):
        widget |= {"x": number * _WIDE % _COLUMNS, "y": number * _WIDE // _COLUMNS * _HIGH, "width": _WIDE, "height": _HIGH}
    return {"start": "-PT6H", "widgets": widgets}


def _pane(title: str, names: Iterable[str], config: Config, chosen: MetricsConfig) -> dict[str, Any]:
    metrics = [line for name in names for line in _series(_metric(name), config, chosen)]
    properties = {"title": title, "region": config.region, "view": "timeSeries", "period": _period_s(chosen), "metrics": metrics}
    return {"type": "metric", "properties": properties}


def _list(query: Query, config: Config) -> dict[str, Any]:
    text = f"SOURCE '{log_group(config)}' | {query.text}"
    return {"type": "log", "properties": {"title": query.title, "region": config.region, "query": text, "view": "table"}}


def _series(metric: Metric, config: Config, chosen: MetricsConfig) -> Iterator[list[Any]]:
    """One line for each fleet; for a dimension whose values nobody knows beforehand, a search."""
    here = [chosen.namespace, metric.name, "cluster", config.cluster]
    if not metric.by:
        yield [*here, {"stat": metric.statistic}]
    elif metric.by == ("fleet",):
        for fleet in config.fleets:
            yield [*here, "fleet", fleet.name, {"stat": metric.statistic, "label": f"{fleet.name} {metric.name}"}]
    else:
        schema = ",".join((chosen.namespace, "cluster", *metric.by))
        search = f'{{{schema}}} MetricName="{metric.name}" cluster="{config.cluster}"'
        yield [{"expression": f"SEARCH('{search}', '{metric.statistic}', {_period_s(chosen)})", "id": metric.name.lower()}]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alarm:
    """When `statistic` of a metric is beyond `above` (or below `below`) in `of` periods of the last `within`."""

    name: str
    metric: str
    why: str
    above: float | None = None
    below: float | None = None
    by: Mapping[str, str] | None = None
    of: int = 3
    within: int = 5
    statistic: str = ""
    silence: str = "notBreaching"
    every_s: float = 60.0  # how often the service measures it, if that is rarer than it tells


_GRAVE = (
    ("resync.refused", 1),
    ("instance.abandoned", 1),
    ("node.end_refused", 1),
    ("service.failed", 1),
    ("fleet.stopped", 1),
    ("fleet.unhealthy", 1),
    ("fleet.never_came_up", 1),
    ("budget.reached", 1),
    ("capacity.short", 1),
    ("capacity.unused", 1),
    ("cloudwatch.dropped", 1),
    ("cycle.failed", 5),  # so many in a row of minutes: what mends itself is no alarm
)


def _alarms(config: Config) -> dict[str, Any]:
    chosen = _measured(config)
    resources = {_resource_name(alarm.name): _alarm(alarm, config, chosen) for alarm in _all_alarms(config)}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Alarms of the headnode cluster {config.cluster}",
        "Parameters": {
            "Topic": {"Type": "String", "Default": "", "Description": "The ARN of the SNS topic to tell; none if empty"}
        },
        "Conditions": {"HasTopic": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Topic"}, ""]}]}},
        "Resources": resources,
    }


def _all_alarms(config: Config) -> Iterator[_Alarm]:
    first = {"fleet": str(config.fleets[0].name)}
    yield _silent("sqswatcher", "MessagesReceived", every_s=config.sqswatcher.wait_s)
    yield _silent("jobwatcher", "JobsWaiting", every_s=config.jobwatcher.interval_s)
    yield _silent("nodewatcher", "Idle", first, every_s=config.nodewatcher.interval_s)
    yield _Alarm(
        name="queue-old",
        metric="QueueAge",
        above=300.0,
        why="Messages wait for minutes before they are received. See whether sqswatcher runs, and how long its batches take.",
    )
    slowest_s = max(fleet.boot_timeout_s for fleet in config.fleets)
    yield _Alarm(
        name="joins-slow",
        metric="JoinTime",
        above=slowest_s,
        why="Nodes take long from their first message until they take jobs. Look at instance.not_advanced and batch.step_failed.",
    )
    yield _Alarm(
        name="instances-failing",
        metric="InstancesFailed",
        above=0.0,
        of=10,
        within=10,
        why="Instances do not get to their next state, again and again. Look at instance.not_advanced: its error says why.",
    )
    yield _Alarm(
        name="jobs-waiting-long",
        metric="LongestWait",
        above=3600.0,
        of=5,
        why="A job that nodes would help has waited for an hour. `headnode explain job ID` says why.",
    )
    if config.budget.warn_per_hour:
        yield _Alarm(
            name="cost",
            metric="CostRate",
            above=config.budget.warn_per_hour,
            why="The fleets cost more than [budget] warns at.",
        )
    for name, minutes in _GRAVE:
        event = next(each for each in EVENTS if each.name == _event(name))
        why = f"{event.meaning} Next: {event.next}" if event.next else event.meaning
        alarm = name.replace(".", "-").replace("_", "-")
        yield _Alarm(name=alarm, metric="Problems", above=0.0, by={"problem": name}, of=minutes, within=max(5, minutes), why=why)


def _silent(service: str, metric: str, by: Mapping[str, str] | None = None, *, every_s: float) -> _Alarm:
    """A service that has not told its metric for ten minutes, or for ten of its looks where those are rarer than one a minute."""
    return _Alarm(
        name=f"{service}-silent",
        metric=metric,
        by=by,
        statistic="SampleCount",
        below=1.0,
        of=10,
        within=10,
        silence="breaching",
        every_s=every_s,
        why=f"{service} has told nothing for long. See `systemctl status {service}`, and whether CloudWatch gets its lines.",
    )


def _alarm(alarm: _Alarm, config: Config, chosen: MetricsConfig) -> dict[str, Any]:
    metric, statistic = _metric(alarm.metric), alarm.statistic or _metric(alarm.metric).statistic
    dimensions = {"cluster": config.cluster, **(alarm.by or {})}
    if set(dimensions) != {"cluster", *metric.by}:
        raise LookupError(f"{alarm.name}: {metric.name} is not by {sorted(dimensions)}")
    is_above = alarm.above is not None
    told = {"Fn::If": ["HasTopic", [{"Ref": "Topic"}], {"Ref": "AWS::NoValue"}]}
    properties = {
        "AlarmName": f"headnode-{config.cluster}-{alarm.name}",
        "AlarmDescription": alarm.why,
        "Namespace": chosen.namespace,
        "MetricName": metric.name,
        "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
        "ExtendedStatistic" if statistic.startswith("p") else "Statistic": statistic,
        "Period": max(_period_s(chosen), 60 * math.ceil(alarm.every_s / 60)),
        "EvaluationPeriods": alarm.within,
        "DatapointsToAlarm": alarm.of,
        "Threshold": alarm.above if is_above else alarm.below,
        "ComparisonOperator": "GreaterThanThreshold" if is_above else "LessThanThreshold",
        "TreatMissingData": alarm.silence,
        "AlarmActions": told,
        "OKActions": told,
    }
    return {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}


def _resource_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.replace("_", "-").split("-"))


def _query(title: str, *commands: str, on_dashboard: bool = False) -> Query:
    return Query(title=title, text=" | ".join(commands), on_dashboard=on_dashboard)


def _all_queries() -> Iterator[Query]:
    decisions = ("capacity.raised", "capacity.launched", "capacity.held", "capacity.cancelled", "capacity.refused")
    yield _query(
        "Problems by event",
        f"filter {_fields('level')} in ['warning', 'error']",
        f"stats count(*) as times, latest({_fields('error')}) as last_error, latest({_fields('hint')}) as next by event, "
        f"{_fields('daemon', 'code')}",
        "sort times desc",
        on_dashboard=True,
    )
    yield _query(
        "Why fleets grew or did not",
        f"fields @timestamp, event, {_fields('fleet', 'previous', 'target', 'because')}",
        f"filter event in [{_quoted(decisions)}]",
        "sort @timestamp desc",
        "limit 100",
        on_dashboard=True,
    )
    yield _query(
        "Nodes that were ended, and why",
        f"fields @timestamp, {_fields('fleet', 'hostname', 'instance_id', 'because')}",
        f"filter event in [{_quoted(('node.ended', 'node.never_came_up', 'node.not_ended', 'node.resumed'))}]",
        "sort @timestamp desc",
        "limit 100",
        on_dashboard=True,
    )
    yield _query(
        "The life of an instance",
        f"fields @timestamp, {_fields('daemon')}, event, {_fields('state', 'action', 'because', 'error', 'batch')}",
        f"filter {_fields('instance_id')} = 'INSTANCE' or @message like 'INSTANCE'",
        "sort @timestamp asc",
    )
    yield _query(
        "What a message led to",
        f"fields @timestamp, event, {_fields('instance_id', 'hostname', 'state', 'outcome', 'error', 'batch')}",
        "filter @message like 'MESSAGE'",
        "sort @timestamp asc",
    )
    yield _query(
        "Everything about a batch",
        f"fields @timestamp, level, event, {_fields('instance_id', 'message_id', 'error')}",
        f"filter {_fields('batch')} = 'BATCH'",
        "sort @timestamp asc",
    )
    yield _query(
        "Batches, the slowest first",
        f"fields @timestamp, {_fields('took_s', 'messages', 'instances', 'failed', 'postponed', 'batch')}",
        f"filter event = '{_event('batch.finished')}'",
        "sort took_s desc",
        "limit 50",
    )
    yield _query(
        "What became of waiting jobs",
        f"fields @timestamp, {_fields('jobs', 'count', 'because')}",
        f"filter event = '{_event('demand.answered')}'",
        "sort @timestamp desc",
        "limit 100",
    )
    yield _query(
        "Messages that could not be acted on",
        f"fields @timestamp, event, {_fields('message_id', 'receives', 'because')}",
        f"filter event in [{_quoted(('message.postponed', 'message.dropped'))}]",
        "sort @timestamp desc",
        "limit 100",
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{_event(name)}'" for name in names)


def _queries(config: Config) -> dict[str, Any]:
    resources = {
        _resource_name("-".join(query.title.replace(",", "").split())): {
            "Type": "AWS::Logs::QueryDefinition",
            "Properties": {
                "Name": f"headnode/{config.cluster}/{query.title}",
                "QueryString": query.text,
                "LogGroupNames": [log_group(config)],
            },
        }
        for query in _all_queries()
    }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Logs Insights queries of the headnode cluster {config.cluster}",
        "Resources": resources,
    }


def _agent(config: Config) -> dict[str, Any]:
    """For who would rather have the agent bring the lines: from the files. CloudWatch makes metrics of them all the same."""
    if config.log.file is None:
        raise ConfigError("the services write no files that an agent could read", hint="add a section [log.file]")
    retention = config.log.cloudwatch.retention_days if config.log.cloudwatch is not None else 90
    collected = [
        {
            "file_path": f"{config.log.file.directory}/{service}.log",
            "log_group_name": log_group(config),
            "log_stream_name": f"{{local_hostname}}/{service}",
            "retention_in_days": retention or -1,
            "timezone": "UTC",
            "timestamp_format": "%Y-%m-%dT%H:%M:%S.%f",
        }
        for service in SERVICES
    ]
    return {"logs": {"logs_collected": {"files": {"collect_list": collected}}, "force_flush_interval": 5}}
