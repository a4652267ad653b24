"""The instance's life, from the table that the services use."""

from daemons.lifecycle import Event, next_state
from daemons.model import State
from docs.make.blocks import table


def render_life() -> str:
    """A row for each state, a column for each event; an empty cell: the event changes nothing."""
    states: list[State | None] = [None, *State]
    rows = [(f"**{state or '(no row)'}**", *(str(next_state(state, event) or "") for event in Event)) for state in states]
    return table(("from", *Event), rows)
