"""A scheduler under a lease: asked at any time, changed only by its holder, looked at before each command."""

import inspect

import pytest

from daemons.errors import LeaseLost
from daemons.ha.leadership import Term
from daemons.ha.lease import Lease
from daemons.ha.look import looking
from schedulers.base import Scheduler
from schedulers.commands import LocalCommands
from schedulers.guarded import _Guarded, guard_scheduler
from tests.fakes import BATCH, FakeScheduler, hostname


def term(now: list[float]) -> Term:
    lease = Lease(service="sqswatcher", holder="one", token="1", fence=1, beat=1, lease_s=20.0, since=0.0, renewed_at=0.0)
    made = Term(lease, awake=lambda: now[0])
    made.prolong(10.0)
    return made


async def test_the_holder_changes_nodes_and_a_former_holder_only_looks() -> None:
    now, plugin = [0.0], FakeScheduler()
    scheduler = guard_scheduler(plugin, term(now))
    plugin.up(hostname(1))
    await scheduler.drain([hostname(1)], reason="idle")
    now[0] = 10.0
    for change in (
        scheduler.register([]),
        scheduler.deregister([hostname(1)]),
        scheduler.requeue([hostname(1)]),
        scheduler.drain([hostname(1)], reason="idle"),
        scheduler.resume([hostname(1)]),
        scheduler.advertise([BATCH]),
    ):
        with pytest.raises(LeaseLost):
            await change
    assert [node.hostname for node in await scheduler.nodes()] == [hostname(1)]
    assert await scheduler.jobs_on([hostname(1)]) == {hostname(1): frozenset()}
    assert await scheduler.demand() == ()
    assert plugin.calls["drain"] == 1
    assert not plugin.calls.keys() & {"register", "deregister", "requeue", "resume", "advertise"}


def test_every_method_of_a_scheduler_is_handed_through() -> None:
    """One that has a default would otherwise be the default's."""
    methods = {name for name, value in vars(Scheduler).items() if inspect.iscoroutinefunction(value)}
    assert {"requeue", "drain", "close"} <= methods <= vars(_Guarded).keys()


def test_what_the_plugin_is_shows_through() -> None:
    class Resolving(FakeScheduler):
        name = "resolving"
        resolves_names = True

    plugin = Resolving()
    guarded = guard_scheduler(plugin, term([0.0]))
    assert (guarded.name, guarded.resolves_names, guarded.capabilities) == ("resolving", True, plugin.capabilities)
    assert guard_scheduler(plugin, None) is plugin


async def test_a_command_of_a_change_is_not_started_once_the_lease_is_lost() -> None:
    now = [0.0]
    held = term(now)
    with looking(held.check):
        assert (await LocalCommands().run("true")).ok
        now[0] = 10.0
        with pytest.raises(LeaseLost):
            await LocalCommands().run("true")
