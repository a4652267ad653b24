"""Broken nodes are replaced on two witnesses' word, and never all of them; nodes that never come up are ended."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from structlog.testing import capture_logs

from daemons.model import Hostname, Instance, InstanceId, JobDemand, JobId, NodeState, Shape, State
from schedulers.base import Results
from tests.fakes import BATCH, FakeGroups, hostname, instance_id
from tests.nodewatcher.cluster import OPTIONS, Cluster

DOWN_FOR_S = OPTIONS.down_for_s


def cluster(*numbers: int, minimum: int = 0, maximum: int = 10) -> Cluster:
    return Cluster(groups=FakeGroups.of(*numbers, minimum=minimum, maximum=maximum), options=replace(OPTIONS, idle_for_s=1e6))


async def test_a_node_that_the_scheduler_calls_down_for_long_is_ended() -> None:
    two = cluster(1, 2)
    two.scheduler.falls(hostname(1), NodeState.DOWN)
    await two.passes()
    await two.watches(DOWN_FOR_S - 10)
    assert two.groups.ended == []
    assert two.sentence(1) == "down for 290 s of 300 s"
    await two.passes(after_s=10)
    assert two.groups.ended == [instance_id(1)]
    assert two.groups.groups[BATCH.name].desired == 1
    assert two.row(1).drain_reason == "unhealthy: down, for 300 s"


async def test_a_second_witness_makes_it_quick() -> None:
    three = cluster(1, 2, 3)
    three.scheduler.falls(hostname(1), NodeState.DOWN)
    three.checks.bad.add(instance_id(1))
    await three.passes()
    assert three.groups.ended == [instance_id(1)]
    three.tells(2, gone=True)
    await three.passes()
    assert three.groups.ended == [instance_id(1)]  # its agent's silence alone ends nobody
    three.scheduler.falls(hostname(2), NodeState.DOWN)
    await three.passes()
    assert three.ended == [instance_id(1), instance_id(2)]


async def test_ec2_is_asked_about_nodes_that_are_down_and_about_no_other() -> None:
    two = cluster(1, 2)
    await two.passes()
    assert two.checks.calls["impaired"] == 0
    two.scheduler.falls(hostname(1), NodeState.DOWN)
    await two.passes()
    assert two.checks.calls["impaired"] == 1


async def test_the_jobs_of_a_lost_node_wait_again_before_it_is_ended_and_another_takes_its_place() -> None:
    two = cluster(1, 2)
    two.scheduler.work(hostname(1), "5")
    two.scheduler.falls(hostname(1), NodeState.DOWN)
    await two.passes()
    await two.watches(2 * DOWN_FOR_S)
    assert two.groups.ended == [], "it may run on without the scheduler's daemon"
    assert two.sentence(1) == "down, and the scheduler has not given up job 5"
    two.tells(1, gone=True)
    await two.passes(after_s=10)
    assert two.groups.ended == [instance_id(1)]
    assert two.row(1).drain_reason == "unhealthy: down, its agent is gone, with job 5"
    assert [job.jobs for job in two.scheduler.waiting] == [(JobId("5"),)]
    assert two.groups.groups[BATCH.name].desired == 2


async def test_a_node_with_jobs_that_the_scheduler_does_not_let_go_of_is_not_ended_however_down_it_is() -> None:
    two = cluster(1, 2)
    two.scheduler.holds_on = True
    two.scheduler.work(hostname(1), "5")
    two.scheduler.falls(hostname(1), NodeState.DOWN)
    two.checks.bad.add(instance_id(1))
    await two.passes()
    await two.watches(2 * DOWN_FOR_S)
    assert (two.groups.ended, two.state(1)) == ([], State.DRAINING)
    two.scheduler.holds_on = False
    await two.passes(after_s=10)
    assert two.groups.ended == [instance_id(1)]


async def test_a_node_that_is_up_again_at_the_last_moment_keeps_its_jobs() -> None:
    two = cluster(1, 2)
    two.scheduler.work(hostname(1), "5")
    two.scheduler.falls(hostname(1), NodeState.DOWN)
    two.checks.bad.add(instance_id(1))
    drain = two.scheduler.drain

    async def drain_and_come_back(hostnames: Collection[Hostname], *, reason: str) -> Results:
        known = two.scheduler.known
        known[hostname(1)] = replace(known[hostname(1)], states=known[hostname(1)].states - {NodeState.DOWN})
        return await drain(hostnames, reason=reason)

    two.scheduler.drain = drain_and_come_back  # type: ignore[method-assign]
    await two.passes()
    assert (two.groups.ended, two.state(1)) == ([], State.REGISTERED)
    assert two.scheduler.known[hostname(1)].jobs == {"5"}


async def test_a_silent_node_and_one_that_an_administrator_drained_are_not_ours_to_end() -> None:
    two = cluster(1, 2)
    two.scheduler.falls(hostname(1), NodeState.SILENT)
    two.scheduler.administrator_drains(hostname(2), "broken fan")
    two.scheduler.falls(hostname(2), NodeState.DOWN)
    two.checks.bad |= {instance_id(1), instance_id(2)}
    await two.passes()
    await two.watches(2 * DOWN_FOR_S)
    assert two.groups.ended == []
    assert "broken fan" in two.sentence(2)


async def test_one_that_comes_back_starts_anew() -> None:
    one = cluster(1, 2)
    one.scheduler.falls(hostname(1), NodeState.DOWN)
    await one.passes()
    await one.watches(DOWN_FOR_S - 20)
    one.scheduler.known[hostname(1)] = replace(one.scheduler.known[hostname(1)], states=frozenset())
    await one.passes(after_s=10)
    one.scheduler.falls(hostname(1), NodeState.DOWN)
    await one.passes(after_s=10)
    await one.watches(DOWN_FOR_S - 20)
    assert one.groups.ended == []


async def test_another_takes_its_place_where_jobs_wait_or_the_fleet_has_one_size() -> None:
    wanted = cluster(1, 2)
    wanted.scheduler.work(hostname(2), "5")
    wanted.scheduler.waiting.append(JobDemand(jobs=(JobId("7"),), per_task=Shape(cpus=8)))
    static = cluster(1, 2, minimum=2, maximum=2)
    for one in (wanted, static):
        one.scheduler.falls(hostname(1), NodeState.DOWN)
        one.checks.bad.add(instance_id(1))
        await one.passes()
        assert one.groups.ended == [instance_id(1)]
        assert one.groups.groups[BATCH.name].desired == 2


async def test_a_static_fleet_is_kept_healthy_and_otherwise_left_alone() -> None:
    static = Cluster(groups=FakeGroups.of(1, 2, minimum=2, maximum=2))
    await static.passes()
    await static.watches(200)
    assert static.groups.ended == []
    assert static.sentence(1) == "kept: the fleet is static"


async def test_where_much_of_a_fleet_looks_broken_at_once_nobody_is_ended_and_somebody_is_told() -> None:
    ten = cluster(*range(1, 11))
    for number in range(1, 5):
        ten.scheduler.falls(hostname(number), NodeState.DOWN)
        ten.checks.bad.add(instance_id(number))
    with capture_logs() as events:
        await ten.passes()
        await ten.watches(2 * DOWN_FOR_S)
    assert ten.groups.ended == []
    (alarm,) = [event for event in events if event["event"] == "fleet.unhealthy"]
    assert alarm["because"] == "4 of 10 nodes of fleet batch look unhealthy at once: check the scheduler and the network first"
    ten.scheduler.known[hostname(1)] = replace(ten.scheduler.known[hostname(1)], states=frozenset())
    with capture_logs() as events:
        await ten.passes(after_s=10)
    assert len(ten.groups.ended) == 3
    assert "alarm.ended" in [event["event"] for event in events]


async def test_an_instance_that_never_says_it_is_ready_is_ended_with_its_last_words_on_record() -> None:
    one = cluster(1, 2)
    one.rows.hold(Instance(instance_id=instance_id(1), fleet=BATCH.name, state=State.PENDING, pending_at=one.now))
    one.checks.consoles[instance_id(1)] = "cloud-init: no route to host"
    await one.passes()
    assert one.sentence(1) == "booting for 0 s of at most 900 s"
    await one.watches(890)
    assert one.groups.ended == []
    with capture_logs() as events:
        await one.watches(20)
    assert one.groups.ended == [instance_id(1)]
    (told,) = [event for event in events if event["event"] == "node.never_came_up"]
    assert told["console"] == "cloud-init: no route to host"
    assert one.state(1) is State.TERMINATING


def late(size: int, *numbers: int, minimum: int) -> Cluster:
    """A fleet of that size, of which these have had their time and never came up, the first for the longest."""
    fleet = cluster(*range(1, size + 1), minimum=minimum, maximum=max(size, minimum))
    for number in numbers:
        del fleet.scheduler.known[hostname(number)]
        fleet.change_row(number, state=State.PENDING, hostname=None, pending_at=fleet.now - 5000 + number, registered_at=None)
    return fleet


async def replaced(fleet: Cluster, gone: int, number: int) -> None:
    """The one is gone, and the group has launched another in its place."""
    fleet.groups.forget(instance_id(gone))
    del fleet.rows.stored[instance_id(gone)]
    await fleet.passes(after_s=10)
    fleet.groups.arrive(BATCH.name, number)
    await fleet.passes(after_s=10)
    fleet.rows.hold(
        Instance(instance_id=instance_id(number), fleet=BATCH.name, state=State.PENDING, pending_at=fleet.now, version=1)
    )
    await fleet.passes(after_s=10)


async def test_where_others_would_only_take_the_place_of_those_that_never_come_up_one_is_tried_at_a_time() -> None:
    six = late(6, *range(1, 7), minimum=6)
    with capture_logs() as events:
        await six.passes()
        await six.watches(60)
    assert six.groups.ended == [instance_id(1)]
    assert six.groups.groups[BATCH.name].desired == 6
    because = (
        "6 of 6 nodes of fleet batch never came up, and at its minimum of 6 others only take their place: one is tried at a time"
    )
    assert [event["because"] for event in events if event["event"] == "fleet.never_came_up"] == [because]
    assert six.sentence(2).startswith("kept: 5 of 5 nodes of fleet batch never came up, and at its minimum of 6 others only take")
    assert six.sentence(2).endswith("(never came up: it took no jobs within 900 s of its launch)")

    await replaced(six, 1, 7)
    await six.watches(880)
    assert six.groups.ended == [instance_id(1)], "the other may come up yet"
    await six.watches(60)
    assert six.groups.ended == [instance_id(1), instance_id(2)], "it did not: the next is tried"


async def test_once_one_comes_up_the_others_follow_and_the_few_that_are_left_go_at_once() -> None:
    six = late(6, *range(1, 4), minimum=6)
    await six.passes()
    assert six.groups.ended == [instance_id(1)]
    await replaced(six, 1, 7)
    await six.watches(600)
    assert six.groups.ended == [instance_id(1)]
    six.scheduler.up(hostname(7))
    six.change_row(7, state=State.REGISTERED, hostname=hostname(7), registered_at=six.now)
    await six.passes(after_s=10)
    assert six.groups.ended == [instance_id(1), instance_id(2)]
    with capture_logs() as events:
        await replaced(six, 2, 8)
        await six.passes(after_s=10)
    assert six.groups.ended == [instance_id(1), instance_id(2), instance_id(3)], "one alone is no matter of the fleet's"
    assert [event["alarm"] for event in events if event["event"] == "alarm.ended"] == ["fleet.never_came_up batch"]


async def test_beyond_its_minimum_a_fleet_loses_at_once_all_that_never_came_up() -> None:
    with capture_logs() as events:
        ten, six = late(10, 1, 2, 3, minimum=10), late(6, *range(1, 7), minimum=0)
        for fleet in (ten, six):
            await fleet.passes()
    assert ten.ended == [instance_id(number) for number in (1, 2, 3)], "that is no more than may look unhealthy"
    assert six.ended == [instance_id(number) for number in range(1, 7)]
    assert six.groups.groups[BATCH.name].desired == 0
    assert "fleet.never_came_up" not in [event["event"] for event in events]


async def test_a_fleet_that_falls_to_its_minimum_tries_one_of_those_that_are_left() -> None:
    six = late(6, *range(1, 7), minimum=3)
    await six.passes()
    assert six.ended == [instance_id(number) for number in range(1, 5)]
    assert six.groups.groups[BATCH.name].desired == 3


async def test_one_that_somebody_holds_to_look_at_it_keeps_nobody_from_the_next_try() -> None:
    six = late(6, *range(1, 7), minimum=6)
    six.change_row(1, held_until=six.now + 86_400, held_by="ops", hold_reason="its console")
    await six.passes()
    assert six.groups.ended == [instance_id(2)]
    await replaced(six, 2, 7)
    await six.watches(960)
    assert six.groups.ended == [instance_id(2), instance_id(3)]


async def test_a_node_whose_daemon_never_reports_is_drained_and_ended() -> None:
    two = cluster(1, 2)
    two.scheduler.falls(hostname(1), NodeState.AWAITED)
    await two.passes()
    await two.watches(890)
    assert two.groups.ended == []
    await two.watches(20)
    assert two.groups.ended == [instance_id(1)]


async def test_one_that_joins_at_the_last_moment_stays() -> None:
    one = cluster(1, 2)
    late = Instance(instance_id=instance_id(1), fleet=BATCH.name, state=State.READY, pending_at=one.now - 1000, version=3)
    one.rows.hold(late)
    put = one.rows.put

    async def joins_first(rows: object) -> object:
        one.rows.hold(replace(late, state=State.REGISTERED, hostname=hostname(1), version=4))
        one.rows.put = put  # type: ignore[method-assign]
        return await put(rows)  # type: ignore[arg-type]

    one.rows.put = joins_first  # type: ignore[assignment,method-assign]
    await one.passes()
    assert (one.groups.ended, one.state(1)) == ([], State.REGISTERED)


async def test_one_that_the_scheduler_knows_before_its_row_says_so_stays_whatever_time_has_passed() -> None:
    """sqswatcher was killed between the two, and jobs run there."""
    one = cluster(1, 2)
    one.change_row(1, state=State.READY, pending_at=one.now - 5000, registered_at=None)
    one.scheduler.work(hostname(1), "7")
    await one.watches(1800)
    assert (one.groups.ended, one.state(1)) == ([], State.READY)
    assert one.sentence(1) == "the scheduler knows it already, and may start jobs there: its row is about to say so"


async def test_one_whose_name_another_row_claims_too_may_be_the_one_that_runs_jobs() -> None:
    """sqswatcher was killed after it had given the name to the newcomer, and before it had written either row."""
    two = cluster(1, 2)
    two.change_row(2, state=State.READY, hostname=hostname(1), pending_at=two.now - 5000, registered_at=None)
    two.scheduler.work(hostname(1), "7")
    two.change_row(1, state=State.TERMINATING, terminating_at=two.now - 5000)
    await two.watches(600)
    assert two.groups.ended == []


async def test_one_that_starts_a_job_between_the_look_at_it_and_its_end_is_drained_instead() -> None:
    one = cluster(1, 2)
    del one.scheduler.known[hostname(1)]
    one.change_row(1, state=State.READY, pending_at=one.now - 5000, registered_at=None)
    put = one.rows.put

    async def joins_meanwhile(rows: Sequence[Instance]) -> Mapping[InstanceId, Instance | None]:
        one.rows.put = put  # type: ignore[method-assign]
        one.scheduler.up(hostname(1))
        one.scheduler.work(hostname(1), "7")
        return await put(rows)

    one.rows.put = joins_meanwhile  # type: ignore[method-assign]
    await one.passes()
    assert (one.groups.ended, one.state(1)) == ([], State.TERMINATING)
    assert one.scheduler.known[hostname(1)].drained_by_us
    await one.watches(600)
    assert one.groups.ended == []
    one.scheduler.finish(hostname(1))
    await one.passes(after_s=10)
    assert one.groups.ended == [instance_id(1)]


async def test_an_end_that_was_lost_is_asked_for_again_but_not_while_it_may_be_under_way() -> None:
    one = cluster(1, 2)
    one.change_row(1, state=State.TERMINATING, terminating_at=one.now)
    await one.scheduler.drain([hostname(1)], reason="idle")
    await one.passes()
    await one.watches(110)
    assert one.groups.ended == []
    await one.watches(20)
    assert one.groups.ended == [instance_id(1)]
    await one.watches(300)
    assert one.groups.ended == [instance_id(1)]
