"""How instances come, serve and go."""

from collections import Counter

import pytest
from botocore.exceptions import ClientError

from sandbox.aws.capacity import plan_victims
from tests.sandbox.aws.conftest import ZONES, Cloud
from tests.sandbox.aws.test_groups import refused

PROTECTED = {"NewInstancesProtectedFromScaleIn": True}


def test_an_instance_is_pending_until_it_has_booted(cloud: Cloud) -> None:
    group = cloud.group()
    cloud.wants(group, 1, for_s=0.5)
    (instance,) = cloud.members(group)
    assert (instance.lifecycle, instance.state) == ("Pending", "pending")
    assert cloud.activities(group)[0]["StatusCode"] == "PreInService"
    cloud.aws.advance(1)
    (instance,) = cloud.members(group)
    assert (instance.lifecycle, instance.state) == ("InService", "running")
    activity = cloud.activities(group)[0]
    assert (activity["StatusCode"], activity["Progress"]) == ("Successful", 100)
    assert "changing the desired capacity from 0 to 1" in activity["Cause"]


def test_instances_are_spread_over_the_zones(cloud: Cloud) -> None:
    group = cloud.group(desired=7, AvailabilityZones=list(ZONES))
    assert sorted(Counter(each.zone for each in cloud.members(group)).values()) == [2, 2, 3]


def test_ending_an_instance_with_decrement_shrinks_the_group(cloud: Cloud) -> None:
    group = cloud.group(desired=3, **PROTECTED)
    doomed = cloud.members(group)[1].instance_id
    activity = cloud.asg.terminate_instance_in_auto_scaling_group(InstanceId=doomed, ShouldDecrementDesiredCapacity=True)[
        "Activity"
    ]
    assert activity["StatusCode"] == "InProgress"
    assert activity["Description"] == f"Terminating EC2 instance: {doomed}"
    assert activity["Cause"].endswith("in response to a user request, shrinking the capacity from 3 to 2.")
    assert cloud.scaling.instance(doomed).lifecycle == "Terminating"
    cloud.aws.advance(5)
    assert cloud.state(group).desired == 2
    assert doomed not in {each.instance_id for each in cloud.members(group)}
    assert len(cloud.members(group)) == 2
    assert cloud.scaling.instance(doomed).state == "terminated"


def test_ending_an_instance_without_decrement_replaces_it(cloud: Cloud) -> None:
    group = cloud.group(desired=2)
    before = {each.instance_id for each in cloud.members(group)}
    doomed = min(before)
    cloud.asg.terminate_instance_in_auto_scaling_group(InstanceId=doomed, ShouldDecrementDesiredCapacity=False)
    cloud.aws.advance(5)
    after = {each.instance_id for each in cloud.members(group)}
    assert len(after) == 2
    assert before - after == {doomed}


def test_a_decrement_below_the_minimum_is_refused(cloud: Cloud) -> None:
    group = cloud.group(2, 2, 4)
    instance_id = cloud.members(group)[0].instance_id
    code, message = refused(
        cloud.asg.terminate_instance_in_auto_scaling_group,
        InstanceId=instance_id,
        ShouldDecrementDesiredCapacity=True,
    )
    assert code == "ValidationError"
    assert message == (
        "Currently, desiredSize equals minSize (2). Terminating instance without replacement will violate group's min "
        "size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size."
    )
    assert cloud.lifecycles(group) == ["InService"] * 2


def test_an_instance_no_group_holds_cannot_be_ended_by_one(cloud: Cloud) -> None:
    code, message = refused(
        cloud.asg.terminate_instance_in_auto_scaling_group,
        InstanceId="i-00000000000000000",
        ShouldDecrementDesiredCapacity=True,
    )
    assert code == "ValidationError"
    assert message.startswith("Instance Id not found - No managed instance found for instance ID")
    assert "i-00000000000000000" in message


def test_an_instance_that_has_left_is_unknown_to_its_group(cloud: Cloud) -> None:
    group = cloud.group(desired=1)
    instance_id = cloud.members(group)[0].instance_id
    cloud.asg.terminate_instance_in_auto_scaling_group(InstanceId=instance_id, ShouldDecrementDesiredCapacity=True)
    cloud.aws.advance(5)
    params = {"InstanceId": instance_id, "ShouldDecrementDesiredCapacity": True}
    assert "not found" in refused(cloud.asg.terminate_instance_in_auto_scaling_group, **params)[1]


def test_ending_an_instance_twice_decrements_twice(cloud: Cloud) -> None:
    group = cloud.group(desired=3, **PROTECTED)
    doomed = cloud.members(group)[0].instance_id
    activities = [
        cloud.asg.terminate_instance_in_auto_scaling_group(InstanceId=doomed, ShouldDecrementDesiredCapacity=True)
        for _ in range(2)
    ]
    assert activities[0]["Activity"]["ActivityId"] == activities[1]["Activity"]["ActivityId"]
    assert cloud.state(group).desired == 1
    cloud.aws.advance(5)
    assert len(cloud.members(group)) == 2  # protected: nobody else goes


