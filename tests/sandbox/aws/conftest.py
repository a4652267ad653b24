"""One stepped sandbox for the whole package; every test makes groups and queues of its own."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from sandbox.aws.clock import ManualClock
from sandbox.aws.scaling import Scaling
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import client
from sandbox.aws.values import EmulatedGroup, EmulatedInstance

ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")
_numbers = itertools.count(1)


@dataclass(kw_only=True)
class Cloud:
    """The sandbox with clients, and short ways to say what tests say often."""

    aws: SandboxAws
    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        if service not in self.clients:
            self.clients[service] = client(service, endpoint_url=self.aws.endpoint_url, region=self.aws.region)
        return self.clients[service]

    @property
    def scaling(self) -> Scaling:
        return self.aws.scaling

    @property
    def asg(self) -> Any:
        return self.client("autoscaling")

    @property
    def ec2(self) -> Any:
        return self.client("ec2")

    def name(self, what: str = "fleet") -> str:
        return f"{what}-{next(_numbers)}"

    def template(self, **data: Any) -> str:
        data = {"InstanceType": "c5.xlarge", "ImageId": "ami-0a1b2c3d4e5f60718", **data}
        answer = self.ec2.create_launch_template(LaunchTemplateName=self.name("template"), LaunchTemplateData=data)
        return str(answer["LaunchTemplate"]["LaunchTemplateId"])

    def group(self, minimum: int = 0, desired: int = 0, maximum: int = 10, **params: Any) -> str:
        """A group of c5.xlarge in one zone, settled."""
        name = self.name()
        if not params.keys() & {"LaunchTemplate", "LaunchConfigurationName", "MixedInstancesPolicy"}:
            params["LaunchTemplate"] = {"LaunchTemplateId": self.template()}
        if not params.keys() & {"AvailabilityZones", "VPCZoneIdentifier"}:
            params["AvailabilityZones"] = [ZONES[0]]
        self.asg.create_auto_scaling_group(
            AutoScalingGroupName=name, MinSize=minimum, DesiredCapacity=desired, MaxSize=maximum, **params
        )
        self.aws.advance(2)
        return name

    def wants(self, group: str, desired: int, *, for_s: float = 2) -> None:
        self.asg.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=desired)
        self.aws.advance(for_s)

    def state(self, group: str) -> EmulatedGroup:
        return self.aws.scaling.group(group)

    def members(self, group: str) -> list[EmulatedInstance]:
        return [each for each in self.aws.scaling.instances(group) if each.lifecycle]

    def lifecycles(self, group: str) -> list[str]:
        return [each.lifecycle for each in self.members(group)]

    def activities(self, group: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.asg.describe_scaling_activities(AutoScalingGroupName=group)["Activities"]
        return found

    def queue(self) -> "Inbox":
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=self.name("queue"))["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        topic = self.client("sns").create_topic(Name=self.name("topic"))["TopicArn"]
        self.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        return Inbox(sqs=sqs, url=url, arn=arn, topic=topic)


@dataclass(frozen=True, kw_only=True)
class Inbox:
    """A queue subscribed to a topic of its own."""

    sqs: Any
    url: str
    arn: str
    topic: str

    def bodies(self) -> list[dict[str, Any]]:
        """Everything that is in the queue now, taken out."""
        bodies: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            bodies += [json.loads(each["Body"]) for each in messages]
        return bodies

    def messages(self) -> list[dict[str, Any]]:
        """What the envelopes hold."""
        return [json.loads(each["Message"]) for each in self.bodies()]


@pytest.fixture(scope="session")
def _session_cloud() -> Iterator[Cloud]:
    with SandboxAws(clock=ManualClock(), seed=7, account="111122223333") as aws:
        yield Cloud(aws=aws)


@pytest.fixture
def cloud(_session_cloud: Cloud) -> Iterator[Cloud]:
    yield _session_cloud
    aws = _session_cloud.aws
    aws.faults.clear()
    aws.scaling.clear_launch_failures()
    with aws.scaling.lock:
        names = list(aws.scaling.world.groups)
    for name in names:
        aws.scaling.capacity.delete(name, force=True)
    aws.advance(1000)
