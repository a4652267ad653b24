"""EC2's describe calls for the instances of groups."""

from datetime import timedelta
from typing import Any

import pytest

from sandbox.aws.catalogue import subnet_of
from tests.sandbox.aws.conftest import ZONES, Cloud
from tests.sandbox.aws.test_groups import refused


def found(cloud: Cloud, **params: Any) -> list[dict[str, Any]]:
    pages = cloud.ec2.get_paginator("describe_instances").paginate(**params)
    return [one for page in pages for each in page["Reservations"] for one in each["Instances"]]


def ids(instances: list[dict[str, Any]]) -> list[str]:
    return [each["InstanceId"] for each in instances]


def test_an_instance_is_described_as_its_group_made_it(cloud: Cloud) -> None:
    tags: list[dict[str, Any]] = [
        {"Key": "Name", "Value": "compute", "PropagateAtLaunch": True},
        {"Key": "x", "Value": "y", "PropagateAtLaunch": False},
    ]
    group = cloud.group(desired=1, Tags=tags)
    (truth,) = cloud.members(group)
    (instance,) = found(cloud, InstanceIds=[truth.instance_id])
    assert instance["PrivateIpAddress"] == truth.address
    assert instance["PrivateDnsName"] == truth.hostname
    assert instance["InstanceType"] == "c5.xlarge"
    assert instance["Placement"]["AvailabilityZone"] == truth.zone
    assert instance["State"] == {"Code": 16, "Name": "running"}
    assert {each["Key"]: each["Value"] for each in instance["Tags"]} == {
        "Name": "compute",
        "aws:autoscaling:groupName": group,
    }


@pytest.mark.parametrize("state", ["pending", "running", "shutting-down", "terminated"])
def test_instances_are_found_by_state(cloud: Cloud, state: str) -> None:
    group = cloud.group(desired=1)
    other = cloud.members(group)[0].instance_id
    steps = {"pending": (2, 0.5), "shutting-down": (0, 0.15), "terminated": (0, 10), "running": (1, 1)}
    desired, for_s = steps[state]
    cloud.wants(group, desired, for_s=for_s)
    filters = [{"Name": "instance-state-name", "Values": [state]}]
    filters.append({"Name": "tag:aws:autoscaling:groupName", "Values": [group]})
    matching = ids(found(cloud, Filters=filters))
    assert (other in matching) == (state != "pending")
    assert len(matching) == 1


@pytest.mark.parametrize("name", ["private-ip-address", "instance-id", "private-dns-name", "tag:fleet", "tag-key"])
def test_instances_are_found_by_filter(cloud: Cloud, name: str) -> None:
    cloud.group(desired=2)
    group = cloud.group(desired=1, Tags=[{"Key": "fleet", "Value": "mine", "PropagateAtLaunch": True}])
    (truth,) = cloud.members(group)
    value = {
        "private-ip-address": truth.address,
        "instance-id": truth.instance_id,
        "private-dns-name": f"{truth.hostname[:-5]}*",
        "tag:fleet": "mine",
        "tag-key": "fleet",
    }[name]
    assert ids(found(cloud, Filters=[{"Name": name, "Values": [value, "nothing"]}])) == [truth.instance_id]


def test_an_unknown_filter_is_an_error(cloud: Cloud) -> None:
    filters = [{"Name": "colour", "Values": ["red"]}]
    code, message = refused(cloud.ec2.describe_instances, Filters=filters)
    assert (code, message) == ("InvalidParameterValue", "The filter 'colour' is invalid")


def test_pages_count_instances(cloud: Cloud) -> None:
    group = cloud.group(desired=8, maximum=20)
    expected = [each.instance_id for each in cloud.members(group)]
    live = [{"Name": "tag:aws:autoscaling:groupName", "Values": [group]}]
    first = cloud.ec2.describe_instances(MaxResults=5, Filters=live)
    assert sum(len(each["Instances"]) for each in first["Reservations"]) == 5
    assert ids(found(cloud, Filters=live, PaginationConfig={"PageSize": 5})) == expected


