"""The same deaths with real parts: the emulated AWS over the wire, a real scheduler, the real adapters.

In each round two instances are launched, become ready, are registered, and end; their host names and addresses are used again
in the next round. In each round the service dies once, or gets no answer once, at another of its calls, before or after the
effect; after a death it is begun anew. Then the same with a process of its own, which SIGKILL ends in the middle of its calls.
"""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from daemons.aws.batches import batches
from daemons.aws.dns import Route53Zone
from daemons.aws.groups import AutoScalingGroups
from daemons.aws.instances import Ec2Places
from daemons.aws.queue import SqsQueue
from daemons.aws.session import Clients, open_clients
from daemons.aws.table import DynamoRows
from daemons.errors import AwsUnavailable, SchedulerUnavailable
from daemons.model import FleetName, FleetSpec, Shape, State
from daemons.ports import MESSAGES_A_RECEIVE, Received
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, HookSpec, Stack, StackSpec, client, create_stack
from sandbox.aws.world import Timing
from sandbox.configuration import fleet_section, local_scheduler, render_config
from schedulers.base import Scheduler
from schedulers.local import Local, LocalSettings, store
from sqswatcher import reconcile
from sqswatcher.apply import World
from sqswatcher.service import Membership, Settings
from tests.crash.wire import Killed, Wire, Wired, wired

FLEET = FleetSpec(
    name=FleetName("batch"),
    group="crash-batch",
    shape=Shape(cpus=4, memory_mib=7_000),
    instance_type="c5.xlarge",
    features=frozenset({"c5"}),
)
LEAVE = HookSpec(name="leave", transition="autoscaling:EC2_INSTANCE_TERMINATING")
ROUND_S = 180


@dataclass
class Ground:
    """The real parts; they outlive the service."""

    aws: SandboxAws
    stack: Stack
    scheduler: Callable[[], Scheduler]
    local_file: Path | None = None  # the local scheduler's, if it is that one
    clients: dict[str, Any] = field(default_factory=dict)
    in_hand: set[str] = field(default_factory=set)  # receipts of messages that a service has or had

    def boto(self, service: str) -> Any:
        if service not in self.clients:
            self.clients[service] = client(service, endpoint_url=self.aws.endpoint_url, region=self.stack.region)
        return self.clients[service]

    @contextlib.asynccontextmanager
    async def service(self, wire: Wire) -> AsyncIterator[Membership]:
        """A new process, as good as: new clients, and nothing remembered."""
        async with open_clients(region=self.stack.region, endpoints={"default": self.aws.endpoint_url}) as clients:
            zone = await Route53Zone.open(clients, zone_id=self.stack.zone_id, ttl_s=60, changes_per_s=1000, clock=time.monotonic)
            queue, rows = self._queue(clients), DynamoRows(clients, table=self.stack.table)
            groups, places = AutoScalingGroups(clients, specs=[FLEET]), Ec2Places(clients)
            scheduler: Any = Wired(self.scheduler(), wire, "register", "deregister", "drain", "nodes", "jobs_on", "advertise")
            wired(queue, wire, "receive", "delete", "postpone")
            wired(rows, wire, "get", "put", "live", "all")
            wired(zone, wire, "change", "records")
            wired(groups, wire, "fleets", "fleet_of", "complete_hook")
            wired(places, wire, "places")
            world = World(queue=queue, rows=rows, scheduler=scheduler, groups=groups, zone=zone, fleets={FLEET.name: FLEET})
            settings = Settings(
                wait_s=1,
                receivers=2,
                visibility_s=30,
                terminate_grace_s=60,
                resync_s=1e9,
                resync=reconcile.Options(age_grace_s=1e9, max_removal_share=1),
            )
            yield Membership(world, places=places, settings=settings, clock=time.time)

    def _queue(self, clients: Clients) -> SqsQueue:
        queue = SqsQueue(clients, queue=self.stack.queue_url)
        receive = queue.receive

        async def noted(*, wait_s: int) -> tuple[Received, ...]:
            received = await receive(wait_s=wait_s)
            self.in_hand |= {message.receipt for message in received}
            return received

        queue.receive = noted  # type: ignore[method-assign]
        return queue

    def visibility_ends(self) -> None:
        """What was in the hands of one that died, or was put off, comes back: at once, and not only when its time is over."""
        receipts = sorted(self.in_hand)
        self.in_hand.clear()
        for some in batches(receipts, MESSAGES_A_RECEIVE):
            entries = [{"Id": str(number), "ReceiptHandle": one, "VisibilityTimeout": 0} for number, one in enumerate(some)]
            self.boto("sqs").change_message_visibility_batch(QueueUrl=self.stack.queue_url, Entries=entries)  # deleted ones fail


@pytest.fixture(scope="module")
def local_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file: Path = tmp_path_factory.mktemp("crash") / "local.db"
    store.create(file)
    return file


