"""Two real processes on the emulated AWS. The one that acts gets SIGSTOP in the middle of its work, past its lease; the other
takes over and does the work; the first gets SIGCONT, and nothing that it would change reaches AWS any more.
"""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from moto.dynamodb.models import dynamodb_backends

from daemons.ha.lease import SERVICES, lease_key
from daemons.model import Shape
from sandbox.aws import front
from sandbox.aws.listener import ConnectionCut
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, Stack, StackSpec, client, create_stack
from sandbox.aws.world import Timing
from sandbox.configuration import batch, local_scheduler, render_config
from schedulers.local import engine, store
from schedulers.local.values import JobSpec
from tests.sqswatcher.cluster import DOMAIN

ACCOUNT, GROUP = "222233334444", "ha-batch"
HEADS = ("head-a", "head-b")
PATIENCE_S = 120
CHANGES = frozenset(
    {
        "ReceiveMessage",
        "DeleteMessageBatch",
        "ChangeMessageVisibilityBatch",
        "ChangeResourceRecordSets",
        "PutItem of a row",
        "rows under a fence",
        "TerminateInstanceInAutoScalingGroup",
        "SetDesiredCapacity",
    }
)
STOPPED_AT = (
    "ReceiveMessage",
    "rows read",
    "rows under a fence",
    "ChangeResourceRecordSets",
    "DeleteMessageBatch",
)
_KEY = re.compile(r"Credential=([^/,\s]+)/")


@dataclass
class Gate:
    """What passes the one door of the emulated AWS: whose call it is, what it is, who holds the lease at that moment."""

    table: str
    service: str = "sqswatcher"
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    armed: str = ""  # whoever makes this call is stopped there
    cuts: bool = False  # and the call does not come through
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    stopped: str = ""

    def passes(self, request: Any) -> None:
        found = _KEY.search(request.headers.get("authorization", ""))
        head = found[1] if found else ""
        if head not in self.processes:
            return
        what = _what(request)
        self.calls.append((head, what, self.holder()))
        if what == self.armed and head == self.holder():
            self.armed, self.stopped = "", head
            self.processes[head].send_signal(signal.SIGSTOP)
            if self.cuts:
                raise ConnectionCut

    def holder(self) -> str:
        backend: Any = dynamodb_backends[ACCOUNT]["eu-west-1"]
        item = backend.get_item(self.table, {"instanceId": {"S": lease_key(self.service)}})
        return str(item.to_json()["Attributes"]["holder"]["S"]) if item is not None else ""

    @property
    def wrong(self) -> list[tuple[str, str, str]]:
        """Changes by who did not hold the lease when they arrived."""
        return [call for call in self.calls if call[1] in CHANGES and call[0] != call[2]]

    @property
    def changed(self) -> set[str]:
        return {call[1] for call in self.calls} & CHANGES

    def made_by(self, head: str, *, since: int) -> list[tuple[str, str, str]]:
        return [call for call in self.calls[since:] if call[0] == head]


def _what(request: Any) -> str:
    operation = front._operation(front._service(request), request)
    if operation == "TransactWriteItems" and b"ConditionCheck" in request.body:
        return "rows under a fence"
    if operation == "BatchGetItem":
        return "lease read" if b"lease:" in request.body else "rows read"
    if operation == "PutItem" and b"lease:" not in request.body:
        return "PutItem of a row"
    return operation


