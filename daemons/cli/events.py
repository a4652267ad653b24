"""`headnode events`: what the services log, and what to do about it."""

import difflib
import json
from dataclasses import asdict
from typing import Annotated

import typer

from daemons.cli.common import JsonOption, print_rows
from daemons.errors import HeadnodeError
from daemons.events import EVENTS, FIELDS, LogEvent, find_event, render_markdown


class NoSuchEvent(HeadnodeError):
    """Nothing is logged under that name."""

    code = "no-such-event"


def events(
    name: Annotated[str, typer.Argument(help="One event, or the beginning of some: capacity.raised, capacity.")] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/events.md.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a log line means and what to do about it; without a name list them all."""
    if markdown:
        typer.echo(render_markdown(), nl=False)
        return
    found = _find(name)
    if as_json:
        typer.echo(json.dumps({"events": [asdict(event) for event in found]}))
    elif len(found) == 1:
        _show(found[0])
    else:
        rows = [{"event": one.name, "level": "/".join(one.levels), "meaning": one.meaning} for one in found]
        print_rows(rows, ["event", "level", "meaning"], as_json=False)


def _find(name: str) -> list[LogEvent]:
    if (one := find_event(name)) is not None:
        return [one]
    found = sorted((event for event in EVENTS if event.name.startswith(name)), key=lambda event: event.name)
    if not found:
        close = difflib.get_close_matches(name, [event.name for event in EVENTS], n=1)
        raise NoSuchEvent(
            f"nothing is logged as {name!r:.80}{f'; {close[0]} is' if close else ''}",
            hint="headnode events lists them all; lines of libraries are not among them",
        )
    return found


def _show(event: LogEvent) -> None:
    typer.echo(f"{event.name} ({' or '.join(event.levels)})\n\n{event.meaning}")
    if event.next:
        typer.echo(f"\nNext: {event.next}")
    if event.fields:
        typer.echo("\nFields:")
        width = max(map(len, event.fields))
        for field in event.fields:
            typer.echo(f"  {field:{width}}  {FIELDS[field]}")
