"""What headnode may do in an account, made of the calls that it really makes. Pure.

Each call of `daemons.aws`, and of `headnode doctor`, is here with the IAM action that it needs and what that action can be
granted on (from AWS's Service Authorization Reference). tests/daemons/aws/test_permissions.py holds the lists against the code,
tests/e2e/test_permissions.py what is granted against what an AWS saw of whole clusters.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from daemons.config import Config
from daemons.errors import InvalidValue
from daemons.model import Launch

_GROUP_TAG = "ec2:ResourceTag/aws:autoscaling:groupName"  # Auto Scaling puts it on each of its instances; nobody else can


class Role(StrEnum):
    """Whose policy it is: the head node's, the compute nodes', that of whoever runs `headnode doctor` or looks into queue and
    logs besides, or the resource's own.
    """

    HEAD = "head"
    COMPUTE = "compute"
    DOCTOR = "doctor"
    OPERATOR = "operator"
    QUEUE = "queue"
    TOPIC = "topic"


class Scope(StrEnum):
    """What an action can be granted on."""

    QUEUE = "queue"
    TABLE = "table"
    GROUPS = "groups"
    INSTANCES = "instances"
    ZONE = "zone"
    CHANGES = "changes"
    LOGS = "logs"
    DEAD_LETTERS = "deadletters"
    TOPICS = "topics"
    ROLES = "roles"
    ANY = "any"  # the action knows no resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operation of AWS's API, the action it needs, and whether this configuration ever leads to it."""

    operation: str
    action: str
    scope: Scope
    agent: bool = False  # compute nodes make it
    head: bool = True  # the head's services make it

    def is_made(self, config: Config) -> bool:
        if self.operation == "get_queue_url" and self.scope is Scope.QUEUE:  # the one behind is known by its name alone
            return "://" not in config.queue
        if self.scope is Scope.LOGS:
            return config.log.cloudwatch is not None
        if self.action == "dynamodb:ConditionCheckItem":
            return config.ha.enabled
        if self.operation == "launch_instances":
            return any(fleet.launch is Launch.LAUNCH_INSTANCES for fleet in config.fleets)
        if self.scope in (Scope.ZONE, Scope.CHANGES):
            return config.dns is not None
        if self.operation == "list_hosted_zones_by_name":
            return config.dns is not None and not config.dns.zone_id
        return True


def _call(operation: str, action: str, scope: Scope, *, agent: bool = False, head: bool = True) -> Call:
    return Call(operation=operation, action=action, scope=scope, agent=agent, head=head)


CALLS = (
    _call("receive_message", "sqs:ReceiveMessage", Scope.QUEUE),
    _call("delete_message_batch", "sqs:DeleteMessage", Scope.QUEUE),
    _call("change_message_visibility_batch", "sqs:ChangeMessageVisibility", Scope.QUEUE),
    _call("send_message", "sqs:SendMessage", Scope.QUEUE, agent=True, head=False),
    _call("get_queue_url", "sqs:GetQueueUrl", Scope.QUEUE, agent=True),
    _call("scan", "dynamodb:Scan", Scope.TABLE),
    _call("batch_get_item", "dynamodb:BatchGetItem", Scope.TABLE, agent=True),
    _call("put_item", "dynamodb:PutItem", Scope.TABLE),
    _call("transact_write_items", "dynamodb:PutItem", Scope.TABLE),  # of puts, and with two heads
    _call("transact_write_items", "dynamodb:ConditionCheckItem", Scope.TABLE),  # of a look at the fence
    _call("set_desired_capacity", "autoscaling:SetDesiredCapacity", Scope.GROUPS),
    _call("launch_instances", "autoscaling:LaunchInstances", Scope.GROUPS),
    _call("terminate_instance_in_auto_scaling_group", "autoscaling:TerminateInstanceInAutoScalingGroup", Scope.GROUPS),
    _call("complete_lifecycle_action", "autoscaling:CompleteLifecycleAction", Scope.GROUPS),
    _call("record_lifecycle_action_heartbeat", "autoscaling:RecordLifecycleActionHeartbeat", Scope.GROUPS),
    _call("describe_auto_scaling_groups", "autoscaling:DescribeAutoScalingGroups", Scope.ANY),
    _call("describe_auto_scaling_instances", "autoscaling:DescribeAutoScalingInstances", Scope.ANY),
    _call("describe_scaling_activities", "autoscaling:DescribeScalingActivities", Scope.ANY),
    _call("describe_instances", "ec2:DescribeInstances", Scope.ANY),
    _call("describe_instance_status", "ec2:DescribeInstanceStatus", Scope.ANY),
    _call("get_console_output", "ec2:GetConsoleOutput", Scope.INSTANCES),
    _call("change_resource_record_sets", "route53:ChangeResourceRecordSets", Scope.ZONE),
    _call("list_resource_record_sets", "route53:ListResourceRecordSets", Scope.ZONE),
    _call("get_hosted_zone", "route53:GetHostedZone", Scope.ZONE),
    _call("get_change", "route53:GetChange", Scope.CHANGES),
    _call("put_log_events", "logs:PutLogEvents", Scope.LOGS),
    _call("create_log_group", "logs:CreateLogGroup", Scope.LOGS),
    _call("create_log_stream", "logs:CreateLogStream", Scope.LOGS),
    _call("put_retention_policy", "logs:PutRetentionPolicy", Scope.LOGS),
    _call("list_hosted_zones_by_name", "route53:ListHostedZonesByName", Scope.ANY),
)