@pytest.fixture(scope="module")
def aws() -> Iterator[tuple[SandboxAws, Stack]]:
    with SandboxAws(account="777788889999", timing=Timing(boot_s=0.05, shutdown_s=0.05)) as sandbox:
        group = GroupSpec(name=FLEET.group, maximum=2, hooks=(LEAVE,))
        spec = StackSpec(name="crash", groups=(group,), max_receive_count=1000, visibility_timeout_s=1)
        yield sandbox, create_stack(sandbox.endpoint_url, spec)


@pytest.fixture
def ground(request: pytest.FixtureRequest, aws: tuple[SandboxAws, Stack], monkeypatch: pytest.MonkeyPatch) -> Ground:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    if request.param == "slurm":
        cluster = request.getfixturevalue("slurm_cluster")
        from tests.schedulers.slurm.bench import Bench  # noqa: PLC0415  only where there is a Slurm

        Bench(cluster=cluster, fleets=(FLEET,)).clear()
        return Ground(*aws, lambda: Bench(cluster=cluster, fleets=(FLEET,)).slurm)
    file: Path = request.getfixturevalue("local_file")
    return Ground(*aws, lambda: Local.open(LocalSettings(file=file), cluster="crash", fleets=[FLEET]), file)


async def one_round(ground: Ground, wire: Wire) -> None:
    """Two nodes come and go, whatever happens on the wire; what is left is checked by others' words."""
    scaling, sqs = ground.boto("autoscaling"), ground.boto("sqs")
    scaling.set_desired_capacity(AutoScalingGroupName=FLEET.group, DesiredCapacity=2)
    await until(lambda: len(in_service(ground)) == 2, "two instances in service")
    ids = in_service(ground)
    async with contextlib.AsyncExitStack() as stack:
        service = Immortal(ground, wire, stack)
        for one in [*ids, ids[0]]:
            sqs.send_message(QueueUrl=ground.stack.queue_url, MessageBody=ready(ground, one))
        await service.until_rows(ids, State.REGISTERED)
        for one in ids:
            scaling.terminate_instance_in_auto_scaling_group(InstanceId=one, ShouldDecrementDesiredCapacity=True)
        await service.until_rows(ids, State.GONE)
        await service.until_settled()
        assert await ground.scheduler().nodes() == ()
    records = ground.boto("route53").list_resource_record_sets(HostedZoneId=ground.stack.zone_id)["ResourceRecordSets"]
    assert [record for record in records if record["Type"] == "A"] == []
    await until(lambda: not in_service(ground) and not ground.aws.scaling.waits(), "nobody waits for a hook")


class Immortal:
    """The service, begun anew after each death."""

    def __init__(self, ground: Ground, wire: Wire, stack: contextlib.AsyncExitStack) -> None:
        self._ground = ground
        self._wire = wire
        self._stack = stack
        self._service: Membership | None = None

    async def until_rows(self, ids: list[str], state: State) -> None:
        await self._cycle_until(lambda: [self._state(one) for one in ids] == [state] * len(ids), f"{ids} are {state}")

    async def until_settled(self) -> None:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

        def empty() -> bool:
            sqs = self._ground.boto("sqs")
            found = sqs.get_queue_attributes(QueueUrl=self._ground.stack.queue_url, AttributeNames=names)["Attributes"]
            return not any(map(int, found.values()))

        await self._cycle_until(empty, "the queue is empty")

    async def _cycle_until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + ROUND_S
        while not await asyncio.to_thread(holds):
            assert time.monotonic() < deadline, f"never: {what}"
            try:
                if self._service is None:
                    self._service = await self._stack.enter_async_context(self._ground.service(self._wire))
                await self._service.cycle(asyncio.Event())
            except Killed:
                self._service = None
            except (AwsUnavailable, SchedulerUnavailable):
                pass  # the loop's next cycle
            await asyncio.to_thread(self._ground.visibility_ends)

    def _state(self, one: str) -> str:
        answer = self._ground.boto("dynamodb").get_item(TableName=self._ground.stack.table, Key={"instanceId": {"S": one}})
        return str(answer["Item"]["state"]["S"]) if "Item" in answer else ""


def in_service(ground: Ground) -> list[str]:
    return [one.instance_id for one in ground.aws.scaling.instances() if one.lifecycle == "InService"]


def ready(ground: Ground, one: str) -> str:
    event = {
        "Event": "parallelcluster:COMPUTE_READY",
        "EC2InstanceId": one,
        "Slots": "4",
        "LocalHostname": ground.aws.scaling.instance(one).hostname,
        "EC2InstanceType": "c5.xlarge",
        "StatusCode": "Complete",
        "Description": "",
    }
    return json.dumps({"Type": "Notification", "Message": json.dumps(event)})


async def until(holds: Callable[[], bool], what: str, *, every_s: float = 0.02) -> None:
    deadline = time.monotonic() + ROUND_S
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(every_s)


async def _undisturbed(ground: Ground) -> int:
    quiet = Wire()
    await one_round(ground, quiet)
    return quiet.calls


