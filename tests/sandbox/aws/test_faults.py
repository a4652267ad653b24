"""Trouble on demand, as an unmodified client meets it."""

import time
from collections import Counter
from random import Random
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from sandbox.aws.errors import AwsError
from sandbox.aws.faults import Faults, MessageFaults
from tests.sandbox.aws.conftest import Cloud, Inbox


def impatient(cloud: Cloud, service: str, **config: Any) -> Any:
    """A client that asks once."""
    make: Any = boto3.client
    return make(
        service,
        endpoint_url=cloud.aws.endpoint_url,
        region_name="eu-west-1",
        aws_access_key_id="x",
        aws_secret_access_key="y",
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "autoscaling": ("describe_auto_scaling_groups", {}),
    "ec2": ("describe_instances", {}),
    "dynamodb": ("list_tables", {}),
    "sqs": ("list_queues", {}),
    "sns": ("list_topics", {}),
    "route53": ("list_hosted_zones", {}),
    "logs": ("describe_log_groups", {}),
}
THROTTLES = {
    "autoscaling": "Throttling",
    "ec2": "RequestLimitExceeded",
    "dynamodb": "ProvisionedThroughputExceededException",
    "sqs": "RequestThrottled",
    "sns": "Throttling",
    "route53": "Throttling",
    "logs": "ThrottlingException",
}


@pytest.mark.parametrize("service", CALLS)
def test_each_service_throttles_in_its_own_words(cloud: Cloud, service: str) -> None:
    cloud.aws.faults.throttle(service, calls=1)
    client, (operation, params) = impatient(cloud, service), CALLS[service]
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**params)
    assert caught.value.response["Error"]["Code"] == THROTTLES[service]
    assert getattr(client, operation)(**params)["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize("service", CALLS)
def test_each_service_can_fail(cloud: Cloud, service: str) -> None:
    cloud.aws.faults.server_error(service, calls=1)
    operation, params = CALLS[service]
    with pytest.raises(ClientError) as caught:
        getattr(impatient(cloud, service), operation)(**params)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert caught.value.response["Error"]["Code"].startswith("Internal")


def test_a_throttle_is_retried_by_the_client(cloud: Cloud) -> None:
    before = cloud.aws.faults.count("autoscaling", "DescribeTags")
    cloud.aws.faults.throttle("autoscaling", "DescribeTags", calls=1)
    cloud.asg.describe_tags()
    assert cloud.aws.faults.count("autoscaling", "DescribeTags") == before + 2


def test_a_zone_that_is_busy_says_so(cloud: Cloud) -> None:
    zone = cloud.client("route53").create_hosted_zone(Name="busy.example.", CallerReference=cloud.name())
    cloud.aws.faults.throttle("route53", "ChangeResourceRecordSets", code="PriorRequestNotComplete", calls=1)
    record = {"Name": "a.busy.example.", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "10.0.0.1"}]}
    change = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
    with pytest.raises(ClientError) as caught:
        impatient(cloud, "route53").change_resource_record_sets(HostedZoneId=zone["HostedZone"]["Id"], ChangeBatch=change)
    assert caught.value.response["Error"]["Code"] == "PriorRequestNotComplete"


def test_any_error_can_be_asked_for(cloud: Cloud) -> None:
    error = AwsError("AccessDenied", "User: x is not authorized", status=403)
    cloud.aws.faults.fail("autoscaling", "SetDesiredCapacity", error=error)
    with pytest.raises(ClientError, match=r"AccessDenied.*not authorized"):
        cloud.asg.set_desired_capacity(AutoScalingGroupName="any", DesiredCapacity=1)


def test_a_fault_touches_only_its_operation(cloud: Cloud) -> None:
    cloud.aws.faults.server_error("autoscaling", "SetDesiredCapacity")
    assert impatient(cloud, "autoscaling").describe_tags()["Tags"] == []


@pytest.mark.parametrize(("after_effect", "desired"), [(False, 0), (True, 3)])
def test_a_connection_is_lost_before_or_after_the_effect(cloud: Cloud, after_effect: bool, desired: int) -> None:
    group = cloud.group()
    cloud.aws.faults.drop("autoscaling", "SetDesiredCapacity", after_effect=after_effect, calls=1)
    with pytest.raises(ConnectionClosedError):
        impatient(cloud, "autoscaling").set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=3)
    assert cloud.state(group).desired == desired


def test_a_slow_answer_outlasts_an_impatient_client(cloud: Cloud) -> None:
    cloud.aws.faults.slow("autoscaling", delay_s=3, calls=1)
    with pytest.raises(ReadTimeoutError):
        impatient(cloud, "autoscaling", read_timeout=0.2).describe_tags()


