"""A real Slurm under test: machines that boot and vanish, jobs, and the plugin that is tested."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from daemons.model import FleetName, FleetSpec, Hostname, InstanceId, JobDemand, JobId, Node, NodeSpec, Shape
from sandbox.aws.values import EmulatedInstance, LaunchSource
from sandbox.slurm import SlurmCluster
from schedulers.slurm import Slurm, SlurmSettings

BATCH = FleetSpec(
    name=FleetName("batch"),
    group="hpc-batch",
    shape=Shape(cpus=4, memory_mib=7_000),
    instance_type="c5.xlarge",
    features=frozenset({"c5"}),
)
GPU = FleetSpec(
    name=FleetName("gpu"),
    group="hpc-gpu",
    shape=Shape(cpus=8, memory_mib=30_000, gpus=2, gpu_type="a100"),
    instance_type="p4d.24xlarge",
    features=frozenset({"p4d"}),
)
DEADLINE_S = 60.0

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], *, what: str, deadline_s: float = DEADLINE_S) -> T:
    """What `look` says once it says anything true."""
    give_up_at = time.monotonic() + deadline_s
    while not (seen := await look()):
        assert time.monotonic() < give_up_at, f"not within {deadline_s:g} s: {what}"
        await asyncio.sleep(0.05)
    return seen


@dataclass(kw_only=True)
class Bench:
    """The cluster and a plugin for it."""

    cluster: SlurmCluster
    fleets: tuple[FleetSpec, ...]
    slurm: Slurm = field(init=False)

    def __post_init__(self) -> None:
        settings = SlurmSettings.model_validate(self.cluster.settings)
        self.slurm = Slurm.open(settings, cluster="test", fleets=self.fleets)

    def launch(self, number: int, fleet: FleetSpec = BATCH) -> EmulatedInstance:
        """An instance of a fleet, not booted yet."""
        instance_id = f"i-{number:017x}"
        placement = self.cluster.place(instance_id)
        return EmulatedInstance(
            instance_id=instance_id,
            group=fleet.group,
            instance_type=fleet.instance_type,
            zone="us-east-1a",
            address=placement.address,
            hostname=placement.hostname,
            image_id="ami-0a1b2c3d4e5f60718",
            launched_at=0.0,
            activity_id="1",
            source=LaunchSource(instance_types=(fleet.instance_type,), image_id="ami-0a1b2c3d4e5f60718"),
        )

    def spec(self, instance: EmulatedInstance) -> NodeSpec:
        fleet = next(fleet for fleet in self.fleets if fleet.group == instance.group)
        return node_spec(instance.instance_id, instance.hostname.partition(".")[0], instance.address, fleet)

    async def join(self, *instances: EmulatedInstance) -> list[Hostname]:
        """Register these instances, boot them and wait until Slurm would start jobs on them."""
        specs = [self.spec(instance) for instance in instances]
        await self.slurm.register(specs)
        with ThreadPoolExecutor() as threads:
            await asyncio.gather(
                *(asyncio.get_running_loop().run_in_executor(threads, self.cluster.boot, one) for one in instances)
            )
        hostnames = [spec.hostname for spec in specs]
        await self.usable(*hostnames)
        return hostnames

    async def usable(self, *hostnames: Hostname) -> None:
        """Until Slurm would start jobs on all of them."""

        async def are_up() -> bool:
            return all([(await self.node(hostname)).is_usable for hostname in hostnames])

        await until(are_up, what=f"{hostnames} are up")

    async def node(self, hostname: Hostname) -> Node:
        return next(node for node in await self.slurm.nodes() if node.hostname == hostname)

    async def waiting(self, job: JobId) -> JobDemand | None:
        """The demand that a job is part of, None once it does not wait any longer."""
        return next((one for one in await self.slurm.demand() if any(_same(job, other) for other in one.jobs)), None)

    async def state_becomes(self, job: JobId, *states: str) -> str:
        async def state() -> str:
            now = self.cluster.job_states().get(job, "")
            return now if now in states else ""

        return await until(state, what=f"job {job} is {' or '.join(states)}")

    def clear(self) -> None:
        """No job, no node, no machine: what the next test finds."""
        waiting = [job for job, state in self.cluster.job_states().items() if state not in _ENDED]
        if waiting:
            self.cluster.run("scancel", "--full", "--quiet", *waiting)
        self.cluster.clear_machines()
        names = [line.split()[0].removeprefix("NodeName=") for line in self._nodes() if "NodeName=headnode-shape" not in line]
        if names and self.cluster.world.isolated:
            nodes = ",".join(names)
            self.cluster.run("scontrol", "update", f"NodeName={nodes}", "State=DOWN", "Reason=test")
            done = self.cluster.run("scontrol", "delete", f"NodeName={nodes}")
            assert done.returncode == 0, done.stderr

    def _nodes(self) -> Sequence[str]:
        return [
            line for line in self.cluster.run("scontrol", "show", "node", "-o", "--future").stdout.splitlines() if "=" in line
        ]


_ENDED = {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "DEADLINE", "OUT_OF_MEMORY", "BOOT_FAIL"}


def _same(job: JobId, other: JobId) -> bool:
    return other == job or other.startswith((f"{job}_", f"{job}+"))


def node_spec(instance_id: str, hostname: str, address: str, fleet: FleetSpec = BATCH) -> NodeSpec:
    return NodeSpec(
        instance_id=InstanceId(instance_id),
        hostname=Hostname(hostname),
        address=address,
        fleet=fleet.name,
        shape=fleet.shape,
        partition=fleet.partition,
        features=fleet.features,
    )


def bare_specs(count: int, fleet: FleetSpec = BATCH) -> list[NodeSpec]:
    """Nodes that no machine stands behind."""
    return [
        node_spec(f"i-{0xABC000 + index:017x}", f"bare-{index}", f"10.78.{index // 250}.{index % 250 + 1}", fleet)
        for index in range(count)
    ]