def test_page_sizes_are_bounded(cloud: Cloud) -> None:
    instance_id = cloud.members(cloud.group(desired=1))[0].instance_id
    assert refused(cloud.ec2.describe_instances, MaxResults=4)[0] == "InvalidParameterValue"
    both = {"MaxResults": 5, "InstanceIds": [instance_id]}
    assert refused(cloud.ec2.describe_instances, **both)[0] == "InvalidParameterCombination"


@pytest.mark.parametrize("call", ["describe_instances", "describe_instance_status", "terminate_instances"])
@pytest.mark.parametrize(
    ("instance_id", "code", "message"),
    [
        ("i-xyz", "InvalidInstanceID.Malformed", 'Invalid id: "i-xyz"'),
        ("i-00000000000000000", "InvalidInstanceID.NotFound", "The instance ID 'i-00000000000000000' does not exist"),
    ],
)
def test_a_bad_id_is_an_error(cloud: Cloud, call: str, instance_id: str, code: str, message: str) -> None:
    assert refused(getattr(cloud.ec2, call), InstanceIds=[instance_id]) == (code, message)


def test_one_bad_id_ends_nobody(cloud: Cloud) -> None:
    group = cloud.group(desired=1)
    good = cloud.members(group)[0].instance_id
    refused(cloud.ec2.terminate_instances, InstanceIds=[good, "i-00000000000000000"])
    assert cloud.scaling.instance(good).state == "running"


def test_status_checks_pass_fail_and_pass_again(cloud: Cloud) -> None:
    instance_id = cloud.members(cloud.group(desired=1))[0].instance_id

    def status() -> Any:
        return cloud.ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"][0]["InstanceStatus"]

    assert status()["Status"] == "ok"
    cloud.scaling.impair(instance_id)
    assert status()["Status"] == "impaired"
    assert status()["Details"][0]["Status"] == "failed"
    assert "ImpairedSince" in status()["Details"][0]
    cloud.scaling.repair(instance_id)
    assert status()["Status"] == "ok"


def test_a_group_replaces_an_impaired_instance_when_told_to(cloud: Cloud) -> None:
    group = cloud.group(desired=1)
    instance_id = cloud.members(group)[0].instance_id
    cloud.scaling.impair(instance_id)
    cloud.aws.advance(3600)
    assert cloud.lifecycles(group) == ["InService"]
    cloud.scaling.impair(instance_id, replace_in_s=60)
    cloud.aws.advance(70)
    assert instance_id not in {each.instance_id for each in cloud.members(group)}
    assert cloud.lifecycles(group) == ["InService"]


def test_status_is_about_running_instances_unless_asked(cloud: Cloud) -> None:
    group = cloud.group()
    cloud.wants(group, 1, for_s=0.5)
    instance_id = cloud.members(group)[0].instance_id
    assert cloud.ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"] == []
    every = cloud.ec2.describe_instance_status(InstanceIds=[instance_id], IncludeAllInstances=True)
    (status,) = every["InstanceStatuses"]
    assert (status["InstanceState"]["Name"], status["InstanceStatus"]["Status"]) == ("pending", "not-applicable")


def test_maintenance_is_announced_in_the_status(cloud: Cloud) -> None:
    group = cloud.group(desired=2)
    instance_id = cloud.members(group)[0].instance_id
    event = cloud.scaling.set_scheduled_event(instance_id, code="system-reboot", in_s=3600, for_s=600)
    filters = [{"Name": "event.code", "Values": ["system-reboot"]}]
    (status,) = cloud.ec2.describe_instance_status(Filters=filters)["InstanceStatuses"]
    assert status["InstanceId"] == instance_id
    (shown,) = status["Events"]
    assert (shown["InstanceEventId"], shown["Code"]) == (event.event_id, "system-reboot")
    assert shown["NotAfter"] - shown["NotBefore"] == timedelta(minutes=10)
    cloud.scaling.clear_scheduled_events(instance_id)
    assert cloud.ec2.describe_instance_status(Filters=filters)["InstanceStatuses"] == []


