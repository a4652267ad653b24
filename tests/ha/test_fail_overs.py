"""A hundred forced fail-overs. The holder stands still before each of the calls that it makes to the outside, past its lease; the
other takes over and works; the first goes on where it stood. It does nothing to the world any more, the other has taken no longer
than it may, and the end is the same as if nothing had happened.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from daemons.config.values import BudgetConfig, JobwatcherConfig, NodewatcherConfig
from daemons.errors import LeaseLost
from daemons.ha.guards import GuardedRows, guard_groups, guard_queue, guard_rows, guard_zone
from daemons.ha.leadership import Term
from daemons.model import Instance, JobDemand, JobId, Shape, State
from jobwatcher.plan import Options
from jobwatcher.record import Recorder as GrowingRecorder
from jobwatcher.service import Growing
from nodewatcher import apply as shrinking
from nodewatcher.record import Recorder as ShrinkingRecorder
from nodewatcher.service import Shrinking
from schedulers.guarded import guard_scheduler
from sqswatcher import reconcile
from sqswatcher.apply import World
from sqswatcher.service import Membership, Settings
from tests.crash.test_every_call import STORY, outcome, settled
from tests.fakes import BATCH, FakeChecks, FakeGroups, FakeRows, FakeScheduler, hostname, instance_id
from tests.ha.heads import LEASE_S, Head, Heads, Ledger, heads
from tests.sqswatcher.cluster import Cluster

MOST_ROUNDS = 60
FAIL_OVERS = 100
GROUP_DEEDS = ("raise_desired", "launch", "cancel_unfulfilled", "end", "complete_hook", "extend_hook")
SCHEDULER_DEEDS = ("register", "deregister", "requeue", "drain", "resume", "set_aside", "give_back", "advertise")


@dataclass
class Told:
    """How a story went."""

    end: Any
    heads: Heads

    @property
    def ledger(self) -> Ledger:
        return self.heads.one.ledger


Story = Callable[[int, Path], Awaitable[Told]]  # held still at that call; 0: at none


class FencedRows(FakeRows):
    """The shared rows, as one term may write them: refused where a later term has begun, as DynamoDB does."""

    def __init__(self, rows: FakeRows, ledger: Ledger, term: Term | None) -> None:
        super().__init__(stored=rows.stored)
        self._rows, self._ledger, self._term = rows, ledger, term

    async def put(self, rows: Any) -> Any:
        if self._term is not None and self._ledger.leases.held[self._ledger.service].fence != self._term.fence.number:
            raise LeaseLost("the table refused to write")
        return await self._rows.put(rows)

    async def live(self) -> tuple[Instance, ...]:
        return await self._rows.live()

    async def get(self, instance_ids: Any) -> Any:
        return await self._rows.get(instance_ids)

    async def all(self) -> tuple[Instance, ...]:
        return await self._rows.all()

    async def unsettled(self) -> tuple[Instance, ...]:
        return await self._rows.unsettled()


def rows_of(head: Head, rows: FakeRows, term: Term | None) -> Any:
    fenced = head.noted(FencedRows(rows, head.ledger, term), "put")
    return head.wired(guard_rows(fenced, term), "get", "put", "live", "all", "unsettled")


def groups_of(head: Head, groups: FakeGroups, term: Term | None) -> Any:
    guarded = guard_groups(head.noted(groups, *GROUP_DEEDS), term)
    return head.wired(guarded, "fleets", "fleet_of", "launch_failures", *GROUP_DEEDS)


def scheduler_of(head: Head, scheduler: FakeScheduler, term: Term | None) -> Any:
    below = NotedScheduler(scheduler, head)
    return head.wired(guard_scheduler(below, term), "demand", "nodes", "jobs_on", *SCHEDULER_DEEDS)


class NotedScheduler(FakeScheduler):
    """The shared scheduler, seen from one head: what it does to nodes is in the ledger."""

    def __init__(self, scheduler: FakeScheduler, head: Head) -> None:
        super().__init__()
        noted = head.noted(scheduler, *SCHEDULER_DEEDS)
        for verb in ("demand", "nodes", "jobs_on", *SCHEDULER_DEEDS):
            setattr(self, verb, getattr(noted, verb))


async def membership(at: int, directory: Path) -> Told:
    """Everything that happens to membership, as the crash tests tell it."""
    cluster = Cluster(groups=FakeGroups.of(1, 2, 3, 4, 5))

    def make(head: Head, term: Term | None) -> Callable[[], Awaitable[None]]:
        queue = guard_queue(head.noted(cluster.queue, "receive", "delete", "postpone"), term)
        zone = guard_zone(head.noted(cluster.zone, "change"), term)
        world = World(
            queue=head.wired(queue, "receive", "delete", "postpone"),
            rows=rows_of(head, cluster.rows, term),
            scheduler=scheduler_of(head, cluster.scheduler, term),
            groups=groups_of(head, cluster.groups, term),
            zone=head.wired(zone, "change", "records"),
            fleets={BATCH.name: BATCH},
        )
        settings = Settings(
            wait_s=0,
            receivers=1,
            visibility_s=60,
            terminate_grace_s=100,
            resync_s=1e9,
            resync=reconcile.Options(age_grace_s=1e12, max_removal_share=1),
        )
        places = head.wired(cluster.places, "places")
        service = Membership(world, places=places, settings=settings, clock=lambda: head.clock.now)
        return lambda: service.cycle(asyncio.Event())

    pair = heads("sqswatcher", make)
    pair.between = cluster.queue.time_passes  # what one has received and not done, the other receives
    pair.hold_still(at)
    for chapter in STORY:
        for body in chapter(cluster):
            cluster.queue.put(body)
        for _ in range(MOST_ROUNDS):
            await pair.turns(after_s=3)
            if settled(cluster):
                break
        else:
            pytest.fail(f"never settled: {cluster.queue.waiting} {cluster.queue.in_flight}")
    return Told(outcome(cluster), pair)


async def growing(at: int, directory: Path) -> Told:
    """Jobs wait and nodes come; they go again, before all have come, and what has not come is cancelled; more jobs wait."""
    groups, scheduler, rows = FakeGroups.of(maximum=9), FakeScheduler(), FakeRows()

    def make(head: Head, term: Term | None) -> Callable[[], Awaitable[None]]:
        service = Growing(
            scheduler=scheduler_of(head, scheduler, term),
            groups=groups_of(head, groups, term),
            rows=rows_of(head, rows, term),
            recorder=GrowingRecorder(directory / head.name, most_bytes=1 << 20),
            options=Options(jobwatcher=JobwatcherConfig(cancel_after_s=30, settle_s=10), budget=BudgetConfig()),
            clock=lambda: head.clock.now,
        )
        return service.glance

    def wait(count: int) -> None:
        scheduler.waiting = [JobDemand(jobs=(JobId("7"),), count=count, per_task=Shape(cpus=8))] if count else []

    def desired() -> int:
        return groups.groups[BATCH.name].desired

    pair = heads("jobwatcher", make)
    pair.hold_still(at)
    seen = []
    for waiting in (3, 0, 5, 2, 7):
        wait(waiting)
        for _ in range(MOST_ROUNDS):
            await pair.turns(after_s=10)
            if desired() == waiting:
                break
        seen.append(desired())
    return Told(seen, pair)


async def shrinking_story(at: int, directory: Path) -> Told:
    """Nodes stand idle and go, but for the busy one; work comes back to one that is draining."""
    groups, scheduler, rows = FakeGroups.of(1, 2, 3, 4, minimum=1), FakeScheduler(), FakeRows()
    for number in (1, 2, 3, 4):
        host = hostname(number)
        row = Instance(instance_id=instance_id(number), fleet=BATCH.name, state=State.REGISTERED, hostname=host)
        rows.hold(replace(row, registered_at=1.0 + number))
        scheduler.up(host)
    scheduler.work(hostname(4), "17")
    scheduler.on_drain.append((hostname(2), JobId("18")))  # it slips in at the very moment

    def make(head: Head, term: Term | None) -> Callable[[], Awaitable[None]]:
        world = shrinking.World(
            scheduler=scheduler_of(head, scheduler, term),
            groups=groups_of(head, groups, term),
            rows=rows_of(head, rows, term),
            checks=FakeChecks(),
        )
        service = Shrinking(
            world,
            recorder=ShrinkingRecorder(directory / head.name, most_bytes=1 << 20),
            options=NodewatcherConfig(idle_for_s=60.0, max_ending_share=1.0),
            clock=lambda: head.clock.now,
            awake=lambda: head.clock.awake,
        )
        return service.glance

    pair = heads("nodewatcher", make)
    pair.hold_still(at)
    for _ in range(24):
        await pair.turns(after_s=10)
    states = {row.instance_id: row.state for row in rows.stored.values()}
    return Told((sorted(groups.ended), states, {name: sorted(node.states) for name, node in scheduler.known.items()}), pair)


STORIES: dict[str, Story] = {"sqswatcher": membership, "jobwatcher": growing, "nodewatcher": shrinking_story}


async def test_the_undisturbed_stories_end_as_they_should(tmp_path: Path) -> None:
    assert (await growing(0, tmp_path)).end == [3, 0, 5, 2, 7]
    told = await shrinking_story(0, tmp_path)
    ended, states, _ = told.end
    assert ended == [instance_id(1), instance_id(3)]
    assert (states[instance_id(2)], states[instance_id(4)]) == (State.REGISTERED, State.REGISTERED)


@pytest.mark.no_cover  # the stories are told a hundred times, and what they visit is covered elsewhere
async def test_a_hundred_times_no_action_by_who_does_not_hold_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fail_overs: list[float] = []
    points: dict[str, int] = {}
    for service, story in STORIES.items():
        number = itertools.count()
        quiet = await story(0, tmp_path / f"{service}-{next(number)}")
        assert {deed[0] for deed in quiet.ledger.deeds} == {"one"}, "the other only stands by"
        for at, verb in enumerate(quiet.heads.one.wire.verbs, start=1):
            told = await story(at, tmp_path / f"{service}-{next(number)}")
            assert told.ledger.wrong == [], f"{service} held still before its call {at}, {verb}"
            assert told.end == quiet.end, f"{service} held still before its call {at}, {verb}"
            assert len(told.heads.took_s) == 1
            fail_overs += told.heads.took_s
            points[service] = at
    with capsys.disabled():
        print(
            f"\n{len(fail_overs)} fail-overs {points}, take-over within {max(fail_overs):.1f} s of a lease of {LEASE_S:g} s",
            end=" ",
        )
    assert len(fail_overs) >= FAIL_OVERS
    assert max(fail_overs) <= LEASE_S + 2


@pytest.mark.no_cover
async def test_without_the_guards_the_ledger_would_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests are worth: with a last look that always allows, somebody acts without the lease."""
    monkeypatch.setattr(Term, "check", lambda _: None)
    quiet = await shrinking_story(0, tmp_path / "quiet")
    missed, at = {"drain", "end", "put"}, 0
    while missed and at < len(quiet.heads.one.wire.verbs):
        at += 1
        missed -= {verb for _, verb, _ in (await shrinking_story(at, tmp_path / f"{at}")).ledger.wrong}
    assert not missed


async def test_what_passed_the_last_look_and_then_stood_still_is_stopped_by_the_table() -> None:
    """The window that no look can close, for what is written: the fence closes it."""
    rows = FakeRows()
    pair = heads("nodewatcher", lambda *_: nothing)
    await pair.one.turn()
    term = pair.one.leadership.term

    class Standing(FencedRows):
        async def put(self, rows: Any) -> Any:
            await pair._fail_over()  # after the guard's look, before the wire
            return await super().put(rows)

    late = GuardedRows(Standing(rows, pair.one.ledger, term), term)
    with pytest.raises(LeaseLost):
        await late.put([Instance(instance_id=instance_id(1), fleet=BATCH.name, state=State.PENDING)])
    assert rows.stored == {}
    assert pair.other.is_on


async def nothing() -> None:
    return None
