"""jobwatcher among fakes: groups, table, scheduler, a clock that stands still until it is told, and a real record."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from daemons.config.values import BudgetConfig, JobwatcherConfig
from daemons.model import FleetName, FleetSpec, Instance, JobDemand, JobId, NodeState, Shape, State
from jobwatcher.plan import Options
from jobwatcher.record import Recorder
from jobwatcher.service import Growing
from tests.fakes import BATCH, FakeGroups, FakeRows, FakeScheduler, hostname, instance_id

NOON = 1_800_014_400.0


@dataclass
class Cluster:
    directory: Path
    groups: FakeGroups
    rows: FakeRows = field(default_factory=FakeRows)
    scheduler: FakeScheduler = field(default_factory=FakeScheduler)
    options: JobwatcherConfig = field(default_factory=JobwatcherConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    now: float = NOON

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new process, which knows what is in the directory and nothing else."""
        self.service = Growing(
            scheduler=self.scheduler,
            groups=self.groups,
            rows=self.rows,
            recorder=Recorder(self.directory, most_bytes=1 << 20),
            options=Options(jobwatcher=self.options, budget=self.budget),
            clock=lambda: self.now,
        )

    async def look(self, *, after_s: float = 10.0) -> None:
        self.now += after_s
        await self.service.cycle()

    async def glance(self, *, after_s: float = 10.0, is_woken: bool = False) -> None:
        self.now += after_s
        await self.service.glance(is_woken=is_woken)

    def registered(self, number: int, *, up: bool = True, state: State = State.REGISTERED, spec: FleetSpec = BATCH) -> None:
        row = Instance(instance_id=instance_id(number), fleet=spec.name, state=state, hostname=hostname(number))
        self.rows.hold(row)
        self.scheduler.up(hostname(number), shape=spec.shape, partition=spec.partition)
        if not up:
            node = self.scheduler.known[hostname(number)]
            self.scheduler.known[hostname(number)] = replace(node, states=frozenset({NodeState.AWAITED}))

    def waits(self, count: int, *, cpus: int = 8, job: str = "7", **fields: object) -> None:
        demand = JobDemand(jobs=(JobId(job),), count=count, per_task=Shape(cpus=cpus))
        self.scheduler.waiting.append(replace(demand, **fields))  # type: ignore[arg-type]  # fields of JobDemand

    @property
    def desired(self) -> int:
        return self.desired_of(BATCH.name)

    def desired_of(self, name: FleetName) -> int:
        return self.groups.groups[name].desired