def test_several_instances_are_ended_in_one_call(cloud: Cloud) -> None:
    group = cloud.group(desired=4)
    doomed = [each.instance_id for each in cloud.members(group)[:3]]
    activities = cloud.asg.terminate_instance_in_auto_scaling_group(
        InstanceIds=doomed, AutoScalingGroupName=group, ShouldDecrementDesiredCapacity=True
    )["Activities"]
    assert len(activities) == 3
    cloud.aws.advance(5)
    assert (len(cloud.members(group)), cloud.state(group).desired) == (1, 1)


def test_lowering_desired_lets_auto_scaling_choose(cloud: Cloud) -> None:
    group = cloud.group(desired=5, AvailabilityZones=list(ZONES[:2]))
    crowded, _ = Counter(each.zone for each in cloud.members(group)).most_common(1)[0]
    oldest = next(each for each in cloud.members(group) if each.zone == crowded)
    cloud.wants(group, 4)
    assert oldest.instance_id not in {each.instance_id for each in cloud.members(group)}
    assert len(cloud.members(group)) == 4
    assert "was selected for termination" in cloud.activities(group)[0]["Cause"]


def test_protected_instances_outlive_a_lower_desired(cloud: Cloud) -> None:
    group = cloud.group(desired=3, **PROTECTED)
    cloud.wants(group, 0)
    assert cloud.lifecycles(group) == ["InService"] * 3
    assert cloud.state(group).desired == 0


def test_lowering_desired_cancels_what_never_launched(cloud: Cloud) -> None:
    group = cloud.group(desired=1, **PROTECTED)
    cloud.scaling.fail_launches(reason="insufficient-capacity")
    cloud.wants(group, 5)
    cloud.wants(group, 1)
    cloud.scaling.clear_launch_failures()
    cloud.aws.advance(600)
    assert len(cloud.members(group)) == 1


def test_protection_begins_in_service(cloud: Cloud) -> None:
    group = cloud.group(**PROTECTED)
    cloud.wants(group, 2, for_s=0.5)
    pending = cloud.members(group)
    assert {each.lifecycle for each in pending} == {"Pending"}
    assert len(plan_victims(pending, 2)) == 2


def test_protection_can_be_lifted_and_then_desired_is_enforced(cloud: Cloud) -> None:
    group = cloud.group(desired=2, **PROTECTED)
    first = cloud.members(group)[0].instance_id
    cloud.wants(group, 0)
    cloud.asg.set_instance_protection(AutoScalingGroupName=group, InstanceIds=[first], ProtectedFromScaleIn=False)
    cloud.aws.advance(5)
    assert first not in {each.instance_id for each in cloud.members(group)}
    assert len(cloud.members(group)) == 1


def test_protection_takes_fifty_ids_of_the_group(cloud: Cloud) -> None:
    group = cloud.group(desired=1)
    call = cloud.asg.set_instance_protection
    many = [f"i-{number:017x}" for number in range(51)]
    message = refused(call, AutoScalingGroupName=group, InstanceIds=many, ProtectedFromScaleIn=True)[1]
    assert "limited to 50" in message
    other = cloud.members(cloud.group(desired=1))[0].instance_id
    message = refused(call, AutoScalingGroupName=group, InstanceIds=[other], ProtectedFromScaleIn=True)[1]
    assert "is not part of Auto Scaling group" in message


def test_an_unhealthy_instance_is_replaced(cloud: Cloud) -> None:
    group = cloud.group(desired=2, **PROTECTED)
    bad = cloud.members(group)[0].instance_id
    cloud.asg.set_instance_health(InstanceId=bad, HealthStatus="Unhealthy")
    assert cloud.scaling.instance(bad).health == "Unhealthy"
    cloud.aws.advance(5)
    assert bad not in {each.instance_id for each in cloud.members(group)}
    assert len(cloud.members(group)) == 2
    assert any("user health-check" in each["Cause"] for each in cloud.activities(group))


def test_an_instance_ended_in_ec2_is_replaced(cloud: Cloud) -> None:
    group = cloud.group(desired=1)
    gone = cloud.members(group)[0].instance_id
    changes = cloud.ec2.terminate_instances(InstanceIds=[gone])["TerminatingInstances"]
    assert [each["CurrentState"]["Name"] for each in changes] == ["shutting-down"]
    cloud.aws.advance(5)
    (replacement,) = cloud.members(group)
    assert replacement.instance_id != gone
    assert any("EC2 health check" in each["Cause"] for each in cloud.activities(group))


