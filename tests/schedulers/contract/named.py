"""What the benches without machines of their own have in common: names that mean nothing to anybody else."""

from daemons.model import FleetName, FleetSpec, Hostname, InstanceId, NodeSpec, Shape
from schedulers.base import Scheduler
from schedulers.contract import Bench

FLEET = FleetSpec(
    name=FleetName("batch"),
    group="hpc-batch",
    shape=Shape(cpus=4, memory_mib=8_000, gpus=2),
    instance_type="g5.xlarge",
    partition="batch",
    features=frozenset({"g5"}),
)


class NamedBench(Bench):
    """`kit-1`, `kit-2`, … of one fleet."""

    def __init__(self, plugin: Scheduler) -> None:
        self._plugin = plugin

    @property
    def plugin(self) -> Scheduler:
        return self._plugin

    @property
    def fleet(self) -> FleetSpec:
        return FLEET

    def spec(self, number: int) -> NodeSpec:
        return NodeSpec(
            instance_id=InstanceId(f"i-{number:017x}"),
            hostname=Hostname(f"kit-{number}"),
            address=f"10.0.{number // 250}.{number % 250 + 1}",
            fleet=FLEET.name,
            shape=FLEET.shape,
            partition=FLEET.partition,
            features=FLEET.features,
        )
