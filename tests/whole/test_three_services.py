"""All three services on one cluster of fakes, whatever happens to it: no running job is ever on an instance that we end.

Jobs come and go, nodes boot, fall and vanish, sources stop answering, messages are lost, services restart, the clock is set. The
scheduler here starts jobs on its own, at any time, as a real one does. At the end everything works again: then what waits is run,
and what nobody needs is given back.
"""

import asyncio
import logging
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from daemons.config.values import BudgetConfig, JobwatcherConfig, NodewatcherConfig
from daemons.errors import HeadnodeError
from daemons.model import Hostname, InstanceId, JobDemand, JobId, Member, NodeState, Shape
from daemons.ports import EndOutcome, Place
from jobwatcher.plan import Options
from jobwatcher.record import Recorder as GrowingRecorder
from jobwatcher.service import Growing
from nodewatcher import apply as shrinking_apply
from nodewatcher.record import Recorder as ShrinkingRecorder
from nodewatcher.service import Shrinking
from sqswatcher import reconcile
from sqswatcher.apply import World
from sqswatcher.service import Membership, Settings
from tests.fakes import (
    BATCH,
    FakeChecks,
    FakeGroups,
    FakePlaces,
    FakeQueue,
    FakeRows,
    FakeScheduler,
    FakeZone,
    hostname,
    instance_id,
)
from tests.sqswatcher.cluster import compute_ready, notification

MINIMUM, MAXIMUM, KEEP_IDLE, MAX_NODES = 0, 6, 1, 5
SPEC = replace(BATCH, keep_idle=KEEP_IDLE, boot_timeout_s=300.0)
GROWING = Options(
    jobwatcher=JobwatcherConfig(cancel_after_s=30.0, backoff_s=30.0, backoff_most_s=60.0),
    budget=BudgetConfig(max_nodes=MAX_NODES),
)
SHRINKING = NodewatcherConfig(idle_for_s=60.0, down_for_s=60.0, max_ending_share=0.5, max_unhealthy_share=0.5)


