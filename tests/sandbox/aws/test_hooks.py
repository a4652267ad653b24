"""Lifecycle hooks: who waits, for how long, and what ends the wait."""

from typing import Any

import pytest

from sandbox.aws.clock import ManualClock
from sandbox.aws.server import SandboxAws
from sandbox.aws.values import LAUNCHING, TERMINATING
from sandbox.aws.world import Timing
from tests.sandbox.aws.conftest import Cloud
from tests.sandbox.aws.test_groups import refused


def hooked(cloud: Cloud, transition: str, *, heartbeat_s: int = 60, result: str = "ABANDON", desired: int = 0) -> str:
    """A group with one hook named `hold`; instances wanted from the start are in service before it is put."""
    group = cloud.group(desired=desired)
    cloud.asg.put_lifecycle_hook(
        AutoScalingGroupName=group,
        LifecycleHookName="hold",
        LifecycleTransition=transition,
        HeartbeatTimeout=heartbeat_s,
        DefaultResult=result,
    )
    return group


def end(cloud: Cloud, instance_id: str) -> None:
    cloud.asg.terminate_instance_in_auto_scaling_group(InstanceId=instance_id, ShouldDecrementDesiredCapacity=True)


def complete(cloud: Cloud, group: str, result: str, **which: Any) -> None:
    cloud.asg.complete_lifecycle_action(
        AutoScalingGroupName=group, LifecycleHookName="hold", LifecycleActionResult=result, **which
    )


def test_a_launching_instance_waits_for_its_hook(cloud: Cloud) -> None:
    group = hooked(cloud, LAUNCHING)
    cloud.wants(group, 1)
    (instance,) = cloud.members(group)
    assert (instance.lifecycle, instance.state) == ("Pending:Wait", "running")
    assert cloud.activities(group)[0]["StatusCode"] == "MidLifecycleAction"
    complete(cloud, group, "CONTINUE", InstanceId=instance.instance_id)
    assert cloud.lifecycles(group) == ["Pending:Proceed"]
    cloud.aws.advance(1)
    assert cloud.lifecycles(group) == ["InService"]


def test_a_hook_is_completed_by_token(cloud: Cloud) -> None:
    group = hooked(cloud, LAUNCHING)
    cloud.wants(group, 1)
    (wait,) = (each for each in cloud.scaling.waits() if each.group == group)
    complete(cloud, group, "CONTINUE", LifecycleActionToken=wait.token)
    cloud.aws.advance(1)
    assert cloud.lifecycles(group) == ["InService"]


def test_an_abandoned_launch_is_replaced(cloud: Cloud) -> None:
    group = hooked(cloud, LAUNCHING)
    cloud.wants(group, 1)
    (instance,) = cloud.members(group)
    complete(cloud, group, "ABANDON", InstanceId=instance.instance_id)
    cloud.aws.advance(2)
    (replacement,) = cloud.members(group)
    assert replacement.instance_id != instance.instance_id
    assert cloud.scaling.instance(instance.instance_id).state == "terminated"
    launch = f"Launching a new EC2 instance: {instance.instance_id}"
    assert [each["StatusCode"] for each in cloud.activities(group) if each["Description"] == launch] == ["Cancelled"]


def test_an_abandoned_launch_is_not_replaced_when_it_is_no_longer_wanted(cloud: Cloud) -> None:
    group = hooked(cloud, LAUNCHING)
    cloud.wants(group, 1)
    cloud.wants(group, 0, for_s=5)
    assert cloud.members(group) == []


@pytest.mark.parametrize(("result", "left"), [("CONTINUE", ["InService"]), ("ABANDON", [])])
def test_a_launch_nobody_completes_ends_as_the_hook_says(cloud: Cloud, result: str, left: list[str]) -> None:
    group = hooked(cloud, LAUNCHING, heartbeat_s=40, result=result)
    cloud.wants(group, 1)
    (first,) = cloud.members(group)
    cloud.aws.advance(30)
    assert cloud.lifecycles(group) == ["Pending:Wait"]
    cloud.aws.advance(15)
    assert [each.lifecycle for each in cloud.members(group) if each.instance_id == first.instance_id] == left


