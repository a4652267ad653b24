"""Leases with a clock that stands still until it is told: who may act, and who may not any more."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from daemons.errors import LeaseLost
from daemons.ha.guards import GuardedRows, guard_queue, guard_rows
from daemons.ha.leadership import MARGIN_SHARE, Leadership, boot_s
from daemons.ha.lease import Seen
from daemons.ha.look import last_look, looking
from daemons.ha.standing import EachTerm, Standing
from daemons.loop import run_every
from daemons.model import Instance, InstanceId
from daemons.notify import Progress
from tests.fakes import FakeLeases, FakeQueue, FakeRows

LEASE_S, RENEW_S = 20.0, 4.0
RELIED_S = LEASE_S * (1 - MARGIN_SHARE)


@dataclass
class World:
    leases: FakeLeases = field(default_factory=FakeLeases)
    wall: float = 1_800_000_000.0
    awake: float = 50.0

    def head(self, name: str, *, token: str = "") -> Leadership:
        return Leadership(
            self.leases,
            service="nodewatcher",
            name=name,
            token=token or f"{name}-process",
            lease_s=LEASE_S,
            renew_s=RENEW_S,
            clock=lambda: self.wall,
            awake=lambda: self.awake,
        )

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.awake += seconds

    async def live(self, head: Leadership, seconds: float) -> None:
        """The head does what is due, for so long."""
        until = self.awake + seconds
        while True:
            wait_s = await head.tick()
            if self.awake + wait_s > until:
                self.pass_time(until - self.awake)
                return
            self.pass_time(wait_s)

    async def takes_over_in_s(self, head: Leadership) -> float:
        """How long until this one holds the lease, if the other does nothing."""
        begun = self.awake
        while not head.is_on:
            assert self.awake - begun < 10 * LEASE_S, "never"
            wait_s = await head.tick()
            if not head.is_on:
                self.pass_time(wait_s)
        return self.awake - begun


async def test_the_first_head_takes_the_lease_and_the_second_stands_by() -> None:
    world = World()
    one, other = world.head("one"), world.head("other")
    await one.tick()
    await other.tick()
    assert (one.is_on, other.is_on) == (True, False)
    assert one.term.fence.number == 1
    assert other.status == "standby: one holds the lease, fence 1"
    with pytest.raises(LeaseLost):
        _ = other.term


async def test_a_lease_that_is_renewed_is_never_taken() -> None:
    world = World()
    one, other = world.head("one"), world.head("other")
    await one.tick()
    for _ in range(100):
        world.pass_time(RENEW_S)
        await one.tick()
        await other.tick()
        assert (one.is_on, other.is_on) == (True, False)
    assert one.term.fence.number == 1


async def test_a_head_that_is_not_heard_of_loses_the_lease_within_its_time_and_two_seconds() -> None:
    for seen_ago_s in (0.0, 0.5, RENEW_S - 0.001):
        world = World()
        one, other = world.head("one"), world.head("other")
        await one.tick()
        term = one.term
        await world.live(other, seen_ago_s)
        assert await world.takes_over_in_s(other) <= LEASE_S + 2
        assert not term.is_on
        assert other.term.fence.number == 2


async def test_at_no_time_do_both_hold_it_however_they_are_out_of_step() -> None:
    """The holder stops at every tenth of a second of its rhythm; the observer's clock began at another time."""
    for tenths in range(0, 60, 3):
        world = World()
        one, other = world.head("one"), world.head("other")
        await one.tick()
        await world.live(other, tenths / 10)
        await one.tick()
        while not other.is_on:
            wait_s = await other.tick()
            assert not (one.is_on and other.is_on)
            if not other.is_on:
                world.pass_time(min(wait_s, 0.25))
        assert not one.is_on


async def test_the_holder_stops_a_margin_before_anybody_may_take_over() -> None:
    world = World()
    one = world.head("one")
    await one.tick()
    term = one.term
    world.pass_time(RELIED_S - 0.01)
    term.check()
    world.pass_time(0.01)
    with pytest.raises(LeaseLost, match="not renewed in time"):
        term.check()
    assert LEASE_S - RELIED_S >= 5


async def test_a_holder_that_slept_begins_nothing_before_it_has_renewed_and_then_goes_on() -> None:
    world = World()
    one = world.head("one")
    await one.tick()
    term = one.term
    world.pass_time(3600)
    with pytest.raises(LeaseLost):
        await term.act(lambda: pytest.fail("begun"))
    await one.tick()
    assert one.term is term  # nobody else had it meanwhile
    term.check()


