"""The metadata service as a program on the instance finds it: IMDSv2 only."""

import json

import pytest
from botocore.utils import InstanceMetadataRegionFetcher

from tests.sandbox.aws.conftest import Cloud
from tests.sandbox.aws.http_calls import fetch

TTL = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}


@pytest.fixture
def instance_id(cloud: Cloud) -> str:
    return cloud.members(cloud.group(desired=1))[0].instance_id


def token(cloud: Cloud, instance_id: str) -> dict[str, str]:
    status, body = fetch("PUT", cloud.aws.imds_url(instance_id) + "latest/api/token", headers=TTL)
    assert status == 200
    return {"X-aws-ec2-metadata-token": body}


def read(cloud: Cloud, instance_id: str, path: str) -> tuple[int, str]:
    url = f"{cloud.aws.imds_url(instance_id)}latest/{path}"
    return fetch("GET", url, headers=token(cloud, instance_id))


def test_an_instance_learns_who_it_is(cloud: Cloud, instance_id: str) -> None:
    truth = cloud.scaling.instance(instance_id)
    for path, value in {
        "instance-id": instance_id,
        "local-ipv4": truth.address,
        "local-hostname": truth.hostname,
        "instance-type": "c5.xlarge",
        "placement/availability-zone": truth.zone,
    }.items():
        assert read(cloud, instance_id, f"meta-data/{path}") == (200, value)
    identity = json.loads(read(cloud, instance_id, "dynamic/instance-identity/document")[1])
    assert (identity["instanceId"], identity["region"]) == (instance_id, "eu-west-1")


def test_nothing_is_told_without_a_token(cloud: Cloud, instance_id: str) -> None:
    url = f"{cloud.aws.imds_url(instance_id)}latest/meta-data/instance-id"
    assert fetch("GET", url)[0] == 401
    assert fetch("GET", url, headers={"X-aws-ec2-metadata-token": "guess"})[0] == 401


def test_a_token_is_good_for_one_instance_and_its_time(cloud: Cloud) -> None:
    first, second = (each.instance_id for each in cloud.members(cloud.group(desired=2)))
    held = token(cloud, first)
    assert fetch("GET", f"{cloud.aws.imds_url(second)}latest/meta-data/instance-id", headers=held)[0] == 401
    url = f"{cloud.aws.imds_url(first)}latest/meta-data/instance-id"
    assert fetch("GET", url, headers=held)[0] == 200
    cloud.aws.advance(61)
    assert fetch("GET", url, headers=held)[0] == 401


@pytest.mark.parametrize("ttl", ["", "0", "99999", "soon"])
def test_a_token_needs_a_lifetime(cloud: Cloud, instance_id: str, ttl: str) -> None:
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": ttl} if ttl else {}
    assert fetch("PUT", cloud.aws.imds_url(instance_id) + "latest/api/token", headers=headers)[0] == 400


def test_an_interruption_appears_when_it_is_announced(cloud: Cloud, instance_id: str) -> None:
    path = "meta-data/spot/instance-action"
    assert read(cloud, instance_id, path)[0] == 404
    cloud.scaling.interrupt_spot(instance_id)
    notice = json.loads(read(cloud, instance_id, path)[1])
    assert notice["action"] == "terminate"
    assert notice["time"].endswith("Z")


def test_a_recommendation_appears_when_it_is_made(cloud: Cloud, instance_id: str) -> None:
    path = "meta-data/events/recommendations/rebalance"
    assert read(cloud, instance_id, path)[0] == 404
    cloud.scaling.recommend_rebalance(instance_id)
    assert json.loads(read(cloud, instance_id, path)[1]).keys() == {"noticeTime"}


def test_the_target_state_follows_the_group(cloud: Cloud, instance_id: str) -> None:
    path = "meta-data/autoscaling/target-lifecycle-state"
    assert read(cloud, instance_id, path) == (200, "InService")
    cloud.asg.terminate_instance_in_auto_scaling_group(InstanceId=instance_id, ShouldDecrementDesiredCapacity=True)
    assert read(cloud, instance_id, path) == (200, "Terminated")


def test_what_is_not_there_is_not_found(cloud: Cloud, instance_id: str) -> None:
    assert read(cloud, instance_id, "meta-data/nothing")[0] == 404
    assert fetch("PUT", cloud.aws.imds_url("i-00000000000000000") + "latest/api/token", headers=TTL)[0] == 404
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    cloud.aws.advance(5)
    assert fetch("PUT", cloud.aws.imds_url(instance_id) + "latest/api/token", headers=TTL)[0] == 404


def test_botocore_finds_its_region_there(cloud: Cloud, instance_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", cloud.aws.imds_url(instance_id))
    fetcher = InstanceMetadataRegionFetcher(timeout=5, base_url=cloud.aws.imds_url(instance_id), user_agent="headnode-tests")
    assert fetcher.retrieve_region() == "eu-west-1"
