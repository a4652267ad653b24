"""The plugin: each method reads, changes what has to change, and reads again. It keeps no state of its own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from daemons.errors import ConfigError, SchedulerUnavailable
from daemons.model import FleetSpec, Hostname, JobDemand, JobId, Node, NodeSpec
from headnode_spool.parse import NodeRow, demand_of, is_ours, node_of, parse_jobs, parse_nodes
from schedulers.base import DRAIN_MARK, Capability, NodeResult, Outcome, Results, Scheduler
from schedulers.commands import Answer, Commands, LocalCommands
from schedulers.specs import valid_specs

_DONE, _ABSENT = NodeResult(outcome=Outcome.DONE), NodeResult(outcome=Outcome.ABSENT)


class SpoolSettings(BaseModel):
    """`[scheduler] settings` of headnode's configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dir: Path = Path("/var/spool/spool")
    command: tuple[str, ...] = Field(("spool",), min_length=1)
    timeout_s: float = Field(15.0, gt=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spool(Scheduler):
    """The spool scheduler through its command."""

    name: ClassVar[str] = "spool"
    # What is not declared here the kit leaves out, and headnode does not count on.
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.FEATURES, Capability.HOLDS, Capability.PRIORITIES, Capability.REQUEUE, Capability.ADDRESSES}
    )
    Settings: ClassVar[type[BaseModel]] = SpoolSettings

    commands: Commands
    argv: tuple[str, ...]

    @classmethod
    def open(cls, settings: BaseModel, *, cluster: str, fleets: Sequence[FleetSpec]) -> Self:  # noqa: ARG003
        if not isinstance(settings, SpoolSettings):
            raise ConfigError(f"the spool plugin was given {type(settings).__name__} for its settings")
        argv = (*settings.command, "--dir", str(settings.dir))
        return cls(commands=LocalCommands(timeout_s=settings.timeout_s), argv=argv)

    async def demand(self) -> tuple[JobDemand, ...]:
        return demand_of(parse_jobs(await self._say("jobs")))

    async def nodes(self) -> tuple[Node, ...]:
        """Jobs are read first: a job that begins between the two commands is on its node's own list."""
        jobs = parse_jobs(await self._say("jobs"))
        return tuple(node_of(row, jobs) for row in (await self._rows()).values())

    async def jobs_on(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, frozenset[JobId]]:
        rows = await self._rows() if hostnames else {}
        return {name: frozenset(map(JobId, rows[name].jobs)) if name in rows else frozenset() for name in hostnames}

    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        """One command for nodes that are alike, whatever their number."""
        results, valid = valid_specs(nodes)
        if not valid:
            return results
        before = await self._rows()
        moved = {node.hostname for node in valid if node.hostname in before and before[node.hostname].address != node.address}
        if gone := [name for name in moved if not before[name].jobs]:
            await self._say("remove", *gone)
        for words, alike in groupby(sorted(valid, key=_words), key=_words):
            await self._say("add", *words, *(f"{node.hostname}={node.address}" for node in alike))
        after = await self._rows()
        return results | {node.hostname: _joined(node, after.get(node.hostname)) for node in valid}

    async def deregister(self, hostnames: Collection[Hostname]) -> Results:
        """Their jobs wait again: `spool remove` sees to that."""
        before = await self._rows() if hostnames else {}
        there = [name for name in hostnames if name in before]
        if there:
            await self._say("remove", *there)
        after = await self._rows() if there else {}
        left = NodeResult(outcome=Outcome.UNKNOWN, detail="spool still lists it")
        return {name: _ABSENT if name not in before else left if name in after else _DONE for name in hostnames}

    async def drain(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        before = await self._rows() if hostnames else {}
        if there := [name for name in hostnames if name in before]:
            await self._say("drain", "--reason", f"{DRAIN_MARK} {reason}", *there)
        after = await self._rows() if there else {}
        return {name: _drained(after.get(name)) for name in hostnames}

    async def resume(self, hostnames: Collection[Hostname]) -> Results:
        before = await self._rows() if hostnames else {}
        if ours := [name for name in hostnames if name in before and is_ours(before[name])]:
            await self._say("resume", *ours)
        after = await self._rows() if ours else before
        return {name: _resumed(after.get(name)) for name in hostnames}

    async def advertise(self, fleets: Sequence[FleetSpec]) -> None:
        """Spool refuses jobs that no node is large enough for, unless it is told what will come."""
        await self._say("promise", str(max((fleet.shape.cpus for fleet in fleets), default=0)))

    async def _rows(self) -> Mapping[Hostname, NodeRow]:
        return parse_nodes(await self._say("nodes"))

    async def _say(self, *words: str) -> str:
        """Standard output of a command that went well. Raises SchedulerUnavailable for any other: nothing is known then."""
        answer: Answer = await self.commands.run(*self.argv, *words)
        if not answer.ok:
            raise SchedulerUnavailable(f"spool {words[0]} failed: {answer.words}", hint="see whether the scheduler is there")
        return answer.out


def _words(node: NodeSpec) -> tuple[str, ...]:
    features = [word for feature in sorted(node.features) for word in ("--feature", feature)]
    return ("--cpus", str(node.shape.cpus), "--queue", node.partition, *features)


def _joined(node: NodeSpec, row: NodeRow | None) -> NodeResult:
    if row is None:
        return NodeResult(outcome=Outcome.UNKNOWN, detail="spool does not list it")
    if row.address != node.address:
        return NodeResult(outcome=Outcome.BUSY, detail=f"it is known at {row.address}, and jobs are there")
    return _DONE


def _drained(row: NodeRow | None) -> NodeResult:
    if row is None:
        return _ABSENT
    if is_ours(row):
        return _DONE
    if row.drained is None:
        return NodeResult(outcome=Outcome.UNKNOWN, detail="spool does not call it drained")
    return NodeResult(outcome=Outcome.REFUSED, detail=f"somebody else drained it: {row.drained}")


def _resumed(row: NodeRow | None) -> NodeResult:
    if row is None:
        return _ABSENT
    if row.drained is None:
        return _DONE
    if is_ours(row):
        return NodeResult(outcome=Outcome.UNKNOWN, detail="spool still calls it drained")
    return NodeResult(outcome=Outcome.REFUSED, detail=f"somebody else drained it: {row.drained}")
