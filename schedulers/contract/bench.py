"""What an author brings: a cluster to drive and to look at with the scheduler's own commands, never through the plugin."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from daemons.model import FleetSpec, Hostname, NodeSpec
from schedulers.base import Capability, Scheduler

DEADLINE_S = 60.0
_EVERY_S = 0.05

T = TypeVar("T")


class JobState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"  # also: not known any longer


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAsk:
    """A job to submit, to the bench's fleet. It runs until it is cancelled."""

    nodes: int = 1
    cpus: int = 1  # on each node
    memory_mib: int = 0  # on each node; 0: not asked for
    gpus: int = 0  # on each node
    exclusive: bool = False
    feature: str = ""
    array: int = 0  # so many tasks; 0: no array
    throttle: int = 0  # so many of them at once; 0: any
    held: bool = False
    after: str = ""  # a job that has to end well first
    later: bool = False  # not to start for an hour
    priority: int = 0  # greater goes first; small numbers only
    node: str = ""  # it names this node


class Bench(ABC):
    """One empty cluster and a plugin for it. The kit calls nothing else."""

    lacking: frozenset[Capability] = frozenset()  # what this site lacks, though the plugin could
    hangs: Collection[str] = (  # the plugin's methods that a server which hangs keeps waiting
        *("demand", "nodes", "jobs_on", "register", "deregister", "drain", "resume", "advertise"),
    )
    many: int = 200  # how many nodes are registered at once
    bound_s: float = 30.0  # how long a call may take when the server hangs

    @property
    @abstractmethod
    def plugin(self) -> Scheduler:
        """The plugin under test."""

    @property
    @abstractmethod
    def fleet(self) -> FleetSpec:
        """Jobs are submitted to this one; at least 2 CPUs, a feature, and GPUs if the capability is declared."""

    @abstractmethod
    def spec(self, number: int) -> NodeSpec:
        """A node of the fleet, the same for the same number (from 1); its name resolves where it has to."""

    @abstractmethod
    async def boot(self, *nodes: NodeSpec) -> None:
        """The nodes' daemons begin to run."""

    @abstractmethod
    async def submit(self, ask: JobAsk) -> str:
        """Submit as a user does; the job's id as the plugin calls it. Raises OSError if it is refused."""

    @abstractmethod
    async def state(self, job: str) -> JobState:
        """By the scheduler's word; of an array, RUNNING once any task runs."""

    @abstractmethod
    async def cancel(self, job: str) -> None:
        """End it, waiting or running."""

    @abstractmethod
    async def known(self) -> Collection[str]:
        """The nodes that the scheduler knows, by its own commands, without placeholders."""

    @abstractmethod
    async def administrator_drains(self, node: Hostname, reason: str) -> None:
        """As an administrator does, with a reason where there is such a thing."""

    @abstractmethod
    async def is_drained(self, node: Hostname) -> bool:
        """By the scheduler's own commands."""

    @abstractmethod
    def silence(self) -> AbstractContextManager[None]:
        """There is no server."""

    @abstractmethod
    def hang(self) -> AbstractContextManager[None]:
        """There is a server, and it does not answer."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.plugin.capabilities - self.lacking

    def can(self, *needed: Capability) -> bool:
        return self.capabilities >= set(needed)

    async def joins(self, *numbers: int) -> list[Hostname]:
        """These nodes are registered, their daemons run, and the plugin says that they take jobs."""
        specs = [self.spec(number) for number in numbers]
        await self.plugin.register(specs)
        await self.boot(*specs)
        names = [spec.hostname for spec in specs]

        async def are_up() -> bool:
            usable = {node.hostname for node in await self.plugin.nodes() if node.is_usable}
            return usable >= set(names)

        await until(are_up, what=f"{names} take jobs")
        return names

    async def becomes(self, job: str, state: JobState) -> None:
        async def is_so() -> bool:
            return await self.state(job) is state

        await until(is_so, what=f"job {job} is {state}")


async def until(look: Callable[[], Awaitable[T]], *, what: str) -> T:
    """What `look` says once it says anything true; fails with `what` if it does not in time."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + DEADLINE_S
    while not (seen := await look()):
        assert loop.time() < give_up_at, f"not within {DEADLINE_S:g} s: {what}"
        await asyncio.sleep(_EVERY_S)
    return seen
