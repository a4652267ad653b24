"""The messages AWS sends about groups and instances, in the shapes it sends them in."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from random import Random
from typing import Any

from sandbox.aws.values import Activity, EmulatedGroup, EmulatedInstance, HookWait, ScheduledEvent, iso

_SUBJECT_CHARACTERS = 99  # SNS takes fewer than 100
_SUBJECTS = {
    "autoscaling:EC2_INSTANCE_LAUNCH": "launch",
    "autoscaling:EC2_INSTANCE_LAUNCH_ERROR": "failed launch",
    "autoscaling:EC2_INSTANCE_TERMINATE": "termination",
    "autoscaling:EC2_INSTANCE_TERMINATE_ERROR": "failed termination",
    "autoscaling:TEST_NOTIFICATION": "test notification",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArnMessage:
    """A message for an SNS topic or an SQS queue, whichever the ARN names."""

    arn: str
    subject: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BusEvent:
    """An event for EventBridge's default bus; `at` is Unix seconds."""

    source: str
    detail_type: str
    event_id: str
    at: float
    resources: tuple[str, ...]
    detail: dict[str, Any]


Notice = ArnMessage | BusEvent
Sink = Callable[[Notice], None]


def new_uuid(random: Random) -> str:
    """A version 4 UUID out of the sandbox's own randomness, so a seed repeats a run."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _message(arn: str, subject: str, fields: dict[str, Any]) -> ArnMessage:
    return ArnMessage(arn=arn, subject=subject[:_SUBJECT_CHARACTERS], body=json.dumps(fields))


def render_group_notice(
    topic: str, event: str, group: EmulatedGroup, activity: Activity, *, account: str, at: float
) -> ArnMessage:
    """A launch or termination, done or failed. A success reads InProgress with progress 50, as AWS sends it."""
    failed = event.endswith("_ERROR")
    fields: dict[str, Any] = {
        "Progress": 100 if failed else 50,
        "AccountId": account,
        "Description": activity.description,
        "RequestId": activity.activity_id,
        "EndTime": iso(activity.ended_at or at, timespec="milliseconds"),
        "AutoScalingGroupARN": group.arn,
        "ActivityId": activity.activity_id,
        "StartTime": iso(activity.started_at, timespec="milliseconds"),
        "Service": "AWS Auto Scaling",
        "Time": iso(at, timespec="milliseconds"),
        **({} if activity.instance_id is None else {"EC2InstanceId": activity.instance_id}),
        "StatusCode": "Failed" if failed else "InProgress",
        "StatusMessage": activity.status_message,
        "Details": {"Subnet ID": activity.subnet, "Availability Zone": activity.zone},
        "AutoScalingGroupName": group.name,
        "Cause": activity.cause,
        "Event": event,
    }
    return _message(topic, f'Auto Scaling: {_SUBJECTS[event]} for group "{group.name}"', fields)


def render_test_notice(arn: str, group: EmulatedGroup, *, account: str, request_id: str, at: float) -> ArnMessage:
    """What a topic or hook target gets once when it is configured."""
    fields = {
        "AccountId": account,
        "RequestId": request_id,
        "AutoScalingGroupARN": group.arn,
        "AutoScalingGroupName": group.name,
        "Service": "AWS Auto Scaling",
        "Event": "autoscaling:TEST_NOTIFICATION",
        "Time": iso(at, timespec="milliseconds"),
    }
    return _message(arn, f'Auto Scaling: test notification for group "{group.name}"', fields)


def render_hook_notice(wait: HookWait, *, account: str, request_id: str, at: float) -> ArnMessage | None:
    """A hook holds an instance; None for a hook that tells nobody."""
    hook = wait.hook
    if not hook.target_arn:
        return None
    launching = hook.transition.endswith("LAUNCHING")
    fields = {
        "LifecycleHookName": hook.name,
        "AccountId": account,
        "RequestId": request_id,
        "LifecycleTransition": hook.transition,
        "AutoScalingGroupName": wait.group,
        "Service": "AWS Auto Scaling",
        "Time": iso(at, timespec="milliseconds"),
        "EC2InstanceId": wait.instance_id,
        "LifecycleActionToken": wait.token,
        "Origin": "EC2" if launching else "AutoScalingGroup",
        "Destination": "AutoScalingGroup" if launching else "EC2",
        **({} if hook.metadata is None else {"NotificationMetadata": hook.metadata}),
    }
    what = "LAUNCHING" if launching else "TERMINATING"
    subject = f"Auto Scaling:  Lifecycle action '{what}' for instance {wait.instance_id} in progress."
    return _message(hook.target_arn, subject, fields)


def render_instance_event(detail_type: str, instance: EmulatedInstance, *, event_id: str, at: float, **detail: str) -> BusEvent:
    """What EC2 says of one instance; `detail` is what it adds to the instance's id."""
    return BusEvent(
        source="aws.ec2",
        detail_type=detail_type,
        event_id=event_id,
        at=at,
        resources=(f"arn:aws:ec2:{instance.zone}:instance/{instance.instance_id}",),
        detail={"instance-id": instance.instance_id, **detail},
    )


def render_launch_unsuccessful(
    group: EmulatedGroup, activity: Activity, *, event_id: str, request_id: str, at: float
) -> BusEvent:
    """EventBridge's word for a failed launch."""
    return BusEvent(
        source="aws.autoscaling",
        detail_type="EC2 Instance Launch Unsuccessful",
        event_id=event_id,
        at=at,
        resources=(group.arn,),
        detail={
            "StatusCode": "Failed",
            "AutoScalingGroupName": group.name,
            "ActivityId": activity.activity_id,
            "Details": {"Availability Zone": activity.zone, "Subnet ID": activity.subnet},
            "RequestId": request_id,
            "StatusMessage": activity.status_message,
            "EndTime": iso(activity.ended_at or at),
            "EC2InstanceId": "",
            "StartTime": iso(activity.started_at),
            "Cause": activity.cause,
        },
    )


def render_scheduled_change(
    instance: EmulatedInstance, event: ScheduledEvent, *, region: str, event_id: str, at: float
) -> BusEvent:
    """AWS Health announces maintenance."""
    code = f"AWS_EC2_{event.code.upper().replace('-', '_')}_SCHEDULED"
    return BusEvent(
        source="aws.health",
        detail_type="AWS Health Event",
        event_id=event_id,
        at=at,
        resources=(instance.instance_id,),
        detail={
            "eventArn": f"arn:aws:health:{region}::event/EC2/{code}/{event.event_id}",
            "service": "EC2",
            "eventTypeCode": code,
            "eventTypeCategory": "scheduledChange",
            "startTime": _rfc1123(event.not_before),
            "endTime": _rfc1123(event.not_after),
            "eventDescription": [{"language": "en_US", "latestDescription": event.description}],
            "affectedEntities": [{"entityValue": instance.instance_id}],
        },
    )


def _rfc1123(at: float) -> str:
    return formatdate(at, usegmt=True)
