"""Leases and fences in a real table, over the wire."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemons.aws.groups import AutoScalingGroups
from daemons.aws.leases import DynamoLeases, parse_lease, render_lease
from daemons.aws.session import Clients
from daemons.aws.table import DynamoRows
from daemons.errors import AwsUnavailable, InvalidValue, LeaseLost
from daemons.ha.lease import Fence, Lease, Seen, fence_key, lease_key
from daemons.ha.look import looking
from daemons.model import Instance, State
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import Stack, client
from tests.fakes import BATCH, instance_id


def lease(service: str, **changes: Any) -> Lease:
    first = Lease(
        service=service, holder="one", token="1111", fence=1, beat=1, lease_s=20.0, since=1.5, renewed_at=2.5
    )  # of one head
    return replace(first, **changes)


def row(number: int, **changes: Any) -> Instance:
    return replace(Instance(instance_id=instance_id(number), fleet=BATCH.name, state=State.PENDING, pending_at=1.5), **changes)


@pytest.fixture
def table(aws: SandboxAws, stack: Stack) -> Any:
    """The table as an administrator sees it."""
    return client("dynamodb", endpoint_url=aws.endpoint_url, region=aws.region)


def test_a_lease_and_its_item_say_the_same() -> None:
    assert parse_lease("sqswatcher", render_lease(lease("sqswatcher"))) == lease("sqswatcher")


@pytest.mark.parametrize("change", [{"fence": {"S": "x"}}, {"lease_s": {"N": "0"}}, {"lease_s": {"N": "1e9"}}, {"token": {}}])
def test_an_item_that_is_no_lease_is_nobodys(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="is no lease"):
        parse_lease("sqswatcher", render_lease(lease("sqswatcher")) | change)


async def test_of_two_heads_that_want_it_one_gets_it(clients: Clients, stack: Stack) -> None:
    leases = DynamoLeases(clients, table=stack.table)
    nothing = await leases.read("first")
    assert nothing == Seen()
    wanted = [lease("first", holder=f"head-{number}", token=str(number)) for number in range(8)]
    got = await asyncio.gather(*(leases.take(one, over=nothing) for one in wanted))
    assert sorted(got) == [False] * 7 + [True]
    assert await leases.read("first") == Seen(lease=wanted[got.index(True)], fence=1)


async def test_a_lease_is_renewed_by_its_holder_alone_and_taken_only_as_it_was_seen(clients: Clients, stack: Stack) -> None:
    leases = DynamoLeases(clients, table=stack.table)
    mine = lease("second")
    assert await leases.take(mine, over=Seen())
    seen = await leases.read("second")
    assert await leases.renew(replace(mine, beat=2))
    assert not await leases.renew(replace(mine, beat=2)), "a renewal that comes late is none"
    assert not await leases.renew(replace(mine, beat=9, token="2222"))
    theirs = lease("second", holder="other", token="2222", fence=2)
    assert not await leases.take(theirs, over=seen), "it was renewed since"
    assert await leases.take(theirs, over=await leases.read("second"))
    assert not await leases.renew(replace(mine, beat=3))
    assert await leases.read("second") == Seen(lease=theirs, fence=2)


async def test_a_fence_only_grows_even_if_the_lease_is_deleted(clients: Clients, stack: Stack, table: Any) -> None:
    leases = DynamoLeases(clients, table=stack.table)
    assert await leases.take(lease("third", fence=7), over=Seen())
    table.delete_item(TableName=stack.table, Key={"instanceId": {"S": lease_key("third")}})
    seen = await leases.read("third")
    assert seen == Seen(lease=None, fence=7)
    assert not await leases.take(lease("third", fence=7), over=seen)
    assert await leases.take(lease("third", fence=8), over=seen)
    table.delete_item(TableName=stack.table, Key={"instanceId": {"S": fence_key("third")}})
    seen = await leases.read("third")
    assert seen.fence == 8
    assert await leases.take(lease("third", fence=9, token="3"), over=seen)


async def test_an_odd_item_lets_nobody_act_and_says_what_to_do(clients: Clients, stack: Stack, table: Any) -> None:
    table.put_item(TableName=stack.table, Item={"instanceId": {"S": lease_key("fourth")}, "holder": {"S": "\x1b[31m"}})
    with pytest.raises(InvalidValue) as caught:
        await DynamoLeases(clients, table=stack.table).read("fourth")
    assert "delete the item" in caught.value.hint


async def test_no_answer_is_neither_held_nor_free(clients: Clients, stack: Stack, aws: SandboxAws) -> None:
    leases = DynamoLeases(clients, table=stack.table)
    aws.faults.throttle("dynamodb")
    await clients.warm_up("dynamodb")
    calls = (leases.read("fifth"), leases.take(lease("fifth"), over=Seen()), leases.renew(lease("fifth")))
    answers = await asyncio.gather(*calls, return_exceptions=True)  # at once: each is tried some times, with waits in between
    assert [type(answer) for answer in answers] == [AwsUnavailable] * 3


async def test_leases_are_no_rows_and_nobody_is_warned_of_them(clients: Clients, stack: Stack) -> None:
    rows = DynamoRows(clients, table=stack.table)
    await DynamoLeases(clients, table=stack.table).take(lease("sixth"), over=Seen())
    with capture_logs() as events:
        assert not [one for one in await rows.all() if not one.instance_id.startswith("i-")]
    assert [event for event in events if "lease:" in str(event) or "fence:" in str(event)] == []


async def test_rows_are_written_under_the_fence_as_without_it(clients: Clients, stack: Stack) -> None:
    await DynamoLeases(clients, table=stack.table).take(lease("seventh"), over=Seen())
    rows = DynamoRows(clients, table=stack.table, fence=Fence(key=fence_key("seventh"), number=1))
    written = await rows.put([row(number) for number in range(1000, 1250)])
    assert all(one is not None and one.version == 1 for one in written.values())
    answers = await asyncio.gather(*(rows.put([row(number, version=1)]) for number in range(1000, 1010)))
    assert all(one is not None for answer in answers for one in answer.values())
    again = await rows.put([row(1000, version=1), row(1020, version=1), row(1300)])
    assert {key: one and one.version for key, one in again.items()} == {
        instance_id(1000): None,
        instance_id(1020): 2,
        instance_id(1300): 1,
    }
    assert await rows.put([row(1000, version=1)]) == {instance_id(1000): None}


async def test_a_row_of_a_former_holder_is_refused_by_the_table_itself(clients: Clients, stack: Stack) -> None:
    leases = DynamoLeases(clients, table=stack.table)
    await leases.take(lease("eighth"), over=Seen())
    late = DynamoRows(clients, table=stack.table, fence=Fence(key=fence_key("eighth"), number=1))
    await late.put([row(1400)])
    await leases.take(lease("eighth", token="2", fence=2), over=await leases.read("eighth"))
    for rows in ([row(1401)], [row(1401), row(1402)], [row(1400), row(1401)]):  # the last with a stale one
        with pytest.raises(LeaseLost):
            await late.put(rows)
    plain = DynamoRows(clients, table=stack.table)
    assert set(await plain.get([instance_id(number) for number in (1400, 1401, 1402)])) == {instance_id(1400)}


async def test_an_attempt_is_not_repeated_once_the_lease_is_lost(clients: Clients, stack: Stack, aws: SandboxAws) -> None:
    """The first attempt is throttled; before the second goes out the lease is over."""
    groups = AutoScalingGroups(clients, specs=[BATCH])
    fleet = (await groups.fleets())[0]
    aws.faults.throttle("autoscaling", "SetDesiredCapacity")
    aws.faults.reset_counts()
    looks: list[int] = []

    def once() -> None:
        looks.append(1)
        if len(looks) > 1:
            raise LeaseLost("over")

    with looking(once), pytest.raises(LeaseLost):
        await groups.raise_desired(fleet, fleet.desired + 1)
    assert aws.faults.count("autoscaling", "SetDesiredCapacity") == 1
    assert len(looks) == 2


async def test_nothing_is_sent_at_all_without_the_lease(clients: Clients, stack: Stack, aws: SandboxAws) -> None:
    def never() -> None:
        raise LeaseLost("over")

    aws.faults.reset_counts()
    with looking(never), pytest.raises(LeaseLost):
        await DynamoRows(clients, table=stack.table).put([row(1500)])
    assert aws.faults.counts() == {}
