"""What it costs to let n nodes in: calls by service, seconds, memory. `python -m benchmarks.membership [--json]`.

n ready messages wait in the queue of an emulated AWS in a process of its own; the real service, with the real adapters over the
wire and the local scheduler, works them off. Then it idles for a minute. Calls are counted where they leave the process.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.report import Promise, report
from daemons.aws.dns import Route53Zone
from daemons.aws.groups import AutoScalingGroups
from daemons.aws.instances import Ec2Places
from daemons.aws.queue import SqsQueue
from daemons.aws.session import Clients
from daemons.aws.table import DynamoRows
from daemons.logs import configure_logs
from daemons.model import FleetName, FleetSpec, NodeSpec, Shape
from sandbox.aws.stack import GroupSpec, Stack, StackSpec, client, create_stack
from schedulers.base import Results
from schedulers.local import Local, LocalSettings, store
from sqswatcher import reconcile
from sqswatcher.apply import World
from sqswatcher.service import Membership, Settings

REGION = "eu-west-1"
SIZES = (1, 10, 100, 1000)
CONSTANT = 20  # calls that do not depend on n: the empty polls at the end of a backlog, looking up names
IDLE_S = 60
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox", "AWS_EC2_METADATA_DISABLED": "true"}


class CountedClients(Clients):
    """Counts every call by (service, operation), retries included."""

    def __init__(self, *, endpoint: str) -> None:
        super().__init__(region=REGION, endpoints={"default": endpoint})
        self.calls: Counter[tuple[str, str]] = Counter()

    async def get(self, service: str) -> Any:
        known = service in self._open
        found = await super().get(service)
        if not known:
            found.meta.events.register("before-send", self._counter(service))
        return found

    def _counter(self, service: str) -> Any:
        def count(event_name: str, **_: object) -> None:
            self.calls[service, event_name.rpartition(".")[2]] += 1

        return count

    def total(self, service: str) -> int:
        return sum(count for (name, _), count in self.calls.items() if name == service)


class CountedLocal(Local):
    """The local scheduler, its mutations counted."""

    mutations = 0

    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        self.mutations += 1
        return await super().register(nodes)


@contextmanager
def emulated_aws() -> Iterator[str]:
    """The endpoint of an emulated AWS in another process."""
    argv = [sys.executable, "-m", "sandbox.aws", "--boot-s", "0.05", "--region", REGION]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield str(next(iter(json.loads(process.stdout.readline() if process.stdout else "").values())))
        finally:
            process.terminate()


def prepare(endpoint: str, count: int) -> Stack:
    """A stack whose group has `count` instances in service, and a ready message from each in the queue."""
    name = f"bench{count}"
    group = GroupSpec(name=name, desired=count, maximum=count, notifications=False)
    stack = create_stack(endpoint, StackSpec(name=name, region=REGION, groups=(group,), domain=f"{name}.internal"))
    scaling = client("autoscaling", endpoint_url=endpoint, region=REGION)
    deadline = time.monotonic() + 120
    members: list[str] = []
    while len(members) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(members)} of {count} instances are in service")
        pages = scaling.get_paginator("describe_auto_scaling_groups").paginate(AutoScalingGroupNames=[name])
        found = [one for page in pages for each in page["AutoScalingGroups"] for one in each["Instances"]]
        members = [one["InstanceId"] for one in found if one["LifecycleState"] == "InService"]
        time.sleep(0.1)
    sqs = client("sqs", endpoint_url=endpoint, region=REGION)
    for start in range(0, count, 10):
        batch = list(enumerate(members[start : start + 10], start=start))
        entries = [{"Id": str(number), "MessageBody": _ready(one, number)} for number, one in batch]
        sqs.send_message_batch(QueueUrl=stack.queue_url, Entries=entries)
    return stack


def _ready(instance_id: str, number: int) -> str:
    event = {
        "Event": "parallelcluster:COMPUTE_READY",
        "EC2InstanceId": instance_id,
        "Slots": "4",
        "LocalHostname": f"n{number}.compute.internal",
        "EC2InstanceType": "c5.xlarge",
        "StatusCode": "Complete",
        "Description": "",
    }
    return json.dumps({"Type": "Notification", "Message": json.dumps(event)})


async def measure(endpoint: str, count: int, directory: Path, *, idle_s: float) -> dict[str, Any]:
    """Work `count` messages off, then idle."""
    stack = prepare(endpoint, count)
    file = directory / f"{count}.db"
    store.create(file)
    clients = CountedClients(endpoint=endpoint)
    fleet = FleetSpec(
        name=FleetName("bench"), group=stack.groups[0], shape=Shape(cpus=4, memory_mib=7000), instance_type="c5.xlarge"
    )
    scheduler = CountedLocal(LocalSettings(file=file), clock=time.time)
    rows = DynamoRows(clients, table=stack.table)
    zone = await Route53Zone.open(clients, zone_id=stack.zone_id, ttl_s=60, changes_per_s=1000, clock=time.monotonic)
    world = World(
        queue=SqsQueue(clients, queue=stack.queue_url),
        rows=rows,
        scheduler=scheduler,
        groups=AutoScalingGroups(clients, specs=[fleet]),
        zone=zone,
        fleets={fleet.name: fleet},
    )
    settings = Settings(
        wait_s=20,
        receivers=8,
        visibility_s=120,
        terminate_grace_s=0,
        resync_s=1e9,
        resync=reconcile.Options(age_grace_s=1e9, max_removal_share=1.0),
    )
    membership = Membership(world, places=Ec2Places(clients), settings=settings, clock=time.time)
    await clients.warm_up("sqs", "dynamodb", "route53", "autoscaling", "ec2")
    await membership.compare()
    clients.calls.clear()
    began = time.monotonic()
    stop = asyncio.Event()
    while len(await scheduler.nodes()) < count:
        await membership.cycle(stop)
    row = _row(count, clients, scheduler, seconds=time.monotonic() - began)
    if idle_s:
        row |= await _idle(membership, clients, idle_s)
    await clients.close()
    return row


def _row(count: int, clients: CountedClients, scheduler: CountedLocal, *, seconds: float) -> dict[str, Any]:
    reconcile_calls = {("dynamodb", "Scan"), ("route53", "ListResourceRecordSets"), ("autoscaling", "DescribeAutoScalingGroups")}
    for pair in reconcile_calls:
        clients.calls.pop(pair, None)  # the comparison at start, which is not what is measured
    return {
        "instances": count,
        "sqs": clients.total("sqs"),
        "dynamodb": clients.total("dynamodb"),
        "route53_changes": clients.calls["route53", "ChangeResourceRecordSets"],
        "autoscaling": clients.total("autoscaling"),
        "ec2": clients.total("ec2"),
        "scheduler": scheduler.mutations,
        "seconds": round(seconds, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


async def _idle(membership: Membership, clients: CountedClients, idle_s: float) -> dict[str, int]:
    clients.calls.clear()
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(idle_s, stop.set)
    while not stop.is_set():
        await membership.cycle(stop)
    sqs = clients.total("sqs")
    return {"idle_minute_sqs": sqs, "idle_minute_other": clients.calls.total() - sqs}


def promises(rows: Sequence[dict[str, Any]]) -> Iterator[Promise]:
    for row in rows:
        count = row["instances"]
        yield Promise(what=f"SQS calls for {count}", limit=count / 10 * 2 + CONSTANT, measured=row["sqs"])
        yield Promise(what=f"DynamoDB calls for {count}", limit=count + CONSTANT, measured=row["dynamodb"])
        yield Promise(what=f"Route 53 changes for {count}", limit=count / 500 + 1, measured=row["route53_changes"])
        yield Promise(what=f"scheduler mutations for {count}", limit=count / 200 + 2, measured=row["scheduler"])
        if "idle_minute_sqs" in row:
            yield Promise(what="SQS calls in an idle minute", limit=4, measured=row["idle_minute_sqs"])
            yield Promise(what="other AWS calls in an idle minute", limit=0, measured=row["idle_minute_other"])


async def _measure_all(sizes: Sequence[int], idle_s: float) -> list[dict[str, Any]]:
    rows = []
    with emulated_aws() as endpoint, tempfile.TemporaryDirectory() as directory:
        for count in sizes:
            print(f"membership: {count} instances", file=sys.stderr)
            rows.append(await measure(endpoint, count, Path(directory), idle_s=idle_s if count == sizes[-1] else 0))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="how many instances")
    parser.add_argument("--idle-s", type=float, default=IDLE_S, help="how long to idle after the last; promises speak of 60")
    arguments = parser.parse_args()
    os.environ |= CREDENTIALS
    configure_logs(level="error", stream=sys.stderr)
    rows = asyncio.run(_measure_all(arguments.sizes, arguments.idle_s))
    table = [{name: value for name, value in row.items() if not name.startswith("idle")} for row in rows]
    return report("membership", rows if arguments.json else table, list(promises(rows)), as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