def test_a_heartbeat_buys_another_period(cloud: Cloud) -> None:
    group = hooked(cloud, LAUNCHING, heartbeat_s=40)
    cloud.wants(group, 1)
    (instance,) = cloud.members(group)
    for _ in range(3):
        cloud.aws.advance(30)
        cloud.asg.record_lifecycle_action_heartbeat(
            AutoScalingGroupName=group, LifecycleHookName="hold", InstanceId=instance.instance_id
        )
    assert cloud.scaling.instance(instance.instance_id).lifecycle == "Pending:Wait"
    cloud.aws.advance(45)
    assert cloud.scaling.instance(instance.instance_id).state == "terminated"


def test_heartbeats_end_with_the_overall_limit(cloud: Cloud) -> None:
    group = hooked(cloud, TERMINATING, heartbeat_s=30, desired=1)
    (instance,) = cloud.members(group)
    end(cloud, instance.instance_id)
    waited_s = 0
    while cloud.scaling.instance(instance.instance_id).lifecycle == "Terminating:Wait":
        cloud.asg.record_lifecycle_action_heartbeat(
            AutoScalingGroupName=group, LifecycleHookName="hold", InstanceId=instance.instance_id
        )
        cloud.aws.advance(25)
        waited_s += 25
    assert waited_s == 3000


def test_a_terminating_instance_waits_for_its_hook(cloud: Cloud) -> None:
    group = hooked(cloud, TERMINATING, desired=1)
    (instance,) = cloud.members(group)
    end(cloud, instance.instance_id)
    cloud.aws.advance(30)
    (held,) = cloud.members(group)
    assert (held.lifecycle, held.state) == ("Terminating:Wait", "running")
    complete(cloud, group, "CONTINUE", InstanceId=instance.instance_id)
    assert cloud.lifecycles(group) == ["Terminating:Proceed"]
    cloud.aws.advance(2)
    assert cloud.members(group) == []
    assert cloud.scaling.instance(instance.instance_id).state == "terminated"


@pytest.mark.parametrize("result", ["CONTINUE", "ABANDON"])
def test_a_termination_goes_on_whatever_the_hook_says(cloud: Cloud, result: str) -> None:
    group = hooked(cloud, TERMINATING, heartbeat_s=30, result=result, desired=1)
    end(cloud, cloud.members(group)[0].instance_id)
    cloud.aws.advance(35)
    assert cloud.members(group) == []


def test_all_hooks_must_continue(cloud: Cloud) -> None:
    group = hooked(cloud, LAUNCHING)
    cloud.asg.put_lifecycle_hook(
        AutoScalingGroupName=group, LifecycleHookName="second", LifecycleTransition=LAUNCHING, HeartbeatTimeout=60
    )
    cloud.wants(group, 1)
    (instance,) = cloud.members(group)
    complete(cloud, group, "CONTINUE", InstanceId=instance.instance_id)
    cloud.aws.advance(1)
    assert cloud.lifecycles(group) == ["Pending:Wait"]
    cloud.asg.complete_lifecycle_action(
        AutoScalingGroupName=group,
        LifecycleHookName="second",
        LifecycleActionResult="CONTINUE",
        InstanceId=instance.instance_id,
    )
    cloud.aws.advance(1)
    assert cloud.lifecycles(group) == ["InService"]


def test_an_instance_that_died_in_its_hook_leaves_after_it(cloud: Cloud) -> None:
    group = hooked(cloud, TERMINATING, desired=1)
    (instance,) = cloud.members(group)
    cloud.ec2.terminate_instances(InstanceIds=[instance.instance_id])
    cloud.aws.advance(5)
    dead = cloud.scaling.instance(instance.instance_id)
    assert (dead.lifecycle, dead.state) == ("Terminating:Wait", "terminated")
    complete(cloud, group, "CONTINUE", InstanceId=instance.instance_id)
    cloud.aws.advance(2)
    assert cloud.scaling.instance(instance.instance_id).lifecycle == ""


