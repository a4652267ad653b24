"""What reaches the queue has the shapes AWS documents: the same members as the recorded examples beside this file."""

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.aws.values import LAUNCHING, NOTIFICATION_TYPES, TERMINATING
from tests.sandbox.aws.conftest import Cloud, Inbox
from tests.sandbox.aws.test_groups import refused

EVENTS = Path(__file__).parent / "events"
FOUR = [each for each in NOTIFICATION_TYPES if "TEST" not in each]


def example(name: str) -> dict[str, Any]:
    found = json.loads((EVENTS / name).read_text())
    assert isinstance(found, dict)
    return found


def shape(value: Any) -> Any:
    """The members of a message, without their values."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    return type(value).__name__


def notified(cloud: Cloud, inbox: Inbox, **params: Any) -> str:
    group = cloud.group(**params)
    cloud.asg.put_notification_configuration(AutoScalingGroupName=group, TopicARN=inbox.topic, NotificationTypes=FOUR)
    return group


def test_a_new_configuration_is_tested(cloud: Cloud) -> None:
    inbox = cloud.queue()
    group = notified(cloud, inbox)
    (envelope,) = inbox.bodies()
    expected = example("asg_test.sns.json")
    assert envelope.keys() == expected.keys()
    assert envelope["Subject"] == f'Auto Scaling: test notification for group "{group}"'
    message = json.loads(envelope["Message"])
    assert shape(message) == shape(json.loads(expected["Message"]))
    assert (message["Event"], message["AutoScalingGroupName"]) == ("autoscaling:TEST_NOTIFICATION", group)


def test_a_launch_is_told_when_it_is_in_service(cloud: Cloud) -> None:
    inbox = cloud.queue()
    group = notified(cloud, inbox)
    inbox.bodies()
    cloud.wants(group, 1, for_s=0.5)
    assert inbox.bodies() == []
    cloud.aws.advance(1)
    (envelope,) = inbox.bodies()
    message, expected = json.loads(envelope["Message"]), json.loads(example("asg_launch.sns.json")["Message"])
    (instance,) = cloud.members(group)
    assert shape(message) == shape(expected)
    assert envelope["Subject"] == f'Auto Scaling: launch for group "{group}"'
    assert {name: message[name] for name in ("Event", "StatusCode", "Progress", "EC2InstanceId")} == {
        "Event": "autoscaling:EC2_INSTANCE_LAUNCH",
        "StatusCode": "InProgress",
        "Progress": 50,
        "EC2InstanceId": instance.instance_id,
    }
    assert message["Details"]["Availability Zone"] == instance.zone


def test_a_failed_launch_is_told_without_an_instance(cloud: Cloud) -> None:
    inbox = cloud.queue()
    group = notified(cloud, inbox)
    inbox.bodies()
    cloud.scaling.fail_launches(reason="insufficient-capacity")
    cloud.wants(group, 1, for_s=1)
    (message,) = inbox.messages()
    assert shape(message) == shape(json.loads(example("asg_launch_error.sns.json")["Message"]))
    assert message["Event"] == "autoscaling:EC2_INSTANCE_LAUNCH_ERROR"
    assert "sufficient c5.xlarge capacity" in message["StatusMessage"]


def test_a_termination_is_told(cloud: Cloud) -> None:
    inbox = cloud.queue()
    group = notified(cloud, inbox, desired=1)
    inbox.bodies()
    instance_id = cloud.members(group)[0].instance_id
    cloud.asg.terminate_instance_in_auto_scaling_group(InstanceId=instance_id, ShouldDecrementDesiredCapacity=True)
    cloud.aws.advance(2)
    (message,) = inbox.messages()
    assert shape(message) == shape(json.loads(example("asg_terminate.sns.json")["Message"]))
    assert (message["Event"], message["EC2InstanceId"]) == ("autoscaling:EC2_INSTANCE_TERMINATE", instance_id)


def test_only_the_kinds_asked_for_are_told(cloud: Cloud) -> None:
    inbox = cloud.queue()
    group = cloud.group()
    cloud.asg.put_notification_configuration(
        AutoScalingGroupName=group, TopicARN=inbox.topic, NotificationTypes=["autoscaling:EC2_INSTANCE_TERMINATE"]
    )
    inbox.bodies()
    cloud.wants(group, 2)
    cloud.wants(group, 1)
    assert [each["Event"] for each in inbox.messages()] == ["autoscaling:EC2_INSTANCE_TERMINATE"]


def test_configurations_are_described_and_deleted(cloud: Cloud) -> None:
    inbox = cloud.queue()
    group = notified(cloud, inbox)
    paginator = cloud.asg.get_paginator("describe_notification_configurations")
    pages = paginator.paginate(AutoScalingGroupNames=[group], PaginationConfig={"PageSize": 3})
    found = [each for page in pages for each in page["NotificationConfigurations"]]
    assert {each["NotificationType"] for each in found} == set(FOUR)
    cloud.asg.delete_notification_configuration(AutoScalingGroupName=group, TopicARN=inbox.topic)
    inbox.bodies()
    cloud.wants(group, 1)
    assert inbox.bodies() == []


def test_an_unknown_kind_of_notification_is_refused(cloud: Cloud) -> None:
    group, topic = cloud.group(), cloud.queue().topic
    params = {"AutoScalingGroupName": group, "TopicARN": topic, "NotificationTypes": ["autoscaling:NAP"]}
    assert refused(cloud.asg.put_notification_configuration, **params)[0] == "ValidationError"
    assert set(cloud.asg.describe_auto_scaling_notification_types()["AutoScalingNotificationTypes"]) == set(NOTIFICATION_TYPES)


def test_a_topic_that_is_not_there_loses_the_notice_and_nothing_else(cloud: Cloud) -> None:
    inbox = cloud.queue()
    group = notified(cloud, inbox)
    lost = len(cloud.aws.lost_notices)
    cloud.client("sns").delete_topic(TopicArn=inbox.topic)
    cloud.wants(group, 1)
    assert cloud.lifecycles(group) == ["InService"]
    assert len(cloud.aws.lost_notices) == lost + 1


def hook(cloud: Cloud, group: str, transition: str, target: str, **params: Any) -> None:
    cloud.asg.put_lifecycle_hook(
        AutoScalingGroupName=group,
        LifecycleHookName="hold",
        LifecycleTransition=transition,
        NotificationTargetARN=target,
        HeartbeatTimeout=60,
        **params,
    )


def test_a_hook_through_a_topic_is_wrapped(cloud: Cloud) -> None:
    inbox, group = cloud.queue(), cloud.group()
    hook(cloud, group, LAUNCHING, inbox.topic)
    (test,) = inbox.messages()
    assert shape(test) == shape(example("hook_test.bare.json"))
    cloud.wants(group, 1)
    (envelope,) = inbox.bodies()
    expected = example("hook_launching.sns.json")
    message = json.loads(envelope["Message"])
    assert envelope.keys() == expected.keys()
    assert shape(message) == shape(json.loads(expected["Message"]))
    instance_id = cloud.members(group)[0].instance_id
    assert envelope["Subject"] == f"Auto Scaling:  Lifecycle action 'LAUNCHING' for instance {instance_id} in progress."
    cloud.asg.complete_lifecycle_action(
        AutoScalingGroupName=group,
        LifecycleHookName="hold",
        LifecycleActionResult="CONTINUE",
        LifecycleActionToken=message["LifecycleActionToken"],
    )
    cloud.aws.advance(1)
    assert cloud.lifecycles(group) == ["InService"]


def test_a_hook_straight_to_a_queue_is_bare(cloud: Cloud) -> None:
    inbox, group = cloud.queue(), cloud.group(desired=1)
    hook(cloud, group, TERMINATING, inbox.arn, NotificationMetadata="drain-first")
    assert [shape(each) for each in inbox.bodies()] == [shape(example("hook_test.bare.json"))]
    cloud.wants(group, 0)
    (message,) = inbox.bodies()
    expected = example("hook_terminating.bare.json")
    assert shape(message) == shape(expected)
    same = ("LifecycleTransition", "Origin", "Destination", "NotificationMetadata", "Service")
    assert {name: message[name] for name in same} == {name: expected[name] for name in same}


@pytest.fixture
def bus(cloud: Cloud) -> Inbox:
    """A queue that EventBridge sends everything to."""
    inbox = cloud.queue()
    pattern = json.dumps({"source": ["aws.ec2", "aws.health", "aws.autoscaling"]})
    rule = cloud.name("rule")
    cloud.client("events").put_rule(Name=rule, EventPattern=pattern, State="ENABLED")
    cloud.client("events").put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": inbox.arn}])
    return inbox


def test_a_spot_interruption_warns_and_then_happens(cloud: Cloud, bus: Inbox) -> None:
    group = cloud.group(desired=1)
    instance_id = cloud.members(group)[0].instance_id
    cloud.scaling.interrupt_spot(instance_id)
    (event,) = bus.bodies()
    expected = example("spot_interruption.eventbridge.json")
    assert shape(event) == shape(expected)
    assert event["detail-type"] == expected["detail-type"]
    assert event["detail"] == {"instance-id": instance_id, "instance-action": "terminate"}
    cloud.aws.advance(119)
    assert cloud.scaling.instance(instance_id).state == "running"
    cloud.aws.advance(10)
    assert cloud.scaling.instance(instance_id).state == "terminated"
    assert cloud.scaling.instance(instance_id).state_reason.startswith("Server.SpotInstanceTermination")
    assert len(cloud.members(group)) == 1


def test_a_rebalance_recommendation_only_warns(cloud: Cloud, bus: Inbox) -> None:
    group = cloud.group(desired=1)
    instance_id = cloud.members(group)[0].instance_id
    cloud.scaling.recommend_rebalance(instance_id)
    cloud.aws.advance(600)
    (event,) = bus.bodies()
    expected = example("rebalance.eventbridge.json")
    assert shape(event) == shape(expected)
    assert event["detail-type"] == expected["detail-type"]
    assert cloud.lifecycles(group) == ["InService"]


def test_maintenance_is_a_health_event(cloud: Cloud, bus: Inbox) -> None:
    group = cloud.group(desired=1)
    instance_id = cloud.members(group)[0].instance_id
    cloud.scaling.set_scheduled_event(instance_id)
    (event,) = bus.bodies()
    expected = example("health_scheduled_change.eventbridge.json")
    assert shape(event) == shape(expected)
    assert event["detail"]["affectedEntities"] == [{"entityValue": instance_id}]
    assert event["detail"]["eventTypeCategory"] == "scheduledChange"


def test_a_failed_launch_is_an_event_too(cloud: Cloud, bus: Inbox) -> None:
    group = cloud.group()
    cloud.scaling.fail_launches(reason="configuration")
    cloud.wants(group, 1, for_s=1)
    (event,) = bus.bodies()
    expected = example("launch_unsuccessful.eventbridge.json")
    assert shape(event) == shape(expected)
    assert event["detail"]["AutoScalingGroupName"] == group


def test_state_changes_are_events_when_asked_for(cloud: Cloud, bus: Inbox) -> None:
    cloud.scaling.world.state_change_events = True
    try:
        group = cloud.group(desired=1)
        cloud.wants(group, 0)
    finally:
        cloud.scaling.world.state_change_events = False
    events = bus.bodies()
    assert shape(events[0]) == shape(example("state_change.eventbridge.json"))
    assert [each["detail"]["state"] for each in events] == ["pending", "running", "shutting-down", "terminated"]
