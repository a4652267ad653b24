"""`headnode explain`: why did it grow, or not, and why does a node stay or go?"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from daemons.cli.common import ConfigOption, JsonOption, printable, read_config
from daemons.cli.complete import complete_fleet, complete_node
from daemons.errors import HeadnodeError
from daemons.record import read_last
from jobwatcher import explain as words
from jobwatcher.record import Record, state_directory
from nodewatcher.explain import explain_node as explain_one_node
from nodewatcher.record import Record as NodeRecord
from nodewatcher.record import state_directory as nodes_state_directory

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
    nodes_directory = nodes_state_directory(read_config(config).nodewatcher) if state is None else None
    context.obj = directory_of(config, state, shadow=shadow), as_json, nodes_directory
    if context.invoked_subcommand is None:
        _tell(context, words.explain_last, as_json=as_json)


@app.command()
def job(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="As the scheduler prints it; an array or one of its tasks.")],
    as_json: JsonOption = False,
) -> None:
    """Why does this job wait, and what is done about it?"""
    _tell(context, lambda record: words.explain_job(record, job_id), as_json=as_json)


@app.command()
def node(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Host name or instance id.", autocompletion=complete_node)],
    as_json: JsonOption = False,
) -> None:
    """Why does this node (by host name or instance id) stay or go, and what is it to waiting jobs?"""
    nodes_directory = context.obj[2]
    seen = read_last(nodes_directory, NodeRecord) if nodes_directory is not None else None
    first = explain_one_node(seen, name) if seen is not None else ()

    def explain(record: Record) -> words.Explanation:
        about = words.explain_node(record, name)
        if not first:
            return about
        return replace(about, found=True, sentences=(*first, *(about.sentences if about.found else ())))

    _tell(context, explain, as_json=as_json)


@app.command()
def fleet(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="FLEET", help="Its name.", autocompletion=complete_fleet)],
    as_json: JsonOption = False,
) -> None:
    """Why is this fleet as large as it is?"""
    _tell(context, lambda record: words.explain_fleet(record, name), as_json=as_json)


def _tell(context: typer.Context, explain: Callable[[Record], words.Explanation], *, as_json: bool) -> None:
    directory, json_for_all, _ = context.obj
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
        typer.echo("\n".join(map(printable, explanation.sentences)))
    if not explanation.found:
        raise typer.Exit(1)


def directory_of(config: Path | None, state: Path | None, *, shadow: bool) -> Path:
    if state is not None:
        return state / "shadow" if shadow else state
    chosen = read_config(config).jobwatcher
    return Path(chosen.state_dir, "shadow") if shadow else state_directory(chosen)
