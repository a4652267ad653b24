"""Sizes, bounds and pages of groups, as boto3 sees them."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.aws.catalogue import subnet_of
from tests.sandbox.aws.conftest import ZONES, Cloud


def refused(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def described(cloud: Cloud, group: str) -> dict[str, Any]:
    (found,) = cloud.asg.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
    assert isinstance(found, dict)
    return found


def test_a_new_group_launches_what_it_desires(cloud: Cloud) -> None:
    group = cloud.group(desired=3)
    assert cloud.lifecycles(group) == ["InService"] * 3


def test_a_group_desires_its_minimum_unless_told_otherwise(cloud: Cloud) -> None:
    name = cloud.name()
    template = {"LaunchTemplateId": cloud.template()}
    cloud.asg.create_auto_scaling_group(
        AutoScalingGroupName=name, MinSize=2, MaxSize=4, LaunchTemplate=template, AvailabilityZones=[ZONES[0]]
    )
    assert cloud.state(name).desired == 2


def test_a_group_is_described_as_it_was_made(cloud: Cloud) -> None:
    tags = [{"Key": "role", "Value": "compute", "PropagateAtLaunch": True}]
    group = cloud.group(1, 1, 5, Tags=tags, NewInstancesProtectedFromScaleIn=True, AvailabilityZones=list(ZONES[:2]))
    found = described(cloud, group)
    (instance,) = found["Instances"]
    assert (found["MinSize"], found["DesiredCapacity"], found["MaxSize"]) == (1, 1, 5)
    assert found["AvailabilityZones"] == list(ZONES[:2])
    assert found["NewInstancesProtectedFromScaleIn"]
    assert found["Tags"] == [{"ResourceId": group, "ResourceType": "auto-scaling-group", **tags[0]}]
    assert instance["LifecycleState"] == "InService"
    assert instance["HealthStatus"] == "Healthy"
    assert instance["ProtectedFromScaleIn"]


def test_instances_can_be_left_out_of_a_description(cloud: Cloud) -> None:
    group = cloud.group(desired=1)
    answer = cloud.asg.describe_auto_scaling_groups(AutoScalingGroupNames=[group], IncludeInstances=False)
    assert answer["AutoScalingGroups"][0].get("Instances", []) == []


@pytest.mark.parametrize(("desired", "limit"), [(9, "above max value 4"), (0, "below min value 1")], ids=["above", "below"])
def test_desired_stays_within_the_bounds(cloud: Cloud, desired: int, limit: str) -> None:
    group = cloud.group(1, 1, 4)
    code, message = refused(cloud.asg.set_desired_capacity, AutoScalingGroupName=group, DesiredCapacity=desired)
    assert code == "ValidationError"
    assert message == f"New SetDesiredCapacity value {desired} is {limit} for the AutoScalingGroup."
    assert cloud.state(group).desired == 1


@pytest.mark.parametrize("sizes", [(-1, 0, 1), (3, 3, 2), (0, 5, 4), (2, 1, 4)])
def test_a_group_with_impossible_sizes_is_not_made(cloud: Cloud, sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ClientError, match="ValidationError"):
        cloud.group(*sizes)


def test_an_update_moves_desired_into_the_new_bounds(cloud: Cloud) -> None:
    group = cloud.group(0, 1, 10)
    cloud.asg.update_auto_scaling_group(AutoScalingGroupName=group, MinSize=2, MaxSize=3)
    cloud.aws.advance(2)
    assert cloud.state(group).desired == 2
    assert len(cloud.members(group)) == 2
    code, message = refused(cloud.asg.update_auto_scaling_group, AutoScalingGroupName=group, DesiredCapacity=4)
    assert (code, message) == (
        "ValidationError",
        "Desired capacity:4 must be between the specified min size:2 and max size:3",
    )


def test_an_unknown_group_is_named_in_the_error(cloud: Cloud) -> None:
    code, message = refused(cloud.asg.set_desired_capacity, AutoScalingGroupName="nobody", DesiredCapacity=1)
    assert code == "ValidationError"
    assert message.startswith("AutoScalingGroup name not found - ")
    assert "nobody" in message


def test_a_name_is_taken_once(cloud: Cloud) -> None:
    group = cloud.group()
    source = {"LaunchTemplateId": cloud.template()}
    code, _ = refused(
        cloud.asg.create_auto_scaling_group,
        AutoScalingGroupName=group,
        MinSize=0,
        MaxSize=1,
        LaunchTemplate=source,
        AvailabilityZones=[ZONES[0]],
    )
    assert code == "AlreadyExists"


def test_groups_come_in_pages(cloud: Cloud) -> None:
    names = {cloud.group() for _ in range(5)}
    pages = list(cloud.asg.get_paginator("describe_auto_scaling_groups").paginate(PaginationConfig={"PageSize": 2}))
    seen = [each["AutoScalingGroupName"] for page in pages for each in page["AutoScalingGroups"]]
    assert set(seen) == names
    assert len(seen) == 5
    assert [len(page["AutoScalingGroups"]) for page in pages] == [2, 2, 1]


def test_a_token_of_another_operation_is_refused(cloud: Cloud) -> None:
    for _ in range(2):
        cloud.group()
    token = cloud.asg.describe_auto_scaling_groups(MaxRecords=1)["NextToken"]
    assert refused(cloud.asg.describe_auto_scaling_instances, NextToken=token)[0] == "InvalidNextToken"
    assert refused(cloud.asg.describe_auto_scaling_groups, NextToken="rubbish")[0] == "InvalidNextToken"


def test_groups_are_found_by_tag(cloud: Cloud) -> None:
    tagged = cloud.group(Tags=[{"Key": "stack", "Value": "one"}])
    cloud.group(Tags=[{"Key": "stack", "Value": "two"}])
    found = cloud.asg.describe_auto_scaling_groups(Filters=[{"Name": "tag:stack", "Values": ["one"]}])
    assert [each["AutoScalingGroupName"] for each in found["AutoScalingGroups"]] == [tagged]
    assert refused(cloud.asg.describe_auto_scaling_groups, Filters=[{"Name": "colour", "Values": ["x"]}])[0] == (
        "ValidationError"
    )


def test_tags_are_replaced_by_key(cloud: Cloud) -> None:
    group = cloud.group(Tags=[{"Key": "a", "Value": "1"}])
    tag = {"ResourceId": group, "ResourceType": "auto-scaling-group", "Key": "a", "Value": "2", "PropagateAtLaunch": True}
    cloud.asg.create_or_update_tags(Tags=[tag])
    found = cloud.asg.describe_tags(Filters=[{"Name": "auto-scaling-group", "Values": [group]}])["Tags"]
    assert found == [tag]


def test_a_group_with_instances_is_deleted_only_by_force(cloud: Cloud) -> None:
    group = cloud.group(desired=2)
    assert refused(cloud.asg.delete_auto_scaling_group, AutoScalingGroupName=group)[0] == "ResourceInUse"
    cloud.asg.delete_auto_scaling_group(AutoScalingGroupName=group, ForceDelete=True)
    assert described(cloud, group)["Status"] == "Delete in progress"
    cloud.aws.advance(5)
    assert cloud.asg.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"] == []
    assert {each.state for each in cloud.scaling.instances(group)} == {"terminated"}


def test_activities_of_a_deleted_group_are_shown_on_request(cloud: Cloud) -> None:
    group = cloud.group(desired=1)
    cloud.asg.delete_auto_scaling_group(AutoScalingGroupName=group, ForceDelete=True)
    cloud.aws.advance(5)
    assert refused(cloud.asg.describe_scaling_activities, AutoScalingGroupName=group)[0] == "ValidationError"
    found = cloud.asg.describe_scaling_activities(AutoScalingGroupName=group, IncludeDeletedGroups=True)["Activities"]
    assert {each["AutoScalingGroupState"] for each in found} == {"Deleted"}


def test_a_launch_configuration_is_a_source_too(cloud: Cloud) -> None:
    name = cloud.name("config")
    cloud.asg.create_launch_configuration(
        LaunchConfigurationName=name, ImageId="ami-0a1b2c3d", InstanceType="g4dn.xlarge", SpotPrice="0.5"
    )
    group = cloud.group(desired=1, LaunchConfigurationName=name)
    (instance,) = cloud.members(group)
    assert (instance.instance_type, instance.image_id, instance.spot) == ("g4dn.xlarge", "ami-0a1b2c3d", True)
    assert described(cloud, group)["LaunchConfigurationName"] == name
    (found,) = cloud.asg.describe_launch_configurations(LaunchConfigurationNames=[name])["LaunchConfigurations"]
    assert found["InstanceType"] == "g4dn.xlarge"


def test_a_mixed_group_takes_the_first_type_to_be_had(cloud: Cloud) -> None:
    specification = {"LaunchTemplateId": cloud.template(), "Version": "$Latest"}
    overrides = [{"InstanceType": "c6i.xlarge"}, {"InstanceType": "m5.xlarge"}]
    policy = {
        "LaunchTemplate": {"LaunchTemplateSpecification": specification, "Overrides": overrides},
        "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 0},
    }
    cloud.scaling.fail_launches(reason="insufficient-capacity", instance_type="c6i.xlarge")
    group = cloud.group(desired=1, MixedInstancesPolicy=policy)
    (instance,) = cloud.members(group)
    assert (instance.instance_type, instance.spot) == ("m5.xlarge", True)
    shown = described(cloud, group)["MixedInstancesPolicy"]
    assert [each["InstanceType"] for each in shown["LaunchTemplate"]["Overrides"]] == ["c6i.xlarge", "m5.xlarge"]


def test_weights_are_refused_rather_than_ignored(cloud: Cloud) -> None:
    specification = {"LaunchTemplateId": cloud.template()}
    overrides = [{"InstanceType": "c6i.xlarge", "WeightedCapacity": "4"}]
    policy = {"LaunchTemplate": {"LaunchTemplateSpecification": specification, "Overrides": overrides}}
    with pytest.raises(ClientError, match="weighted"):
        cloud.group(MixedInstancesPolicy=policy)


@pytest.mark.parametrize(
    "params",
    [
        {"LaunchTemplate": {"LaunchTemplateId": "lt-0123456789abcdef0"}},
        {"LaunchConfigurationName": "nowhere"},
        {"AvailabilityZones": ["mars-1a"]},
        {"VPCZoneIdentifier": "subnet-0"},
    ],
)
def test_a_group_over_nothing_is_not_made(cloud: Cloud, params: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="ValidationError"):
        cloud.group(**params)


def test_subnets_stand_for_their_zones(cloud: Cloud) -> None:
    group = cloud.group(VPCZoneIdentifier=f"{subnet_of(ZONES[1])},{subnet_of(ZONES[2])}")
    assert cloud.state(group).zones == ZONES[1:]