@pytest.mark.parametrize("step_s", [-86_400.0, 86_400.0])
async def test_setting_the_time_gives_and_takes_nothing(step_s: float) -> None:
    world = World()
    one, other = world.head("one"), world.head("other")
    await one.tick()
    await other.tick()
    world.wall += step_s
    assert one.is_on
    await other.tick()
    assert not other.is_on
    world.pass_time(RELIED_S)
    assert not one.is_on  # a clock set back has not made it any longer


async def test_who_lost_the_lease_does_not_act_under_a_later_term_of_its_own() -> None:
    world = World()
    one, other = world.head("one"), world.head("other")
    await one.tick()
    old = one.term
    await world.takes_over_in_s(other)
    await one.tick()
    assert not one.is_on
    await other.release()
    await world.takes_over_in_s(one)
    assert (one.term.fence.number, one.is_on) == (3, True)
    with pytest.raises(LeaseLost, match="taken over"):
        old.check()


async def test_a_lease_that_is_given_back_is_taken_at_the_next_look() -> None:
    world = World()
    one, other = world.head("one"), world.head("other")
    await one.tick()
    await other.tick()
    term = one.term
    await one.release()
    assert not term.is_on
    assert await world.takes_over_in_s(other) <= 1.0
    assert other.term.fence.number == 2


async def test_a_new_process_of_the_same_head_is_another_holder() -> None:
    """Its name is the same; that the old process is dead, nobody has told it."""
    world = World()
    await world.head("one", token="first").tick()
    again = world.head("one", token="second")
    await again.tick()
    assert not again.is_on
    assert LEASE_S - 1 <= await world.takes_over_in_s(again) <= LEASE_S + 2


async def test_a_renewal_without_an_answer_ends_nothing_until_its_time_is_over() -> None:
    world = World()
    one = world.head("one")
    await one.tick()
    world.leases.unplugged = True
    with capture_logs() as events:
        await world.live(one, RELIED_S - 0.5)
        held = [one.is_on]
        await world.live(one, 0.5)
        held.append(one.is_on)
    assert held == [True, False]
    assert [event["event"] for event in events] == ["lease.unanswered"]
    world.leases.unplugged = False
    await one.tick()
    assert (one.is_on, one.term.fence.number) == (True, 1)


async def test_a_renewal_that_took_effect_unheard_is_no_loss() -> None:
    world = World()
    one = world.head("one")
    await one.tick()
    world.leases.deaf = True
    await one.tick()
    world.leases.deaf = False
    for _ in range(3):
        await one.tick()
    assert (one.is_on, one.term.fence.number) == (True, 1)


async def test_a_lease_taken_unheard_is_relied_on_once_it_is_renewed() -> None:
    world = World()
    one = world.head("one")
    world.leases.deaf = True
    await one.tick()
    assert (world.leases.holder("nodewatcher"), one.is_on) == ("one", False)
    world.leases.deaf = False
    for _ in range(2):
        await one.tick()
    assert (one.is_on, one.term.fence.number) == (True, 1)


async def test_a_fence_that_the_table_refuses_ends_the_term_and_a_new_one_is_taken() -> None:
    """The administrator has deleted the fence's item, or another head is about to be seen."""
    world = World()
    one = world.head("one")
    await one.tick()
    old = one.term

    class Refusing(FakeRows):
        async def put(self, rows: Sequence[Instance]) -> Mapping[InstanceId, Instance | None]:
            raise LeaseLost("the table refused")

    with pytest.raises(LeaseLost):
        await GuardedRows(Refusing(), old).put([])
    assert not one.is_on
    for _ in range(2):
        await one.tick()
    assert (one.is_on, one.term.fence.number) == (True, 2)
    with pytest.raises(LeaseLost):
        old.check()


async def test_a_lease_that_an_administrator_deletes_is_taken_with_a_new_fence() -> None:
    world = World()
    one, other = world.head("one"), world.head("other")
    await one.tick()
    world.leases.held["nodewatcher"] = Seen(lease=None, fence=1)
    await other.tick()
    await one.tick()
    assert (one.is_on, other.is_on, other.term.fence.number) == (False, True, 2)


async def test_the_last_look_is_that_of_whoever_began_the_call_and_tasks_inherit_it() -> None:
    def no() -> None:
        raise LeaseLost("no")

    async def leaves() -> None:
        last_look()

    await leaves()
    with looking(no), pytest.raises(LeaseLost):
        await asyncio.gather(leaves())
    await leaves()


