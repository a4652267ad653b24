"""Told to stop while AWS does not answer: what only reads is given up, what changes something is awaited."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import pytest

from daemons.aws.groups import AutoScalingGroups
from daemons.aws.permissions import CALLS
from daemons.aws.queue import SqsQueue
from daemons.aws.session import _READS, Clients
from daemons.aws.table import DynamoRows
from daemons.errors import AwsUnavailable, CutShort
from daemons.model import FleetName
from daemons.stopping import Stopping, heeding
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import Stack
from tests.fakes import BATCH, instance_id

FOR_EVER_S = 100_000.0
PATIENCE_S = 60.0
# Each call that the services make. A new one belongs to either, and it matters to which.
READS = {
    "BatchGetItem",
    "DescribeAutoScalingGroups",
    "DescribeAutoScalingInstances",
    "DescribeInstanceStatus",
    "DescribeInstances",
    "DescribeScalingActivities",
    "GetChange",
    "GetConsoleOutput",
    "GetHostedZone",
    "GetQueueUrl",
    "ListHostedZonesByName",
    "ListResourceRecordSets",
    "Scan",
}
CHANGES = {
    "ChangeMessageVisibilityBatch",
    "ChangeResourceRecordSets",
    "CompleteLifecycleAction",
    "CreateLogGroup",
    "CreateLogStream",
    "DeleteMessageBatch",
    "LaunchInstances",
    "PutItem",
    "PutLogEvents",
    "PutRetentionPolicy",
    "ReceiveMessage",
    "RecordLifecycleActionHeartbeat",
    "SendMessage",
    "SetDesiredCapacity",
    "TerminateInstanceInAutoScalingGroup",
    "TransactWriteItems",
}


@pytest.fixture
def stopping() -> Iterator[Stopping]:
    made = Stopping(grace_s=0.05)
    with heeding(made):
        yield made


async def stopped_during(
    call: Callable[[], Awaitable[object]], stopping: Stopping, aws: SandboxAws, service: str, operation: str
) -> object:
    """What comes of a call that AWS has received when the stop comes."""
    before = aws.faults.count(service, operation)
    calling = asyncio.ensure_future(call())
    async with asyncio.timeout(PATIENCE_S):
        while aws.faults.count(service, operation) == before:
            await asyncio.sleep(0.01)
        stopping.begin()
        [outcome] = await asyncio.gather(calling, return_exceptions=True)
    return outcome


async def test_a_read_that_is_under_way_is_given_up_as_one_that_got_no_answer(
    aws: SandboxAws, stack: Stack, clients: Clients, stopping: Stopping
) -> None:
    aws.faults.slow("dynamodb", "Scan", delay_s=FOR_EVER_S)
    outcome = await stopped_during(DynamoRows(clients, table=stack.table).live, stopping, aws, "dynamodb", "Scan")
    assert isinstance(outcome, CutShort)
    assert isinstance(outcome, AwsUnavailable), "whoever has to do with it does what they do without an answer"
    assert outcome.transient


@pytest.mark.usefixtures("stack")
async def test_a_read_that_begins_after_the_stop_has_its_time_too_and_no_more(
    aws: SandboxAws, clients: Clients, stopping: Stopping
) -> None:
    groups = AutoScalingGroups(clients, specs=[BATCH])
    stopping.begin()
    stopping.begin()
    aws.faults.slow("autoscaling", delay_s=FOR_EVER_S)
    async with asyncio.timeout(PATIENCE_S):
        for look in (groups.fleets, partial(groups.fleet_of, [instance_id(1)])):
            with pytest.raises(CutShort):
                await look()


async def test_a_read_between_two_attempts_is_given_up_too(
    aws: SandboxAws, stack: Stack, clients: Clients, stopping: Stopping
) -> None:
    aws.faults.server_error("dynamodb", "Scan")
    rows = DynamoRows(clients, table=stack.table)
    assert isinstance(await stopped_during(rows.live, stopping, aws, "dynamodb", "Scan"), CutShort)


async def test_who_is_told_to_stop_again_and_again_gives_no_more_time_for_that() -> None:
    stopping = Stopping(grace_s=0.05)

    async def read() -> None:
        async with stopping.reading():
            await asyncio.sleep(FOR_EVER_S)

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_S):
        while not reading.done():
            stopping.begin()
            await asyncio.sleep(0.001)
    with pytest.raises(CutShort):
        await reading


async def test_after_one_that_had_no_answer_the_others_get_half_a_second_each() -> None:
    stopping, loop = Stopping(grace_s=0.6), asyncio.get_running_loop()
    stopping.begin()
    with pytest.raises(CutShort):
        async with stopping.reading():
            await asyncio.sleep(FOR_EVER_S)
    async with stopping.reading():
        [limit] = stopping._limits
        by = limit.when()
        assert by is not None
        assert by <= loop.time() + 0.5


async def test_a_time_out_of_the_reads_own_is_no_stop() -> None:
    with pytest.raises(TimeoutError, match="the socket"):
        async with Stopping().reading():
            raise TimeoutError("the socket")


async def test_what_works_is_finished_after_the_stop(aws: SandboxAws, stack: Stack, clients: Clients) -> None:
    stopping = Stopping(grace_s=PATIENCE_S)
    with heeding(stopping):
        aws.faults.slow("dynamodb", "Scan", delay_s=0.5)
        rows = DynamoRows(clients, table=stack.table)
        assert await stopped_during(rows.live, stopping, aws, "dynamodb", "Scan") == ()
        assert await rows.live() == ()


async def test_a_change_is_awaited_however_long_it_takes(
    aws: SandboxAws, stack: Stack, clients: Clients, stopping: Stopping
) -> None:
    groups = AutoScalingGroups(clients, specs=[BATCH])
    [fleet] = await groups.fleets()
    aws.faults.slow("autoscaling", "SetDesiredCapacity", delay_s=1.0)  # twenty times what a read would have
    outcome = await stopped_during(lambda: groups.raise_desired(fleet, 2), stopping, aws, "autoscaling", "SetDesiredCapacity")
    assert outcome is None
    aws.faults.clear()
    [fleet] = await groups.fleets()
    assert (fleet.name, fleet.desired) == (FleetName(BATCH.name), 2)


async def test_to_receive_messages_is_no_read(aws: SandboxAws, stack: Stack, clients: Clients, stopping: Stopping) -> None:
    queue = SqsQueue(clients, queue=stack.queue_url, visibility_s=30)
    aws.faults.slow("sqs", "ReceiveMessage", delay_s=1.0)
    outcome = await stopped_during(lambda: queue.receive(wait_s=0), stopping, aws, "sqs", "ReceiveMessage")
    assert isinstance(outcome, tuple), "its messages would be out of sight until their time is over"


def test_what_counts_as_a_read_changes_nothing() -> None:
    operations = {"".join(word.title() for word in call.operation.split("_")) for call in CALLS}
    assert {name for name in operations if not name.startswith(_READS)} == CHANGES
    assert {name for name in operations if name.startswith(_READS)} == READS


async def test_where_nobody_can_be_told_to_stop_a_read_takes_as_long_as_it_takes(
    aws: SandboxAws, stack: Stack, clients: Clients
) -> None:
    aws.faults.slow("dynamodb", "Scan", delay_s=0.5)
    assert await DynamoRows(clients, table=stack.table).live() == ()


async def test_a_time_limit_of_the_callers_own_stays_theirs(
    aws: SandboxAws, stack: Stack, clients: Clients, stopping: Stopping
) -> None:
    aws.faults.slow("dynamodb", "Scan", delay_s=FOR_EVER_S)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await DynamoRows(clients, table=stack.table).live()
    assert not stopping.is_on
