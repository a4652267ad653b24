"""All three services on one cluster of fakes, whatever happens to it: no running job is ever on an instance that we end.

Jobs come and go, nodes boot, fall, go silent and vanish, sources stop answering, messages are lost, ends have no answer, services
restart and are killed between any two calls, nodes are held, their own metrics stop coming, the clock is set. The scheduler
here starts jobs on its own, at any time, as a real one does. At the end everything works again: then what waits is run, and what
nobody needs is given back.
"""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from daemons.config.values import BudgetConfig, JobwatcherConfig, NodewatcherConfig
from daemons.errors import AwsUnavailable, HeadnodeError
from daemons.metrics import HostReading, Topics, render_reading
from daemons.model import Hostname, Instance, InstanceId, JobDemand, JobId, Member, NodeState, Shape, State
from daemons.mqtt import Heard
from daemons.ports import EndOutcome, Place
from jobwatcher.plan import Options
from jobwatcher.record import Recorder as GrowingRecorder
from jobwatcher.service import Growing
from nodewatcher import apply as shrinking_apply
from nodewatcher import due
from nodewatcher.record import Recorder as ShrinkingRecorder
from nodewatcher.service import Shrinking
from nodewatcher.telemetry import Telemetry
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
    Killed,
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
SHARE, STALE_S = 0.5, 45.0
SHRINKING = NodewatcherConfig(
    idle_for_s=60.0, down_for_s=60.0, max_ending_share=SHARE, max_unhealthy_share=0.5, busy_cpu_share=0.2, metrics_stale_s=STALE_S
)
TOPICS = Topics("headnode", "hpc")