@dataclass
class Ground:
    aws: SandboxAws
    stack: Stack
    gate: Gate
    directory: Path

    def boto(self, service: str) -> Any:
        return client(service, endpoint_url=self.aws.endpoint_url, region=self.stack.region)

    async def both_begin(self, service: str) -> None:
        """The service, on both heads; one of them holds the lease."""
        self.gate.service = service
        for head in HEADS:
            self.start(head)
        await until(lambda: bool(self.gate.holder()), "somebody holds the lease")

    async def launch(self, count: int) -> list[str]:
        self.boto("autoscaling").set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=count)
        await until(lambda: len(in_service(self)) == count, "instances in service")
        return in_service(self)

    def start(self, head: str) -> None:
        config = self.directory / f"{head}.toml"
        config.write_text(self._config(head))
        env = os.environ | {"AWS_ACCESS_KEY_ID": head, "AWS_SECRET_ACCESS_KEY": "sandbox", "AWS_EC2_METADATA_DISABLED": "true"}
        argv = [sys.executable, "-m", self.gate.service, "--config", str(config)]
        with (self.directory / f"{head}.log").open("ab") as log:
            self.gate.processes[head] = subprocess.Popen(argv, env=env, stdout=log)

    def _config(self, head: str) -> str:
        return render_config(
            self.stack,
            local_scheduler(self.directory / "local.db"),
            dns={"zone_id": self.stack.zone_id},
            ha={"enabled": True, "name": head, "lease_s": 4.0, "renew_s": 1.0},
            fleets=[batch(self.stack, boot_timeout_s=0.5 if self.gate.service == "nodewatcher" else 900)],
            jobwatcher={"interval_s": 0.5, "state_dir": self.directory / head, "wake_socket": ""},
            nodewatcher={"interval_s": 0.5, "state_dir": self.directory / head, "max_ending_share": 1.0},
            sqswatcher={"wait_s": 1, "visibility_s": 2},
        )

    def announce(self, one: str) -> None:
        told = self.aws.scaling.instance(one).hostname.partition(".")[0]
        event = (
            f'{{"Event": "parallelcluster:COMPUTE_READY", "EC2InstanceId": "{one}", "Slots": "4", "StatusCode": "Complete",'
            f' "LocalHostname": "{told}.{DOMAIN}", "EC2InstanceType": "c5.xlarge", "Description": ""}}'
        )
        self.boto("sqs").send_message(QueueUrl=self.stack.queue_url, MessageBody=event)

    def submit(self, count: int) -> None:
        """Jobs that take a node each."""
        whole = JobSpec(name="waits", script="#!/bin/true", per_node=Shape(cpus=4))
        with contextlib.closing(store.connect(self.directory / "local.db", timeout_s=10.0)) as db, store.transaction(db):
            for _ in range(count):
                engine.submit(db, whole, now=time.time())

    def raised_by(self) -> list[str]:
        """The heads that have asked for more, in that order."""
        return [head for head, what, _ in self.gate.calls if what == "SetDesiredCapacity"]

    @property
    def desired(self) -> int:
        return self.aws.scaling.group(GROUP).desired

    def is_registered(self, one: str) -> bool:
        item = self.boto("dynamodb").get_item(TableName=self.stack.table, Key={"instanceId": {"S": one}}).get("Item", {})
        return bool(item.get("state", {}).get("S") == "registered")


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    gate = Gate(table="heads")
    answer = front.Front.answer

    def watched(self: front.Front, request: Any) -> Any:
        gate.passes(request)
        return answer(self, request)

    monkeypatch.setattr(front.Front, "answer", watched)
    store.create(tmp_path / "local.db")
    with SandboxAws(account=ACCOUNT, timing=Timing(boot_s=0.05, shutdown_s=0.05)) as aws:
        spec = StackSpec(name="heads", groups=(GroupSpec(name=GROUP, maximum=8),), max_receive_count=1000, visibility_timeout_s=1)
        made = Ground(aws, create_stack(aws.endpoint_url, spec), gate, tmp_path)
        try:
            yield made
        finally:
            for process in gate.processes.values():
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


async def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.05)


async def stopped_and_continued(ground: Ground, what: str, *, begin: Callable[[], None], is_done: Callable[[], bool]) -> None:
    """There is work; whoever acts is stopped when it makes that call; the other does what is left of it; the first goes on."""
    gate = ground.gate
    gate.stopped, gate.armed = "", what
    begin()
    await until(lambda: bool(gate.stopped), f"the holder calls {what}")
    stood, other = gate.stopped, next(head for head in HEADS if head != gate.stopped)
    await until(lambda: gate.holder() == other, "the other takes over")
    await until(is_done, "the other does the work")
    since = len(gate.calls)
    gate.processes[stood].send_signal(signal.SIGCONT)
    await until(lambda: gate.made_by(stood, since=since).count((stood, "lease read", other)) >= 3, "the first stands by")


