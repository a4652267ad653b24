"""Batches of happenings, in every order, against the plan alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons.lifecycle import Event
from daemons.model import FleetName, Instance, InstanceId, Notice, State
from daemons.ports import Received
from sqswatcher.plan import Delivery, Effect, Happening, Observation, Plan, plan_batch
from tests.fakes import BATCH, hostname, instance_id

NOW = 100.0
FLEETS = {BATCH.name: BATCH}
OLD, NEW = instance_id(1), instance_id(2)


def row(one: InstanceId, state: State, number: int | None = None) -> Instance:
    name = hostname(number) if number is not None else None
    return Instance(
        instance_id=one, fleet=BATCH.name, state=state, version=1, hostname=name, address=f"10.0.0.{number}" if number else ""
    )


def delivery(number: int, *happenings: Happening) -> Delivery:
    return Delivery(received=Received(message_id=f"m{number}", receipt=f"r{number}", body=""), happenings=happenings)


def ready(one: InstanceId, number: int) -> Happening:
    return Happening(instance_id=one, event=Event.READY, hostname=hostname(number), instance_type="c5.2xlarge")


def ended(one: InstanceId, group: str = BATCH.group) -> Happening:
    return Happening(instance_id=one, event=Event.ENDED, group=group)


def launched(one: InstanceId) -> Happening:
    return Happening(instance_id=one, event=Event.LAUNCHED, group=BATCH.group)


def plan(*happenings: Happening, rows: tuple[Instance, ...] = (), members: tuple[InstanceId, ...] = (OLD, NEW)) -> Plan:
    live = {one.hostname: one.instance_id for one in rows if one.hostname and one.is_live}
    seen = Observation(
        now=NOW,
        deliveries=tuple(delivery(number, happening) for number, happening in enumerate(happenings)),
        rows={one.instance_id: one for one in rows},
        fleet_of=dict.fromkeys(members, BATCH.name),
        addresses={OLD: "10.0.0.7", NEW: "10.0.0.7"},
        holders=live,
        jobs={},
        terminate_grace_s=100,
    )
    return plan_batch(seen, FLEETS)


def effects(result: Plan) -> dict[InstanceId, tuple[Effect, State | None]]:
    return {step.instance_id: (step.effect, step.after.state if step.after else None) for step in result.steps}


def test_a_ready_node_of_ours_is_recorded_with_its_address_then_registered() -> None:
    [step] = plan(ready(NEW, 7)).steps
    assert step.before is not None
    assert step.after is not None
    assert (step.effect, step.before.state, step.before.hostname, step.before.address) == (
        Effect.REGISTER,
        State.READY,
        hostname(7),
        "10.0.0.7",
    )
    assert (step.after.state, step.after.registered_at) == (State.REGISTERED, NOW)


def test_a_stranger_is_not_let_in() -> None:
    result = plan(ready(NEW, 7), members=())
    assert result.steps == ()
    assert [why for _, why in result.drop] == ["stranger: the instance is in none of our groups"]


def test_the_end_of_an_unknown_instance_of_our_group_leaves_a_tombstone_and_of_another_group_nothing() -> None:
    assert effects(plan(ended(OLD), members=())) == {OLD: (Effect.NONE, State.GONE)}
    assert plan(ended(OLD, group="somebody-elses"), members=()).steps == ()


@pytest.mark.parametrize("first", ["ended", "ready"])
def test_a_reused_host_name_lets_the_old_node_out_and_the_new_one_in_whichever_message_comes_first(first: str) -> None:
    words = [ended(OLD), ready(NEW, 7)] if first == "ended" else [ready(NEW, 7), ended(OLD)]
    result = plan(*words, rows=(row(OLD, State.REGISTERED, 7),), members=(NEW,))
    assert effects(result) == {OLD: (Effect.DEREGISTER, State.GONE), NEW: (Effect.REGISTER, State.REGISTERED)}


def test_a_new_node_with_a_held_host_name_evicts_a_holder_that_is_in_no_group_any_more() -> None:
    result = plan(ready(NEW, 7), rows=(row(OLD, State.REGISTERED, 7),), members=(NEW,))
    assert effects(result) == {OLD: (Effect.DEREGISTER, State.GONE), NEW: (Effect.REGISTER, State.REGISTERED)}


def test_a_new_node_with_a_held_host_name_waits_while_the_holder_is_in_its_group() -> None:
    result = plan(ready(NEW, 7), rows=(row(OLD, State.REGISTERED, 7),), members=(OLD, NEW))
    assert result.steps == ()
    assert [why for _, why in result.postpone] == [f"host name {hostname(7)} is held by {OLD}"]


def test_the_late_end_of_an_instance_whose_host_name_was_taken_over_leaves_the_new_node_alone() -> None:
    old, new = row(OLD, State.REGISTERED, 7), row(NEW, State.REGISTERED, 7)
    assert effects(plan(ended(OLD), rows=(old, new))) == {OLD: (Effect.NONE, State.GONE)}


def test_ready_after_the_end_raises_nobody_from_the_dead() -> None:
    tombstone = row(OLD, State.GONE, 7)
    assert effects(plan(ready(OLD, 7), rows=(tombstone,))) == {OLD: (Effect.NONE, None)}
    assert effects(plan(ready(OLD, 7), ended(OLD))) == {OLD: (Effect.NONE, State.GONE)}


def test_a_node_whose_address_ec2_does_not_tell_yet_waits() -> None:
    result = plan(ready(instance_id(3), 7), members=(instance_id(3),))
    assert result.steps == ()
    assert [why for _, why in result.postpone] == ["EC2 does not tell the instance's address yet"]


def test_a_repeated_message_changes_nothing_and_is_acknowledged() -> None:
    [step] = plan(ready(OLD, 7), rows=(row(OLD, State.REGISTERED, 7),)).steps
    assert (step.effect, step.before, step.after, len(step.messages)) == (Effect.NONE, None, None, 1)


def test_a_registration_that_was_interrupted_after_its_first_write_is_done_again() -> None:
    [step] = plan(ready(OLD, 7), rows=(row(OLD, State.READY, 7),)).steps
    assert (step.effect, step.after and step.after.state) == (Effect.REGISTER, State.REGISTERED)


def test_launching_and_terminating_hooks_are_answered_once_their_work_is_done() -> None:
    hook = Happening(instance_id=NEW, event=Event.LAUNCHED, group=BATCH.group, launch_hook="join")
    [waiting] = plan(hook).steps
    assert waiting.hooks == ()
    [joined] = plan(hook, ready(NEW, 7)).steps
    assert joined.hooks == ("join",)
    leave = Happening(instance_id=OLD, event=Event.ENDING, group=BATCH.group, terminate_hook="leave")
    [left] = plan(leave, rows=(row(OLD, State.DRAINING, 7),)).steps
    assert (left.effect, left.hooks, left.after and left.after.state) == (Effect.DEREGISTER, ("leave",), State.GONE)


def test_a_notice_is_recorded_on_the_row_and_a_milder_one_does_not_replace_it() -> None:
    def told(notice: Notice, stored: Instance) -> Instance | None:
        [step] = plan(Happening(instance_id=OLD, event=None, notice=notice), rows=(stored,)).steps
        return step.before

    spot = told(Notice.SPOT_INTERRUPTION, row(OLD, State.REGISTERED, 7))
    assert spot is not None
    assert (spot.notice, spot.notice_at, spot.state) == (Notice.SPOT_INTERRUPTION, NOW, State.REGISTERED)
    assert told(Notice.REBALANCE, spot) is None


def test_an_ancestors_row_without_a_fleet_is_adopted_when_its_instance_ends() -> None:
    legacy = replace(row(OLD, State.REGISTERED, 7), fleet=FleetName(""), version=0)
    [step] = plan(ended(OLD), rows=(legacy,), members=()).steps
    assert step.after is not None
    assert (step.effect, step.after.fleet) == (Effect.DEREGISTER, BATCH.name)


words = st.sampled_from([launched, ended, lambda one: ready(one, 7), lambda one: ready(one, 8)])
ids = st.sampled_from([OLD, NEW, instance_id(3)])
stored_rows = st.lists(
    st.tuples(ids, st.sampled_from(State), st.sampled_from([7, 8, 9])),
    max_size=3,
    unique_by=(lambda each: each[0], lambda each: each[2]),
)


@given(st.lists(st.tuples(words, ids), min_size=1, max_size=12), stored_rows, st.sets(ids))
def test_every_message_is_accounted_for_once_and_no_host_name_is_given_twice(
    said: list[tuple[object, InstanceId]], before: list[tuple[InstanceId, State, int]], members: set[InstanceId]
) -> None:
    happenings = [word(one) for word, one in said]  # type: ignore[operator]  # the strategies hold callables
    rows = tuple(row(*each) for each in before)
    result = plan(*happenings, rows=rows, members=tuple(members))
    parts = [message for step in result.steps for message in step.messages]
    parts += [message for message, _ in (*result.drop, *result.postpone)]
    assert sorted(message.message_id for message in parts) == sorted(f"m{number}" for number in range(len(said)))
    given_out = [step.after.hostname for step in result.steps if step.effect is Effect.REGISTER and step.after]
    assert len(given_out) == len(set(given_out))
    stored = {each.instance_id: each for each in rows}
    for step in result.steps:
        order = list(State)
        was = stored.get(step.instance_id)
        if step.after and was:
            assert order.index(step.after.state) >= order.index(was.state)
        if step.effect is Effect.REGISTER and was is None:
            assert step.instance_id in members
