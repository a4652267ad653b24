"""A real Slurm as the kit drives it, with sbatch, squeue, scancel and scontrol."""

import asyncio
from collections.abc import Collection

from daemons.model import Hostname
from schedulers.contract import Capability, JobAsk, JobState
from schedulers.slurm import Slurm, SlurmSettings
from tests.schedulers.contract.machines import MachineBench
from tests.schedulers.slurm import bench as slurm

_TOP_PRIORITY = 4_294_967_000  # jobs that ask for none have less
_ALL_NODES = ("scontrol", "show", "node", "-o", "--future")  # nodes that have not reported are future ones
_RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "CONFIGURING"})
_WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"})


class SlurmBench(MachineBench):
    """Machines are network namespaces with a slurmd each. Its fleet has no GPUs; the plugin's own tests have one that does."""

    lacking = frozenset({Capability.GPUS})
    many = 150

    def __init__(self, inner: slurm.Bench) -> None:
        self.cluster = inner.cluster

        def plugin(timeout_s: float) -> Slurm:
            settings = SlurmSettings.model_validate({**inner.cluster.settings, "timeout_s": timeout_s})
            return Slurm.open(settings, cluster="test", fleets=inner.fleets)

        super().__init__(
            inner.cluster,
            plugin,
            slurm.BATCH,
            launch=inner.launch,
            spec_of=inner.spec,
            bare=slurm.bare_specs,
        )

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