@pytest.mark.parametrize("process", ["HealthCheck", "ReplaceUnhealthy"])
def test_a_suspended_process_leaves_a_dead_instance_in_the_group(cloud: Cloud, process: str) -> None:
    group = cloud.group(desired=1)
    cloud.asg.suspend_processes(AutoScalingGroupName=group, ScalingProcesses=[process])
    gone = cloud.members(group)[0].instance_id
    cloud.ec2.terminate_instances(InstanceIds=[gone])
    cloud.aws.advance(60)
    assert [each.instance_id for each in cloud.members(group)] == [gone]
    cloud.asg.resume_processes(AutoScalingGroupName=group, ScalingProcesses=[process])
    cloud.aws.advance(5)
    assert [each.state for each in cloud.members(group)] == ["running"]


def test_a_group_that_may_not_launch_waits_until_it_may(cloud: Cloud) -> None:
    group = cloud.group()
    cloud.asg.suspend_processes(AutoScalingGroupName=group, ScalingProcesses=["Launch"])
    cloud.wants(group, 2, for_s=60)
    assert cloud.members(group) == []
    cloud.asg.resume_processes(AutoScalingGroupName=group)
    cloud.aws.advance(5)
    assert cloud.lifecycles(group) == ["InService"] * 2


def test_a_group_that_may_not_terminate_keeps_what_it_has(cloud: Cloud) -> None:
    group = cloud.group(desired=2)
    cloud.asg.suspend_processes(AutoScalingGroupName=group, ScalingProcesses=["Terminate"])
    cloud.wants(group, 0, for_s=60)
    assert len(cloud.members(group)) == 2


def test_a_process_nobody_knows_cannot_be_suspended(cloud: Cloud) -> None:
    group = cloud.group()
    with pytest.raises(ClientError, match="ValidationError"):
        cloud.asg.suspend_processes(AutoScalingGroupName=group, ScalingProcesses=["Coffee"])


def test_addresses_are_reused_lowest_first(cloud: Cloud) -> None:
    group = cloud.group(desired=4)
    first, second = cloud.members(group)[:2]
    for each in (second, first):
        cloud.asg.terminate_instance_in_auto_scaling_group(InstanceId=each.instance_id, ShouldDecrementDesiredCapacity=True)
    cloud.aws.advance(5)
    cloud.wants(group, 3)
    newest = cloud.members(group)[-1]
    lowest = min((first.address, second.address), key=lambda each: [int(part) for part in each.split(".")])
    assert (newest.address, newest.hostname) == (lowest, f"ip-{lowest.replace('.', '-')}.eu-west-1.compute.internal")


def test_a_terminated_instance_stays_describable_for_a_while(cloud: Cloud) -> None:
    group = cloud.group(desired=1)
    instance_id = cloud.members(group)[0].instance_id
    cloud.asg.terminate_instance_in_auto_scaling_group(InstanceId=instance_id, ShouldDecrementDesiredCapacity=True)
    cloud.aws.advance(60)
    (found,) = cloud.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    assert found["Instances"][0]["State"]["Name"] == "terminated"
    assert "PrivateIpAddress" not in found["Instances"][0]
    cloud.aws.advance(600)
    assert refused(cloud.ec2.describe_instances, InstanceIds=[instance_id])[0] == "InvalidInstanceID.NotFound"


def test_members_come_in_pages_and_by_fifty_ids(cloud: Cloud) -> None:
    group = cloud.group(desired=7)
    ids = [each.instance_id for each in cloud.members(group)]
    paginator = cloud.asg.get_paginator("describe_auto_scaling_instances")
    pages = list(paginator.paginate(PaginationConfig={"PageSize": 3}))
    assert [each["InstanceId"] for page in pages for each in page["AutoScalingInstances"]] == ids
    asked = cloud.asg.describe_auto_scaling_instances(InstanceIds=[*ids[:2], "i-00000000000000000"])
    assert [each["InstanceId"] for each in asked["AutoScalingInstances"]] == ids[:2]
    assert {each["HealthStatus"] for each in asked["AutoScalingInstances"]} == {"HEALTHY"}
    too_many = [f"i-{number:017x}" for number in range(51)]
    assert refused(cloud.asg.describe_auto_scaling_instances, InstanceIds=too_many)[0] == "ValidationError"


def test_activities_are_newest_first_and_come_in_pages(cloud: Cloud) -> None:
    group = cloud.group(desired=3)
    cloud.aws.advance(10)
    cloud.wants(group, 5)
    paginator = cloud.asg.get_paginator("describe_scaling_activities")
    pages = list(paginator.paginate(AutoScalingGroupName=group, PaginationConfig={"PageSize": 2}))
    activities = [each for page in pages for each in page["Activities"]]
    assert [len(page["Activities"]) for page in pages] == [2, 2, 1]
    assert [each["StartTime"] for each in activities] == sorted((each["StartTime"] for each in activities), reverse=True)
    one = cloud.asg.describe_scaling_activities(ActivityIds=[activities[3]["ActivityId"]])["Activities"]
    assert one == [activities[3]]
