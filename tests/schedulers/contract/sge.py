"""A real Grid Engine as the kit drives it, with qsub, qstat, qdel, qmod and qconf."""

import asyncio
from collections.abc import Collection

from daemons.model import Hostname
from schedulers.contract import Capability, JobAsk, JobState
from schedulers.sge import Sge, SgeSettings
from tests.schedulers.contract.machines import MachineBench
from tests.schedulers.sge import bench as sge


class SgeBench(MachineBench):
    """Machines are network namespaces with an execd each. Its fleet has no GPUs; the plugin's own tests have one that does."""

    lacking = frozenset({Capability.GPUS})
    many = 100

    def __init__(self, inner: sge.Bench) -> None:
        self.cluster = inner.cluster

        def plugin(timeout_s: float) -> Sge:
            settings = SgeSettings.model_validate({**inner.cluster.settings, "timeout_s": timeout_s})
            return Sge.open(settings, cluster="test", fleets=inner.fleets)

        super().__init__(
            inner.cluster,
            plugin,
            sge.BATCH,
            launch=inner.launch,
            spec_of=inner.spec,
            bare=sge.bare_specs,
        )

    async def submit(self, ask: JobAsk) -> str:
        argv = ["-q", self.fleet.partition]
        argv += ["-pe", "by1", str(ask.nodes)] if ask.nodes > 1 else ["-pe", "smp", str(ask.cpus)] if ask.cpus > 1 else []
        argv += ["-l", f"h_vmem={ask.memory_mib}M"] if ask.memory_mib else []
        argv += ["-l", "excl=true"] if ask.exclusive else []
        argv += ["-l", f"{ask.feature}=true"] if ask.feature else []
        argv += ["-l", f"h={ask.node}"] if ask.node else []
        argv += ["-t", f"1-{ask.array}"] if ask.array else []
        argv += ["-tc", str(ask.throttle)] if ask.throttle else []
        argv += ["-h"] if ask.held else []
        argv += ["-hold_jid", ask.after] if ask.after else []
        argv += ["-a", "203001010000"] if ask.later else []
        argv += ["-p", str(100 * ask.priority)] if ask.priority else []
        return await asyncio.to_thread(self.cluster.submit, "-r", "y", *argv)

    async def state(self, job: str) -> JobState:
        snapshot = await asyncio.to_thread(self.cluster.snapshot)
        if any(row.job_id == job for instance in snapshot.instances for row in instance.jobs):
            return JobState.RUNNING
        return JobState.WAITING if any(row.job_id == job for row in snapshot.waiting) else JobState.ENDED

    async def cancel(self, job: str) -> None:
        await asyncio.to_thread(self.cluster.run, "qdel", "-f", job)

    async def known(self) -> Collection[str]:
        lines = (await asyncio.to_thread(self.cluster.run, "qconf", "-sel")).stdout.split()
        return {line.partition(".")[0] for line in lines} - {"head"}

    async def administrator_drains(self, node: Hostname, reason: str) -> None:
        """Grid Engine keeps no reason."""
        del reason
        done = await asyncio.to_thread(self.cluster.run, "qmod", "-d", f"*@{node}")
        assert done.returncode == 0, done.stderr

    async def is_drained(self, node: Hostname) -> bool:
        snapshot = await asyncio.to_thread(self.cluster.snapshot)
        mine = [instance for instance in snapshot.instances if instance.host.partition(".")[0] == node]
        return bool(mine) and all("d" in instance.states for instance in mine)