def test_what_needs_no_lease_is_handed_through_as_it_is() -> None:
    queue, rows = FakeQueue(), FakeRows()
    assert guard_queue(queue, None) is queue
    assert guard_rows(rows, None) is rows
    stands = Standing(None)
    assert (stands.gate, stands.term) == (None, None)
    made = EachTerm(stands, lambda term: [term])
    assert made.get() is made.get()


async def test_what_was_remembered_in_an_earlier_term_is_forgotten() -> None:
    world = World()
    one, other = world.head("one"), world.head("other")
    await one.tick()
    service = EachTerm(Standing(one), lambda _: object())
    first = service.get()
    assert service.get() is first
    await world.takes_over_in_s(other)
    with pytest.raises(LeaseLost):
        service.get()
    await one.tick()
    await other.release()
    await world.takes_over_in_s(one)
    assert service.get() is not first


def test_the_clock_is_one_that_nobody_can_set_and_that_counts_sleep() -> None:
    with open("/proc/uptime") as file:  # noqa: PTH123  the kernel's own word, sleep included
        before = float(file.read().split()[0])
    assert before - 0.011 <= boot_s() <= before + 60


class Stage:
    """The loop with a head that stands by at first, and what its manager hears."""

    def __init__(self) -> None:
        self.world = World()
        self.other = self.world.head("other")
        self.mine = self.world.head("mine")
        self.said: list[str] = []
        self.stop = asyncio.Event()
        self.cycles = 0

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0)

    def heard(self, words: str) -> bool:
        return any(re.search(words, one) for one in self.said)

    async def cycle(self) -> None:
        self.cycles += 1
        self.mine.term.check()


async def test_a_standby_is_ready_says_so_and_begins_as_soon_as_the_lease_is_its_own() -> None:
    stage = Stage()
    await stage.other.tick()
    await stage.mine.tick()
    running = asyncio.create_task(
        run_every(3600, stage.cycle, stage.stop, progress=Progress(say=stage.said.append), gate=stage.mine.gate)
    )
    await stage.until(lambda: stage.heard("READY=1\nSTATUS=standby: other holds the lease, fence 1"))
    assert stage.cycles == 0
    await stage.other.release()
    await stage.mine.tick()
    await stage.until(lambda: stage.cycles == 1)
    stage.stop.set()
    await running
    assert sum("READY=1" in one for one in stage.said) == 1


async def test_a_head_that_has_never_had_an_answer_is_not_ready_and_stops_when_told() -> None:
    stage = Stage()
    stage.world.leases.unplugged = True
    await stage.mine.tick()
    running = asyncio.create_task(
        run_every(3600, stage.cycle, stage.stop, progress=Progress(say=stage.said.append), gate=stage.mine.gate)
    )
    await stage.until(lambda: stage.heard("STATUS=standby: the table does not say"))
    stage.stop.set()
    await running
    assert not stage.heard("READY=1")


async def test_a_cycle_that_lost_its_lease_is_no_failure_to_back_off_from() -> None:
    stage = Stage()
    await stage.mine.tick()

    async def cycle() -> None:
        stage.world.pass_time(LEASE_S)
        await stage.cycle()

    running = asyncio.create_task(
        run_every(3600, cycle, stage.stop, progress=Progress(say=stage.said.append), gate=stage.mine.gate)
    )
    with capture_logs() as events:
        await stage.until(lambda: stage.cycles == 1)
        await stage.until(lambda: bool(events))
        await stage.mine.tick()  # nobody took it
        await stage.until(lambda: stage.cycles == 2)
        stage.stop.set()
        await running
    assert {event["event"] for event in events} == {"cycle.abandoned"}


async def test_what_ends_the_keeping_ends_the_service() -> None:
    stage = Stage()

    async def broken(service: str) -> Seen:
        raise RuntimeError("a bug")

    stage.world.leases.read = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        async with stage.mine.kept():
            await run_every(3600, stage.cycle, stage.stop, progress=Progress(), gate=stage.mine.gate)


async def test_a_lease_is_given_back_at_the_end_and_not_before() -> None:
    stage = Stage()
    async with stage.mine.kept():
        await stage.until(lambda: stage.mine.is_on)
        assert stage.world.leases.holder("nodewatcher") == "mine"
    assert stage.world.leases.holder("nodewatcher") == ""
