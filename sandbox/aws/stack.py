"""What a cluster finds in its account: queue, topic, table, zone, groups. Made with boto3, through any endpoint."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

_EVENTS = {
    "source": ["aws.ec2", "aws.health", "aws.autoscaling"],
    "detail-type": [
        "EC2 Spot Instance Interruption Warning",
        "EC2 Instance Rebalance Recommendation",
        "EC2 Instance State-change Notification",
        "AWS Health Event",
    ],
}
_NOTIFICATIONS = (
    "autoscaling:EC2_INSTANCE_LAUNCH",
    "autoscaling:EC2_INSTANCE_LAUNCH_ERROR",
    "autoscaling:EC2_INSTANCE_TERMINATE",
    "autoscaling:EC2_INSTANCE_TERMINATE_ERROR",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSpec:
    """A lifecycle hook to the stack's topic."""

    name: str
    transition: str  # autoscaling:EC2_INSTANCE_LAUNCHING or autoscaling:EC2_INSTANCE_TERMINATING
    heartbeat_s: int = 300
    default_result: str = "ABANDON"
    metadata: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpec:
    """One Auto Scaling group. `zones` are whole names, (): the region's first. With hooks, the four notifications of
    launches and terminations are configured as well unless `notifications` is False.
    """

    name: str
    minimum: int = 0
    desired: int = 0
    maximum: int = 10
    instance_type: str = "c5.xlarge"
    zones: tuple[str, ...] = ()
    spot: bool = False
    hooks: tuple[HookSpec, ...] = ()
    notifications: bool = True
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSpec:
    """A cluster's resources, all named after it."""

    name: str = "hpc"
    region: str = "eu-west-1"
    groups: tuple[GroupSpec, ...] = (GroupSpec(name="hpc-compute"),)
    domain: str = "hpc.internal"
    max_receive_count: int = 5
    visibility_timeout_s: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Where everything is."""

    endpoint_url: str
    region: str
    queue_url: str
    queue_arn: str
    dead_letter_queue_url: str
    topic_arn: str
    table: str
    zone_id: str
    domain: str
    groups: tuple[str, ...]


def client(service: str, *, endpoint_url: str, region: str) -> Any:
    """A boto3 client with the sandbox's credentials: any will do there."""
    make: Any = boto3.client  # its stubs list every service by name; this one is chosen at run time
    return make(
        service,
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id="sandbox",
        aws_secret_access_key="sandbox",  # noqa: S106 - the emulation checks no signature
        config=Config(retries={"mode": "standard", "max_attempts": 5}),
    )


def create_stack(endpoint_url: str, spec: StackSpec | None = None) -> Stack:
    """Make all of it. Raises botocore's ClientError, for a group that exists already for one; nothing is undone then."""
    spec = spec or StackSpec()
    maker = _Maker(endpoint_url, spec)
    dead_url, dead_arn = maker.queue(f"{spec.name}-dead-letters", {})
    redrive = {"deadLetterTargetArn": dead_arn, "maxReceiveCount": spec.max_receive_count}
    attributes = {"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": str(spec.visibility_timeout_s)}
    queue_url, queue_arn = maker.queue(f"{spec.name}-events", attributes)
    topic_arn = maker.topic(queue_url, queue_arn)
    maker.event_rule(queue_arn)
    maker.table()
    zone_id = maker.zone()
    for group in spec.groups:
        maker.group(group, topic_arn)
    return Stack(
        endpoint_url=endpoint_url,
        region=spec.region,
        queue_url=queue_url,
        queue_arn=queue_arn,
        dead_letter_queue_url=dead_url,
        topic_arn=topic_arn,
        table=spec.name,
        zone_id=zone_id,
        domain=spec.domain,
        groups=tuple(each.name for each in spec.groups),
    )


