"""The contract of a scheduler plugin. What these docstrings promise is all that the services know of a scheduler.

A plugin is a subclass of `Scheduler`, found through the entry-point group `headnode.schedulers` (see `schedulers.plugins`).
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Self

from pydantic import BaseModel

from daemons.errors import SchedulerRefused
from daemons.model import FleetSpec, Hostname, JobDemand, JobId, Node, NodeSpec

DRAIN_MARK = "headnode:"  # begins every drain reason of ours, so that an administrator's drain is told from it
_OWN_COMMANDS = "use the scheduler's own commands for it; headnode hold keeps the node from being ended meanwhile"


class Outcome(StrEnum):
    """What became of one node of a batch."""

    DONE = "done"  # the scheduler's own later word confirms it; also when it was so before
    ABSENT = "absent"  # there is no such node; for deregister this is success
    BUSY = "busy"  # refused, because a job is there
    REFUSED = "refused"  # refused for another reason that repeating will not change
    UNKNOWN = "unknown"  # the call ended without a word about this node: read again


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeResult:
    outcome: Outcome
    detail: str = ""  # the scheduler's own words


Results = Mapping[Hostname, NodeResult]


class Capability(StrEnum):
    """What a scheduler can do. What it lacks its plugin declares; `schedulers.contract` leaves that out and says so."""

    ARRAYS = "arrays"
    ARRAY_THROTTLE = "array-throttle"  # so many tasks at once
    MULTI_NODE = "multi-node"
    MEMORY = "memory"  # a job's memory is counted
    GPUS = "gpus"
    EXCLUSIVE = "exclusive"
    FEATURES = "features"
    PRIORITIES = "priorities"
    HOLDS = "holds"
    DEPENDENCIES = "dependencies"
    LATER_START = "later-start"
    NAMED_NODES = "named-nodes"
    REQUEUE = "requeue"  # a lost node's jobs wait again
    ADDRESSES = "addresses"  # it tells at which address it knows a node


class Scheduler(ABC):
    """One scheduler, as headnode needs it.

    Promises of every method: it may be called again after any failure or interruption, with the same effect as one call
    (idempotent). It never blocks the event loop, and every command it runs is bounded in time. No answer, half an answer, or one
    that cannot be understood raises `SchedulerUnavailable` with nothing assumed: it is never "no jobs", "no nodes", "idle".
    After a raise from a method that changes something, the change may or may not have happened. Methods that take several
    nodes use as few commands as the scheduler allows, go on past a node that fails, and return a result for each node asked for.
    """

    name: ClassVar[str]
    resolves_names: ClassVar[bool] = False  # must a host name be in DNS before `register` mentions it?
    capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability)
    Settings: ClassVar[type[BaseModel]]  # the plugin's own part of the configuration; refuses unknown keys

    @classmethod
    @abstractmethod
    def open(cls, settings: BaseModel, *, cluster: str, fleets: Sequence[FleetSpec]) -> Self:
        """Make a plugin from its validated `Settings`. Does no I/O and raises nothing: that is for the first call."""

    @abstractmethod
    async def demand(self) -> tuple[JobDemand, ...]:
        """Every waiting job, those that more nodes would not help included (`blocked_by` says why), highest priority first.

        Jobs of the same shape, priority, partition and `blocked_by` may come as one value with a count.
        """

    @abstractmethod
    async def nodes(self) -> tuple[Node, ...]:
        """Every node the scheduler knows of, placeholders left out, with the jobs that occupy it."""

    @abstractmethod
    async def jobs_on(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, frozenset[JobId]]:
        """The jobs that occupy each of these nodes right now: running, starting, completing, suspended.

        Every hostname asked for is a key. This is the second look after a drain, so a scheduler must answer it from the same
        authority that starts jobs. An unknown hostname has no jobs.
        """

    @abstractmethod
    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        """Make these nodes known, ready to take jobs once their daemon reports. DONE only after it has been read back.

        A node that is known already with the same address is DONE and otherwise unchanged, but where its daemon is still awaited
        the scheduler may look for it once more; one known with another address is replaced if nothing runs there, else BUSY.
        """

    @abstractmethod
    async def deregister(self, hostnames: Collection[Hostname]) -> Results:
        """Make the scheduler forget these nodes, whose instances are ending or gone.

        Jobs that still occupy one are requeued where they can be, and failed otherwise; BUSY if the scheduler will not let
        go of the node yet. An absent node is ABSENT.
        """

    @abstractmethod
    async def drain(self, hostnames: Collection[Hostname], *, reason: str) -> Results:
        """Let no new job start on these nodes; running ones go on. DONE once the scheduler's own word confirms it.

        The reason is stored as `DRAIN_MARK + " " + reason`. A node that somebody else has drained is REFUSED and keeps their
        reason.
        """

    @abstractmethod
    async def resume(self, hostnames: Collection[Hostname]) -> Results:
        """Take back our own drain. A node that somebody else drained is REFUSED; one that is not drained is DONE."""

    async def requeue(self, hostnames: Collection[Hostname]) -> Results:
        """Have the jobs that occupy these nodes, which are down and drained, wait again; those whose owners forbade that fail.

        DONE: nothing occupies the node any more. BUSY: something does still, as on a node that is up after all, whose jobs are
        left alone. Asked for nodes that are lost for good, before their
        instances end. This one is for schedulers that give up the jobs of a node by themselves when they call it down: it looks.
        """
        return {
            name: NodeResult(outcome=Outcome.BUSY, detail=", ".join(sorted(jobs)[:5]))
            if jobs
            else NodeResult(outcome=Outcome.DONE)
            for name, jobs in (await self.jobs_on(hostnames)).items()
        }

    @abstractmethod
    async def advertise(self, fleets: Sequence[FleetSpec]) -> None:
        """Make the scheduler queue, not reject, jobs that these fleets could run while no node exists. Raises
        `SchedulerRefused`, saying what an administrator has to set, where the plugin cannot do that itself.
        """

    async def set_aside(self, hostnames: Collection[Hostname], *, reason: str) -> Results:  # noqa: ARG002  for those who can
        """Drain these nodes for an administrator (`headnode drain`): they read as drained by somebody else from then on, and the
        services leave them alone.

        DONE once the scheduler's own word confirms it. A node that somebody else has drained before is DONE and keeps their
        reason; one that is drained by us is REFUSED: it is about to end. Raises `SchedulerRefused` where the plugin leaves this
        to the scheduler's own commands.
        """
        raise SchedulerRefused(f"the plugin for {self.name} does not drain for others", hint=_OWN_COMMANDS)

    async def give_back(self, hostnames: Collection[Hostname]) -> Results:  # noqa: ARG002
        """Take back a drain that is not ours, whoever's it is (`headnode resume`). Our own is REFUSED; a node that is not drained
        is DONE. Raises `SchedulerRefused` like `set_aside`.
        """
        raise SchedulerRefused(f"the plugin for {self.name} does not drain for others", hint=_OWN_COMMANDS)

    async def close(self) -> None:  # noqa: B027  most plugins hold nothing open
        """Release what the plugin holds. Nothing is called after it."""