def test_completing_what_does_not_wait_is_refused(cloud: Cloud) -> None:
    group = hooked(cloud, LAUNCHING, desired=1)
    instance_id = cloud.members(group)[0].instance_id
    where = {"AutoScalingGroupName": group, "LifecycleHookName": "hold"}
    for call, extra in (
        (cloud.asg.complete_lifecycle_action, {"LifecycleActionResult": "CONTINUE"}),
        (cloud.asg.record_lifecycle_action_heartbeat, {}),
    ):
        code, message = refused(call, **where, **extra, InstanceId=instance_id)
        assert (code, message) == (
            "ValidationError",
            f"No active Lifecycle Action found with instance ID {instance_id}",
        )


def test_a_hook_is_completed_once(cloud: Cloud) -> None:
    group = hooked(cloud, LAUNCHING)
    cloud.wants(group, 1)
    instance_id = cloud.members(group)[0].instance_id
    complete(cloud, group, "CONTINUE", InstanceId=instance_id)
    params = {"AutoScalingGroupName": group, "LifecycleHookName": "hold", "InstanceId": instance_id}
    assert "No active" in refused(cloud.asg.complete_lifecycle_action, LifecycleActionResult="CONTINUE", **params)[1]


def test_hooks_are_described_and_deleted(cloud: Cloud) -> None:
    group = hooked(cloud, TERMINATING, heartbeat_s=7200)
    (hook,) = cloud.asg.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]
    assert (hook["HeartbeatTimeout"], hook["GlobalTimeout"], hook["DefaultResult"]) == (7200, 172_800, "ABANDON")
    cloud.asg.delete_lifecycle_hook(AutoScalingGroupName=group, LifecycleHookName="hold")
    assert cloud.asg.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"] == []
    gone = {"AutoScalingGroupName": group, "LifecycleHookName": "hold"}
    assert refused(cloud.asg.delete_lifecycle_hook, **gone)[0] == "ValidationError"


def test_deleting_a_hook_lets_its_terminations_go_on(cloud: Cloud) -> None:
    group = hooked(cloud, TERMINATING, desired=1)
    end(cloud, cloud.members(group)[0].instance_id)
    cloud.asg.delete_lifecycle_hook(AutoScalingGroupName=group, LifecycleHookName="hold")
    cloud.aws.advance(2)
    assert cloud.members(group) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"HeartbeatTimeout": 29},
        {"HeartbeatTimeout": 7201},
        {"DefaultResult": "MAYBE"},
        {"LifecycleTransition": "autoscaling:NAP"},
        {"NotificationTargetARN": "arn:aws:lambda:eu-west-1:1:function:f"},
    ],
)
def test_a_hook_outside_the_bounds_is_refused(cloud: Cloud, wrong: dict[str, Any]) -> None:
    params = {"LifecycleTransition": LAUNCHING, **wrong}
    group = cloud.group()
    code, _ = refused(cloud.asg.put_lifecycle_hook, AutoScalingGroupName=group, LifecycleHookName="hold", **params)
    assert code == "ValidationError"


def test_a_hook_that_is_put_again_keeps_what_is_not_given(cloud: Cloud) -> None:
    group = hooked(cloud, LAUNCHING, heartbeat_s=90)
    cloud.asg.put_lifecycle_hook(AutoScalingGroupName=group, LifecycleHookName="hold", DefaultResult="CONTINUE")
    (hook,) = cloud.asg.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]
    assert (hook["HeartbeatTimeout"], hook["DefaultResult"]) == (90, "CONTINUE")


def test_hooks_can_come_with_the_group(cloud: Cloud) -> None:
    hook = {"LifecycleHookName": "hold", "LifecycleTransition": LAUNCHING, "HeartbeatTimeout": 60}
    group = cloud.group(desired=1, LifecycleHookSpecificationList=[hook])
    assert cloud.lifecycles(group) == ["Pending:Wait"]


def test_the_time_of_hooks_can_be_scaled() -> None:
    timing = Timing(hook_scale=0.01)
    with SandboxAws(clock=ManualClock(), timing=timing, account="222233334444") as aws:
        cloud = Cloud(aws=aws)
        group = hooked(cloud, LAUNCHING, heartbeat_s=3600, result="CONTINUE")
        cloud.wants(group, 1, for_s=30)
        assert cloud.lifecycles(group) == ["Pending:Wait"]
        aws.advance(10)
        assert cloud.lifecycles(group) == ["InService"]