async def test_a_process_stopped_past_its_lease_changes_nothing_when_it_goes_on(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    await ground.both_begin("sqswatcher")
    for one, what in zip(await ground.launch(len(STOPPED_AT)), STOPPED_AT, strict=True):
        await stopped_and_continued(ground, what, begin=partial(ground.announce, one), is_done=partial(ground.is_registered, one))
    assert ground.gate.wrong == []
    assert ground.gate.changed >= {"rows under a fence", "ChangeResourceRecordSets", "DeleteMessageBatch"}
    with capsys.disabled():
        print(f"\nstopped at {', '.join(STOPPED_AT)}", end=" ")


async def test_who_was_stopped_before_it_ends_an_instance_does_not_end_it_later(ground: Ground) -> None:
    """nodewatcher, and an instance that never takes jobs. Of the second one the end is under way when its head is stopped."""
    await ground.both_begin("nodewatcher")
    first, second = await ground.launch(2)

    def in_table(one: str) -> None:
        row = {"instanceId": {"S": one}, "state": {"S": "pending"}, "fleet": {"S": "batch"}, "version": {"N": "1"}}
        ground.boto("dynamodb").put_item(TableName=ground.stack.table, Item=row | {"pending_at": {"N": "1.0"}})

    for one, what in ((first, "Scan"), (second, "TerminateInstanceInAutoScalingGroup")):
        await stopped_and_continued(
            ground,
            what,
            begin=partial(in_table, one),
            is_done=lambda one=one: one not in in_service(ground),  # type: ignore[misc]
        )
    assert ground.gate.wrong == []
    ends = [call for call in ground.gate.calls if call[1] == "TerminateInstanceInAutoScalingGroup"]
    assert len(ends) == 2, "each once"


async def test_who_was_stopped_before_it_raises_a_fleet_does_not_raise_it_later(ground: Ground) -> None:
    """jobwatcher. The first call never reached AWS, and its process would send it again; the second did, and both heads know."""
    await ground.both_begin("jobwatcher")
    gate = ground.gate

    gate.cuts = True
    await stopped_and_continued(
        ground, "SetDesiredCapacity", begin=partial(ground.submit, 2), is_done=lambda: ground.desired == 2
    )
    first = next(head for head in HEADS if head != gate.holder())
    log = ground.directory / f"{first}.log"
    await until(lambda: b'"cycle.abandoned"' in log.read_bytes(), "what it was about to do is void")
    asked = ground.raised_by()
    assert asked == [first, gate.holder()], "the other asked, and the first did not again"
    assert gate.stopped == first

    gate.cuts = False
    looks = len(gate.calls)
    await stopped_and_continued(
        ground,
        "SetDesiredCapacity",
        begin=partial(ground.submit, 3),
        is_done=lambda: [call[1] for call in gate.made_by(first, since=looks)].count("Scan") >= 2,
    )
    assert gate.stopped != first
    assert ground.raised_by() == [*asked, gate.stopped], "nobody asked for it again"
    assert ground.desired == 5
    assert gate.wrong == []


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_that_is_told_to_stop_hands_over_at_once(service: str, ground: Ground) -> None:
    await ground.both_begin(service)
    gate = ground.gate
    first = gate.holder()
    other = next(head for head in HEADS if head != first)
    await until(lambda: bool(gate.made_by(other, since=0)), "the other stands by")
    gate.processes[first].terminate()
    assert await asyncio.to_thread(gate.processes[first].wait, PATIENCE_S) == 0
    await until(lambda: gate.holder() == other, "the other takes over")
    assert b"lease.released" in (ground.directory / f"{first}.log").read_bytes()


def in_service(ground: Ground) -> list[str]:
    return [one.instance_id for one in ground.aws.scaling.instances() if one.lifecycle == "InService"]