# What `headnode doctor` looks at beyond that: it only reads.
LOOKS = (
    _call("get_caller_identity", "sts:GetCallerIdentity", Scope.ANY),
    _call("get_queue_attributes", "sqs:GetQueueAttributes", Scope.QUEUE),
    _call("get_queue_attributes", "sqs:GetQueueAttributes", Scope.DEAD_LETTERS),
    _call("get_queue_url", "sqs:GetQueueUrl", Scope.DEAD_LETTERS),
    _call("get_topic_attributes", "sns:GetTopicAttributes", Scope.TOPICS),
    _call("list_subscriptions_by_topic", "sns:ListSubscriptionsByTopic", Scope.TOPICS),
    _call("get_subscription_attributes", "sns:GetSubscriptionAttributes", Scope.TOPICS),
    _call("list_rule_names_by_target", "events:ListRuleNamesByTarget", Scope.ANY),
    _call("describe_notification_configurations", "autoscaling:DescribeNotificationConfigurations", Scope.ANY),
    _call("describe_lifecycle_hooks", "autoscaling:DescribeLifecycleHooks", Scope.ANY),
    _call("describe_launch_configurations", "autoscaling:DescribeLaunchConfigurations", Scope.ANY),
    _call("describe_launch_template_versions", "ec2:DescribeLaunchTemplateVersions", Scope.ANY),
    _call("describe_instance_types", "ec2:DescribeInstanceTypes", Scope.ANY),
    _call("describe_table", "dynamodb:DescribeTable", Scope.TABLE),
    _call("describe_time_to_live", "dynamodb:DescribeTimeToLive", Scope.TABLE),
    _call("get_role", "iam:GetRole", Scope.ROLES),
    _call("simulate_principal_policy", "iam:SimulatePrincipalPolicy", Scope.ROLES),
)


