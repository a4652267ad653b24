"""`headnode explain`: why did it grow, or not? And `headnode replay`: would it decide the same today?"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from daemons.cli.common import ConfigOption, JsonOption, read_config
from daemons.errors import HeadnodeError, InvalidValue
from daemons.record import read_last, read_records
from jobwatcher import explain as words
from jobwatcher.record import Record, state_directory
from jobwatcher.replay import Replay, replay, title

app = typer.Typer(name="explain", help="Say why the cluster grew or did not.", invoke_without_command=True)

StateOption = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", help="jobwatcher's state directory; else the configuration's.")
]
ShadowOption = Annotated[bool, typer.Option("--shadow", help="What the jobwatcher decided that only decides.")]


class NothingRecorded(HeadnodeError):
    """There is no decision that could be explained."""

    code = "nothing-recorded"


@app.callback()
def last(
    context: typer.Context,
    config: ConfigOption = None,
    state: StateOption = None,
    shadow: ShadowOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say why the cluster grew or did not: the last decision, or with a command one job, node or fleet."""
    context.obj = _directory(config, state, shadow=shadow), as_json
    if context.invoked_subcommand is None:
        _tell(context, words.explain_last, as_json=as_json)


@app.command()
def job(context: typer.Context, job_id: Annotated[str, typer.Argument(metavar="ID")], as_json: JsonOption = False) -> None:
    """Why does this job wait, and what is done about it?"""
    _tell(context, lambda record: words.explain_job(record, job_id), as_json=as_json)


@app.command()
def node(context: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME")], as_json: JsonOption = False) -> None:
    """What is this node (by host name or instance id) to jobwatcher?"""
    _tell(context, lambda record: words.explain_node(record, name), as_json=as_json)


@app.command()
def fleet(context: typer.Context, name: Annotated[str, typer.Argument(metavar="FLEET")], as_json: JsonOption = False) -> None:
    """Why is this fleet as large as it is?"""
    _tell(context, lambda record: words.explain_fleet(record, name), as_json=as_json)


def replay_command(
    file: Annotated[Path | None, typer.Argument(help="A file of the record or its directory; else the configuration's.")] = None,
    config: ConfigOption = None,
    at: Annotated[
        str, typer.Option(metavar="TIME", help="Only the decision in force then: 2026-11-24T12:00:03 (UTC) or epoch.")
    ] = "",
    shadow: ShadowOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make recorded decisions again with this version, and show what is different. Exit code 1 if anything is."""
    path = file if file is not None else _directory(config, None, shadow=shadow)
    if not path.exists():
        raise NothingRecorded(f"there is no record at {path}", hint="name the file, or start jobwatcher")
    records = read_records(path, Record)
    chosen = _in_force(records, _parse_time(at)) if at else records
    outcomes = _with_progress(replay(record) for record in chosen)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in outcomes]))
    else:
        for one in outcomes:
            typer.echo("\n".join([title(one), *(f"  {difference}" for difference in one.differences)]))
        changed = sum(bool(one.differences) for one in outcomes)
        typer.echo(f"{len(outcomes)} decisions, {changed} differ")
    if any(one.differences for one in outcomes):
        raise typer.Exit(1)


def _tell(context: typer.Context, explain: Callable[[Record], words.Explanation], *, as_json: bool) -> None:
    directory, json_for_all = context.obj
    record = read_last(directory, Record)
    if record is None:
        raise NothingRecorded(
            f"jobwatcher has recorded nothing in {directory}", hint="is it running? look at its log, or at jobwatcher.state_dir"
        )
    explanation = explain(record)
    if as_json or json_for_all:
        document = {"found": explanation.found, "sentences": explanation.sentences, **explanation.facts}
        typer.echo(json.dumps(document))
    else:
        typer.echo("\n".join(explanation.sentences))
    if not explanation.found:
        raise typer.Exit(1)


def _directory(config: Path | None, state: Path | None, *, shadow: bool) -> Path:
    if state is not None:
        return state / "shadow" if shadow else state
    chosen = read_config(config).jobwatcher
    return Path(chosen.state_dir, "shadow") if shadow else state_directory(chosen)


def _parse_time(text: str) -> float:
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as err:
        raise InvalidValue(f"{text!r} is no time", hint="write 2026-11-24T12:00:03, in UTC, or seconds since the epoch") from err
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _in_force(records: Iterable[Record], at: float) -> list[Record]:
    """The last decision that was made before `at`."""
    last_one: list[Record] = []
    for record in records:
        if record.seen.now > at:
            break
        last_one = [record]
    if not last_one:
        raise NothingRecorded("no decision is as old as that", hint="the older ones may have been rotated away")
    return last_one


def _with_progress(outcomes: Iterator[Replay]) -> list[Replay]:
    """All of them, with a bar on a terminal's standard error where there are many."""
    with Progress(console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as progress:
        return list(progress.track(outcomes, description="replaying"))