class _Maker:
    def __init__(self, endpoint_url: str, spec: StackSpec) -> None:
        self._spec = spec
        self._clients: dict[str, Any] = {}
        self._endpoint_url = endpoint_url

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = client(service, endpoint_url=self._endpoint_url, region=self._spec.region)
        return self._clients[service]

    def queue(self, name: str, attributes: dict[str, str]) -> tuple[str, str]:
        sqs = self._client("sqs")
        url: str = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return url, str(arn)

    def topic(self, queue_url: str, queue_arn: str) -> str:
        sns = self._client("sns")
        topic_arn: str = sns.create_topic(Name=f"{self._spec.name}-events")["TopicArn"]
        policy = _queue_policy(queue_arn, topic_arn, rule=f"{self._spec.name}-instances")
        self._client("sqs").set_queue_attributes(QueueUrl=queue_url, Attributes={"Policy": policy})
        sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn)
        return topic_arn

    def event_rule(self, queue_arn: str) -> None:
        events, name = self._client("events"), f"{self._spec.name}-instances"
        events.put_rule(Name=name, EventPattern=json.dumps(_EVENTS), State="ENABLED")
        events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": queue_arn}])

    def table(self) -> None:
        dynamodb, name = self._client("dynamodb"), self._spec.name
        dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "instanceId", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "instanceId", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        ttl = {"Enabled": True, "AttributeName": "expires_at"}
        dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=ttl)

    def zone(self) -> str:
        answer = self._client("route53").create_hosted_zone(
            Name=f"{self._spec.domain}.",
            CallerReference=self._spec.name,
            HostedZoneConfig={"PrivateZone": True},
            VPC={"VPCRegion": self._spec.region, "VPCId": "vpc-0c5b2a1f3e4d60718"},
        )
        return str(answer["HostedZone"]["Id"]).removeprefix("/hostedzone/")

    def group(self, group: GroupSpec, topic_arn: str) -> None:
        scaling = self._client("autoscaling")
        template = self._launch_template(group)
        tags = {"Name": group.name, "headnode:cluster": self._spec.name, **(group.tags or {})}
        # made empty: notifications, hooks and suspensions are in force before the first instance starts
        scaling.create_auto_scaling_group(
            AutoScalingGroupName=group.name,
            LaunchTemplate={"LaunchTemplateId": template, "Version": "$Default"},
            MinSize=0,
            MaxSize=group.maximum,
            DesiredCapacity=0,
            AvailabilityZones=list(group.zones) or [f"{self._spec.region}a"],
            NewInstancesProtectedFromScaleIn=True,
            Tags=[{"Key": key, "Value": value, "PropagateAtLaunch": True} for key, value in tags.items()],
        )
        scaling.suspend_processes(AutoScalingGroupName=group.name, ScalingProcesses=["AZRebalance"])
        if group.notifications:
            kinds = list(_NOTIFICATIONS)
            scaling.put_notification_configuration(AutoScalingGroupName=group.name, TopicARN=topic_arn, NotificationTypes=kinds)
        for hook in group.hooks:
            self._hook(group, hook, topic_arn)
        scaling.update_auto_scaling_group(
            AutoScalingGroupName=group.name, MinSize=group.minimum, DesiredCapacity=max(group.desired, group.minimum)
        )

    def _launch_template(self, group: GroupSpec) -> str:
        data: dict[str, Any] = {"InstanceType": group.instance_type, "ImageId": "ami-0a1b2c3d4e5f60718"}
        if group.spot:
            data["InstanceMarketOptions"] = {"MarketType": "spot"}
        answer = self._client("ec2").create_launch_template(LaunchTemplateName=group.name, LaunchTemplateData=data)
        return str(answer["LaunchTemplate"]["LaunchTemplateId"])

    def _hook(self, group: GroupSpec, hook: HookSpec, topic_arn: str) -> None:
        metadata = {} if hook.metadata is None else {"NotificationMetadata": hook.metadata}
        self._client("autoscaling").put_lifecycle_hook(
            AutoScalingGroupName=group.name,
            LifecycleHookName=hook.name,
            LifecycleTransition=hook.transition,
            HeartbeatTimeout=hook.heartbeat_s,
            DefaultResult=hook.default_result,
            NotificationTargetARN=topic_arn,
            RoleARN="arn:aws:iam::123456789012:role/headnode-hooks",
            **metadata,
        )


def _queue_policy(queue_arn: str, topic_arn: str, *, rule: str) -> str:
    """The cluster's topic and rule may send, and nobody else."""
    senders = {"sns": topic_arn, "events": topic_arn.rpartition(":")[0].replace(":sns:", ":events:") + f":rule/{rule}"}
    statements = [
        {
            "Effect": "Allow",
            "Principal": {"Service": f"{service}.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": arn}},
        }
        for service, arn in senders.items()
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
