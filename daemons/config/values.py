"""What the configuration can say: every setting with its kind, bounds, default and meaning, and the values made of them.

The descriptions are what `headnode config show` and the hints of `headnode config check` print.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, with_config

from daemons.config.kinds import (
    Days,
    DirectoryPath,
    Flag,
    FleetWord,
    GroupName,
    HeadName,
    HostName,
    InstanceType,
    LogGroupName,
    MetricNamespace,
    MqttWord,
    Number,
    OptionalPath,
    QueueName,
    Region,
    SecretFile,
    TableName,
    Text,
    TimeOfDay,
    Timezone,
    TopicArn,
    Url,
    Whole,
    Word,
    ZoneId,
    ZoneName,
    parse_days,
    parse_minute,
)
from daemons.model import FleetName, FleetSpec, Hours, Launch, Purchase, Shape
from daemons.packing.expander import Expander

MONTH_S = 30 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsConfig:
    """Where the nodes' address records go. Exactly one of `zone_id` and `zone` is set, the other is "" ."""

    enabled: Annotated[Flag, Field(description="false: write no DNS records, as if there were no [dns]")] = True
    zone_id: Annotated[ZoneId, Field(description="the id of the Route 53 hosted zone")] = ""
    zone: Annotated[ZoneName, Field(description="the hosted zone's name, in place of its id")] = ""
    ttl_s: Annotated[Whole, Field(ge=1, le=86_400, description="how long a resolver may keep a record, in seconds")] = 60
    changes_per_s: Annotated[
        Number, Field(gt=0, le=1000, description="the most calls a second that change the zone; AWS allows an account about 5")
    ] = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SqswatcherConfig:
    wait_s: Annotated[Whole, Field(ge=0, le=20, description="how long a poll waits for messages, in seconds")] = 20
    receivers: Annotated[Whole, Field(ge=1, le=64, description="polls at a time while there is a backlog")] = 8
    visibility_s: Annotated[
        Whole,
        Field(ge=2, le=43_200, description="how long a message in work stays ours, in seconds; renewed while it lasts"),
    ] = 60
    terminate_grace_s: Annotated[
        Number,
        Field(ge=0, le=172_800, description="how long a terminating hook is kept waiting for the jobs on its node, in seconds"),
    ] = 300.0
    resync_s: Annotated[
        Number, Field(ge=10, le=86_400, description="seconds between two comparisons of groups, table, scheduler and zone")
    ] = 300.0
    resync_grace_s: Annotated[
        Number, Field(ge=0, le=86_400, description="how old a difference must be before it is mended, in seconds")
    ] = 300.0
    max_removal_share: Annotated[
        Number,
        Field(gt=0, le=1, description="the greatest part of the nodes that one comparison may remove (at least one node)"),
    ] = 0.5
    verify_sns: Annotated[
        Flag,
        Field(
            description="true: SNS's envelopes, and Auto Scaling's notices, count only with SNS's signature for one of `topics`;"
            " EventBridge's events and nodes' words carry none, the queue's policy guards those (needs headnode[verify])"
        ),
    ] = False
    topics: Annotated[
        tuple[TopicArn, ...],
        Field(description="the ARNs of the topics that the groups notify; the queue's policy names them too"),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobwatcherConfig:
    interval_s: Annotated[Number, Field(gt=0, le=3600, description="seconds between two looks at the waiting jobs")] = 10.0
    rest_s: Annotated[
        Number,
        Field(
            ge=0,
            le=60,
            description="how long it looks at the jobs alone while none waits for room and they stay the same; 0: never",
        ),
    ] = 50.0
    expanders: Annotated[
        tuple[Expander, ...],
        Field(
            min_length=1, description="how a fleet is chosen where several fit: least-waste, cheapest, priority-order; in turn"
        ),
    ] = (Expander.LEAST_WASTE, Expander.CHEAPEST, Expander.PRIORITY_ORDER)
    settle_s: Annotated[
        Number,
        Field(ge=0, le=600, description="how long what was asked for counts as asked, whatever Auto Scaling says, in seconds"),
    ] = 30.0
    max_raise: Annotated[Whole, Field(ge=1, le=10_000, description="the most nodes that one look asks of a fleet")] = 100
    max_raise_per_minute: Annotated[
        Whole, Field(ge=0, le=100_000, description="the most nodes that a fleet is asked for in a minute; 0: no such limit")
    ] = 0
    fulfil_within_s: Annotated[
        Number,
        Field(ge=10, le=86_400, description="how long capacity may fail to come before it is given up for now, in seconds"),
    ] = 600.0
    cancel_after_s: Annotated[
        Number,
        Field(
            ge=0, le=86_400, description="how long capacity that has not come and that no job needs stays asked for, in seconds"
        ),
    ] = 60.0
    backoff_s: Annotated[
        Number, Field(gt=0, le=86_400, description="how long a place that had nothing to give is left alone at first, in seconds")
    ] = 60.0
    backoff_most_s: Annotated[
        Number, Field(gt=0, le=86_400, description="how long at most: it doubles with every failure, in seconds")
    ] = 1800.0
    boot_failures: Annotated[
        Whole, Field(ge=1, le=100, description="after so many instances in a row that never take jobs, a fleet stops growing")
    ] = 3
    surplus_alarm_s: Annotated[
        Number,
        Field(gt=0, le=MONTH_S, description="how long nodes may stand idle without demand before that is an alarm, in seconds"),
    ] = 3600.0
    wake_socket: Annotated[
        OptionalPath, Field(description="the UNIX socket at which it can be woken (headnode poke); empty: none")
    ] = "/run/headnode/jobwatcher.sock"
    wake_quiet_s: Annotated[
        Number, Field(ge=0, le=3600, description="at most one wake-up in so many seconds, however often it is woken")
    ] = 1.0
    dry_run: Annotated[Flag, Field(description="true: decide and record, and do nothing")] = False
    state_dir: Annotated[
        DirectoryPath, Field(description="where it keeps what it has learnt, and the record of its decisions")
    ] = "/var/lib/headnode/jobwatcher"
    record_mib: Annotated[Whole, Field(ge=1, le=100_000, description="how large the record of decisions may get, in MiB")] = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetConfig:
    """Ceilings for growing. 0 is none. They never end a node."""

    warn_nodes: Annotated[Whole, Field(ge=0, description="warn beyond so many nodes; 0: never")] = 0
    max_nodes: Annotated[Whole, Field(ge=0, description="do not grow beyond so many nodes in all; 0: no such limit")] = 0
    warn_per_hour: Annotated[Number, Field(ge=0, description="warn beyond that price an hour; 0: never")] = 0.0
    max_per_hour: Annotated[Number, Field(ge=0, description="do not grow beyond that price an hour; 0: no such limit")] = 0.0
    warn_per_day: Annotated[Number, Field(ge=0, description="warn once that much is spent in a day (UTC); 0: never")] = 0.0
    max_per_day: Annotated[
        Number, Field(ge=0, description="do not grow once that much is spent in a day (UTC); 0: no such limit")
    ] = 0.0


class Rank(StrEnum):
    """Which of several idle nodes goes first."""

    MAINTENANCE = "scheduled-maintenance"  # one that AWS will take away anyway
    IDLE_LONGEST = "idle-longest"
    NEWEST = "newest"
    OLDEST = "oldest"
    PRICE = "price"  # of the dearest fleet
    ZONE_BALANCE = "zone-balance"  # of the zone where the fleet has most nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class NodewatcherConfig:
    interval_s: Annotated[Number, Field(gt=0, le=3600, description="seconds between two looks at the nodes")] = 10.0
    rest_s: Annotated[
        Number,
        Field(
            ge=0,
            le=60,
            description="how long it looks at notices and changed rows alone while nothing is due; at most a tenth of idle_for_s",
        ),
    ] = 50.0
    idle_for_s: Annotated[
        Number, Field(ge=0, le=MONTH_S, description="how long a node is idle before it is given back, in seconds")
    ] = 600.0
    busy_cpu_share: Annotated[
        Number, Field(ge=0, le=1, description="from this share of busy CPU time a node is not idle; 0: CPU does not matter")
    ] = 0.0
    busy_gpu_share: Annotated[
        Number, Field(ge=0, le=1, description="from this share of busy GPU time a node is not idle; 0: GPUs do not matter")
    ] = 0.0
    sessions_keep: Annotated[Flag, Field(description="true: a node that somebody is logged in to is not idle")] = False
    metrics_stale_s: Annotated[
        Number, Field(gt=0, le=86_400, description="how old a node's own metrics may be to count, in seconds")
    ] = 60.0
    rank: Annotated[
        tuple[Rank, ...],
        Field(
            min_length=1,
            description="who goes first, in turn: scheduled-maintenance, idle-longest, newest, oldest, price, zone-balance",
        ),
    ] = (Rank.MAINTENANCE, Rank.IDLE_LONGEST)
    max_ending: Annotated[Whole, Field(ge=0, description="how many nodes of a fleet may be on their way out at once; 0: any")] = 0
    max_ending_share: Annotated[
        Number,
        Field(gt=0, le=1, description="the greatest part of a fleet that may be on its way out at once (at least one node)"),
    ] = 0.5
    down_for_s: Annotated[
        Number,
        Field(ge=0, le=86_400, description="how long the scheduler calls a node down before that alone is enough, in seconds"),
    ] = 300.0
    max_unhealthy_share: Annotated[
        Number,
        Field(
            gt=0, le=1, description="if a greater part of a fleet looks unhealthy, none of it is replaced (more than one node)"
        ),
    ] = 0.3
    dry_run: Annotated[Flag, Field(description="true: decide and record, and do nothing")] = False
    state_dir: Annotated[
        DirectoryPath, Field(description="where it keeps what it has learnt, and the record of its decisions")
    ] = "/var/lib/headnode/nodewatcher"
    record_mib: Annotated[Whole, Field(ge=1, le=100_000, description="how large the record of decisions may get, in MiB")] = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class HaConfig:
    """`[ha]`: two heads for one cluster. For each service one of them acts, by a lease in the table; the other stands by."""

    enabled: Annotated[Flag, Field(description="true: there may be another head; act only while holding the lease")] = False
    name: Annotated[HeadName, Field(description="what this head is called; empty: its host name")] = ""
    lease_s: Annotated[
        Number, Field(ge=2, le=300, description="how long a head that is not heard of keeps its lease, in seconds")
    ] = 20.0
    renew_s: Annotated[
        Number, Field(gt=0, le=100, description="seconds between two renewals of the lease; at most a third of lease_s")
    ] = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttConfig:
    """Where the broker is, and who we are to it. Secrets are in files."""

    host: Annotated[HostName, Field(description="the broker's host")]
    port: Annotated[Whole, Field(ge=1, le=65_535, description="its port; 8883 is usual with TLS")] = 1883
    topic: Annotated[MqttWord, Field(description="the first level of every topic; the cluster's name is the second")] = "headnode"
    username: Annotated[Text, Field(max_length=256, description="the user's name; empty: none")] = ""
    password_file: Annotated[
        SecretFile,
        Field(description="the file with the user's password, readable by its owner alone; or credential:NAME, from systemd"),
    ] = ""
    tls: Annotated[Flag, Field(description="true: encrypt, and check the broker's certificate")] = False
    ca_file: Annotated[SecretFile, Field(description="who signs the broker's certificate; empty: whom this machine trusts")] = ""
    cert_file: Annotated[SecretFile, Field(description="our own certificate, for brokers that ask for one")] = ""
    key_file: Annotated[SecretFile, Field(description="the key of our own certificate")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudwatchConfig:
    """`[log.cloudwatch]`. Each service of each host has a stream of its own there, `<host>/<service>`."""

    group: Annotated[LogGroupName, Field(description="the log group; it is made if it is not there")]
    retention_days: Annotated[
        Literal[0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
        Field(description="how long a group that is made keeps lines, in days that CloudWatch knows; 0: for ever"),
    ] = 90
    period_s: Annotated[Number, Field(gt=0, le=60, description="how long lines wait for others, in seconds")] = 2.0
    spool_mib: Annotated[
        Whole, Field(ge=1, le=100_000, description="how much is kept on disk while CloudWatch is away, for each service, in MiB")
    ] = 64
    spool_dir: Annotated[DirectoryPath, Field(description="where; each service has a directory there")] = (
        "/var/lib/headnode/spool"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """`[log.metrics]`. They are lines of level info, and written whatever `log.level` says."""

    namespace: Annotated[MetricNamespace, Field(description="the metrics' namespace in CloudWatch")] = "Headnode"
    period_s: Annotated[Number, Field(ge=1, le=3600, description="seconds from one line of metrics to the next")] = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFileConfig:
    """`[log.file]`. Each service has a file of its own there, `<service>.log`, and its older ones beside it."""

    directory: Annotated[DirectoryPath, Field(description="where; it is made if it is not there")] = "/var/log/headnode"
    most_mib: Annotated[Whole, Field(ge=1, le=100_000, description="how large a file may get, in MiB")] = 64
    keep: Annotated[Whole, Field(ge=1, le=1000, description="how many older files are kept besides")] = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="the least severe log lines that are written")
    ] = "info"
    cloudwatch: Annotated[
        CloudwatchConfig | None, Field(description="CloudWatch Logs, besides standard output; without it nothing goes there")
    ] = None
    metrics: Annotated[
        MetricsConfig | None, Field(description="metrics as log lines that CloudWatch understands; without it there are none")
    ] = None
    file: Annotated[LogFileConfig | None, Field(description="files, besides standard output; without it there are none")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointsEntry:
    """`[endpoints]` in the file. "" (which the file itself cannot say) leaves the address to AWS's own rules."""

    default: Annotated[Url, Field(description="the address of every AWS service that has none of its own here")] = ""
    sqs: Annotated[Url, Field(description="the address of SQS")] = ""
    dynamodb: Annotated[Url, Field(description="the address of DynamoDB")] = ""
    route53: Annotated[Url, Field(description="the address of Route 53")] = ""
    autoscaling: Annotated[Url, Field(description="the address of Auto Scaling")] = ""
    ec2: Annotated[Url, Field(description="the address of EC2")] = ""
    logs: Annotated[Url, Field(description="the address of CloudWatch Logs")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoursEntry:
    """One of a fleet's `hours` in the file."""

    days: Annotated[Days, Field(description="days of the week, such as mon-fri or sat,sun")]
    begin: Annotated[TimeOfDay, Field(description="when they begin, such as 08:00")]
    end: Annotated[TimeOfDay, Field(description="when they end, such as 18:30; before the beginning: on the next day")]
    minimum: Annotated[Whole, Field(ge=1, description="how many nodes the fleet keeps meanwhile")]
    timezone: Annotated[Timezone, Field(description="the time zone, such as Europe/Berlin")] = "UTC"

    def to_hours(self) -> Hours:
        return Hours(
            days=parse_days(self.days),
            begin_min=parse_minute(self.begin),
            end_min=parse_minute(self.end),
            minimum=self.minimum,
            timezone=self.timezone,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetEntry:
    """One `[[fleet]]` in the file."""

    name: Annotated[FleetWord, Field(description="the fleet's name, a lower-case word of your choice")]
    group: Annotated[GroupName, Field(description="the name of the fleet's Auto Scaling group")]
    instance_type: Annotated[InstanceType, Field(description="the EC2 type of its instances")]
    cpus: Annotated[Whole, Field(ge=1, le=4096, description="CPUs of one instance, as the scheduler counts them")]
    memory_mib: Annotated[
        Whole, Field(ge=0, le=1 << 30, description="memory of one instance that jobs may use, in MiB; 0: not counted")
    ] = 0
    gpus: Annotated[Whole, Field(ge=0, le=64, description="GPUs of one instance")] = 0
    gpu_type: Annotated[Word, Field(description="the scheduler's name for their type")] = ""
    consumables: Annotated[
        dict[Word, Annotated[Whole, Field(ge=0, le=1 << 40)]],
        Field(description="amounts of whatever else the scheduler counts on one instance, by name"),
    ] = field(default_factory=dict)
    partition: Annotated[Word, Field(description="the partition or queue that its nodes join")] = "compute"
    features: Annotated[frozenset[Word], Field(description="features that jobs can ask for")] = frozenset()
    purchase: Annotated[Purchase, Field(description="how its instances are paid for: on-demand or spot")] = Purchase.ON_DEMAND
    price_per_hour: Annotated[
        Number, Field(ge=0, le=100_000, description="price of one instance an hour, to prefer the cheaper fleet; 0: unknown")
    ] = 0.0
    launch: Annotated[
        Launch,
        Field(description="how it is asked to grow: desired-capacity or launch-instances (at once, needs a launch template)"),
    ] = Launch.DESIRED_CAPACITY
    boot_timeout_s: Annotated[
        Number,
        Field(gt=0, le=86_400, description="how long an instance may take from its launch until its node takes jobs, in seconds"),
    ] = 900.0
    keep_idle: Annotated[Whole, Field(ge=0, description="so many idle nodes are not given back")] = 0
    hours: Annotated[
        tuple[HoursEntry, ...], Field(description="times of the week in which the fleet keeps more than the group's minimum")
    ] = ()

    def to_spec(self) -> FleetSpec:
        return FleetSpec(
            name=FleetName(self.name),
            group=self.group,
            instance_type=self.instance_type,
            shape=Shape(
                cpus=self.cpus,
                memory_mib=self.memory_mib,
                gpus=self.gpus,
                gpu_type=self.gpu_type,
                consumables=tuple(sorted(self.consumables.items())),
            ),
            partition=self.partition,
            features=self.features,
            purchase=self.purchase,
            price_per_hour=self.price_per_hour,
            launch=self.launch,
            boot_timeout_s=self.boot_timeout_s,
            keep_idle=self.keep_idle,
            hours=tuple(entry.to_hours() for entry in self.hours),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerEntry:
    """`[scheduler]` in the file. `settings` is for the plugin to validate."""

    name: Annotated[Word, Field(description="the scheduler plugin, such as slurm")]
    settings: Annotated[dict[Text, Any], Field(description="the plugin's own settings")] = field(default_factory=dict)


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """The whole file. Unknown keys are refused here and in every section."""

    cluster: Annotated[Word, Field(description="the cluster's name, on every log line")]
    region: Annotated[Region, Field(description="the AWS region that the cluster is in")]
    queue: Annotated[QueueName, Field(description="the SQS queue of the cluster's events, by name or URL")]
    table: Annotated[TableName, Field(description="the DynamoDB table of its instances")]
    endpoints: Annotated[EndpointsEntry, Field(description="other addresses for AWS's services")] = field(
        default_factory=EndpointsEntry
    )
    dns: Annotated[DnsConfig | None, Field(description="the hosted zone; without it no DNS records are written")] = None
    scheduler: Annotated[SchedulerEntry, Field(description="the scheduler and its plugin's settings")]
    fleet: Annotated[tuple[FleetEntry, ...], Field(description="a [[fleet]] table for each Auto Scaling group")]
    sqswatcher: Annotated[SqswatcherConfig, Field(description="the service that keeps the membership")] = field(
        default_factory=SqswatcherConfig
    )
    jobwatcher: Annotated[JobwatcherConfig, Field(description="the service that grows the fleets")] = field(
        default_factory=JobwatcherConfig
    )
    budget: Annotated[BudgetConfig, Field(description="ceilings for growing")] = field(default_factory=BudgetConfig)
    nodewatcher: Annotated[NodewatcherConfig, Field(description="the service that shrinks the fleets")] = field(
        default_factory=NodewatcherConfig
    )
    ha: Annotated[HaConfig, Field(description="two heads for one cluster")] = field(default_factory=HaConfig)
    mqtt: Annotated[MqttConfig | None, Field(description="the MQTT broker; without it nothing is said or heard over MQTT")] = None
    log: Annotated[LogConfig, Field(description="what is logged")] = field(default_factory=LogConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfig:
    name: str
    settings: BaseModel  # an instance of the plugin's own `Settings`


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration, complete and valid: what the services are made from."""

    cluster: str
    region: str
    queue: str
    table: str
    endpoints: Mapping[str, str]  # by service name, "default" for the rest; only those that were set
    dns: DnsConfig | None  # None: the cluster has no hosted zone, or writes no records to it
    scheduler: SchedulerConfig
    fleets: tuple[FleetSpec, ...]
    sqswatcher: SqswatcherConfig
    jobwatcher: JobwatcherConfig
    budget: BudgetConfig
    nodewatcher: NodewatcherConfig
    ha: HaConfig
    mqtt: MqttConfig | None  # None: there is no broker
    log: LogConfig