def test_shares_are_drawn_from_the_seed() -> None:
    def run(seed: int) -> list[bool]:
        faults = Faults(Random(seed))  # noqa: S311 - a simulation's randomness
        faults.throttle("ec2", probability=0.3)
        return [bool(faults.strike("ec2", "DescribeInstances")) for _ in range(400)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 80 < sum(run(1)) < 160


def test_calls_are_counted_by_service_and_operation(cloud: Cloud) -> None:
    zone = cloud.client("route53").create_hosted_zone(Name="counted.example.", CallerReference=cloud.name())
    faults = cloud.aws.faults
    faults.reset_counts()
    cloud.asg.describe_tags()
    cloud.client("sqs").list_queues()
    cloud.client("dynamodb").list_tables()
    cloud.client("route53").list_resource_record_sets(HostedZoneId=zone["HostedZone"]["Id"])
    cloud.client("route53").get_hosted_zone(Id=zone["HostedZone"]["Id"])
    assert faults.counts() == {
        ("autoscaling", "DescribeTags"): 1,
        ("sqs", "ListQueues"): 1,
        ("dynamodb", "ListTables"): 1,
        ("route53", "ListResourceRecordSets"): 1,
        ("route53", "GetHostedZone"): 1,
    }
    assert faults.count("route53") == 2


def test_the_sandbox_itself_is_spared(cloud: Cloud) -> None:
    inbox, group = cloud.queue(), cloud.group()
    cloud.asg.put_notification_configuration(
        AutoScalingGroupName=group, TopicARN=inbox.topic, NotificationTypes=["autoscaling:EC2_INSTANCE_LAUNCH"]
    )
    cloud.aws.faults.server_error("sns")
    cloud.aws.faults.server_error("sqs", "SendMessage")
    cloud.wants(group, 1)
    assert len(inbox.bodies()) == 2


def send(inbox: Inbox, count: int) -> list[str]:
    """Numbered messages; what they hold."""
    for number in range(count):
        inbox.sqs.send_message(QueueUrl=inbox.url, MessageBody=str(number))
    return [str(number) for number in range(count)]


def receive(inbox: Inbox, *, until: int, for_s: float = 5) -> list[str]:
    """Bodies in the order of their arrival, until so many came or the time is over."""
    deadline = time.monotonic() + for_s
    bodies: list[str] = []
    while len(bodies) < until and time.monotonic() <= deadline:
        answer = inbox.sqs.receive_message(QueueUrl=inbox.url, MaxNumberOfMessages=10)
        bodies += [each["Body"] for each in answer.get("Messages", [])]
    return bodies


def test_messages_arrive_as_sent_without_faults(cloud: Cloud) -> None:
    inbox = cloud.queue()
    sent = send(inbox, 12)
    assert receive(inbox, until=12) == sent


def test_messages_are_dropped(cloud: Cloud) -> None:
    inbox = cloud.queue()
    cloud.aws.faults.messages = MessageFaults(drop=0.5)
    sent = send(inbox, 30)
    cloud.aws.faults.messages = MessageFaults()
    inbox.sqs.send_message(QueueUrl=inbox.url, MessageBody="last")
    got: list[str] = []
    while "last" not in got:
        got += receive(inbox, until=1)
    assert 5 <= len(got) - 1 <= 25
    assert set(got) - {"last"} <= set(sent)


def test_messages_are_duplicated_with_their_id(cloud: Cloud) -> None:
    inbox = cloud.queue()
    cloud.aws.faults.messages = MessageFaults(duplicate=1)
    sent = inbox.sqs.send_message(QueueUrl=inbox.url, MessageBody="twin")
    got = inbox.sqs.receive_message(QueueUrl=inbox.url, MaxNumberOfMessages=10)["Messages"]
    assert [(each["MessageId"], each["Body"]) for each in got] == [(sent["MessageId"], "twin")] * 2
    for each in got:
        inbox.sqs.delete_message(QueueUrl=inbox.url, ReceiptHandle=each["ReceiptHandle"])


def test_messages_are_delayed(cloud: Cloud) -> None:
    inbox = cloud.queue()
    cloud.aws.faults.messages = MessageFaults(delay=1, longest_delay_s=1.5)
    started = time.monotonic()
    sent = send(inbox, 8)
    early = receive(inbox, until=8, for_s=0)
    late = receive(inbox, until=8 - len(early))
    assert Counter(early + late) == Counter(sent)
    assert time.monotonic() - started > 0.2


def test_messages_change_places(cloud: Cloud) -> None:
    inbox = cloud.queue()
    cloud.aws.faults.messages = MessageFaults(reorder=1)
    sent = send(inbox, 20)
    got = receive(inbox, until=20)
    assert got != sent
    assert sorted(got) == sorted(sent)


def test_notices_through_a_topic_suffer_too(cloud: Cloud) -> None:
    inbox, group = cloud.queue(), cloud.group()
    cloud.asg.put_notification_configuration(
        AutoScalingGroupName=group, TopicARN=inbox.topic, NotificationTypes=["autoscaling:EC2_INSTANCE_LAUNCH"]
    )
    inbox.bodies()
    cloud.aws.faults.messages = MessageFaults(duplicate=1)
    cloud.wants(group, 1)
    first, second = inbox.messages()
    assert first == second
