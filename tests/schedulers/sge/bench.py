"""A real Grid Engine under test: machines that boot and vanish, jobs, and the plugin that is tested."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from daemons.errors import SchedulerUnavailable
from daemons.model import FleetName, FleetSpec, Hostname, InstanceId, JobDemand, JobId, Node, NodeSpec, NodeState, Shape
from sandbox.aws.values import EmulatedInstance, LaunchSource
from sandbox.gridengine import GridEngineCluster
from schedulers.commands import Answer, Commands
from schedulers.sge import Sge, SgeSettings

BATCH = FleetSpec(
    name=FleetName("batch"),
    group="hpc-batch",
    shape=Shape(cpus=4, memory_mib=7_000),
    instance_type="c5.xlarge",
    features=frozenset({"c5"}),
)
BIG = FleetSpec(
    name=FleetName("big"),
    group="hpc-big",
    shape=Shape(cpus=16, memory_mib=60_000, consumables=(("scratch", 100),)),
    instance_type="m5.4xlarge",
    features=frozenset({"m5"}),
)
GPU = FleetSpec(
    name=FleetName("gpu"),
    group="hpc-gpu",
    shape=Shape(cpus=8, memory_mib=30_000, gpus=2, gpu_type="a100"),
    instance_type="p4d.24xlarge",
    partition="gpu",
    features=frozenset({"p4d"}),
)
BARE_HOSTS = {f"bare-{index}": f"10.81.{index // 250}.{index % 250 + 1}" for index in range(500)}
DEADLINE_S = 180.0  # two execds once took longer than one minute on a busy machine

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], *, what: str, deadline_s: float = DEADLINE_S) -> T:
    """What `look` says once it says anything true."""
    give_up_at = time.monotonic() + deadline_s
    while not (seen := await look()):
        assert time.monotonic() < give_up_at, f"not within {deadline_s:g} s: {what}"
        await asyncio.sleep(0.05)
    return seen


@dataclass(frozen=True)
class _Interposed:
    """Commands that somebody else's come in between."""

    commands: Commands
    before: Callable[[tuple[str, ...]], None]

    async def run(self, *argv: str) -> Answer:
        self.before(argv)
        return await self.commands.run(*argv)


@dataclass(kw_only=True)
class Bench:
    """The cluster and a plugin for it."""

    cluster: GridEngineCluster
    fleets: tuple[FleetSpec, ...]
    sge: Sge = field(init=False)

    def __post_init__(self) -> None:
        settings = SgeSettings.model_validate(self.cluster.settings)
        self.sge = Sge.open(settings, cluster="test", fleets=self.fleets)

    def commands(self) -> int:
        """How many commands the plugin has run."""
        return sum(self.sge.qmaster.commands.calls.values())  # type: ignore[attr-defined]

    def plugin_over(self, before: Callable[[tuple[str, ...]], None]) -> Sge:
        """A plugin that calls this before each of its commands."""
        real = self.sge.qmaster
        return Sge.over(_Interposed(real.commands, before), real.settings, self.fleets)

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
        """Register these instances, boot them and wait until Grid Engine would start jobs on them."""
        specs = [self.spec(instance) for instance in instances]
        await self.sge.register(specs)
        with ThreadPoolExecutor() as threads:
            await asyncio.gather(
                *(asyncio.get_running_loop().run_in_executor(threads, self.cluster.boot, one) for one in instances)
            )
        hostnames = [spec.hostname for spec in specs]

        async def are_up() -> bool:
            usable = {node.hostname for node in await self.sge.nodes() if node.is_usable}
            return set(hostnames) <= usable

        await until(are_up, what=f"{hostnames} are up")
        return hostnames

    async def node(self, hostname: Hostname) -> Node:
        return next(node for node in await self.sge.nodes() if node.hostname == hostname)

    async def waiting(self, job: JobId) -> JobDemand | None:
        """The demand that a job is part of, None once it does not wait any longer."""
        return next((one for one in await self.sge.demand() if any(_same(job, other) for other in one.jobs)), None)

    async def runs(self, job: JobId, *, states: str = "rt") -> None:
        """Wait until the job, or some task of the array, has a node. It is `t` on its way and `r` when its node has begun."""

        async def is_there() -> bool:
            return any(_same(job, row.job) and set(states) & set(row.state) for _, row in self.cluster.running())

        await until(is_there, what=f"job {job} runs")

    async def advertise(self) -> None:
        """Let jobs queue; a qmaster that has just been started by the last test may need a moment."""

        async def advertised() -> bool:
            try:
                await self.sge.advertise(self.fleets)
            except SchedulerUnavailable:
                return False
            return True

        await until(advertised, what="the fleets are advertised")

    def add_quota(self, name: str, rule: str) -> None:
        """A resource quota, such as `users {*} to slots=1`; gone with the next `clear` or `rest`."""
        file = self.cluster.directory / "quota"
        file.write_text(f"{{\nname {name}\ndescription NONE\nenabled TRUE\nlimit {rule}\n}}\n")
        self.cluster.run("qconf", "-Arqs", str(file))
        assert name in self.cluster.run("qconf", "-srqsl").stdout.split()

    def _remove_quotas(self) -> None:
        names = self.cluster.run("qconf", "-srqsl").stdout.split()
        if names:
            self.cluster.run("qconf", "-drqs", ",".join(names))

    async def rest(self) -> Hostname:
        """One node that is up, with nothing there and none beside it; booted anew only if the last test left another world."""
        self._remove_quotas()
        self.cluster.run("qdel", "-f", "-u", "*")
        hosts = await self.sge.nodes()
        if len(hosts) == 1 and hosts[0].is_empty and hosts[0].states <= {NodeState.DRAIN} and hosts[0].total == BATCH.shape:
            (hostname,) = (host.hostname for host in hosts)
            self.cluster.run("qmod", "-e", f"*@{hostname}")
            self.cluster.run("qconf", "-dattr", "exechost", "complex_values", "headnode_drain", hostname)
            if (await self.node(hostname)).is_idle:
                return hostname
        await self.clear()
        (hostname,) = await self.join(self.launch(1))
        return hostname

    async def clear(self) -> None:
        """No job, no node, no machine: what the next test finds."""
        self._remove_quotas()
        self.cluster.run("qdel", "-f", "-u", "*")
        self.cluster.clear_machines()
        before = await self.sge.membership.look()
        known = before.hosts.keys() | before.execution | before.administrative
        await self.sge.deregister(sorted(known - {Hostname("head")}))
        self.cluster.run("qdel", "-f", "-u", "*")
        assert await self.sge.nodes() == ()


Resting = tuple[Bench, Hostname]


def _same(job: JobId, other: JobId) -> bool:
    return other == job or other.startswith(f"{job}.")


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
    """Nodes that no machine stands behind, but whose names resolve."""
    return [
        node_spec(f"i-{0xABC000 + index:017x}", name, address, fleet)
        for index, (name, address) in enumerate(list(BARE_HOSTS.items())[:count])
    ]
