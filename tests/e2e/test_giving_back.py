"""nodewatcher on a real Slurm, where it is hardest: jobs that arrive while a node is drained, and a controller that hangs."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from daemons.config.values import NodewatcherConfig
from daemons.errors import SchedulerUnavailable
from daemons.model import Hostname, Instance, InstanceId, JobId, Member, State
from daemons.ports import EndOutcome
from nodewatcher.apply import World
from nodewatcher.record import Recorder
from nodewatcher.service import Shrinking
from sandbox.slurm import SlurmCluster
from schedulers.slurm import Slurm, SlurmSettings
from tests.fakes import FakeChecks, FakeGroups, FakeRows
from tests.schedulers.slurm.bench import BATCH, Bench

pytestmark = [pytest.mark.e2e, pytest.mark.slurm]

ROUNDS, NODES = 200, 8  # each round is a job and a node; so many race at once
OVER = ("COMPLETED", "FAILED", "NODE_FAIL", "CANCELLED", "TIMEOUT")
IDLE_FOR_S = 20.0
FROZEN_FOR_S = 40.0  # by everybody's clock: more than any time-out of the sandbox's Slurm (SlurmdTimeout is 30 s)
OPTIONS = NodewatcherConfig(idle_for_s=IDLE_FOR_S, max_ending_share=1.0, down_for_s=300.0)


class Groups(FakeGroups):
    """Asks Slurm itself, at the moment an instance is ended, what runs there."""

    cluster: SlurmCluster
    hostnames: dict[InstanceId, Hostname]
    killed: list[str]

    async def end(self, instance_id: InstanceId, *, relaunch: bool = False) -> EndOutcome:
        asked = ("squeue", "-h", "-t", "R,CG,S,CF,ST", "-w", self.hostnames[instance_id], "-o", "%i")
        answer = await asyncio.to_thread(self.cluster.run, *asked)
        assert answer.returncode == 0, answer.stderr
        self.killed += answer.stdout.split()
        return await super().end(instance_id, relaunch=relaunch)


class Stage:
    """Registered nodes on a real Slurm among a fake AWS, with a clock to turn."""

    def __init__(self, bench: Bench, directory: Path, *, timeout_s: float = 15.0) -> None:
        self.bench, self.directory = bench, directory
        self.now = 1_800_000_000.0
        self.rows = FakeRows()
        self.groups = Groups.of(spec=BATCH)
        self.groups.cluster, self.groups.hostnames, self.groups.killed = bench.cluster, {}, []
        settings = SlurmSettings.model_validate({**bench.cluster.settings, "timeout_s": timeout_s})
        self.slurm = Slurm.open(settings, cluster="test", fleets=bench.fleets)
        world = World(scheduler=self.slurm, groups=self.groups, rows=self.rows, checks=FakeChecks())
        recorder = Recorder(directory, most_bytes=1 << 20)
        self.service = Shrinking(world, recorder=recorder, options=OPTIONS, clock=lambda: self.now, awake=lambda: self.now)

    async def joins(self, *numbers: int) -> list[Hostname]:
        """Nodes boot, are registered, and Slurm would start jobs there."""
        instances = [self.bench.launch(number) for number in numbers]
        hostnames = await self.bench.join(*instances)
        for instance, hostname in zip(instances, hostnames, strict=True):
            self.groups.hostnames[InstanceId(instance.instance_id)] = hostname
            self.returns(InstanceId(instance.instance_id))
        return hostnames

    def returns(self, instance_id: InstanceId) -> None:
        """It is in its group and takes jobs, as if it were new."""
        fleet = self.groups.groups[BATCH.name]
        others = tuple(member for member in fleet.members if member.instance_id != instance_id)
        member = Member(instance_id=instance_id, lifecycle="InService", zone="a")
        self.groups.groups[BATCH.name] = replace(fleet, members=(*others, member), desired=len(others) + 1)
        before = self.rows.stored.get(instance_id)
        self.rows.hold(
            Instance(
                instance_id=instance_id,
                fleet=BATCH.name,
                state=State.REGISTERED,
                version=before.version + 1 if before else 1,
                hostname=self.groups.hostnames[instance_id],
                registered_at=self.now,
            )
        )

    async def is_taken_back(self, instance_id: InstanceId) -> None:
        """What was drained for nothing takes jobs again."""
        for _ in range(5):
            if self.rows.stored[instance_id].state is State.REGISTERED:
                return
            await self.passes(after_s=1.0)
        raise AssertionError(f"{instance_id} stays drained: {self.rows.stored[instance_id]}")

    async def passes(self, *, after_s: float) -> None:
        self.now += after_s
        await self.service.cycle()


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hn-back-"))
    yield path
    shutil.rmtree(path)


async def test_jobs_that_arrive_at_the_very_moment_of_the_drain_are_neither_killed_nor_stuck(
    dynamic: Bench, directory: Path
) -> None:
    """Each round: idle nodes, and for each of them a job that is submitted anywhere between before the look and after the end.
    A node that was ended comes back as a new one would, with the job waiting for it.
    """
    stage, random = Stage(dynamic, directory), Random(20)  # noqa: S311  when, not what nobody may guess
    hostnames = await stage.joins(*range(1, NODES + 1))
    instance_ids = {hostname: instance_id for instance_id, hostname in stage.groups.hostnames.items()}
    jobs: list[JobId] = []
    ended = 0

    async def submit(hostname: Hostname, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        asked = ("--time=5", f"--nodelist={hostname}")
        jobs.append(await asyncio.to_thread(dynamic.cluster.submit, *asked, script="#!/bin/sh\nexec sleep 0.5\n"))

    for _ in range(ROUNDS // NODES):
        await stage.passes(after_s=10.0)  # from now on they are seen to be idle
        submitting = [asyncio.create_task(submit(hostname, random.uniform(0.0, 0.5))) for hostname in hostnames]
        await asyncio.sleep(random.uniform(0.0, 0.3))
        await stage.passes(after_s=IDLE_FOR_S)
        await asyncio.gather(*submitting)
        gone = [stage.groups.hostnames[instance_id] for instance_id in stage.groups.ended]
        stage.groups.ended.clear()
        ended += len(gone)
        for hostname in gone:
            stage.returns(instance_ids[hostname])
        if gone:
            answer = dynamic.cluster.run("scontrol", "update", f"NodeName={','.join(gone)}", "State=RESUME")
            assert answer.returncode == 0, answer.stderr
        for hostname in hostnames:
            await stage.is_taken_back(instance_ids[hostname])
        for job in jobs[-NODES:]:
            await dynamic.state_becomes(job, *OVER)
    states = dynamic.cluster.job_states()
    assert len(jobs) == ROUNDS
    assert {states[job] for job in jobs} == {"COMPLETED"}
    assert not stage.groups.killed, "an instance was ended under a job"
    print(f"race: {ROUNDS} jobs, the node was ended before the job in {ended}, kept for it in {ROUNDS - ended}")
    assert 0 < ended < ROUNDS, "the race was never run"


async def test_a_controller_that_hangs_longer_than_every_time_out_ends_nobody_and_afterwards_life_goes_on(
    dynamic: Bench, directory: Path
) -> None:
    stage = Stage(dynamic, directory, timeout_s=2.0)
    busy, idle = await stage.joins(1, 2)
    job = dynamic.cluster.submit("--time=5", f"--nodelist={busy}", script="#!/bin/sh\nexec sleep 600\n")
    await dynamic.state_becomes(job, "RUNNING")
    await stage.passes(after_s=10.0)
    thaws_at, passes = time.monotonic() + FROZEN_FOR_S, 0
    with dynamic.cluster.frozen_controller():
        while time.monotonic() < thaws_at or passes < 12:  # two hours by our clock: beyond idle_for, down_for, boot time-outs
            passes += 1
            with pytest.raises(SchedulerUnavailable):
                await stage.passes(after_s=600.0)
    assert not stage.groups.ended
    assert {row.state for row in stage.rows.stored.values()} == {State.REGISTERED}
    await dynamic.usable(busy, idle)
    await stage.passes(after_s=10.0)
    assert not stage.groups.ended, "nobody saw it idle while Slurm was silent"
    await stage.passes(after_s=IDLE_FOR_S)
    ended = {stage.groups.hostnames[one] for one in stage.groups.ended}
    assert ended == {idle}
    assert not stage.groups.killed
    assert dynamic.cluster.job_states()[job] == "RUNNING"