class TrueGroups(FakeGroups):
    """Auto Scaling that knows, when an end is asked for, why it must not be."""

    objection: Any = None  # from an instance to why it must not be ended now, "" if it may
    ended_wrongly: str = ""
    is_mute: bool = False  # the next end has no answer, and takes effect

    async def end(self, instance_id: InstanceId, *, relaunch: bool = False) -> EndOutcome:
        if because := self.objection(instance_id):
            self.ended_wrongly = f"{instance_id} was to be ended: {because}"
        outcome = await super().end(instance_id, relaunch=relaunch)
        if self.is_mute:
            self.is_mute = False
            raise AwsUnavailable("end: timed out")
        return outcome


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
        )  # else a failure tells too much
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="hn-whole-"))
        self.groups = TrueGroups(groups=FakeGroups.of(spec=SPEC, minimum=MINIMUM, maximum=MAXIMUM).groups)
        self.groups.objection = self._objection
        self.queue, self.rows, self.zone = FakeQueue(), FakeRows(), FakeZone()
        self.scheduler, self.checks, self.places = FakeScheduler(), FakeChecks(), FakePlaces()
        self.now, self.awake = 1_800_000_000.0, 1_000.0
        self.launched, self.submitted = 0, 0
        self.hosts: dict[InstanceId, Hostname] = {}
        self.has_broker = True
        self.away: set[str] = set()  # services that do not run
        self.long_rests = mock.patch.object(due, "SHARE_OF_IDLE", 1.0)  # else there would be none to speak of
        self.long_rests.start()

    @initialize(idle=st.sampled_from([0, 3]))
    def start(self, idle: int) -> None:
        """With nothing, or with nodes that were busy a moment ago."""
        self._restart()
        if idle:
            self.jobs_are_submitted(idle)
            for _ in range(3):
                self._everybody_acts(10)
            for name in self.scheduler.known:
                self.scheduler.finish(name)

    # What the services do

    @rule()
    def sqswatcher_looks(self) -> None:
        self._cycle("sqswatcher", lambda: self.membership.cycle(asyncio.Event()))
        self.queue.time_passes()

    @rule()
    def jobwatcher_looks(self) -> None:
        self._cycle("jobwatcher", self.growing.glance)

    @rule()
    def nodewatcher_looks(self) -> None:
        """A pass takes away no more working nodes than the configuration lets be on their way out at once."""
        before = len(self.groups.ended)
        working = {row.instance_id for row in self.rows.stored.values() if self._may_be_needed(row)}
        most = max(1, int(len(self.groups.groups[SPEC.name].members) * SHARE))
        self._cycle("nodewatcher", self.shrinking.glance)
        gone = working & set(self.groups.ended[before:])
        assert len(gone) <= most, f"{sorted(gone)} at once"

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
    def jobs_start_at_the_very_moment_of_the_next_drain(self) -> None:
        """On every node that is idle now: nobody has seen them wait."""
        for name, node in sorted(self.scheduler.known.items()):
            if node.is_usable and node.is_empty and self._is_alive(name):
                self.submitted += 1
                self.scheduler.on_drain.append((name, JobId(str(self.submitted))))

    @rule(all_of_them=st.booleans())
    def nodes_say_how_busy_they_are(self, all_of_them: bool) -> None:
        for one in sorted(self.hosts):
            if self.has_broker and (all_of_them or int(one.removeprefix("i-"), 16) % 2):
                payload = render_reading(HostReading(cpu_share=0.9 if self._jobs_on(one) else 0.0))
                self.telemetry.hear(Heard(TOPICS.reading(one), payload, retained=False))

    @rule()
    def somebody_holds_a_node(self) -> None:
        live = sorted(row.instance_id for row in self.rows.stored.values() if row.is_live)
        if live:
            row = self.rows.stored[live[-1]]
            self.rows.hold(replace(row, held_until=self.now + 100.0, held_by="ops", version=row.version + 1))

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

    @rule(seconds=st.sampled_from([10, 30, 40, 400]), times=st.integers(1, 2))
    def life_goes_on(self, seconds: float, times: int) -> None:
        """All of it in its order, so that what goes wrong meets a cluster at work."""
        for _ in range(times):
            self._everybody_acts(seconds)

    @rule(jobs_slip_in=st.booleans())
    def nodes_stand_idle_for_long_enough(self, jobs_slip_in: bool) -> None:
        for name in self.scheduler.known:
            self.scheduler.finish(name)
        self._everybody_acts(30)
        self._everybody_acts(31)
        if jobs_slip_in:
            self.jobs_start_at_the_very_moment_of_the_next_drain()
        self._everybody_acts(1)

    # What goes wrong

    @rule(step_s=st.sampled_from([-7200.0, 3600.0]))
    def the_clock_is_set(self, step_s: float) -> None:
        self.now += step_s

    @rule(who=st.sampled_from(["scheduler", "groups", "rows", "queue", "zone", "checks"]))
    def somebody_stops_or_starts_answering(self, who: str) -> None:
        source = getattr(self, who)
        source.unplugged = not source.unplugged

    @rule(who=st.sampled_from(["scheduler", "groups", "rows", "queue", "zone"]), calls=st.integers(0, 8))
    def a_service_is_about_to_be_killed(self, who: str, calls: int) -> None:
        """At one of its next calls, whichever service makes it."""
        getattr(self, who).fuse = calls

    @rule(who=st.sampled_from(["sqswatcher", "jobwatcher", "nodewatcher"]))
    def a_service_is_stopped(self, who: str) -> None:
        self.away.add(who)

    @rule()
    def sqswatcher_will_be_killed_once_it_has_registered_nodes(self) -> None:
        self.scheduler.kills_who_registers = True

    @rule()
    def the_next_end_has_no_answer(self) -> None:
        self.groups.is_mute = True

    @rule()
    def the_broker_goes_or_comes(self) -> None:
        self.has_broker = not self.has_broker

    @rule()
    def messages_are_lost(self) -> None:
        self.queue.waiting.clear()

    @rule()
    def a_node_goes_silent(self) -> None:
        """Its daemon does not answer; its jobs run on, for all anybody knows."""
        speaking = sorted(name for name, node in self.scheduler.known.items() if NodeState.SILENT not in node.states)
        if speaking:
            self.scheduler.falls(speaking[-1], NodeState.SILENT)

    @rule()
    def silent_nodes_speak_again(self) -> None:
        for name, node in self.scheduler.known.items():
            self.scheduler.known[name] = replace(node, states=node.states - {NodeState.SILENT})

    @rule()
    def a_node_falls(self) -> None:
        """Its daemon is gone; the scheduler gives up its jobs and queues them again."""
        alive = sorted(name for name, node in self.scheduler.known.items() if NodeState.DOWN not in node.states)
        if alive:
            self._requeue(alive[0])
            self.scheduler.falls(alive[0], NodeState.DOWN)

    @rule()
    def a_machine_breaks(self) -> None:
        """EC2 sees it, and the scheduler goes on listing its jobs."""
        alive = sorted(one for one, host in self.hosts.items() if host in self.scheduler.known and self._is_current(one))
        if alive:
            self.scheduler.falls(self.hosts[alive[0]], NodeState.DOWN)
            self.checks.bad.add(alive[0])

    @rule()
    def an_instance_vanishes(self) -> None:
        if self.hosts:
            one = min(self.hosts)
            self.groups.forget(one)
            self._gone(one)

    # What must hold

    @invariant()
    def no_running_job_was_on_an_instance_that_we_ended(self) -> None:
        """Nor was the instance held, nor its metrics old where it was ended for being idle."""
        assert not self.groups.ended_wrongly, self.groups.ended_wrongly

    @invariant()
    def the_group_stays_within_its_bounds_and_the_budget(self) -> None:
        assert MINIMUM <= self.groups.groups[SPEC.name].desired <= min(MAXIMUM, MAX_NODES)

    def teardown(self) -> None:
        try:
            if hasattr(self, "growing"):
                self._settles()
        finally:
            self.long_rests.stop()
            self.loop.close()
            shutil.rmtree(self.directory)

    def _settles(self) -> None:
        """Everything works again, for a while: all jobs run, and then everything that is of use to nobody goes."""
        for source in (self.scheduler, self.groups, self.rows, self.queue, self.zone, self.checks):
            source.unplugged, source.fuse = False, None
        self.scheduler.kills_who_registers = False
        self.checks.bad.clear()
        if self.away:
            self._restart()
        for row in list(self.rows.stored.values()):  # who has held a node lets it go: the clock may have been set back meanwhile
            self.rows.hold(replace(row, held_until=None, version=row.version + 1))
        self.has_broker = True
        self.silent_nodes_speak_again()
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
        self.nodes_say_how_busy_they_are(all_of_them=True)
        self.jobwatcher_looks()
        self.nodewatcher_looks()
        self.time_passes(seconds)
        self.no_running_job_was_on_an_instance_that_we_ended()
        self.the_group_stays_within_its_bounds_and_the_budget()

    def _cycle(self, service: str, cycle: Callable[[], Coroutine[None, None, None]]) -> None:
        """A failed cycle is tried again some other time, as the loop does; who was killed is away until it is started again."""
        if service in self.away:
            return
        try:
            self.loop.run_until_complete(cycle())
        except Killed:
            self.away.add(service)
            for source in (self.scheduler, self.groups, self.rows, self.queue, self.zone):
                source.fuse = None
        except HeadnodeError as err:
            if not err.transient:
                raise

    def _restart(self) -> None:
        self.away.clear()
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
        self.telemetry = Telemetry(TOPICS, clock=lambda: self.now)
        self.shrinking = Shrinking(
            shrinking_apply.World(
                scheduler=self.scheduler,
                groups=self.groups,
                rows=self.rows,
                checks=self.checks,
                readings=self.telemetry.readings,
            ),
            recorder=ShrinkingRecorder(self.directory / "shrinking", most_bytes=1 << 18),
            options=SHRINKING,
            clock=lambda: self.now,
            awake=lambda: self.awake,
        )

    def _objection(self, one: InstanceId) -> str:
        if jobs := self._jobs_on(one):
            return f"{sorted(jobs)} run there"
        row = self.rows.stored.get(one)
        if row is not None and row.held_until is not None and self.now < row.held_until and row.state is not State.TERMINATING:
            return f"it is held until {row.held_until}"
        if row is not None and row.drain_reason.startswith("idle"):
            reading = self.telemetry.readings().get(one)
            if reading is None or abs(self.now - reading.at) > STALE_S:
                return f"at {self.now} its own metrics are {reading}"
        return ""

    def _may_be_needed(self, row: Instance) -> bool:
        return row.state in (State.REGISTERED, State.DRAINING) and row.notice is None

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
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestThreeServices = Cluster.TestCase
