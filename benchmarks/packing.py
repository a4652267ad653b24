"""How long it takes to put waiting jobs onto nodes, how much memory, and how good the outcome is.

Large: 100,000 jobs of 1,000 shapes, no two neighbours alike, in five priorities, every twentieth of several tasks, onto 10 fleets
and 1,000 live nodes that are partly in use; merged: the same, as plugins merge neighbours that are alike. Arrays: a million tasks
in ten of them. Growth: jobs of one shape, each a value of its own. Quality: random jobs for an empty fleet, against the lower
bound (the largest over the resources of sum / node, rounded up) and plain first-fit. Every outcome is replayed node by node by an
independent judge.
"""

import argparse
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from random import Random
from typing import Any

from benchmarks.judge import Judge, Site, first_fit
from benchmarks.report import Promise, report
from daemons.model import Fleet, FleetName, FleetSpec, Hostname, JobDemand, JobId, Node, NodeState, Shape
from daemons.packing import Packing, pack

BEST_OF = 5
GROWTH = (1_000, 10_000, 100_000, 1_000_000)
MIB = 1 << 20
SEEDS = range(8)
QUALITY_JOBS = 2_000
NODE = Shape(cpus=64, memory_mib=256_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    demand: Sequence[JobDemand]
    live: Sequence[Node] = ()
    coming: Mapping[FleetName, int]
    fleets: Sequence[Fleet]

    def packed(self) -> Packing:
        return pack(self.demand, live=self.live, coming=self.coming, fleets=self.fleets)

    def judged(self, packing: Packing) -> None:
        Judge(self.demand, self.live, self.coming, self.fleets).check(packing, thorough=False)


def large() -> Case:
    random = Random(4)
    specs = [
        FleetSpec(
            name=FleetName(f"fleet-{number}"),
            group=f"hpc-{number}",
            shape=Shape(cpus=2 ** (2 + number % 5), memory_mib=8_000 * 2 ** (number % 5), gpus=4 if number >= 8 else 0),
            instance_type="c5.large",
            partition=("day", "night")[number % 2],
            price_per_hour=0.1 * (number + 1),
        )
        for number in range(10)
    ]
    shapes = [
        JobDemand(
            jobs=(),
            per_task=Shape(cpus=random.randint(1, 8), memory_mib=random.randrange(250, 15_000, 50)),
            partitions=frozenset({random.choice(("day", "night"))}) if random.random() < 0.8 else frozenset(),
            tasks=4 if number % 20 == 0 else 1,
        )
        for number in range(1_000)
    ]
    demand = [
        replace(shapes[number % 1_000], jobs=(JobId(str(number)),), priority=number % 5, submitted_at=float(number))
        for number in range(100_000)
    ]
    live = [_used_node(number, specs[number % 10], random) for number in range(1_000)]
    fleets = [Fleet(spec=spec, minimum=0, desired=100, maximum=5_000) for spec in specs]
    return Case(demand=demand, live=live, coming=dict.fromkeys((spec.name for spec in specs), 5), fleets=fleets)


def _used_node(number: int, spec: FleetSpec, random: Random) -> Node:
    cpus = random.randint(0, spec.shape.cpus)
    return Node(
        hostname=Hostname(f"n{number}"),
        total=spec.shape,
        used=Shape(cpus=cpus, memory_mib=random.randrange(0, spec.shape.memory_mib, 1_000) if cpus else 0),
        states=frozenset({NodeState.BUSY}) if cpus else frozenset(),
        jobs=frozenset({JobId("1")}) if cpus else frozenset(),
        partitions=frozenset({spec.partition}),
        features=frozenset({spec.name}),
    )


def merged() -> Case:
    case = large()
    return replace(case, demand=[replace(job, count=100) for job in case.demand[:1_000]])


def arrays() -> Case:
    demand = [
        JobDemand(
            jobs=(JobId(f"{number}_[1-100000]"),),
            count=100_000,
            per_task=Shape(cpus=1 + number, memory_mib=1_000),
            priority=number,
        )
        for number in range(10)
    ]
    return Case(demand=demand, coming={}, fleets=[_ample_fleet(maximum=100_000)])


def alike(count: int) -> Case:
    job = JobDemand(jobs=(), per_task=Shape(cpus=2, memory_mib=3_000))
    demand = [replace(job, jobs=(JobId(str(number)),), submitted_at=float(number)) for number in range(count)]
    return Case(demand=demand, coming={}, fleets=[_ample_fleet(maximum=100_000)])


def random_jobs(seed: int, *, largest_share: float) -> Case:
    """Jobs that take up to that share of a node, each resource by itself."""
    random = Random(seed)
    most = Shape(cpus=int(NODE.cpus * largest_share), memory_mib=int(NODE.memory_mib * largest_share))
    demand = [
        JobDemand(
            jobs=(JobId(str(number)),),
            per_task=Shape(cpus=random.randint(1, most.cpus), memory_mib=random.randint(100, most.memory_mib)),
            submitted_at=float(number),
        )
        for number in range(QUALITY_JOBS)
    ]
    return Case(demand=demand, coming={}, fleets=[_ample_fleet(maximum=QUALITY_JOBS)])


def _ample_fleet(*, maximum: int) -> Fleet:
    spec = FleetSpec(name=FleetName("ample"), group="hpc-ample", shape=NODE, instance_type="m5.16xlarge")
    return Fleet(spec=spec, minimum=0, desired=0, maximum=maximum)


CASES: Mapping[str, Callable[[], Case]] = {
    "large": large,
    "merged": merged,
    "arrays": arrays,
    **{f"alike-{count}": partial(alike, count) for count in GROWTH},
}


def timed(case: Case) -> tuple[float, Packing]:
    best, packing = float("inf"), Packing(placements=(), new_nodes={}, coming_used={}, used_hosts=frozenset(), uses=())
    for _ in range(BEST_OF):
        began = time.perf_counter()
        packing = case.packed()
        best = min(best, time.perf_counter() - began)
    return best, packing


def peak_mib(name: str) -> float:
    """What packing itself takes at most, measured in a process of its own, because measuring makes it slow."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.packing", "--memory", name], capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout))


def _measure_memory(name: str) -> int:
    case = CASES[name]()
    tracemalloc.start()
    packing = case.packed()
    print(json.dumps(tracemalloc.get_traced_memory()[1] / MIB))
    return 0 if packing.placements else 1


def quality(largest_share: float) -> dict[str, Any]:
    """The worst ratio to the lower bound over the seeds, ours and that of first-fit."""
    ours, plain = 0.0, 0.0
    for seed in SEEDS:
        case = random_jobs(seed, largest_share=largest_share)
        packing = case.packed()
        case.judged(packing)
        cpus = sum(job.per_task.cpus for job in case.demand)
        memory_mib = sum(job.per_task.memory_mib for job in case.demand)
        bound = max(ceil(cpus / NODE.cpus), ceil(memory_mib / NODE.memory_mib))
        ours = max(ours, packing.new_nodes[FleetName("ample")] / bound)
        got = first_fit(case.demand, [Site.of_fleet(case.fleets[0]) for _ in range(QUALITY_JOBS)])
        plain = max(plain, len(set(got)) / bound)
    return {"largest_share": largest_share, "nodes_per_bound": round(ours, 4), "first_fit_per_bound": round(plain, 4)}


def measure() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    speeds = []
    for name, make in CASES.items():
        print(f"packing: {name}", file=sys.stderr)
        case = make()
        seconds, packing = timed(case)
        case.judged(packing)
        speeds.append(
            {
                "case": name,
                "jobs": sum(job.count for job in case.demand),
                "values": len(case.demand),
                "seconds": round(seconds, 4),
                "new_nodes": sum(packing.new_nodes.values()),
                "peak_mib": round(peak_mib(name), 1) if name == "large" else None,
            }
        )
    qualities = []
    for share in (0.25, 0.5, 1.0):
        print(f"packing: quality, jobs of up to {share:g} of a node", file=sys.stderr)
        qualities.append(quality(share))
    return speeds, qualities


def promises(speeds: Sequence[Mapping[str, Any]], qualities: Sequence[Mapping[str, Any]]) -> Iterator[Promise]:
    by_case = {row["case"]: row for row in speeds}
    yield Promise(what="seconds for 100,000 jobs of 1,000 shapes", limit=0.5, measured=by_case["large"]["seconds"])
    yield Promise(what="MiB for them", limit=200, measured=by_case["large"]["peak_mib"])
    yield Promise(what="seconds for a million tasks in 10 arrays", limit=0.02, measured=by_case["arrays"]["seconds"])
    each = [by_case[f"alike-{count}"]["seconds"] / count for count in GROWTH]
    yield Promise(what="time a job of 1,000,000 alike ones, against 10,000", limit=2.0, measured=round(each[3] / each[1], 2))
    yield Promise(
        what="nodes per lower bound, jobs of at most a quarter of a node", limit=1.05, measured=qualities[0]["nodes_per_bound"]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--memory", choices=list(CASES), help="print how many MiB packing that case takes, and nothing else")
    arguments = parser.parse_args()
    if arguments.memory:
        return _measure_memory(arguments.memory)
    speeds, qualities = measure()
    if arguments.json:
        return report("packing", [*speeds, *qualities], list(promises(speeds, qualities)), as_json=True)
    report("packing", speeds, [], as_json=False)
    return report("packing", qualities, list(promises(speeds, qualities)), as_json=False)


if __name__ == "__main__":
    sys.exit(main())
