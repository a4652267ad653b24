"""`headnode replay`: would it decide the same today?"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress

from daemons.cli.common import ConfigOption, JsonOption, printable, read_config
from daemons.cli.explain import NothingRecorded, ShadowOption, directory_of
from daemons.errors import InvalidValue
from daemons.record import read_records
from daemons.replays import Replay
from jobwatcher.record import Record
from jobwatcher.replay import replay
from nodewatcher.record import Record as NodeRecord
from nodewatcher.record import state_directory as nodes_state_directory
from nodewatcher.replay import replay as replay_nodes

R = TypeVar("R", Record, NodeRecord)


def replay_command(
    file: Annotated[Path | None, typer.Argument(help="A file of the record or its directory; else the configuration's.")] = None,
    config: ConfigOption = None,
    at: Annotated[
        str, typer.Option(metavar="TIME", help="Only the decision in force then: 2026-11-24T12:00:03 (UTC) or epoch.")
    ] = "",
    nodes: Annotated[bool, typer.Option("--nodes", help="nodewatcher's verdicts, not jobwatcher's decisions.")] = False,
    shadow: ShadowOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make recorded decisions again with this version, and show what is different. Exit code 1 if anything is."""
    path = file if file is not None else _directory(config, nodes=nodes, shadow=shadow)
    if not path.exists():
        raise NothingRecorded(f"there is no record at {path}", hint="name the file, or start the service")
    moment = _parse_time(at) if at else None
    outcomes = _with_progress(_replays(path, moment, nodes=nodes))
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in outcomes]))
    else:
        for one in outcomes:
            typer.echo("\n".join([one.title, *(f"  {printable(difference)}" for difference in one.differences)]))
        changed = sum(bool(one.differences) for one in outcomes)
        typer.echo(f"{len(outcomes)} decisions, {changed} differ")
    if any(one.differences for one in outcomes):
        raise typer.Exit(1)


def _parse_time(text: str) -> float:
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as err:
        raise InvalidValue(f"{text!r} is no time", hint="write 2026-11-24T12:00:03, in UTC, or seconds since the epoch") from err
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _directory(config: Path | None, *, nodes: bool, shadow: bool) -> Path:
    if not nodes:
        return directory_of(config, None, shadow=shadow)
    chosen = read_config(config).nodewatcher
    return Path(chosen.state_dir, "shadow") if shadow else nodes_state_directory(chosen)


def _replays(path: Path, at: float | None, *, nodes: bool) -> Iterator[Replay]:
    """Each record of the file made again, or only the last that was made before `at`."""
    if nodes:
        return map(replay_nodes, _in_force(read_records(path, NodeRecord), at))
    return map(replay, _in_force(read_records(path, Record), at))


def _in_force(records: Iterator[R], at: float | None) -> Iterator[R]:
    if at is None:
        yield from records
        return
    last: R | None = None
    for record in records:
        if record.seen.now > at:
            break
        last = record
    if last is None:
        raise NothingRecorded("no decision is as old as that", hint="the older ones may have been rotated away")
    yield last


def _with_progress(outcomes: Iterator[Replay]) -> list[Replay]:
    """All of them, with a bar on a terminal's standard error where there are many."""
    with Progress(console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as progress:
        return list(progress.track(outcomes, description="replaying"))
