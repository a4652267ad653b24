"""Plugins with one bug each, of the kinds that plugins have had."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from daemons.errors import SchedulerUnavailable
from daemons.model import BlockedBy, Hostname, JobDemand, JobId, Node, NodeSpec, NodeState, Shape
from schedulers.base import DRAIN_MARK, NodeResult, Outcome, Results
from schedulers.local import Local, engine
from schedulers.torque import Torque

DONE = NodeResult(outcome=Outcome.DONE)


class NoDemandOnError(Local):
    async def demand(self) -> tuple[JobDemand, ...]:
        try:
            return await super().demand()
        except SchedulerUnavailable:
            return ()


class NoNodesOnError(Local):
    async def nodes(self) -> tuple[Node, ...]:
        try:
            return await super().nodes()
        except SchedulerUnavailable:
            return ()


class IdleOnError(Local):
    async def jobs_on(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, frozenset[JobId]]:
        try:
            return await super().jobs_on(hostnames)
        except SchedulerUnavailable:
            return dict.fromkeys(hostnames, frozenset())


class ChangesDemand(Local):
    """What the others make of the demand."""

    def change(self, demand: JobDemand) -> JobDemand:
        raise NotImplementedError

    async def demand(self) -> tuple[JobDemand, ...]:
        return tuple(self.change(demand) for demand in await super().demand())


class ForgetsThrottle(ChangesDemand):
    def change(self, demand: JobDemand) -> JobDemand:
        return replace(demand, blocked_by=BlockedBy.NOTHING) if demand.blocked_by is BlockedBy.ARRAY_LIMIT else demand


class CountsHeldJobs(ChangesDemand):
    def change(self, demand: JobDemand) -> JobDemand:
        return replace(demand, blocked_by=BlockedBy.NOTHING) if demand.blocked_by is BlockedBy.HOLD else demand


class CountsDependentJobs(ChangesDemand):
    def change(self, demand: JobDemand) -> JobDemand:
        return replace(demand, blocked_by=BlockedBy.NOTHING) if demand.blocked_by is BlockedBy.DEPENDENCY else demand


class CountsLaterJobs(ChangesDemand):
    def change(self, demand: JobDemand) -> JobDemand:
        return replace(demand, blocked_by=BlockedBy.NOTHING) if demand.blocked_by is BlockedBy.BEGIN_TIME else demand


class LosesMemory(ChangesDemand):
    def change(self, demand: JobDemand) -> JobDemand:
        return replace(demand, per_task=replace(demand.per_task, memory_mib=0))


class LosesGpus(ChangesDemand):
    def change(self, demand: JobDemand) -> JobDemand:
        return replace(demand, per_task=replace(demand.per_task, gpus=0))


class SharesExclusiveNodes(ChangesDemand):
    def change(self, demand: JobDemand) -> JobDemand:
        return replace(demand, exclusive=False)


class LosesFeatures(ChangesDemand):
    def change(self, demand: JobDemand) -> JobDemand:
        return replace(demand, features=())


class ArraysAreOneJob(ChangesDemand):
    def change(self, demand: JobDemand) -> JobDemand:
        return replace(demand, count=1)


class SpanningJobsNeedOneNode(ChangesDemand):
    def change(self, demand: JobDemand) -> JobDemand:
        return replace(demand, tasks=1, nodes_min=1, nodes_max=1)


class LowestPriorityFirst(Local):
    async def demand(self) -> tuple[JobDemand, ...]:
        return tuple(reversed(await super().demand()))


class CollapsesByHostname(Local):
    """Names are cut short: `kit-1` and `kit-12` are one."""

    async def nodes(self) -> tuple[Node, ...]:
        return tuple({node.hostname[:5]: node for node in await super().nodes()}.values())


class CallsAwaitedNodesIdle(Local):
    async def nodes(self) -> tuple[Node, ...]:
        return tuple(replace(node, states=node.states - {NodeState.AWAITED}) for node in await super().nodes())


class EveryDrainIsOurs(Local):
    async def nodes(self) -> tuple[Node, ...]:
        return tuple(replace(node, drained_by_us=NodeState.DRAIN in node.states) for node in await super().nodes())


class ForgetsWhoRuns(Local):
    async def jobs_on(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, frozenset[JobId]]:
        return {name: jobs for name, jobs in (await super().jobs_on(hostnames)).items() if jobs}


class DrainsBeforeReading(Local):
    """An administrator's drain is written over."""

    async def drain(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        await self._change(lambda db: [engine.set_drain(db, name, f"{DRAIN_MARK} {reason}") for name in hostnames])
        return dict.fromkeys(hostnames, DONE)


class ResumesAnything(Local):
    async def resume(self, hostnames: Collection[Hostname]) -> Results:
        await self._change(lambda db: [engine.set_drain(db, name, None) for name in hostnames])
        return dict.fromkeys(hostnames, DONE)


class SaysDrainedAndIsNot(Local):
    async def drain(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        del reason
        return dict.fromkeys(hostnames, DONE)


class SetsAsideAsOurs(Local):
    async def set_aside(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        return await self.drain(hostnames, reason=reason)


class GivesBackWhatIsOurs(Local):
    async def give_back(self, hostnames: Collection[Hostname]) -> Results:
        return {**await super().give_back(hostnames), **await self.resume(hostnames)}


class GivesNothingBack(Local):
    async def give_back(self, hostnames: Collection[Hostname]) -> Results:
        return dict.fromkeys(hostnames, DONE)


class SaysRegisteredAndIsNot(Local):
    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        return {node.hostname: DONE for node in nodes}


class RegistersTwice(Local):
    """A node that is known is made anew, and loses its job."""

    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        await super().deregister([node.hostname for node in nodes])
        return await super().register(nodes)


class AcceptsHostileNames(Local):
    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        def change(db: sqlite3.Connection) -> None:
            for node in nodes:
                engine.register(db, node)

        await self._change(change)
        return {node.hostname: DONE for node in nodes}


class OneBadNodeKeepsAllOut(Local):
    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        results = await super().register(nodes)
        if any(result.outcome is Outcome.REFUSED for result in results.values()):
            await super().deregister(list(results))
        return results


class AbsentNodesAreDone(Local):
    async def deregister(self, hostnames: Collection[Hostname]) -> Results:
        await super().deregister(hostnames)
        return dict.fromkeys(hostnames, DONE)


class EndsJobsOfLostNodes(Local):
    async def deregister(self, hostnames: Collection[Hostname]) -> Results:
        jobs = {int(job.partition("_")[0]) for jobs in (await self.jobs_on(hostnames)).values() for job in jobs}
        await self._change(lambda db: [engine.cancel(db, job, now=time.time()) for job in jobs])
        return await super().deregister(hostnames)


class BlocksTheLoop(Local):
    async def _change(self, work: Callable[[sqlite3.Connection], object]) -> object:  # type: ignore[override]  # a bug
        return self._work(work, writes=True)


class WaitsForEver(Local):
    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        while True:
            try:
                return await super().register(nodes)
            except SchedulerUnavailable:
                await asyncio.sleep(0.1)


class NothingIsUsed(Local):
    async def nodes(self) -> tuple[Node, ...]:
        return tuple(replace(node, used=Shape(), states=node.states - {NodeState.BUSY}) for node in await super().nodes())


class TorqueLeavesItsNote(Torque):
    async def resume(self, hostnames: Collection[Hostname]) -> Results:
        await self.server.mark(("-c",), hostnames)
        return dict.fromkeys(hostnames, DONE)


class TorqueForgetsThrottle(Torque):
    async def demand(self) -> tuple[JobDemand, ...]:
        return tuple(replace(demand, blocked_by=BlockedBy.NOTHING) for demand in await super().demand())


class TorqueBelievesExitCodes(Torque):
    """`pbsnodes -o` of a node that is not there is 0."""

    async def drain(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        await self.server.mark(("-o", "-N", f"{DRAIN_MARK} {reason}"), hostnames)
        return dict.fromkeys(hostnames, DONE)


class TorqueCountsPlaceholders(Torque):
    async def nodes(self) -> tuple[Node, ...]:
        rows = await self.server.nodes()
        stands = [Node(hostname=Hostname(row.name), total=Shape(cpus=row.slots)) for row in rows if row.slots > 1_000]
        return (*await super().nodes(), *stands)
