"""Each misconfiguration that was planted is found by the name of its check, with what to do; a healthy cluster has none."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from daemons.aws.leases import render_lease
from daemons.doctor.findings import Severity
from daemons.ha.lease import Lease
from daemons.model import Launch, Purchase
from sandbox.aws.errors import AwsError
from sandbox.aws.server import SandboxAws
from tests.doctor.ground import ACCOUNT, HOOKS, Ground, bad

DENIED = AwsError("AccessDeniedException", "User is not authorized to perform this action.", status=400)
EXPIRED = AwsError("ExpiredToken", "The security token included in the request is expired", status=403)
TOPIC_POLICY = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "SNS:Publish", "Resource": "*"}


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    with SandboxAws(account=ACCOUNT) as aws:
        yield Ground.make(aws, tmp_path)


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What is spoilt, where the doctor looks, what it is to find, and a word that its remedy has to hold."""

    what: str
    area: str
    spoil: Callable[[Ground], object]
    check: str
    remedy: str
    error: bool = False
    besides: frozenset[str] = frozenset()  # what follows from it and is found as well


def _policy(*statements: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _senders(service: str, *, account: str = "") -> object:
    condition = {"Condition": {"StringEquals": {"aws:SourceAccount": account}}} if account else {}
    return {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sqs:SendMessage", "Resource": "*"} | condition


def _nothing_is_told(ground: Ground) -> None:
    scaling = ground.boto("autoscaling")
    scaling.delete_notification_configuration(AutoScalingGroupName="hpc-batch", TopicARN=ground.stack.topic_arn)
    for hook in HOOKS:
        scaling.delete_lifecycle_hook(AutoScalingGroupName="hpc-batch", LifecycleHookName=hook.name)


def _another_table(ground: Ground, **changes: object) -> None:
    table = {
        "TableName": "another",
        "KeySchema": [{"AttributeName": "instanceId", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "instanceId", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    ground.boto("dynamodb").create_table(**table | changes)
    ground.reconfigure(table="another")


def _another_zone(ground: Ground, **request: object) -> None:
    answer = ground.boto("route53").create_hosted_zone(Name="hpc.internal.", CallerReference="another", **request)
    assert ground.config.dns is not None
    ground.reconfigure(dns=replace(ground.config.dns, zone_id=answer["HostedZone"]["Id"].removeprefix("/hostedzone/")))


def _leased(ground: Ground) -> None:
    at = time.time()
    for service in ("sqswatcher", "jobwatcher", "nodewatcher"):
        lease = Lease(service=service, holder="head-b", token="1", fence=3, beat=1, lease_s=20.0, since=at, renewed_at=at)
        ground.boto("dynamodb").put_item(TableName=ground.stack.table, Item=render_lease(lease))


def _filter(ground: Ground) -> None:
    sns = ground.boto("sns")
    (subscription,) = sns.list_subscriptions_by_topic(TopicArn=ground.stack.topic_arn)["Subscriptions"]
    sns.set_subscription_attributes(
        SubscriptionArn=subscription["SubscriptionArn"], AttributeName="FilterPolicy", AttributeValue='{"kind": ["launch"]}'
    )


def _refused_for_its_clock(ground: Ground) -> None:
    ground.aws.faults.fail("sts", error=AwsError("SignatureDoesNotMatch", "Signature expired: is now earlier than", status=403))
    ground.ahead_s = -3600.0


def _verify(ground: Ground, topic: str) -> None:
    ground.reconfigure(sqswatcher=replace(ground.config.sqswatcher, verify_sns=True, topics=(topic,)))


def _raw(ground: Ground) -> None:
    sns = ground.boto("sns")
    (subscription,) = sns.list_subscriptions_by_topic(TopicArn=ground.stack.topic_arn)["Subscriptions"]
    sns.set_subscription_attributes(
        SubscriptionArn=subscription["SubscriptionArn"], AttributeName="RawMessageDelivery", AttributeValue="true"
    )
    _verify(ground, ground.stack.topic_arn)


def _unsubscribe(ground: Ground) -> None:
    sns = ground.boto("sns")
    for one in sns.list_subscriptions_by_topic(TopicArn=ground.stack.topic_arn)["Subscriptions"]:
        sns.unsubscribe(SubscriptionArn=one["SubscriptionArn"])


def _redrive(ground: Ground, receives: int) -> str:
    arn = ground.stack.queue_arn.replace("hpc-events", "hpc-dead-letters")
    return json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": receives})


def _no_rule(ground: Ground) -> None:
    events = ground.boto("events")
    events.remove_targets(Rule="hpc-instances", Ids=["queue"])


def _processes(ground: Ground, verb: str, process: str) -> None:
    getattr(ground.boto("autoscaling"), verb)(AutoScalingGroupName="hpc-batch", ScalingProcesses=[process])


def _other_type(ground: Ground) -> None:
    data = {"InstanceType": "m5.xlarge", "ImageId": "ami-0a1b2c3d4e5f60718"}
    ground.boto("ec2").create_launch_template(LaunchTemplateName="other", LaunchTemplateData=data)
    ground.group(LaunchTemplate={"LaunchTemplateName": "other", "Version": "$Default"})


def _no_template(ground: Ground) -> None:
    ground.boto("autoscaling").create_launch_configuration(
        LaunchConfigurationName="old", InstanceType="c5.xlarge", ImageId="ami-0a1b2c3d4e5f60718"
    )
    ground.group(LaunchConfigurationName="old")
    ground.refleet(launch=Launch.LAUNCH_INSTANCES)


def _short_hook(ground: Ground) -> None:
    ground.hook("leave", HeartbeatTimeout=30)
    ground.reconfigure(sqswatcher=replace(ground.config.sqswatcher, terminate_grace_s=7200.0))


def _shape(ground: Ground, **changes: Any) -> None:
    ground.refleet(shape=replace(ground.config.fleets[0].shape, **changes))


def _unit(ground: Ground, **properties: str) -> None:
    ground.systemd.units["nodewatcher.service"] |= properties


PLANTED = (
    Planted(
        what="credentials that have expired",
        area="aws",
        spoil=lambda ground: ground.aws.faults.fail("sts", error=EXPIRED),
        check="aws-credentials",
        remedy="instance profile",
        error=True,
    ),
    Planted(
        what="a queue of another account",
        area="aws",
        spoil=lambda ground: ground.reconfigure(queue=ground.stack.queue_url.replace(ACCOUNT, "111122223333")),
        check="aws-account",
        remedy=ACCOUNT,
    ),
    Planted(
        what="a clock that is half a minute ahead",
        area="aws",
        spoil=lambda ground: vars(ground).update(ahead_s=30.0),
        check="aws-clock",
        remedy="chronyc makestep",
    ),
    Planted(
        what="a clock that is an hour behind",
        area="aws",
        spoil=lambda ground: vars(ground).update(ahead_s=-3600.0),
        check="aws-clock",
        remedy="chronyc makestep",
        error=True,
    ),
    Planted(
        what="a clock that is so far off that AWS refuses everything",
        area="aws",
        spoil=_refused_for_its_clock,
        check="aws-clock",
        besides=frozenset({"aws-credentials"}),
        remedy="chronyc makestep",
        error=True,
    ),
    Planted(
        what="an endpoint in another region",
        area="aws",
        spoil=lambda ground: ground.reconfigure(
            endpoints={**ground.config.endpoints, "sqs": "https://sqs.us-east-1.amazonaws.com"}
        ),
        check="aws-endpoint",
        remedy="endpoints.sqs",
        error=True,
    ),
    Planted(
        what="an endpoint that is not encrypted",
        area="aws",
        spoil=lambda ground: ground.reconfigure(endpoints={**ground.config.endpoints, "sqs": "http://sqs.internal"}),
        check="aws-endpoint",
        remedy="https://",
    ),
    Planted(
        what="a role that may not write rows",
        area="permissions",
        spoil=lambda ground: ground.aws.faults.fail("dynamodb", "PutItem", error=DENIED),
        check="permission-dynamodb-put-item",
        remedy="allow dynamodb:PutItem",
        error=True,
    ),
    Planted(
        what="a role that may not answer hooks",
        area="permissions",
        spoil=lambda ground: ground.aws.faults.fail(
            "autoscaling", "CompleteLifecycleAction", error=AwsError("AccessDenied", "no", status=403)
        ),
        check="permission-autoscaling-complete-lifecycle-action",
        remedy="headnode iam render --role head",
        error=True,
    ),
    Planted(
        what="a role that may not be looked into by the doctor",
        area="table",
        spoil=lambda ground: ground.aws.faults.fail("dynamodb", "DescribeTable", error=DENIED),
        check="table-may-look",
        remedy="headnode iam render --role doctor",
    ),
    Planted(
        what="a service that does not answer",
        area="table",
        spoil=lambda ground: ground.aws.faults.server_error("dynamodb"),
        check="table-answers",
        remedy="headnode doctor --only table",
        error=True,
    ),
    Planted(
        what="a queue that is not there",
        area="queue",
        spoil=lambda ground: ground.reconfigure(queue="nobody"),
        check="queue-exists",
        remedy="create-queue",
        error=True,
    ),
    Planted(
        what="messages that are kept for a minute",
        area="queue",
        spoil=lambda ground: ground.queue(MessageRetentionPeriod="60"),
        check="queue-retention",
        remedy="MessageRetentionPeriod=345600",
    ),
    Planted(
        what="messages that are held back",
        area="queue",
        spoil=lambda ground: ground.queue(DelaySeconds="90"),
        check="queue-delay",
        remedy="DelaySeconds=0",
    ),
    Planted(
        what="no dead-letter queue",
        area="queue",
        spoil=lambda ground: ground.queue(RedrivePolicy=""),
        check="queue-dead-letters",
        remedy="RedrivePolicy",
    ),
    Planted(
        what="a dead-letter queue that was deleted",
        area="queue",
        spoil=lambda ground: ground.boto("sqs").delete_queue(QueueUrl=ground.stack.dead_letter_queue_url),
        check="queue-dead-letters",
        remedy="RedrivePolicy",
        error=True,
    ),
    Planted(
        what="messages that are put aside at their first receive",
        area="queue",
        spoil=lambda ground: ground.queue(RedrivePolicy=_redrive(ground, 1)),
        check="queue-max-receives",
        remedy="maxReceiveCount",
    ),
    Planted(
        what="dead letters that end before anybody has looked",
        area="queue",
        spoil=lambda ground: ground.boto("sqs").set_queue_attributes(
            QueueUrl=ground.stack.dead_letter_queue_url, Attributes={"MessageRetentionPeriod": "3600"}
        ),
        check="queue-dead-letter-retention",
        remedy="1209600",
    ),
    Planted(
        what="a queue whose key keeps topics out",
        area="queue",
        spoil=lambda ground: ground.queue(KmsMasterKeyId="alias/aws/sqs"),
        check="queue-encryption",
        remedy="SqsManagedSseEnabled=true",
        error=True,
    ),
    Planted(
        what="a queue that takes messages from anybody",
        area="queue",
        spoil=lambda ground: ground.queue(
            Policy=_policy({"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "*"})
        ),
        check="queue-strangers",
        remedy="headnode iam render --role queue",
        error=True,
    ),
    Planted(
        what="a queue that takes messages from everybody's topics",
        area="queue",
        spoil=lambda ground: ground.queue(Policy=_policy(_senders("sns.amazonaws.com"), _senders("events.amazonaws.com"))),
        check="queue-strangers",
        remedy="headnode iam render --role queue",
    ),
    Planted(
        what="a queue that takes nothing from the topic",
        area="queue",
        spoil=lambda ground: ground.queue(Policy=_policy(_senders("events.amazonaws.com", account=ACCOUNT))),
        check="queue-admits-topic",
        remedy="headnode iam render --role queue",
        error=True,
    ),
    Planted(
        what="a queue that takes nothing from the rule",
        area="queue",
        spoil=lambda ground: ground.queue(Policy=_policy(_senders("sns.amazonaws.com", account=ACCOUNT))),
        check="queue-admits-rule",
        remedy="headnode iam render --role queue",
        error=True,
    ),
    Planted(
        what="a queue that is not subscribed",
        area="topics",
        spoil=_unsubscribe,
        check="topic-subscription",
        remedy="aws sns subscribe",
        error=True,
    ),
    Planted(
        what="a subscription that lets few messages pass",
        area="topics",
        spoil=_filter,
        check="topic-filter",
        remedy="FilterPolicy",
    ),
    Planted(
        what="a topic that was deleted",
        area="topics",
        spoil=lambda ground: ground.boto("sns").delete_topic(TopicArn=ground.stack.topic_arn),
        check="topic-exists",
        remedy="create-topic",
        error=True,
    ),
    Planted(
        what="a topic to which anybody may publish",
        area="topics",
        spoil=lambda ground: ground.boto("sns").set_topic_attributes(
            TopicArn=ground.stack.topic_arn, AttributeName="Policy", AttributeValue=_policy(TOPIC_POLICY)
        ),
        check="topic-strangers",
        remedy="headnode iam render --role topic",
        error=True,
    ),
    Planted(
        what="a topic that is not believed",
        area="topics",
        spoil=lambda ground: _verify(ground, "arn:aws:sns:eu-west-1:777788889999:another"),
        check="topic-named",
        besides=frozenset({"topic-exists"}),
        remedy="sqswatcher.topics",
        error=True,
    ),
    Planted(
        what="messages that come without their signatures",
        area="topics",
        spoil=_raw,
        check="topic-raw-delivery",
        remedy="RawMessageDelivery",
        error=True,
    ),
    Planted(
        what="Spot instances whose end nobody tells of", area="topics", spoil=_no_rule, check="event-rule", remedy="put-rule"
    ),
    Planted(
        what="a group that is not there",
        area="groups",
        spoil=lambda ground: ground.refleet(group="nobody"),
        check="group-exists",
        remedy="fleet batch",
        error=True,
    ),
    Planted(
        what="a group that cannot grow",
        area="groups",
        spoil=lambda ground: ground.group(MaxSize=0),
        check="group-bounds",
        remedy="--max-size",
    ),
    Planted(
        what="instances that scale-in may end",
        area="groups",
        spoil=lambda ground: ground.group(NewInstancesProtectedFromScaleIn=False),
        check="group-protection",
        remedy="--new-instances-protected-from-scale-in",
        error=True,
    ),
    Planted(
        what="zones that are evened out",
        area="groups",
        spoil=lambda ground: _processes(ground, "resume_processes", "AZRebalance"),
        check="group-az-rebalance",
        remedy="suspend-processes",
    ),
    Planted(
        what="a group that does not launch",
        area="groups",
        spoil=lambda ground: _processes(ground, "suspend_processes", "Launch"),
        check="group-processes",
        remedy="--scaling-processes Launch",
        error=True,
    ),
    Planted(
        what="health that a load balancer judges",
        area="groups",
        spoil=lambda ground: ground.group(HealthCheckType="ELB"),
        check="group-health-check",
        remedy="--health-check-type EC2",
    ),
    Planted(
        what="Spot instances that Auto Scaling ends early",
        area="groups",
        spoil=lambda ground: ground.group(CapacityRebalance=True),
        check="group-capacity-rebalance",
        remedy="--no-capacity-rebalance",
    ),
    Planted(
        what="a fleet that needs a launch template",
        area="groups",
        spoil=_no_template,
        check="group-launch-template",
        remedy="desired-capacity",
        error=True,
    ),
    Planted(
        what="a group of other instances",
        area="groups",
        spoil=_other_type,
        check="group-instance-type",
        remedy="instance_type",
        error=True,
    ),
    Planted(
        what="instances that are bought otherwise",
        area="groups",
        spoil=lambda ground: ground.refleet(purchase=Purchase.SPOT),
        check="group-purchase",
        remedy='purchase = "on-demand"',
    ),
    Planted(
        what="a group that tells nobody",
        area="groups",
        spoil=_nothing_is_told,
        check="group-notifications",
        remedy="put-notification-configuration",
        error=True,
    ),
    Planted(
        what="more CPUs than there are",
        area="groups",
        spoil=lambda ground: _shape(ground, cpus=8),
        check="fleet-cpus",
        remedy="cpus = 4",
        error=True,
    ),
    Planted(
        what="all of an instance's memory for jobs",
        area="groups",
        spoil=lambda ground: _shape(ground, memory_mib=8192),
        check="fleet-memory",
        remedy="memory_mib = 7618",
    ),
    Planted(
        what="GPUs where there are none",
        area="groups",
        spoil=lambda ground: _shape(ground, gpus=1),
        check="fleet-gpus",
        remedy="gpus = 0",
        error=True,
    ),
    Planted(
        what="an instance type that is not sold",
        area="groups",
        spoil=lambda ground: ground.refleet(instance_type="c5.gigantic"),
        check="fleet-instance-type",
        besides=frozenset({"group-instance-type"}),
        remedy="instance_type",
        error=True,
    ),
    Planted(
        what="a hook that tells a topic that we do not hear",
        area="hooks",
        spoil=lambda ground: ground.hook(
            "join", NotificationTargetARN=ground.boto("sns").create_topic(Name="others")["TopicArn"]
        ),
        check="hook-target",
        remedy="put-lifecycle-hook",
        error=True,
    ),
    Planted(
        what="a hook that ends before the node has booted",
        area="hooks",
        spoil=lambda ground: ground.hook("join", HeartbeatTimeout=60),
        check="hook-launch-timeout",
        remedy="--heartbeat-timeout 960",
    ),
    Planted(
        what="a hook that lets in what never came up",
        area="hooks",
        spoil=lambda ground: ground.hook("join", DefaultResult="CONTINUE"),
        check="hook-launch-result",
        remedy="--default-result ABANDON",
    ),
    Planted(
        what="a hook that cannot wait for the jobs",
        area="hooks",
        spoil=_short_hook,
        check="hook-terminate-limit",
        remedy="--heartbeat-timeout 73",
    ),
    Planted(
        what="a table that is not there",
        area="table",
        spoil=lambda ground: ground.reconfigure(table="nobody"),
        check="table-exists",
        remedy="create-table",
        error=True,
    ),
    Planted(
        what="a table with another key",
        area="table",
        spoil=lambda ground: _another_table(
            ground,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        ),
        check="table-key",
        besides=frozenset({"table-ttl"}),
        remedy="AttributeName=instanceId",
        error=True,
    ),
    Planted(
        what="another head that acts by a lease, of which this one knows nothing",
        area="heads",
        spoil=_leased,
        check="heads-known",
        remedy="ha.enabled = true",
        error=True,
    ),
    Planted(what="rows that never end", area="table", spoil=_another_table, check="table-ttl", remedy="update-time-to-live"),
    Planted(
        what="a table for one write a second",
        area="table",
        spoil=lambda ground: _another_table(
            ground, BillingMode="PROVISIONED", ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 1}
        ),
        check="table-throughput",
        besides=frozenset({"table-ttl"}),
        remedy="PAY_PER_REQUEST",
    ),
    Planted(
        what="a zone that is not there",
        area="zone",
        spoil=lambda ground: ground.boto("route53").delete_hosted_zone(Id=ground.stack.zone_id),
        check="zone-exists",
        remedy="zone",
        error=True,
    ),
    Planted(what="a zone that the world can read", area="zone", spoil=_another_zone, check="zone-private", remedy="private zone"),
    Planted(
        what="a zone for another region's network",
        area="zone",
        spoil=lambda ground: _another_zone(
            ground,
            HostedZoneConfig={"PrivateZone": True},
            VPC={"VPCRegion": "us-east-1", "VPCId": "vpc-0c5b2a1f3e4d60718"},
        ),
        check="zone-vpc",
        remedy="associate-vpc-with-hosted-zone",
        error=True,
    ),
    Planted(
        what="names that this machine looks up elsewhere",
        area="zone",
        spoil=lambda ground: (ground.directory / "resolv.conf").write_text("search example.com\n"),
        check="zone-search",
        remedy="resolv.conf",
    ),
    Planted(
        what="a scheduler that is not there",
        area="scheduler",
        spoil=lambda ground: (ground.directory / "local.db").unlink(),
        check="scheduler-answers",
        remedy="headnode",
        error=True,
    ),
    Planted(
        what="a configuration that everybody may write",
        area="host",
        spoil=lambda ground: (ground.directory / "headnode.toml").chmod(0o646),
        check="config-file",
        remedy="chmod 640",
        error=True,
    ),
    Planted(
        what="a state directory that is not there",
        area="host",
        spoil=lambda ground: (ground.directory / "jobwatcher").rmdir(),
        check="state-dir",
        remedy="install -d",
        error=True,
    ),
    Planted(
        what="a record that may outgrow the disk",
        area="host",
        spoil=lambda ground: ground.reconfigure(jobwatcher=replace(ground.config.jobwatcher, record_mib=1 << 40)),
        check="disk-space",
        remedy="jobwatcher.record_mib",
    ),
    Planted(
        what="a wake-up socket at which nobody listens",
        area="host",
        spoil=lambda ground: ground.reconfigure(
            jobwatcher=replace(ground.config.jobwatcher, wake_socket=str(ground.directory / "wake.sock"))
        ),
        check="wake-socket",
        remedy="systemctl start jobwatcher",
    ),
    Planted(
        what="a unit that is not installed",
        area="host",
        spoil=lambda ground: _unit(ground, LoadState="not-found"),
        check="unit-installed",
        remedy="headnode install",
        error=True,
    ),
    Planted(
        what="a service that has ended",
        area="host",
        spoil=lambda ground: _unit(ground, ActiveState="failed", Result="exit-code"),
        check="unit-running",
        remedy="systemctl start nodewatcher.service",
        error=True,
    ),
    Planted(
        what="services that are not started at boot",
        area="host",
        spoil=lambda ground: ground.systemd.units["headnode.target"].update(UnitFileState="disabled"),
        check="unit-enabled",
        remedy="systemctl enable headnode.target",
    ),
    Planted(
        what="a service that is started over and over",
        area="host",
        spoil=lambda ground: _unit(ground, NRestarts="37"),
        check="unit-restarts",
        remedy="journalctl",
    ),
)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.what)
def test_what_was_planted_is_found_and_its_remedy_named(planted: Planted, ground: Ground) -> None:
    planted.spoil(ground)
    found = bad(ground.examine(planted.area))
    assert set(found) - planted.besides == {planted.check}
    finding = found[planted.check]
    assert finding.severity is (Severity.ERROR if planted.error else Severity.WARNING)
    assert planted.remedy in finding.remedy


def test_a_healthy_cluster_has_none_of_it(ground: Ground) -> None:
    _verify(ground, ground.stack.topic_arn)
    told = ground.examine()
    assert bad(told) == {}
    well = {one.finding.id for one in told if one.finding.severity is Severity.OK}
    of_trouble = {"table-may-look", "table-answers", "fleet-instance-type", "aws-credentials"}  # there is no role here
    assert {planted.check for planted in PLANTED} - of_trouble <= well, "each was looked at, and found well"
    assert len({planted.check for planted in PLANTED}) >= 20


def test_of_two_heads_it_says_who_acts_and_what_nobody_does(ground: Ground) -> None:
    ground.reconfigure(ha=replace(ground.config.ha, enabled=True))
    found = bad(ground.examine("heads"))["heads-lease"]
    assert (found.severity, found.found) == (Severity.WARNING, "nobody holds its lease")
    assert "systemctl start" in found.remedy
    _leased(ground)
    told = ground.examine("heads")
    assert bad(told) == {}
    assert all(one.finding.found.startswith("head-b holds its lease, fence 3") for one in told)
    ground.ahead_s = 60.0
    assert set(bad(ground.examine("heads"))) == {"heads-lease"}


def test_one_service_that_fails_stops_no_other_look(ground: Ground) -> None:
    ground.aws.faults.server_error("dynamodb")
    told = ground.examine("table", "queue", "zone")
    assert set(bad(told)) == {"table-answers"}
    assert {"queue-exists", "zone-exists"} <= {one.finding.id for one in told}


def test_looking_changes_nothing(ground: Ground) -> None:
    """The tries of permissions above all."""
    dynamodb, sqs, route53 = (ground.boto(name) for name in ("dynamodb", "sqs", "route53"))

    def state() -> object:
        attributes = sqs.get_queue_attributes(QueueUrl=ground.stack.queue_url, AttributeNames=["All"])["Attributes"]
        records = route53.list_resource_record_sets(HostedZoneId=ground.stack.zone_id)["ResourceRecordSets"]
        groups = ground.boto("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        settings = {name: value for name, value in attributes.items() if not name.endswith("NumberOfMessages")}
        return dynamodb.scan(TableName="hpc")["Items"], settings, records, groups

    before = state()
    ground.examine()
    assert state() == before


def test_without_systemd_that_is_a_note(ground: Ground) -> None:
    ground.systemd.units.clear()
    (finding,) = [one.finding for one in ground.examine("host") if one.finding.id == "units"]
    assert finding.severity is Severity.NOTE
    assert "systemd" in finding.found
