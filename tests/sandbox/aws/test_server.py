"""The sandbox as a whole: real time, real clients, machines that are played by someone, and its end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from sandbox.aws.clock import ManualClock
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, HookSpec, StackSpec, client, create_stack
from sandbox.aws.values import LAUNCHING, EmulatedInstance
from sandbox.aws.world import Timing
from sandbox.runtime import Placement
from tests.sandbox.aws.conftest import Cloud
from tests.sandbox.aws.http_calls import fetch, signed

QUICK = Timing(boot_s=0.05, shutdown_s=0.02, reaction_s=0.01, health_check_s=0.02)


def eventually(true: Callable[[], bool], *, within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class Machines:
    """Plays instances and remembers it; a name in `broken` fails to boot, one in `stuck` never ends booting."""

    def __init__(self) -> None:
        self.placed: list[str] = []
        self.booted: list[str] = []
        self.killed: list[str] = []
        self.broken = False
        self.stuck: threading.Event | None = None

    def place(self, instance_id: str) -> Placement:
        self.placed.append(instance_id)
        return Placement(address=f"10.9.0.{len(self.placed)}", hostname=f"node{len(self.placed)}.test")

    def boot(self, instance: EmulatedInstance) -> None:
        if self.stuck is not None and not self.booted:
            self.stuck.wait(30)
        if self.broken:
            raise RuntimeError("no kernel")
        self.booted.append(instance.instance_id)

    def kill(self, instance_id: str) -> None:
        self.killed.append(instance_id)


@pytest.fixture
def machines() -> Machines:
    return Machines()


@pytest.fixture
def live(machines: Machines) -> Iterator[Cloud]:
    with SandboxAws(timing=QUICK, runtime=machines, account="333344445555") as aws:
        yield Cloud(aws=aws)


def grow(live: Cloud, desired: int) -> str:
    name = live.name()
    live.asg.create_auto_scaling_group(
        AutoScalingGroupName=name,
        MinSize=0,
        MaxSize=100,
        DesiredCapacity=desired,
        LaunchTemplate={"LaunchTemplateId": live.template()},
        AvailabilityZones=["eu-west-1a"],
    )
    return name


def in_service(live: Cloud, group: str, count: int) -> Callable[[], bool]:
    return lambda: live.lifecycles(group) == ["InService"] * count


def test_a_runtime_plays_the_machines(live: Cloud, machines: Machines) -> None:
    group = grow(live, 2)
    eventually(lambda: in_service(live, group, 2)() and len(machines.booted) == 2)
    assert [each.hostname for each in live.members(group)] == ["node1.test", "node2.test"]
    gone = live.members(group)[0].instance_id
    live.asg.terminate_instance_in_auto_scaling_group(InstanceId=gone, ShouldDecrementDesiredCapacity=True)
    eventually(lambda: live.scaling.instance(gone).state == "terminated")
    assert machines.killed == [gone]


def test_a_machine_that_does_not_boot_is_impaired_and_says_why(live: Cloud, machines: Machines) -> None:
    machines.broken = True
    group = grow(live, 1)
    eventually(lambda: bool(live.members(group)) and live.members(group)[0].impaired_at is not None)
    instance_id = live.members(group)[0].instance_id
    assert "RuntimeError: no kernel" in live.ec2.get_console_output(InstanceId=instance_id)["Output"]
    (status,) = live.ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == "impaired"


def test_a_machine_that_boots_for_ever_holds_up_nobody(live: Cloud, machines: Machines) -> None:
    machines.stuck = threading.Event()
    try:
        group = grow(live, 1)
        eventually(in_service(live, group, 1))
        machines.booted.append("pretend")
        live.asg.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=3)
        eventually(lambda: in_service(live, group, 3)() and len(machines.booted) == 3)
    finally:
        machines.stuck.set()


def test_a_runtime_without_room_fails_the_launch(live: Cloud, machines: Machines, monkeypatch: Any) -> None:
    def full(instance_id: str) -> Placement:
        raise RuntimeError(f"no room for {instance_id}")

    monkeypatch.setattr(machines, "place", full)
    group = grow(live, 1)
    eventually(lambda: bool(live.activities(group)))
    assert "no room for i-" in live.activities(group)[-1]["StatusMessage"]


def test_stopping_powers_everything_off_and_can_be_repeated(machines: Machines) -> None:
    aws = SandboxAws(timing=QUICK, runtime=machines, account="444455556666").start()
    live = Cloud(aws=aws)
    group = grow(live, 2)
    eventually(in_service(live, group, 2))
    aws.stop()
    aws.stop()
    assert sorted(machines.killed) == sorted(machines.placed)
    with pytest.raises(ConnectionRefusedError):
        fetch("GET", aws.endpoint_url)


def test_one_sandbox_after_another_starts_empty() -> None:
    for _ in range(2):
        with SandboxAws(clock=ManualClock()) as aws:
            sqs = client("sqs", endpoint_url=aws.endpoint_url, region="eu-west-1")
            assert "QueueUrls" not in sqs.list_queues()
            assert aws.scaling.groups() == ()
            sqs.create_queue(QueueName="left-over")


def test_two_sandboxes_with_accounts_of_their_own_are_strangers(live: Cloud) -> None:
    live.client("sqs").create_queue(QueueName="mine")
    with SandboxAws(clock=ManualClock(), account="555566667777") as other:
        sqs = client("sqs", endpoint_url=other.endpoint_url, region="eu-west-1")
        assert "QueueUrls" not in sqs.list_queues()
        sqs.create_queue(QueueName="theirs")
        (url,) = live.client("sqs").list_queues()["QueueUrls"]
        assert url == f"{live.aws.endpoint_url}/333344445555/mine"


def test_the_same_seed_gives_the_same_ids() -> None:
    def ids(seed: int) -> list[str]:
        with SandboxAws(clock=ManualClock(), seed=seed) as aws:
            group = Cloud(aws=aws).group(desired=3)
            return [each.instance_id for each in aws.scaling.instances(group)]

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)


def test_connections_stay_open(live: Cloud) -> None:
    connection = HTTPConnection(urlsplit(live.aws.endpoint_url).netloc, timeout=10)
    sockets = []
    for _ in range(3):
        connection.request("POST", "/", body="Action=DescribeTags", headers=signed("autoscaling"))
        assert connection.getresponse().read()
        sockets.append(connection.sock)
    assert len(set(sockets)) == 1
    connection.close()


def test_only_this_machine_can_reach_it(live: Cloud) -> None:
    assert urlsplit(live.aws.endpoint_url).hostname == "127.0.0.1"
    assert live.aws._listener.server_address[0] == "127.0.0.1"


def test_a_call_without_credentials_is_refused(live: Cloud) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, text = fetch("POST", live.aws.endpoint_url, headers=headers, body="Action=DescribeAutoScalingGroups")
    assert status == 403
    assert "<Code>MissingAuthenticationToken</Code>" in text


def test_conditional_writes_have_one_winner(live: Cloud) -> None:
    spec = StackSpec(name="race", groups=())
    stack = create_stack(live.aws.endpoint_url, spec)
    dynamodb = live.client("dynamodb")
    key = {"instanceId": {"S": "i-1"}}
    dynamodb.put_item(TableName=stack.table, Item={**key, "version": {"N": "0"}})

    def raise_version(_: int) -> bool:
        try:
            dynamodb.update_item(
                TableName=stack.table,
                Key=key,
                UpdateExpression="SET version = :new",
                ConditionExpression="version = :old",
                ExpressionAttributeValues={":new": {"N": "1"}, ":old": {"N": "0"}},
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(raise_version, range(40))) == 1


def test_a_deep_queue_is_received_from_quickly(live: Cloud) -> None:
    sqs = live.client("sqs")
    url = sqs.create_queue(QueueName="deep")["QueueUrl"]
    for start in range(0, 1000, 10):
        entries = [{"Id": str(number), "MessageBody": "x"} for number in range(start, start + 10)]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)
    started = time.monotonic()
    for _ in range(5):
        assert len(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]) == 10
    assert time.monotonic() - started < 2  # with moto's own arithmetic each takes 1 to 2 s


async def test_aiobotocore_talks_to_it(live: Cloud) -> None:
    group = grow(live, 2)
    eventually(in_service(live, group, 2))
    options: dict[str, Any] = {
        "region_name": "eu-west-1",
        "endpoint_url": live.aws.endpoint_url,
        "aws_access_key_id": "x",
        "aws_secret_access_key": "y",
    }
    session = get_session()
    async with session.create_client("autoscaling", **options) as scaling:
        found = await scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])
        assert len(found["AutoScalingGroups"][0]["Instances"]) == 2
        with pytest.raises(ClientError, match="above max value 100"):
            await scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=101)
    async with session.create_client("ec2", **options) as ec2:
        instances = await ec2.describe_instances()
        assert len(instances["Reservations"]) == 2


def test_a_stack_has_all_a_cluster_needs(live: Cloud) -> None:
    hook = HookSpec(name="ready", transition=LAUNCHING, heartbeat_s=60)
    groups = (
        GroupSpec(name="cpu", minimum=1, desired=1, maximum=4, zones=("eu-west-1a", "eu-west-1b")),
        GroupSpec(name="gpu", maximum=2, instance_type="g4dn.xlarge", spot=True, hooks=(hook,)),
    )
    stack = create_stack(live.aws.endpoint_url, StackSpec(name="hpc", groups=groups, max_receive_count=3))
    cpu, gpu = live.asg.describe_auto_scaling_groups(AutoScalingGroupNames=list(stack.groups))["AutoScalingGroups"]
    for group in (cpu, gpu):
        assert [each["ProcessName"] for each in group["SuspendedProcesses"]] == ["AZRebalance"]
        assert group["NewInstancesProtectedFromScaleIn"]
    assert (cpu["MinSize"], cpu["DesiredCapacity"], cpu["MaxSize"]) == (1, 1, 4)
    (found,) = live.asg.describe_lifecycle_hooks(AutoScalingGroupName="gpu")["LifecycleHooks"]
    assert (found["LifecycleHookName"], found["NotificationTargetARN"]) == ("ready", stack.topic_arn)
    attributes = live.client("sqs").get_queue_attributes(QueueUrl=stack.queue_url, AttributeNames=["All"])["Attributes"]
    assert json.loads(attributes["RedrivePolicy"])["maxReceiveCount"] == 3
    assert json.loads(attributes["Policy"])["Statement"][0]["Action"] == "sqs:SendMessage"
    table = live.client("dynamodb").describe_table(TableName=stack.table)["Table"]
    assert table["KeySchema"] == [{"AttributeName": "instanceId", "KeyType": "HASH"}]
    ttl = live.client("dynamodb").describe_time_to_live(TableName=stack.table)["TimeToLiveDescription"]
    assert (ttl["TimeToLiveStatus"], ttl["AttributeName"]) == ("ENABLED", "expires_at")
    zone = live.client("route53").get_hosted_zone(Id=stack.zone_id)["HostedZone"]
    assert (zone["Name"], zone["Config"]["PrivateZone"]) == ("hpc.internal.", True)


def test_a_stack_hears_of_launches_and_interruptions(live: Cloud) -> None:
    stack = create_stack(live.aws.endpoint_url, StackSpec(groups=(GroupSpec(name="fleet", desired=1),)))
    eventually(in_service(live, "fleet", 1))
    live.scaling.interrupt_spot(live.members("fleet")[0].instance_id, in_s=60)
    heard: set[str] = set()

    def both() -> bool:
        answer = live.client("sqs").receive_message(QueueUrl=stack.queue_url, MaxNumberOfMessages=10)
        for each in answer.get("Messages", []):
            body = json.loads(each["Body"])
            heard.add(body.get("detail-type") or json.loads(body["Message"])["Event"])
        return heard >= {"autoscaling:EC2_INSTANCE_LAUNCH", "EC2 Spot Instance Interruption Warning"}

    eventually(both)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_by_itself_until_told_to_end(number: signal.Signals) -> None:
    argv = [sys.executable, "-m", "sandbox.aws", "--region", "us-east-1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as process:
        try:
            assert process.stdout is not None
            where = json.loads(process.stdout.readline())
            assert where["region"] == "us-east-1"
            status, _ = fetch("POST", where["endpoint_url"], headers=signed("autoscaling"), body="Action=DescribeTags")
            assert status == 200
            process.send_signal(number)
            assert process.wait(20) == 0
        finally:
            process.kill()
