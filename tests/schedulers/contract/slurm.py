"""A real Slurm as the kit drives it, with sbatch, squeue, scancel and scontrol."""

import asyncio
import contextlib
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from daemons.model import FleetSpec, Hostname, NodeSpec
from sandbox.aws.values import EmulatedInstance
from schedulers.base import Scheduler
from schedulers.contract import Bench, Capability, JobAsk, JobState
from schedulers.slurm import Slurm, SlurmSettings
from tests.schedulers.slurm import bench as slurm

_MACHINES = 3  # more nodes than these have names and addresses only
_TOP_PRIORITY = 4_294_967_000  # jobs that ask for none have less
_ALL_NODES = ("scontrol", "show", "node", "-o", "--future")  # nodes that have not reported are future ones
_RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "CONFIGURING"})
_WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"})


class SlurmBench(Bench):
    """Machines are network namespaces with a slurmd each. Its fleet has no GPUs; the plugin's own tests have one that does."""

    capabilities = frozenset(Capability) - {Capability.GPUS}
    many = 150

    def __init__(self, inner: slurm.Bench) -> None:
        self.inner, self.cluster = inner, inner.cluster
        settings = SlurmSettings.model_validate({**inner.cluster.settings, "timeout_s": 5.0})
        self._plugin = Slurm.open(settings, cluster="test", fleets=inner.fleets)
        self._instances: dict[Hostname, EmulatedInstance] = {}
        self._machines = [inner.launch(number) for number in range(1, _MACHINES + 1)]

    @property
    def plugin(self) -> Scheduler:
        return self._plugin

    @property
    def fleet(self) -> FleetSpec:
        return slurm.BATCH

    def spec(self, number: int) -> NodeSpec:
        if number > _MACHINES:
            return slurm.bare_specs(number)[-1]
        instance = self._machines[number - 1]
        spec = self.inner.spec(instance)
        self._instances[spec.hostname] = instance
        return spec

    async def boot(self, *nodes: NodeSpec) -> None:
        with ThreadPoolExecutor() as threads:
            loop = asyncio.get_running_loop()
            booting = [loop.run_in_executor(threads, self.cluster.boot, self._instances[node.hostname]) for node in nodes]
            await asyncio.gather(*booting)

    async def submit(self, ask: JobAsk) -> str:
        argv = [f"--nodes={ask.nodes}", "--ntasks-per-node=1", f"--cpus-per-task={ask.cpus}", "--time=30"]
        argv += [f"--mem={ask.memory_mib}"] if ask.memory_mib else []
        argv += ["--exclusive"] if ask.exclusive else []
        argv += [f"--constraint={ask.feature}"] if ask.feature else []
        argv += [f"--array=1-{ask.array}" + (f"%{ask.throttle}" if ask.throttle else "")] if ask.array else []
        argv += ["--hold"] if ask.held else []
        argv += [f"--dependency=afterok:{ask.after}"] if ask.after else []
        argv += ["--begin=now+1hour"] if ask.later else []
        argv += [f"--priority={_TOP_PRIORITY + ask.priority}"] if ask.priority else []
        argv += [f"--nodelist={ask.node}"] if ask.node else []
        return await asyncio.to_thread(self.cluster.submit, *argv)

    async def state(self, job: str) -> JobState:
        states = await asyncio.to_thread(self.cluster.job_states)
        mine = {state for one, state in states.items() if one == job or one.startswith(f"{job}_")}
        if mine & _RUNNING:
            return JobState.RUNNING
        return JobState.WAITING if mine & _WAITING else JobState.ENDED

    async def cancel(self, job: str) -> None:
        await asyncio.to_thread(self.cluster.run, "scancel", job)

    async def known(self) -> Collection[str]:
        lines = (await asyncio.to_thread(self.cluster.run, *_ALL_NODES)).stdout.splitlines()
        names = {line.split()[0].removeprefix("NodeName=") for line in lines if line.startswith("NodeName=")}
        return {name for name in names if not name.startswith("headnode-shape")}

    async def administrator_drains(self, node: Hostname, reason: str) -> None:
        argv = ("scontrol", "update", f"NodeName={node}", "State=DRAIN", f"Reason={reason}")
        done = await asyncio.to_thread(self.cluster.run, *argv)
        assert done.returncode == 0, done.stderr

    async def is_drained(self, node: Hostname) -> bool:
        done = await asyncio.to_thread(self.cluster.run, "scontrol", "show", "node", "-o", node)
        return "DRAIN" in done.stdout.partition("State=")[2].split()[0]

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        self.cluster.stop_controller()
        try:
            yield
        finally:
            self.cluster.start_controller()

    def hang(self) -> AbstractContextManager[None]:
        return self.cluster.frozen_controller()
