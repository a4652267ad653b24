"""Launches that EC2 refuses, and launches asked for by name of the call."""

from collections import Counter
from itertools import pairwise

import pytest

from sandbox.aws.shortages import Reason
from tests.sandbox.aws.conftest import ZONES, Cloud
from tests.sandbox.aws.test_groups import refused


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("insufficient-capacity", "We currently do not have sufficient c5.xlarge capacity in the Availability Zone"),
        ("quota", "VcpuLimitExceeded"),
        ("spot-price", "Your Spot request price of 0.001 is lower than the minimum required"),
        ("configuration", "The image id '[ami-0a1b2c3d4e5f60718]' does not exist"),
    ],
)
def test_a_refused_launch_is_a_failed_activity(cloud: Cloud, reason: Reason, words: str) -> None:
    template = cloud.template(InstanceMarketOptions={"MarketType": "spot"})
    group = cloud.group(LaunchTemplate={"LaunchTemplateId": template})
    cloud.scaling.fail_launches(reason=reason)
    cloud.wants(group, 1)
    activity = cloud.activities(group)[-1]
    assert activity["StatusCode"] == "Failed"
    assert words in activity["StatusMessage"]
    assert activity["StatusMessage"].endswith("Launching EC2 instance failed.")
    assert activity["Description"] == f"Launching a new EC2 instance.  Status Reason: {activity['StatusMessage']}"
    assert cloud.members(group) == []


def test_a_spot_price_does_not_trouble_on_demand_instances(cloud: Cloud) -> None:
    group = cloud.group()
    cloud.scaling.fail_launches(reason="spot-price")
    cloud.wants(group, 1)
    assert cloud.lifecycles(group) == ["InService"]


def test_a_zone_without_capacity_is_passed_over(cloud: Cloud) -> None:
    cloud.scaling.fail_launches(reason="insufficient-capacity", zone=ZONES[0])
    group = cloud.group(desired=4, AvailabilityZones=list(ZONES[:2]))
    assert {each.zone for each in cloud.members(group)} == {ZONES[1]}
    assert len(cloud.members(group)) == 4
    assert "Failed" in {each["StatusCode"] for each in cloud.activities(group)}


def test_a_shortage_of_one_type_leaves_the_others_alone(cloud: Cloud) -> None:
    cloud.scaling.fail_launches(reason="insufficient-capacity", instance_type="hpc7a.96xlarge")
    plain = cloud.group(desired=1)
    scarce = cloud.group(desired=1, LaunchTemplate={"LaunchTemplateId": cloud.template(InstanceType="hpc7a.96xlarge")})
    assert (len(cloud.members(plain)), len(cloud.members(scarce))) == (1, 0)


def test_a_group_keeps_trying_less_and_less_often(cloud: Cloud) -> None:
    group = cloud.group()
    cloud.scaling.fail_launches(reason="quota")
    cloud.wants(group, 1, for_s=300)
    starts = [each["StartTime"] for each in reversed(cloud.activities(group))]
    gaps = [(after - before).total_seconds() for before, after in pairwise(starts)]
    assert gaps[:4] == pytest.approx([2, 4, 8, 16])
    assert max(gaps) <= 32


def test_asking_again_does_not_make_a_group_try_more_often(cloud: Cloud) -> None:
    group = cloud.group()
    cloud.scaling.fail_launches(reason="quota")
    for _ in range(5):
        cloud.wants(group, 1, for_s=0.2)
    cloud.aws.advance(100)
    asked = len(cloud.scaling.activities(group))
    cloud.aws.advance(320)
    assert len(cloud.scaling.activities(group)) == asked + 10  # every 32 s


def test_a_group_launches_once_the_shortage_ends(cloud: Cloud) -> None:
    group = cloud.group()
    cloud.scaling.fail_launches(reason="insufficient-capacity")
    cloud.wants(group, 2, for_s=100)
    cloud.scaling.clear_launch_failures()
    cloud.aws.advance(2)
    assert cloud.lifecycles(group) == ["InService"] * 2


def test_launching_by_call_returns_the_ids(cloud: Cloud) -> None:
    group = cloud.group(maximum=8, AvailabilityZones=list(ZONES[:2]))
    answer = cloud.asg.launch_instances(
        AutoScalingGroupName=group, RequestedCapacity=4, ClientToken="one", AvailabilityZones=list(ZONES[:2])
    )
    launched = Counter({each["AvailabilityZone"]: len(each["InstanceIds"]) for each in answer["Instances"]})
    assert launched == {ZONES[0]: 2, ZONES[1]: 2}
    assert answer["Errors"] == []
    assert {each["MarketType"] for each in answer["Instances"]} == {"on-demand"}
    ids = {one for each in answer["Instances"] for one in each["InstanceIds"]}
    cloud.aws.advance(5)
    assert {each.instance_id for each in cloud.members(group)} == ids
    assert cloud.state(group).desired == 4


def test_launching_again_with_the_same_token_launches_nothing(cloud: Cloud) -> None:
    group = cloud.group()
    params = {"AutoScalingGroupName": group, "RequestedCapacity": 2, "ClientToken": cloud.name("token")}
    first, second = (cloud.asg.launch_instances(**params) for _ in range(2))
    assert first["Instances"] == second["Instances"]
    assert cloud.state(group).desired == 2
    code, _ = refused(cloud.asg.launch_instances, **{**params, "RequestedCapacity": 3})
    assert code == "IdempotentParameterMismatch"


def test_a_launch_that_falls_short_says_why(cloud: Cloud) -> None:
    group = cloud.group(AvailabilityZones=list(ZONES[:2]))
    cloud.scaling.fail_launches(reason="insufficient-capacity")
    answer = cloud.asg.launch_instances(
        AutoScalingGroupName=group,
        RequestedCapacity=2,
        ClientToken=cloud.name("token"),
        AvailabilityZones=[ZONES[1]],
    )
    (error,) = answer["Errors"]
    assert answer["Instances"] == []
    assert (error["ErrorCode"], error["InstanceType"], error["AvailabilityZone"], error["MarketType"]) == (
        "InsufficientInstanceCapacity",
        "c5.xlarge",
        ZONES[1],
        "on-demand",
    )
    assert cloud.state(group).desired == 0


def test_a_launch_with_retry_leaves_the_rest_to_the_group(cloud: Cloud) -> None:
    group = cloud.group(AvailabilityZones=list(ZONES[:2]))
    cloud.scaling.fail_launches(reason="insufficient-capacity", zone=ZONES[0])
    cloud.asg.launch_instances(
        AutoScalingGroupName=group,
        RequestedCapacity=2,
        ClientToken=cloud.name("token"),
        AvailabilityZones=[ZONES[0]],
        RetryStrategy="retry-with-group-configuration",
    )
    cloud.aws.advance(5)
    assert [each.zone for each in cloud.members(group)] == [ZONES[1]] * 2


def test_a_launch_is_bounded(cloud: Cloud) -> None:
    group = cloud.group(maximum=3, AvailabilityZones=list(ZONES[:2]))
    where = {"AutoScalingGroupName": group, "AvailabilityZones": [ZONES[0]]}
    for wrong in (
        {**where, "RequestedCapacity": 4},
        {**where, "RequestedCapacity": 101},
        {**where, "RequestedCapacity": 1, "AvailabilityZones": [ZONES[2]]},
        {"AutoScalingGroupName": group, "RequestedCapacity": 1},
    ):
        assert refused(cloud.asg.launch_instances, ClientToken=cloud.name("token"), **wrong)[0] == "ValidationError"
    assert cloud.members(group) == []
