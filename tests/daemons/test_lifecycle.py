import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons.lifecycle import Event, advance, begin, next_state
from daemons.model import Instance, State
from tests.fakes import BATCH, instance_id

ORDER = list(State)
ONE = instance_id(1)


@pytest.mark.parametrize(("state", "event"), list(itertools.product([None, *State], Event)))
def test_every_pair_of_state_and_event_has_an_answer_and_only_resuming_goes_back(state: State | None, event: Event) -> None:
    after = next_state(state, event)
    if state is None or after is None:
        return
    forward = ORDER.index(after) > ORDER.index(state)
    assert forward or (state, event, after) == (State.DRAINING, Event.RESUMED, State.REGISTERED)


@pytest.mark.parametrize("event", Event)
def test_nothing_leads_out_of_a_tombstone(event: Event) -> None:
    assert next_state(State.GONE, event) is None


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_any_story_is_told_with_the_time_of_each_change_and_ends_no_later_than_its_end(events: list[Event]) -> None:
    row: Instance | None = None
    for now, event in enumerate(events, start=1):
        before = row
        row = begin(ONE, BATCH.name, event, now=now) if row is None else advance(row, event, now=now)
        if before is not None and row is not None and row.state is not before.state:
            assert getattr(row, f"{row.state}_at") == now
    if Event.ENDED in events:
        assert row is not None
        assert row.state is State.GONE


def test_work_that_turned_up_forgets_the_idle_clock_and_the_drain() -> None:
    row = begin(ONE, BATCH.name, Event.READY, now=1)
    assert row is not None
    for now, event in enumerate([Event.REGISTERED, Event.DRAINED, Event.RESUMED], start=2):
        row = advance(row, event, now=now)
    assert (row.state, row.registered_at, row.draining_at, row.idle_since) == (State.REGISTERED, 4, None, None)