async def visit(ground: Ground, failure: Callable[[str], BaseException]) -> list[str]:
    """A round for each call, with that failure there, before and after the effect. The calls that were hit."""
    points = []
    for at in range(1, await _undisturbed(ground) + 1):
        for after in (False, True):
            wire = Wire(at=at, after=after, failure=failure)
            await one_round(ground, wire)
            points += wire.verbs[at - 1 : at]
    return points


@pytest.mark.no_cover  # a round for each call, and what they visit is covered elsewhere
@pytest.mark.parametrize(
    ("ground", "failures", "least"),
    [
        pytest.param("local", (Killed,), 40, id="local"),
        pytest.param("slurm", (Killed, AwsUnavailable), 80, id="slurm", marks=pytest.mark.slurm),
    ],
    indirect=["ground"],
)
async def test_whichever_call_it_dies_at_nothing_is_lost_or_left(
    ground: Ground, failures: tuple[Callable[[str], BaseException], ...], least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [point for failure in failures for point in await visit(ground, failure)]
    with capsys.disabled():
        print(f"\n{len(points)} points visited on the sandbox: {', '.join(sorted(set(points)))}", end=" ")
    assert len(points) >= least


SERVICE_CALLS = frozenset(  # that only the service makes, not this test
    {
        "ReceiveMessage",
        "DeleteMessageBatch",
        "ChangeMessageVisibilityBatch",
        "BatchGetItem",
        "PutItem",
        "TransactWriteItems",
        "ChangeResourceRecordSets",
        "DescribeAutoScalingInstances",
        "CompleteLifecycleAction",
        "DescribeInstances",
    }
)
KILL_EVERY = 7  # prime to the calls of a batch, so that each death is at another of them
DEATHS = 12


@pytest.mark.parametrize("ground", ["local"], indirect=True)
async def test_sigkill_in_the_middle_of_its_calls_loses_nothing(
    ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "headnode.toml"
    config.write_text(config_of(ground))
    service = Killable(ground, config)
    try:
        while service.deaths < DEATHS:
            await watched_round(ground, service)
    finally:
        service.stop()
    with capsys.disabled():
        print(f"\n{service.deaths} times killed, at {', '.join(sorted(set(service.killed_at)))}", end=" ")


class Killable:
    """A real sqswatcher that is killed at every so-many-th call that reaches AWS, and started again, as systemd would."""

    def __init__(self, ground: Ground, config: Path) -> None:
        self.deaths = 0
        self.killed_at: list[str] = []
        self._config = config
        self._calls = 0
        self._faults = ground.aws.faults
        self._strike = self._faults.strike
        self._process = self._begin()
        self._faults.strike = self._count  # type: ignore[method-assign]  # the one place that every outside call passes

    def _begin(self) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-m", "sqswatcher", "--config", str(self._config)]
        return subprocess.Popen(argv, stdout=subprocess.DEVNULL)

    def _count(self, service: str, operation: str) -> Any:
        if operation in SERVICE_CALLS and self.deaths < DEATHS:
            self._calls += 1
            if self._calls % KILL_EVERY == 0:
                self._process.kill()  # its call goes on without it: the effect may come, the answer is heard by nobody
                self.deaths += 1
                self.killed_at.append(operation)
        return self._strike(service, operation)

    def keep_alive(self) -> None:
        if self._process.poll() is not None:
            assert self._process.returncode == -signal.SIGKILL
            self._process = self._begin()

    def stop(self) -> None:
        self._faults.strike = self._strike  # type: ignore[method-assign]
        self._process.terminate()
        self._process.wait(30)


async def watched_round(ground: Ground, service: Killable) -> None:
    """Two nodes come and go while the process is killed and started again."""
    scaling, sqs = ground.boto("autoscaling"), ground.boto("sqs")
    scaling.set_desired_capacity(AutoScalingGroupName=FLEET.group, DesiredCapacity=2)
    await until(lambda: len(in_service(ground)) == 2, "two instances in service")
    ids = in_service(ground)
    for one in ids:
        sqs.send_message(QueueUrl=ground.stack.queue_url, MessageBody=ready(ground, one))

    def all_in(state: State) -> bool:
        service.keep_alive()
        items = ground.boto("dynamodb").scan(TableName=ground.stack.table)["Items"]
        table = {item["instanceId"]["S"]: item["state"]["S"] for item in items}
        return [table.get(one) for one in ids] == [state] * 2

    await until(lambda: all_in(State.REGISTERED), "registered", every_s=0.2)
    for one in ids:
        scaling.terminate_instance_in_auto_scaling_group(InstanceId=one, ShouldDecrementDesiredCapacity=True)
    await until(lambda: all_in(State.GONE) and not ground.aws.scaling.waits(), "gone, and nobody waits for a hook", every_s=0.2)
    assert await ground.scheduler().nodes() == ()


def config_of(ground: Ground) -> str:
    assert ground.local_file is not None
    return render_config(
        ground.stack,
        local_scheduler(ground.local_file),
        dns={"zone_id": ground.stack.zone_id},
        fleets=[fleet_section(FLEET)],
        sqswatcher={"wait_s": 1, "visibility_s": 2},
    )