def test_tags_are_put_on_instances(cloud: Cloud) -> None:
    instance_id = cloud.members(cloud.group(desired=1))[0].instance_id
    cloud.ec2.create_tags(Resources=[instance_id], Tags=[{"Key": "owner", "Value": "ops"}])
    assert ids(found(cloud, Filters=[{"Name": "tag:owner", "Values": ["ops"]}])) == [instance_id]


def test_the_catalogue_knows_processors_memory_and_gpus(cloud: Cloud) -> None:
    kinds = ["c5.2xlarge", "g4dn.xlarge", "hpc7a.96xlarge"]
    shown = cloud.ec2.describe_instance_types(InstanceTypes=kinds)["InstanceTypes"]
    types = {each["InstanceType"]: each for each in shown}
    assert types["c5.2xlarge"]["VCpuInfo"] == {"DefaultVCpus": 8, "DefaultCores": 4, "DefaultThreadsPerCore": 2}
    assert types["g4dn.xlarge"]["GpuInfo"]["Gpus"][0]["Count"] == 1
    assert types["hpc7a.96xlarge"]["MemoryInfo"]["SizeInMiB"] == 786_432
    assert types["hpc7a.96xlarge"]["VCpuInfo"]["DefaultThreadsPerCore"] == 1
    assert refused(cloud.ec2.describe_instance_types, InstanceTypes=["x9.huge"])[0] == "InvalidInstanceType"
    pages = cloud.ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 5})
    assert {each["InstanceType"] for page in pages for each in page["InstanceTypes"]} >= types.keys()


def test_zones_regions_and_subnets_agree(cloud: Cloud) -> None:
    zones = cloud.ec2.describe_availability_zones()["AvailabilityZones"]
    assert tuple(each["ZoneName"] for each in zones) == ZONES
    assert zones[0]["ZoneId"] == "euw1-az1"
    subnets = cloud.ec2.describe_subnets()["Subnets"]
    assert {each["SubnetId"]: each["AvailabilityZone"] for each in subnets} == {subnet_of(one): one for one in ZONES}
    regions = cloud.ec2.describe_regions()["Regions"]
    assert "eu-west-1" in {each["RegionName"] for each in regions}
    assert refused(cloud.ec2.describe_availability_zones, ZoneNames=["mars-1a"])[0] == "InvalidParameterValue"


def test_launch_templates_say_what_a_group_launches(cloud: Cloud) -> None:
    template = cloud.template(InstanceType="m5.xlarge", InstanceMarketOptions={"MarketType": "spot"})
    (version,) = cloud.ec2.describe_launch_template_versions(LaunchTemplateId=template)["LaunchTemplateVersions"]
    assert version["LaunchTemplateData"]["InstanceType"] == "m5.xlarge"
    group = cloud.group(desired=1, LaunchTemplate={"LaunchTemplateId": template, "Version": "$Latest"})
    (truth,) = cloud.members(group)
    (instance,) = found(cloud, InstanceIds=[truth.instance_id])
    assert (instance["InstanceType"], instance["InstanceLifecycle"]) == ("m5.xlarge", "spot")
    (shown,) = cloud.ec2.describe_launch_templates(LaunchTemplateIds=[template])["LaunchTemplates"]
    name = {"LaunchTemplateName": shown["LaunchTemplateName"], "LaunchTemplateData": {"InstanceType": "m5.xlarge"}}
    assert refused(cloud.ec2.create_launch_template, **name)[0].startswith("InvalidLaunchTemplateName.AlreadyExists")
    missing = refused(cloud.ec2.describe_launch_template_versions, LaunchTemplateName="nothing")[0]
    assert missing == "InvalidLaunchTemplateName.NotFoundException"


def test_a_dry_run_does_nothing(cloud: Cloud) -> None:
    group = cloud.group(desired=1)
    instance_id = cloud.members(group)[0].instance_id
    assert refused(cloud.ec2.terminate_instances, InstanceIds=[instance_id], DryRun=True)[0] == "DryRunOperation"
    assert cloud.scaling.instance(instance_id).state == "running"
