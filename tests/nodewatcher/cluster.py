"""nodewatcher among fakes: groups, table, scheduler, EC2, metrics, two clocks, and a real record."""

import shutil
import tempfile
import weakref
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from daemons.config.values import NodewatcherConfig
from daemons.metrics import HostReading, Reading
from daemons.model import Instance, InstanceId, State
from daemons.record import read_last
from nodewatcher.apply import World
from nodewatcher.record import Record, Recorder
from nodewatcher.service import Shrinking
from tests.fakes import FakeChecks, FakeGroups, FakeRows, FakeScheduler, hostname, instance_id

IDLE_FOR_S = 60.0
OPTIONS = NodewatcherConfig(idle_for_s=IDLE_FOR_S, max_ending_share=1.0)


@dataclass
class Cluster:
    """Registered nodes, a clock to turn, and the service under test."""

    groups: FakeGroups
    options: NodewatcherConfig = OPTIONS
    rows: FakeRows = field(default_factory=FakeRows)
    scheduler: FakeScheduler = field(default_factory=FakeScheduler)
    checks: FakeChecks = field(default_factory=FakeChecks)
    readings: Mapping[InstanceId, Reading] = field(default_factory=dict)
    now: float = 1_800_000_000.0
    awake: float = 1000.0
    told: list[frozenset[InstanceId]] = field(default_factory=list)  # who is live, each time that the nodes were told of the head

    def __post_init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="hn-nodewatcher-"))
        weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)
        self.restart()
        for fleet in self.groups.groups.values():
            for member in fleet.members:
                number = int(member.instance_id.removeprefix("i-"), 16)
                self.rows.hold(
                    Instance(
                        instance_id=member.instance_id,
                        fleet=fleet.name,
                        state=State.REGISTERED,
                        hostname=hostname(number),
                        registered_at=1.0 + number,
                    )
                )
                self.scheduler.up(hostname(number), shape=fleet.spec.shape, partition=fleet.spec.partition)

    async def _hear(self, live: Collection[InstanceId]) -> None:
        self.told.append(frozenset(live))

    def restart(self) -> None:
        """A new process, which knows what is in the directory and nothing else."""
        world = World(
            scheduler=self.scheduler,
            groups=self.groups,
            rows=self.rows,
            checks=self.checks,
            readings=lambda: self.readings,
            looked=self._hear,
        )
        recorder = Recorder(self.directory, most_bytes=1 << 20)
        self.service = Shrinking(world, recorder=recorder, options=self.options, clock=lambda: self.now, awake=lambda: self.awake)

    async def passes(self, *, after_s: float = 0.0) -> None:
        """One pass that late. A long wait is spent looking, as the service does."""
        self.pass_time(after_s)
        await self.service.cycle()

    async def glance(self, *, after_s: float = 10.0) -> None:
        """A pass as the service makes it, which need not be a whole look."""
        self.pass_time(after_s)
        await self.service.glance()

    async def watches(self, period_s: float, *, every_s: float = 10.0) -> None:
        """Pass after pass for that long."""
        for _ in range(int(period_s / every_s)):
            await self.passes(after_s=every_s)

    async def glances(self, period_s: float, *, every_s: float = 10.0) -> None:
        """Glance after glance for that long."""
        for _ in range(int(period_s / every_s)):
            await self.glance(after_s=every_s)

    def pass_time(self, period_s: float) -> None:
        self.now += period_s
        self.awake += period_s

    def state(self, number: int) -> State:
        return self.rows.stored[instance_id(number)].state

    def row(self, number: int) -> Instance:
        return self.rows.stored[instance_id(number)]

    def change_row(self, number: int, **fields: object) -> None:
        self.rows.hold(replace(self.row(number), **fields))  # type: ignore[arg-type]  # fields of Instance

    def tells(self, number: int, *, gone: bool = False, **fields: object) -> None:
        """The node says that of itself, now."""
        host = HostReading(**fields)  # type: ignore[arg-type]  # fields of HostReading
        self.readings = {**self.readings, instance_id(number): Reading(at=self.now, host=host, gone=gone)}

    def sentence(self, number: int) -> str:
        """What was said of the node last."""
        record = self.record()
        return next(one.reason for one in record.verdicts if one.instance_id == instance_id(number))

    def record(self) -> Record:
        record = read_last(self.directory, Record)
        assert record is not None
        return record

    @property
    def ended(self) -> Sequence[InstanceId]:
        return sorted(self.groups.ended)
