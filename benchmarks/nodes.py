"""How long nodewatcher takes to judge ten thousand nodes, and how much it asks of others while nothing changes.

A fifth of the nodes is busy, a fifth idle for long, some are down, held or booting, and jobs wait. Calls are counted at the ports
and at the scheduler, at two sizes: what is asked may not depend on it.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.report import Promise, report
from daemons.config.values import NodewatcherConfig
from daemons.logs import configure_logs
from daemons.model import (
    Fleet,
    FleetName,
    FleetSpec,
    Hostname,
    Instance,
    InstanceId,
    JobDemand,
    JobId,
    Member,
    Node,
    NodeState,
    Shape,
    State,
)
from nodewatcher.apply import World
from nodewatcher.memory import Memory
from nodewatcher.observe import Observation, join
from nodewatcher.plan import plan_nodes
from nodewatcher.record import Recorder
from nodewatcher.service import Shrinking

NOW = 1_800_000_000.0
SIZES = (100, 1_000, 10_000)
FLEETS = 10
BEST_OF = 5


def cluster(count: int) -> Observation:
    random = Random(7)
    specs = [
        FleetSpec(
            name=FleetName(f"fleet-{number}"),
            group=f"hpc-{number}",
            shape=Shape(cpus=32, memory_mib=128_000),
            instance_type="m5.8xlarge",
            partition=f"part-{number % 3}",
        )
        for number in range(FLEETS)
    ]
    members: dict[FleetName, list[Member]] = {spec.name: [] for spec in specs}
    rows, nodes = [], []
    for number in range(count):
        spec, instance_id, hostname = specs[number % FLEETS], InstanceId(f"i-{number:017x}"), Hostname(f"n{number}")
        members[spec.name].append(Member(instance_id=instance_id, lifecycle="InService", zone="eu-west-1a", protected=True))
        kind = number % 10
        rows.append(
            Instance(
                instance_id=instance_id,
                fleet=spec.name,
                state=State.PENDING if kind == 9 else State.REGISTERED,
                version=3,
                hostname=hostname,
                pending_at=NOW - 100,
                registered_at=NOW - 5_000,
                idle_since=NOW - 1_000 if kind in (2, 3) else None,
                held_until=NOW + 60 if kind == 8 else None,
            )
        )
        if kind != 9:
            nodes.append(_node(hostname, spec, kind, random))
    jobs = [
        JobDemand(jobs=(JobId(str(number)),), per_task=Shape(cpus=1 + number % 40), partitions=frozenset({f"part-{number % 3}"}))
        for number in range(200)
    ]
    fleets = tuple(
        Fleet(spec=spec, minimum=5, desired=len(members[spec.name]), maximum=2 * count, members=tuple(members[spec.name]))
        for spec in specs
    )
    return Observation(now=NOW, fleets=fleets, nodes=tuple(nodes), demand=tuple(jobs), snapshots=join(rows, fleets, nodes, {}))


def _node(hostname: Hostname, spec: FleetSpec, kind: int, random: Random) -> Node:
    node = Node(hostname=hostname, total=spec.shape, partitions=frozenset({spec.partition}), features=frozenset({spec.name}))
    if kind in (0, 1, 4):
        busy = frozenset({NodeState.BUSY})
        return replace(node, states=busy, jobs=frozenset({JobId("1")}), used=Shape(cpus=random.randint(1, 32)))
    return replace(node, states=frozenset({NodeState.DOWN})) if kind == 7 else node


class Counted:
    """Answers for a cluster that stays as it is, and counts what it is asked: all the ports and the scheduler at once."""

    def __init__(self, seen: Observation) -> None:
        self._seen = seen
        self.aws_calls = 0
        self.scheduler_commands = 0

    async def fleets(self) -> tuple[Fleet, ...]:
        self.aws_calls += 1
        return self._seen.fleets

    async def live(self) -> tuple[Instance, ...]:
        self.aws_calls += 1
        return tuple(snapshot.row for snapshot in self._seen.snapshots)

    async def nodes(self) -> tuple[Node, ...]:
        self.scheduler_commands += 1
        return self._seen.nodes

    async def demand(self) -> tuple[JobDemand, ...]:
        self.scheduler_commands += 1
        return self._seen.demand


def measure(count: int) -> dict[str, Any]:
    seen, options = cluster(count), NodewatcherConfig()
    best = float("inf")
    for _ in range(BEST_OF):
        began = time.perf_counter()
        plan = plan_nodes(seen, Memory(), options)
        best = min(best, time.perf_counter() - began)
    calls = asyncio.run(_quiet_cycle(cluster(count)))
    drains = sum(verdict.action == "drain" for verdict in plan.verdicts)
    return {
        "nodes": count,
        "seconds": round(best, 4),
        "drained": drains,
        "aws": calls.aws_calls,
        "scheduler": calls.scheduler_commands,
    }


async def _quiet_cycle(seen: Observation) -> Counted:
    """A cycle of the service in which no verdict changes anything: nobody is idle for long enough, and nobody is down."""
    quiet = [replace(one, row=replace(one.row, idle_since=None, state=State.REGISTERED)) for one in seen.snapshots]
    up = tuple(replace(node, states=frozenset({NodeState.BUSY}), jobs=frozenset({JobId("1")})) for node in seen.nodes)
    world: Any = Counted(replace(seen, snapshots=tuple(quiet), nodes=up))
    with tempfile.TemporaryDirectory() as directory:
        everybody = World(scheduler=world, groups=world, rows=world, checks=world)
        recorder = Recorder(Path(directory), most_bytes=1 << 26)
        service = Shrinking(everybody, recorder=recorder, options=NodewatcherConfig(), clock=lambda: NOW, awake=time.monotonic)
        await service.cycle()
        world.aws_calls = world.scheduler_commands = 0
        await service.cycle()
    counted: Counted = world
    return counted


def promises(rows: Sequence[dict[str, Any]]) -> Iterator[Promise]:
    yield Promise(what=f"seconds to judge {rows[-1]['nodes']} nodes", limit=0.2, measured=rows[-1]["seconds"])
    for row in rows:
        yield Promise(what=f"AWS calls of a quiet cycle, {row['nodes']} nodes", limit=2, measured=row["aws"])
        yield Promise(what=f"scheduler commands of a quiet cycle, {row['nodes']} nodes", limit=3, measured=row["scheduler"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    configure_logs(level="error", stream=sys.stderr)
    rows = [measure(count) for count in SIZES]
    return report("nodes", rows, list(promises(rows)), as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
