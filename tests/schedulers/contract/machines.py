"""What the benches of schedulers with real machines have in common: a few boot, more have names and addresses only."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Protocol

from daemons.model import FleetSpec, Hostname, NodeSpec
from sandbox.aws.values import EmulatedInstance
from schedulers.base import Scheduler
from schedulers.contract import Bench

_MACHINES = 3
_SLOW_S, _HUNG_S = 5.0, 1.0


class Cluster(Protocol):
    """`SlurmCluster` or `GridEngineCluster`."""

    def boot(self, instance: EmulatedInstance) -> None: ...
    def start_controller(self) -> None: ...
    def stop_controller(self) -> None: ...
    def frozen_controller(self) -> AbstractContextManager[None]: ...


class MachineBench(Bench):
    """`plugin_with` opens the plugin with a time-out in seconds, `launch` gives an instance for a number, `spec_of` its node,
    `bare` that many nodes without a machine. A server that hangs is not waited for as long as one that is slow.
    """

    def __init__(
        self,
        cluster: Cluster,
        plugin_with: Callable[[float], Scheduler],
        fleet: FleetSpec,
        *,
        launch: Callable[[int], EmulatedInstance],
        spec_of: Callable[[EmulatedInstance], NodeSpec],
        bare: Callable[[int], Sequence[NodeSpec]],
    ) -> None:
        self._cluster, self._fleet = cluster, fleet
        self._plugin, self._impatient = plugin_with(_SLOW_S), plugin_with(_HUNG_S)
        self._spec_of, self._bare = spec_of, bare
        self._machines = [launch(number) for number in range(1, _MACHINES + 1)]
        self._instances: dict[Hostname, EmulatedInstance] = {spec_of(one).hostname: one for one in self._machines}

    @property
    def plugin(self) -> Scheduler:
        return self._plugin

    @property
    def fleet(self) -> FleetSpec:
        return self._fleet

    def spec(self, number: int) -> NodeSpec:
        return self._spec_of(self._machines[number - 1]) if number <= _MACHINES else self._bare(number)[-1]

    async def boot(self, *nodes: NodeSpec) -> None:
        with ThreadPoolExecutor() as threads:
            loop = asyncio.get_running_loop()
            booting = [loop.run_in_executor(threads, self._cluster.boot, self._instances[node.hostname]) for node in nodes]
            await asyncio.gather(*booting)

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        self._cluster.stop_controller()
        try:
            yield
        finally:
            self._cluster.start_controller()

    @contextlib.contextmanager
    def hang(self) -> Iterator[None]:
        patient, self._plugin = self._plugin, self._impatient
        try:
            with self._cluster.frozen_controller():
                yield
        finally:
            self._plugin = patient
