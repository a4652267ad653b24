"""The adapters against the emulated AWS, over the wire."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemons.aws.dns import Route53Zone, find_zone
from daemons.aws.groups import AutoScalingGroups
from daemons.aws.instances import Ec2Places
from daemons.aws.queue import SqsQueue
from daemons.aws.session import Clients
from daemons.aws.table import DynamoRows, parse_item, render_item
from daemons.errors import AwsRefused, AwsUnavailable, InvalidValue
from daemons.model import FleetName, Hostname, Instance, InstanceId, Notice, State
from daemons.ports import EndOutcome, Records
from sandbox.aws.errors import validation_error
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import Stack, client
from tests.fakes import BATCH, hostname, instance_id


def row(number: int, **changes: Any) -> Instance:
    return replace(Instance(instance_id=instance_id(number), fleet=BATCH.name, state=State.PENDING, pending_at=1.5), **changes)


async def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.02)


def test_a_row_and_its_item_say_the_same() -> None:
    full = row(
        1,
        version=3,
        state=State.DRAINING,
        hostname=hostname(1),
        address="10.0.0.1",
        instance_type="c5.xlarge",
        registered_at=2.25,
        idle_since=3.125,
        drain_reason="idle",
        notice=Notice.REBALANCE,
        notice_at=4.0,
        launch_hook="join",
    )
    assert parse_item(render_item(full)) == full


def test_an_ancestors_item_reads_as_registered() -> None:
    legacy = parse_item({"instanceId": {"S": instance_id(1)}, "hostname": {"S": "ip-10-0-0-1"}})
    assert (legacy.state, legacy.version, legacy.fleet, legacy.hostname) == (State.REGISTERED, 0, FleetName(""), hostname(1))


@pytest.mark.parametrize(
    "item", [{}, {"instanceId": {"S": "x; rm -rf /"}}, {"instanceId": {"S": instance_id(1)}, "state": {"S": "?"}}]
)
def test_an_item_that_is_no_row_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        parse_item(item)


def test_a_tombstone_expires_and_nothing_else_does() -> None:
    assert "expires_at" not in render_item(row(1))
    assert render_item(row(1, state=State.GONE, gone_at=1000.0))["expires_at"] == {"N": "87400"}


async def test_rows_are_written_read_and_listed_and_a_stale_one_is_told_apart(
    clients: Clients, stack: Stack, aws: SandboxAws
) -> None:
    rows = DynamoRows(clients, table=stack.table)
    written = await rows.put([row(number) for number in range(1, 151)])
    assert all(each is not None and each.version == 1 for each in written.values())
    again = await rows.put([row(1), replace(row(2), version=1, state=State.READY), row(200)])
    assert {key: each and each.version for key, each in again.items()} == {
        instance_id(1): None,
        instance_id(2): 2,
        instance_id(200): 1,
    }
    read = await rows.get([instance_id(number) for number in range(1, 301)])
    assert len(read) == 151
    assert read[instance_id(2)].state is State.READY
    await rows.put([replace(read[instance_id(1)], state=State.GONE, gone_at=1.0)])
    assert len(await rows.live()) == 150
    assert len(await rows.all()) == 151


async def test_the_unsettled_rows_are_those_that_are_more_than_a_registered_node(clients: Clients, aws: SandboxAws) -> None:
    table = "unsettled"
    dynamodb = client("dynamodb", endpoint_url=aws.endpoint_url, region=aws.region)
    key: Any = {"KeySchema": [{"AttributeName": "instanceId", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
    dynamodb.create_table(TableName=table, AttributeDefinitions=[{"AttributeName": "instanceId", "AttributeType": "S"}], **key)
    rows = DynamoRows(clients, table=table)
    marks: list[dict[str, Any]] = [{}, {"idle_since": 7.0}, {"notice": Notice.REBALANCE}, {"held_until": 9.0}]
    written = [row(10 * place + at, state=state, **mark) for place, state in enumerate(State) for at, mark in enumerate(marks)]
    await rows.put(written)
    for number, more in ((901, {}), (902, {"notice": {"S": Notice.REBALANCE}})):  # as the ancestor wrote them: no state
        dynamodb.put_item(TableName=table, Item={"instanceId": {"S": instance_id(number)}, "hostname": {"S": "a"}, **more})
    unsettled = {one.instance_id for one in await rows.unsettled()}
    assert unsettled == {one.instance_id for one in await rows.live() if not one.is_settled}
    assert len(unsettled) == 4 * 4 + 2 + 1, "four states with all their rows, two of the registered ones, one of the ancestor's"


async def test_one_stale_row_alone_is_stale(clients: Clients, stack: Stack) -> None:
    rows = DynamoRows(clients, table=stack.table)
    await rows.put([row(301)])
    assert await rows.put([row(301)]) == {instance_id(301): None}


async def test_a_throttled_table_is_unavailable_and_nothing_was_assumed(clients: Clients, stack: Stack, aws: SandboxAws) -> None:
    rows = DynamoRows(clients, table=stack.table)
    aws.faults.throttle("dynamodb")
    with pytest.raises(AwsUnavailable):
        await rows.get([instance_id(1)])


async def test_an_item_that_is_no_row_stops_nobody_and_is_told_of_once(clients: Clients, stack: Stack, aws: SandboxAws) -> None:
    rows = DynamoRows(clients, table=stack.table)
    await rows.put([row(71)])
    dynamodb = client("dynamodb", endpoint_url=aws.endpoint_url, region=aws.region)
    odd = {"instanceId": {"S": instance_id(72)}, "state": {"S": "upside-down"}, "version": {"N": "3"}}
    for item in (odd, {"instanceId": {"S": "not an id"}, "hostname": {"S": "$(reboot)"}}):
        dynamodb.put_item(TableName=stack.table, Item=item)
    with capture_logs() as events:
        for _ in range(2):
            assert instance_id(71) in [one.instance_id for one in await rows.live()]
            assert set(await rows.get([instance_id(71), instance_id(72)])) == {instance_id(71)}
    assert [event["event"] for event in events] == ["row.unreadable"] * 2
    assert await rows.put([row(72)]) == {instance_id(72): None}  # and nothing overwrites it


async def test_a_missing_table_is_a_refusal_with_the_next_step(clients: Clients) -> None:
    with pytest.raises(AwsRefused) as caught:
        await DynamoRows(clients, table="nobody").live()
    assert caught.value.hint == "create nobody, or correct its name in the configuration"


async def test_messages_are_received_postponed_and_deleted_by_name_and_by_url(clients: Clients, stack: Stack) -> None:
    sqs = await clients.get("sqs")
    for number in range(12):
        await sqs.send_message(QueueUrl=stack.queue_url, MessageBody=f"body {number}")
    by_name, by_url = SqsQueue(clients, queue="hpc-events"), SqsQueue(clients, queue=stack.queue_url)
    first = await by_name.receive(wait_s=1)
    assert len(first) == 10
    assert all(message.sent_at is not None and abs(message.sent_at - time.time()) < 600 for message in first)
    await by_url.postpone(first, 0)
    seen: dict[str, int] = {}
    while len(seen) < 12 or max(seen.values()) < 2:
        for message in await by_url.receive(wait_s=1):
            seen[message.body] = max(seen.get(message.body, 0), message.receives)
            await by_url.delete([message])
    assert await by_name.receive(wait_s=0) == ()
    await by_name.delete(first)  # receipts that are no longer good are no failure


async def test_what_is_received_stays_ours_for_as_long_as_we_say(clients: Clients, stack: Stack) -> None:
    await (await clients.get("sqs")).send_message(QueueUrl=stack.queue_url, MessageBody="body")
    for briefly in (SqsQueue(clients, queue=stack.queue_url, visibility_s=0), SqsQueue(clients, queue=stack.queue_url)):
        assert [message.body for message in await briefly.receive(wait_s=1)] == ["body"]


async def test_a_missing_queue_is_a_refusal(clients: Clients, stack: Stack) -> None:
    with pytest.raises(AwsRefused):
        await SqsQueue(clients, queue="nobody").receive(wait_s=0)


async def test_records_are_written_listed_and_deleted_whatever_ttl_they_have(clients: Clients, stack: Stack) -> None:
    zone_id = await find_zone(clients, name=stack.domain)

    async def opened(ttl_s: int) -> Route53Zone:
        return await Route53Zone.open(clients, zone_id=zone_id, ttl_s=ttl_s, changes_per_s=1000, clock=time.monotonic)

    zone, later = await opened(60), await opened(30)
    upserts = {
        Hostname(f"ip-10-0-{number // 250}-{number % 250}"): f"10.0.{number // 250}.{number % 250}" for number in range(600)
    }
    await zone.change(Records(upserts=upserts, deletes={}), await_sync=True)
    assert await zone.records() == upserts
    gone = dict(list(upserts.items())[:3])
    taken_over = Hostname("ip-10-0-0-2")
    await zone.change(Records(upserts={taken_over: "10.9.9.9"}, deletes={}), await_sync=False)
    await later.change(Records(upserts={}, deletes=gone | {Hostname("never-there"): "10.1.1.1"}), await_sync=False)
    assert await zone.records() == {taken_over: "10.9.9.9"} | dict(list(upserts.items())[3:])


async def test_a_zone_that_is_not_there_is_a_refusal(clients: Clients, stack: Stack) -> None:
    with pytest.raises(AwsRefused) as caught:
        await find_zone(clients, name="nobody.internal")
    assert "create the zone" in caught.value.hint


async def test_a_fleet_grows_is_seen_and_shrinks_by_one_named_instance(clients: Clients, stack: Stack, aws: SandboxAws) -> None:
    groups = AutoScalingGroups(clients, specs=[BATCH])
    [fleet] = await groups.fleets()
    assert (fleet.minimum, fleet.desired, fleet.maximum) == (1, 1, 4)
    await groups.raise_desired(fleet, 3)
    await until(lambda: sum(one.lifecycle == "InService" for one in aws.scaling.instances()) == 3, "three in service")
    [fleet] = await groups.fleets()
    ids = [member.instance_id for member in fleet.members]
    assert await groups.fleet_of([*ids, instance_id(99)]) == dict.fromkeys(ids, BATCH.name)
    places = await Ec2Places(clients).places([*ids, instance_id(99)])
    truth = {one.instance_id: one for one in aws.scaling.instances()}
    assert {one: place.address for one, place in places.items()} == {one: truth[one].address for one in ids}
    assert all(place.hostname == truth[one].hostname.split(".")[0] for one, place in places.items())
    assert await groups.end(ids[1]) is EndOutcome.ENDING
    assert await groups.end(instance_id(99)) is EndOutcome.ABSENT
    assert await groups.end(ids[0]) is EndOutcome.ENDING
    assert await groups.end(ids[2]) is EndOutcome.AT_MINIMUM
    await until(lambda: truth_states(aws, ids[1], ids[0]) == {"terminated"}, "both ended")
    assert truth_states(aws, ids[2]) == {"running"}


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        (
            (
                "Currently, desiredSize equals minSize (1). Terminating instance without replacement will violate group's min"
                " size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size."
            ),
            EndOutcome.AT_MINIMUM,
        ),
        ("Terminating instance without replacement will violate group's min size constraint.", EndOutcome.AT_MINIMUM),
        ("Instance Id not found - No managed instance found for instance ID: i-0a1b2c3d4e5f60718", EndOutcome.ABSENT),
        ("Instance Id not found - No managed instance found for instance ID i-0a1b2c3d4e5f60718", EndOutcome.ABSENT),
        ("The instance i-0a1b2c3d4e5f60718 is in Terminating:Wait and cannot be terminated.", None),
        ("AutoScalingGroup name not found - AutoScalingGroup hpc-batch not found", None),
        ("Instance i-0a1b2c3d4e5f60718 is protected from termination.", None),
    ],
)
async def test_a_refused_end_means_what_auto_scaling_says_and_nothing_else(
    clients: Clients, stack: Stack, aws: SandboxAws, words: str, outcome: EndOutcome | None
) -> None:
    """The first four as public reports have them; the others are made up."""
    aws.faults.fail("autoscaling", "TerminateInstanceInAutoScalingGroup", error=validation_error(words), calls=1)
    groups = AutoScalingGroups(clients, specs=[BATCH])
    if outcome is None:
        with pytest.raises(AwsRefused, match="ValidationError"):
            await groups.end(instance_id(1))
    else:
        assert await groups.end(instance_id(1)) is outcome


async def test_an_end_whose_answer_is_lost_lowers_the_capacity_once(clients: Clients, stack: Stack, aws: SandboxAws) -> None:
    groups = AutoScalingGroups(clients, specs=[BATCH])
    [fleet] = await groups.fleets()
    await groups.raise_desired(fleet, 4)
    await until(lambda: sum(one.lifecycle == "InService" for one in aws.scaling.instances()) == 4, "four in service")
    [fleet] = await groups.fleets()
    aws.faults.drop("autoscaling", "TerminateInstanceInAutoScalingGroup", after_effect=True, calls=1)
    with pytest.raises(AwsUnavailable):
        await groups.end(fleet.members[0].instance_id)
    aws.faults.throttle("autoscaling", "TerminateInstanceInAutoScalingGroup", calls=1)
    assert await groups.end(fleet.members[1].instance_id) is EndOutcome.ENDING
    [fleet] = await groups.fleets()
    assert fleet.desired == 2


def truth_states(aws: SandboxAws, *ids: InstanceId) -> set[str]:
    return {one.state for one in aws.scaling.instances() if one.instance_id in ids}


async def test_nothing_but_a_raise_within_bounds_is_asked_for(clients: Clients, stack: Stack) -> None:
    groups = AutoScalingGroups(clients, specs=[BATCH])
    [fleet] = await groups.fleets()
    for target in (fleet.desired, fleet.desired - 1, fleet.maximum + 1):
        with pytest.raises(ValueError, match="is not above"):
            await groups.raise_desired(fleet, target)


async def test_a_missing_group_is_a_refusal_with_the_next_step(clients: Clients, stack: Stack) -> None:
    with pytest.raises(AwsRefused) as caught:
        await AutoScalingGroups(clients, specs=[replace(BATCH, group="nobody")]).fleets()
    assert "correct fleet.group" in caught.value.hint


async def test_an_answer_to_a_hook_that_waits_no_more_is_no_error(clients: Clients, stack: Stack) -> None:
    groups = AutoScalingGroups(clients, specs=[BATCH])
    [fleet] = await groups.fleets()
    await groups.complete_hook(BATCH.name, "join", fleet.members[0].instance_id, proceed=True)


async def test_no_answer_at_all_is_unavailable(aws: SandboxAws, clients: Clients, stack: Stack) -> None:
    aws.faults.drop("autoscaling", after_effect=False)
    with pytest.raises(AwsUnavailable):
        await AutoScalingGroups(clients, specs=[BATCH]).fleets()
