"""Every answer, held against botocore's model of it: nothing missing that is required, nothing that is not known."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.serialize import create_serializer

from sandbox.aws.ec2 import Ec2Actions
from sandbox.aws.groups import GroupActions
from sandbox.aws.hooks import HookActions
from sandbox.aws.members import MemberActions
from sandbox.aws.values import LAUNCHING, TERMINATING
from sandbox.aws.wire import service_model
from tests.sandbox.aws.conftest import Cloud
from tests.sandbox.aws.http_calls import fetch, signed

ENVELOPE = {"ResponseMetadata", "requestId"}


def call(cloud: Cloud, service: str, action: str, params: dict[str, Any]) -> ET.Element:
    """The answer as it is on the wire."""
    model = service_model(service).operation_model(action)
    request = create_serializer(model.service_model.protocol).serialize_to_request(params, model)
    status, text = fetch("POST", cloud.aws.endpoint_url + "/", headers=signed(service), body=urlencode(request["body"]))
    assert status == 200, text
    return ET.fromstring(text)  # noqa: S314 - our own answer


def local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def problems(element: ET.Element, shape: Any, path: str, *, ec2: bool) -> Iterator[str]:
    """What of this element is not as the shape has it."""
    if shape.type_name == "structure":
        yield from _structure_problems(element, shape, path, ec2=ec2)
    elif shape.type_name == "list":
        item = shape.member.serialization.get("name", "member")
        for child in element:
            if local(child) != item:
                yield f"{path}: list member {local(child)}, expected {item}"
            yield from problems(child, shape.member, f"{path}[]", ec2=ec2)
    else:
        yield from _scalar_problems(element.text or "", shape, path)


def _structure_problems(element: ET.Element, shape: Any, path: str, *, ec2: bool) -> Iterator[str]:
    members = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items()}
    seen = [local(child) for child in element]
    yield from (f"{path}: {name} twice" for name in set(seen) if seen.count(name) > 1)
    for child in element:
        if local(child) not in members:
            if local(child) not in ENVELOPE:
                yield f"{path}: {local(child)} is not in the model"
            continue
        yield from problems(child, members[local(child)][1], f"{path}.{local(child)}", ec2=ec2)
    for name, (member, _) in members.items():
        if member in shape.required_members and name not in seen:
            yield f"{path}: {name} is required"


def _scalar_problems(text: str, shape: Any, path: str) -> Iterator[str]:
    readers: dict[str, Callable[[str], object]] = {"integer": int, "long": int, "double": float, "float": float}
    if shape.type_name == "boolean" and text not in ("true", "false"):
        yield f"{path}: {text!r} is no boolean"
    if shape.type_name == "timestamp":
        datetime.fromisoformat(text)
    if shape.type_name in readers:
        readers[shape.type_name](text)
    if getattr(shape, "enum", None) and text not in shape.enum:
        yield f"{path}: {text!r} is not one of {shape.enum}"


@pytest.fixture
def scene(cloud: Cloud) -> dict[str, Any]:
    """A cloud in which every list of every answer has something in it."""
    inbox = cloud.queue()
    config = cloud.name("config")
    cloud.asg.create_launch_configuration(
        LaunchConfigurationName=config, ImageId="ami-0a1b2c3d", InstanceType="c5.xlarge", SpotPrice="0.1"
    )
    template = cloud.template(
        InstanceMarketOptions={"MarketType": "spot"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}],
    )
    overrides = [{"InstanceType": "c5.xlarge"}]
    specification = {"LaunchTemplateSpecification": {"LaunchTemplateId": template}, "Overrides": overrides}
    mixed = cloud.group(desired=1, MixedInstancesPolicy={"LaunchTemplate": specification})
    old = cloud.group(desired=1, LaunchConfigurationName=config)
    group = cloud.group(desired=6, Tags=[{"Key": "k", "Value": "v & <w>"}], LaunchTemplate={"LaunchTemplateId": template})
    cloud.asg.suspend_processes(AutoScalingGroupName=group, ScalingProcesses=["AZRebalance"])
    cloud.asg.put_notification_configuration(
        AutoScalingGroupName=group, TopicARN=inbox.topic, NotificationTypes=["autoscaling:EC2_INSTANCE_LAUNCH"]
    )
    for name, transition in (("up", LAUNCHING), ("down", TERMINATING)):
        cloud.asg.put_lifecycle_hook(
            AutoScalingGroupName=group,
            LifecycleHookName=name,
            LifecycleTransition=transition,
            NotificationTargetARN=inbox.topic,
            NotificationMetadata="m",
            RoleARN="arn:aws:iam::1:role/r",
            HeartbeatTimeout=7200,
        )
    ids = [each.instance_id for each in cloud.members(group)]
    cloud.scaling.set_scheduled_event(ids[0])
    cloud.scaling.impair(ids[0])
    cloud.asg.terminate_instance_in_auto_scaling_group(InstanceId=ids[5], ShouldDecrementDesiredCapacity=True)
    cloud.scaling.terminate(ids[1])
    cloud.wants(group, 7, for_s=1.5)
    (waiting,) = [each.instance_id for each in cloud.members(group) if each.lifecycle == "Pending:Wait"][:1]
    cloud.scaling.fail_launches(reason="insufficient-capacity", instance_type="hpc7a.96xlarge")
    cloud.group(desired=1, LaunchTemplate={"LaunchTemplateId": cloud.template(InstanceType="hpc7a.96xlarge")})
    return {
        "group": group,
        "ids": ids,
        "topic": inbox.topic,
        "template": template,
        "waiting": waiting,
        "groups": [mixed, old, group],
        "empty": cloud.group(),
    }


def scaling_calls(scene: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    group = {"AutoScalingGroupName": scene["group"]}
    hold = {**group, "LifecycleHookName": "up", "InstanceId": scene["waiting"]}
    tag = {"ResourceId": scene["group"], "ResourceType": "auto-scaling-group", "Key": "n", "Value": "v"}
    new = {"AutoScalingGroupName": "wire-new", "MinSize": 0, "MaxSize": 1, "AvailabilityZones": ["eu-west-1a"]}
    end = {"ShouldDecrementDesiredCapacity": True}
    return {
        "DescribeAutoScalingGroups": [{}, {"MaxRecords": 1}],
        "DescribeAutoScalingInstances": [{}, {"MaxRecords": 1}],
        "DescribeScalingActivities": [{}, {"MaxRecords": 1}],
        "DescribeTags": [{}],
        "DescribeLaunchConfigurations": [{}],
        "DescribeNotificationConfigurations": [{}],
        "DescribeAutoScalingNotificationTypes": [{}],
        "DescribeLifecycleHooks": [group],
        "DescribeLifecycleHookTypes": [{}],
        "RecordLifecycleActionHeartbeat": [hold],
        "CompleteLifecycleAction": [{**hold, "LifecycleActionResult": "CONTINUE"}],
        "SetDesiredCapacity": [{**group, "DesiredCapacity": 6}],
        "LaunchInstances": [{**group, "RequestedCapacity": 2, "ClientToken": "wire"}],
        "TerminateInstanceInAutoScalingGroup": [
            {**end, "InstanceId": scene["ids"][3]},
            {**end, **group, "InstanceIds": [scene["ids"][4]]},
        ],
        "SetInstanceProtection": [{**group, "InstanceIds": [scene["ids"][2]], "ProtectedFromScaleIn": True}],
        "SetInstanceHealth": [{"InstanceId": scene["ids"][2], "HealthStatus": "Healthy"}],
        "SuspendProcesses": [group],
        "ResumeProcesses": [group],
        "CreateOrUpdateTags": [{"Tags": [tag]}],
        "CreateLaunchConfiguration": [{"LaunchConfigurationName": "wire", "ImageId": "ami-0", "InstanceType": "c5.xlarge"}],
        "CreateAutoScalingGroup": [{**new, "LaunchTemplate": {"LaunchTemplateId": scene["template"]}}],
        "UpdateAutoScalingGroup": [{**group, "MaxSize": 11}],
        "PutNotificationConfiguration": [
            {**group, "TopicARN": scene["topic"], "NotificationTypes": ["autoscaling:EC2_INSTANCE_LAUNCH"]}
        ],
        "DeleteNotificationConfiguration": [{**group, "TopicARN": scene["topic"]}],
        "PutLifecycleHook": [{**group, "LifecycleHookName": "third", "LifecycleTransition": LAUNCHING}],
        "DeleteLifecycleHook": [{**group, "LifecycleHookName": "up"}],
        "DeleteAutoScalingGroup": [{"AutoScalingGroupName": scene["empty"]}],
    }


def ec2_calls(scene: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {
        "DescribeInstances": [{}, {"MaxResults": 5}],
        "DescribeInstanceStatus": [{"IncludeAllInstances": True}, {"MaxResults": 5}],
        "GetConsoleOutput": [{"InstanceId": scene["ids"][0]}],
        "DescribeInstanceTypes": [{}],
        "DescribeAvailabilityZones": [{}],
        "DescribeRegions": [{}],
        "DescribeSubnets": [{}],
        "CreateTags": [{"Resources": [scene["ids"][0]], "Tags": [{"Key": "a", "Value": "b"}]}],
        "CreateLaunchTemplate": [
            {"LaunchTemplateName": "wire", "LaunchTemplateData": {"InstanceType": "c5.xlarge"}, "ClientToken": "c"}
        ],
        "DescribeLaunchTemplates": [{}],
        "DescribeLaunchTemplateVersions": [{"LaunchTemplateId": scene["template"]}],
        "TerminateInstances": [{"InstanceIds": [scene["ids"][0]]}],
    }


def check(cloud: Cloud, service: str, calls: dict[str, list[dict[str, Any]]]) -> list[str]:
    found: list[str] = []
    for action, variants in calls.items():
        model = service_model(service).operation_model(action)
        for params in variants:
            root = call(cloud, service, action, params)
            assert root.tag == f"{{{model.service_model.metadata['xmlNamespace']}}}{action}Response"
            if model.output_shape is None:
                continue
            if service == "autoscaling":
                (root,) = (child for child in root if local(child) == f"{action}Result")
            found += problems(root, model.output_shape, action, ec2=service == "ec2")
    return found


def test_every_answer_of_auto_scaling_is_as_modelled(cloud: Cloud, scene: dict[str, Any]) -> None:
    calls = scaling_calls(scene)
    emulated = [each(cloud.scaling).handlers() for each in (GroupActions, MemberActions, HookActions)]
    assert sorted(calls) == sorted(action for each in emulated for action in each)
    assert check(cloud, "autoscaling", calls) == []


def test_every_answer_of_ec2_is_as_modelled(cloud: Cloud, scene: dict[str, Any]) -> None:
    calls = ec2_calls(scene)
    assert calls.keys() == Ec2Actions(cloud.scaling).handlers().keys()
    assert check(cloud, "ec2", calls) == []


def test_the_walk_notices_what_is_wrong() -> None:
    shape = service_model("autoscaling").operation_model("DescribeAutoScalingInstances").output_shape
    item = "<item><Colour/><ProtectedFromScaleIn>no</ProtectedFromScaleIn></item>"
    text = f"<R><AutoScalingInstances>{item}</AutoScalingInstances></R>"
    found = "; ".join(problems(ET.fromstring(text), shape, "R", ec2=False))  # noqa: S314 - written above
    for complaint in ("list member item", "Colour is not in the model", "no boolean", "InstanceId is required"):
        assert complaint in found


@pytest.mark.parametrize(
    ("service", "pattern"),
    [
        ("autoscaling", r"<ErrorResponse>.*<Code>InvalidAction</Code>.*<RequestId>.+</RequestId>"),
        ("ec2", r"<Response><Errors><Error><Code>InvalidAction</Code>.*<RequestID>.+</RequestID>"),
    ],
)
@pytest.mark.parametrize("action", ["MakeCoffee", "EnterStandby", "RunInstances", ""])
def test_an_action_that_is_not_emulated_is_an_xml_error(cloud: Cloud, service: str, pattern: str, action: str) -> None:
    status, text = fetch("POST", cloud.aws.endpoint_url, headers=signed(service), body=f"Action={action}")
    assert status == 400
    assert re.search(pattern, text, re.DOTALL)


@pytest.mark.parametrize(
    ("service", "body", "code"),
    [
        ("autoscaling", "Action=SetDesiredCapacity&DesiredCapacity=1", "ValidationError"),
        ("autoscaling", "Action=SetDesiredCapacity&AutoScalingGroupName=g&DesiredCapacity=many", "ValidationError"),
        ("ec2", "Action=TerminateInstances", "InvalidParameterValue"),
    ],
)
def test_a_call_that_is_not_as_modelled_is_refused(cloud: Cloud, service: str, body: str, code: str) -> None:
    status, text = fetch("POST", cloud.aws.endpoint_url, headers=signed(service), body=body)
    assert status == 400
    assert f"<Code>{code}</Code>" in text