class TrueGroups(FakeGroups):
    """Auto Scaling that knows, when an end is asked for, what is running on that instance."""

    running: Any = None  # from an instance to the jobs on it
    ended_busy: str = ""

    async def end(self, instance_id: InstanceId, *, relaunch: bool = False) -> EndOutcome:
        if jobs := self.running(instance_id):
            self.ended_busy = f"{instance_id} was to be ended while {sorted(jobs)} run there"
        return await super().end(instance_id, relaunch=relaunch)


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
        )  # else a failure tells too much
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="hn-whole-"))
        self.groups = TrueGroups(groups=FakeGroups.of(spec=SPEC, minimum=MINIMUM, maximum=MAXIMUM).groups)
        self.groups.running = self._jobs_on
        self.queue, self.rows, self.zone = FakeQueue(), FakeRows(), FakeZone()
        self.scheduler, self.checks, self.places = FakeScheduler(), FakeChecks(), FakePlaces()
        self.now, self.awake = 1_800_000_000.0, 1_000.0
        self.launched, self.submitted = 0, 0
        self.hosts: dict[InstanceId, Hostname] = {}

    @initialize()
    def start(self) -> None:
        self._restart()

    # What the services do

    @rule()
    def sqswatcher_looks(self) -> None:
        self._cycle(self.membership.cycle(asyncio.Event()))
        self.queue.time_passes()

    @rule()
    def jobwatcher_looks(self) -> None:
        self._cycle(self.growing.cycle())

    @rule()
    def nodewatcher_looks(self) -> None:
        self._cycle(self.shrinking.cycle())

    @rule()
    def services_restart(self) -> None:
        self._restart()

    # What everybody else does

    @rule(count=st.integers(1, 4))
    def jobs_are_submitted(self, count: int) -> None:
        for _ in range(count):
            self.submitted += 1
            self.scheduler.waiting.append(
                JobDemand(jobs=(JobId(str(self.submitted)),), per_task=Shape(cpus=8), submitted_at=float(self.submitted))
            )

    @rule()
    def the_scheduler_starts_jobs(self) -> None:
        """It does so whatever others think, wherever a node is up, free and not drained."""
        for name, node in sorted(self.scheduler.known.items()):
            if self.scheduler.waiting and node.is_usable and node.is_empty and self._is_alive(name):
                self.scheduler.work(name, self.scheduler.waiting.pop(0).jobs[0])

    @rule()
    def a_job_starts_at_the_very_moment_of_the_next_drain(self) -> None:
        for name, node in sorted(self.scheduler.known.items()):
            if self.scheduler.waiting and node.is_usable and node.is_empty and self._is_alive(name):
                self.scheduler.on_drain.append((name, self.scheduler.waiting.pop(0).jobs[0]))

    @rule()
    def a_job_ends(self) -> None:
        busy = sorted(name for name, node in self.scheduler.known.items() if node.jobs)
        if busy:
            self.scheduler.finish(busy[0])

    @rule()
    def auto_scaling_acts(self) -> None:
        """It launches what is asked for, and lets go of what is leaving."""
        fleet = self.groups.groups[SPEC.name]
        staying = list(fleet.staying)
        for member in fleet.members:
            if member.is_leaving:
                self._gone(member.instance_id)
        while len(staying) < fleet.desired:
            self.launched += 1
            one = instance_id(self.launched)
            staying.append(Member(instance_id=one, lifecycle="InService", zone="a"))
            self.hosts[one] = hostname(1 + (self.launched - 1) % 8)  # names are used again
            self.places.known[one] = Place(address=f"10.0.0.{1 + (self.launched - 1) % 8}", hostname=self.hosts[one])
            self.queue.put(notification(self.launched, "LAUNCH"))
        self.groups.groups[SPEC.name] = replace(fleet, members=tuple(staying))

    @rule()
    def nodes_say_that_they_are_ready(self) -> None:
        for one, host in self.hosts.items():
            number = int(one.removeprefix("i-"), 16)
            self.queue.put(compute_ready(number, host=int(host.rpartition("-")[2])))

    @rule(seconds=st.sampled_from([1, 10, 30, 61, 400]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.awake += seconds

    # What goes wrong

    @rule(step_s=st.sampled_from([-7200.0, 3600.0]))
    def the_clock_is_set(self, step_s: float) -> None:
        self.now += step_s

    @rule(who=st.sampled_from(["scheduler", "groups", "rows", "queue", "zone", "checks"]))
    def somebody_stops_or_starts_answering(self, who: str) -> None:
        source = getattr(self, who)
        source.unplugged = not source.unplugged

    @rule()
    def messages_are_lost(self) -> None:
        self.queue.waiting.clear()

    @rule()
    def a_node_falls(self) -> None:
        """Its daemon is gone; the scheduler gives up its jobs and queues them again."""
        alive = sorted(name for name, node in self.scheduler.known.items() if NodeState.DOWN not in node.states)
        if alive:
            self._requeue(alive[0])
            self.scheduler.falls(alive[0], NodeState.DOWN)

    @rule()
    def an_instance_vanishes(self) -> None:
        if self.hosts:
            one = min(self.hosts)
            self.groups.forget(one)
            self._gone(one)

    # What must hold

    @invariant()
    def no_running_job_was_on_an_instance_that_we_ended(self) -> None:
        assert not self.groups.ended_busy, self.groups.ended_busy

    @invariant()
    def the_group_stays_within_its_bounds_and_the_budget(self) -> None:
        assert MINIMUM <= self.groups.groups[SPEC.name].desired <= min(MAXIMUM, MAX_NODES)

    def teardown(self) -> None:
        try:
            if hasattr(self, "growing"):
                self._settles()
        finally:
            self.loop.close()
            shutil.rmtree(self.directory)

    def _settles(self) -> None:
        """Everything works again, for a while: all jobs run, and then everything that is of use to nobody goes."""
        for source in (self.scheduler, self.groups, self.rows, self.queue, self.zone, self.checks):
            source.unplugged = False
        for name, node in self.scheduler.known.items():
            if self._is_alive(name):  # somebody has started its daemon again: where many are down at once, nobody else would
                self.scheduler.known[name] = replace(node, states=node.states - {NodeState.DOWN})
        for _ in range(60):
            self._everybody_acts(30)
            for name in list(self.scheduler.known):
                if self.scheduler.known[name].jobs:
                    self.scheduler.finish(name)
            if not self.scheduler.waiting and self.groups.groups[SPEC.name].desired <= max(MINIMUM, KEEP_IDLE):
                return
        rows = [(row.instance_id, row.state, row.hostname) for row in self.rows.stored.values() if row.is_live]
        raise AssertionError(
            f"{len(self.scheduler.waiting)} jobs wait, desired {self.groups.groups[SPEC.name].desired}; rows {rows}; "
            f"scheduler {[(node.hostname, sorted(node.states)) for node in self.scheduler.known.values()]}"
        )

    def _everybody_acts(self, seconds: float) -> None:
        self.auto_scaling_acts()
        self.nodes_say_that_they_are_ready()
        for _ in range(3):
            self.sqswatcher_looks()
        self.the_scheduler_starts_jobs()
        self.jobwatcher_looks()
        self.nodewatcher_looks()
        self.time_passes(seconds)
        self.no_running_job_was_on_an_instance_that_we_ended()
        self.the_group_stays_within_its_bounds_and_the_budget()

    def _cycle(self, cycle: Any) -> None:
        """A failed cycle is tried again some other time, as the loop does."""
        try:
            self.loop.run_until_complete(cycle)
        except HeadnodeError as err:
            if not err.transient:
                raise

    def _restart(self) -> None:
        world = World(
            queue=self.queue,
            rows=self.rows,
            scheduler=self.scheduler,
            groups=self.groups,
            zone=self.zone,
            fleets={SPEC.name: SPEC},
        )
        self.membership = Membership(
            world,
            places=self.places,
            settings=Settings(
                wait_s=0,
                receivers=1,
                visibility_s=60,
                terminate_grace_s=100,
                resync_s=60,
                resync=reconcile.Options(age_grace_s=60, max_removal_share=1),
            ),
            clock=lambda: self.now,
        )
        self.growing = Growing(
            scheduler=self.scheduler,
            groups=self.groups,
            rows=self.rows,
            recorder=GrowingRecorder(self.directory / "growing", most_bytes=1 << 18),
            options=GROWING,
            clock=lambda: self.now,
        )
        self.shrinking = Shrinking(
            shrinking_apply.World(scheduler=self.scheduler, groups=self.groups, rows=self.rows, checks=self.checks),
            recorder=ShrinkingRecorder(self.directory / "shrinking", most_bytes=1 << 18),
            options=SHRINKING,
            clock=lambda: self.now,
            awake=lambda: self.awake,
        )

    def _jobs_on(self, one: InstanceId) -> frozenset[JobId]:
        host = self.hosts.get(one)
        node = self.scheduler.known.get(host) if host is not None else None
        holder = self.scheduler.addresses.get(host) if host is not None else None
        mine = node is not None and self.places.known[one].address == holder
        return node.jobs if node is not None and mine and self._is_current(one) else frozenset()

    def _is_current(self, one: InstanceId) -> bool:
        """Is it the instance that has that name now? Names are used again."""
        return max((other for other, host in self.hosts.items() if host == self.hosts[one]), default=one) == one

    def _is_alive(self, name: Hostname) -> bool:
        return name in self.hosts.values()

    def _gone(self, one: InstanceId) -> None:
        """The machine is gone, and says so."""
        host = self.hosts.pop(one, None)
        if host is not None and host in self.scheduler.known and host not in self.hosts.values():
            self._requeue(host)
            self.scheduler.falls(host, NodeState.DOWN)
        self.places.known.pop(one, None)
        self.queue.put(notification(int(one.removeprefix("i-"), 16), "TERMINATE"))

    def _requeue(self, name: Hostname) -> None:
        for job in sorted(self.scheduler.known[name].jobs):
            self.scheduler.waiting.append(JobDemand(jobs=(job,), per_task=Shape(cpus=8)))
        self.scheduler.finish(name)


Cluster.TestCase.settings = settings(
    max_examples=2000,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestThreeServices = Cluster.TestCase