# What `headnode queue`, `status --live`, `jobs --live` and `logs` ask for beyond the services' calls.
OPERATES = (
    _call("get_queue_attributes", "sqs:GetQueueAttributes", Scope.QUEUE),
    _call("send_message_batch", "sqs:SendMessage", Scope.QUEUE),
    _call("get_queue_url", "sqs:GetQueueUrl", Scope.DEAD_LETTERS),
    _call("get_queue_attributes", "sqs:GetQueueAttributes", Scope.DEAD_LETTERS),
    _call("receive_message", "sqs:ReceiveMessage", Scope.DEAD_LETTERS),
    _call("delete_message_batch", "sqs:DeleteMessage", Scope.DEAD_LETTERS),
    _call("get_metric_statistics", "cloudwatch:GetMetricStatistics", Scope.ANY),
    _call("filter_log_events", "logs:FilterLogEvents", Scope.LOGS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Actions that are allowed on the same resources, under the same conditions."""

    scope: Scope
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where the cluster is. `number` has twelve digits; `partition` is `aws`, `aws-cn`, …; `dead_letters` is the name of the
    queue for what is put aside, `*` where nobody has said it.
    """

    number: str
    partition: str = "aws"
    dead_letters: str = "*"


def render_policy(role: Role, config: Config, account: Account, *, rules: Sequence[str] = ()) -> str:
    """The policy as JSON, for this cluster's resources alone. `rules` are the names of EventBridge's rules that send to the
    queue, (): any of this account's. Raises InvalidValue for the policy of several topics: each has one of its own.
    """
    match role:
        case Role.QUEUE:
            statements = list(_queue_policy(config, account, rules))
        case Role.TOPIC:
            statements = list(_topic_policy(config, account))
        case _:
            statements = [_statement(grant) for grant in grants(role, config, account)]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)


def grants(role: Role, config: Config, account: Account) -> tuple[Grant, ...]:
    """What the policy of a role of that kind grants."""
    besides = {Role.DOCTOR: LOOKS, Role.OPERATOR: OPERATES}
    if role in besides:
        calls = [call for call in besides[role] if call.is_made(config)]
    else:
        calls = [call for call in CALLS if (call.agent if role is Role.COMPUTE else call.head) and call.is_made(config)]
    return tuple(_grants(calls, config, account))


def _grants(calls: Sequence[Call], config: Config, account: Account) -> Iterator[Grant]:
    for scope in Scope:
        if actions := sorted({call.action for call in calls if call.scope is scope}):
            mine = {"StringEquals": {_GROUP_TAG: sorted({fleet.group for fleet in config.fleets})}}
            yield Grant(
                scope=scope,
                actions=tuple(actions),
                resources=tuple(_resources(scope, config, account)),
                conditions=mine if scope is Scope.INSTANCES else {},
            )


def _statement(grant: Grant) -> dict[str, Any]:
    sid = f"Headnode{grant.scope.capitalize()}"
    statement: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Action": list(grant.actions), "Resource": list(grant.resources)}
    return statement | ({"Condition": grant.conditions} if grant.conditions else {})


def _resources(scope: Scope, config: Config, account: Account) -> list[str]:
    def arn(service: str, resource: str) -> str:
        return f"arn:{account.partition}:{service}:{config.region}:{account.number}:{resource}"

    made: Mapping[Scope, list[str]] = {
        Scope.QUEUE: [_queue_arn(config, account)],
        Scope.TABLE: [arn("dynamodb", f"table/{config.table}")],
        Scope.GROUPS: [
            arn("autoscaling", f"autoScalingGroup:*:autoScalingGroupName/{group}")
            for group in sorted({fleet.group for fleet in config.fleets})
        ],
        Scope.INSTANCES: [arn("ec2", "instance/*")],
        Scope.ZONE: [f"arn:{account.partition}:route53:::hostedzone/{(config.dns and config.dns.zone_id) or '*'}"],
        Scope.CHANGES: [f"arn:{account.partition}:route53:::change/*"],
        Scope.LOGS: [arn("logs", f"log-group:{group}{rest}") for group in _log_groups(config) for rest in ("", ":*")],
        Scope.DEAD_LETTERS: [arn("sqs", account.dead_letters)],
        Scope.TOPICS: [arn("sns", "*")],
        Scope.ROLES: [f"arn:{account.partition}:iam::{account.number}:role/*"],
        Scope.ANY: ["*"],
    }
    return made[scope]


def _log_groups(config: Config) -> list[str]:
    return [] if config.log.cloudwatch is None else [config.log.cloudwatch.group]


def _queue_arn(config: Config, account: Account) -> str:
    name = config.queue.rstrip("/").rpartition("/")[2]
    return f"arn:{account.partition}:sqs:{config.region}:{account.number}:{name}"


def _queue_policy(config: Config, account: Account, rules: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Who may send: the cluster's topics and rules where they are named, else this account's. Its roles need no word here: their
    own policies count.
    """
    of_events = f"arn:{account.partition}:events:{config.region}:{account.number}:rule/"
    senders = {
        "Topics": ("sns.amazonaws.com", _topics(config, account)),
        "Rules": ("events.amazonaws.com", [of_events + name for name in rules or ("*",)]),
    }
    for sid, (service, sources) in senders.items():
        yield {
            "Sid": f"Headnode{sid}",
            "Effect": "Allow",
            "Principal": {"Service": service},
            "Action": "sqs:SendMessage",
            "Resource": _queue_arn(config, account),
            "Condition": {
                "StringEquals": {"aws:SourceAccount": account.number},
                "ArnLike": {"aws:SourceArn": sources},
            },
        }
    yield _only_encrypted("sqs:*", _queue_arn(config, account))


def _topic_policy(config: Config, account: Account) -> Iterator[dict[str, Any]]:
    """Who may publish to the topic that the groups notify: this account's Auto Scaling."""
    topics = _topics(config, account)
    if len(topics) > 1:
        raise InvalidValue(
            f"the configuration names {len(topics)} topics, and each has a policy of its own", hint="name one with --topic"
        )
    yield {
        "Sid": "HeadnodeAutoScaling",
        "Effect": "Allow",
        "Principal": {"Service": "autoscaling.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topics[0],
        "Condition": {"StringEquals": {"aws:SourceAccount": account.number}},
    }
    yield _only_encrypted("sns:Publish", topics[0])


def _topics(config: Config, account: Account) -> list[str]:
    """Those that the configuration names, else any of this account's."""
    return list(config.sqswatcher.topics) or [f"arn:{account.partition}:sns:{config.region}:{account.number}:*"]


def _only_encrypted(action: str, resource: str) -> dict[str, Any]:
    return {
        "Sid": "HeadnodeOnlyEncrypted",
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": resource,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
