"""`headnode local`: the small batch scheduler in one file."""

import contextlib
import json
import os
import re
import shlex
import sqlite3
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from daemons.cli.common import JsonOption, print_rows, printable
from daemons.errors import ConfigError, HeadnodeError, InvalidValue, SchedulerUnavailable
from daemons.model import Hostname, Shape
from daemons.names import parse_hostname
from schedulers.local import engine, store
from schedulers.local.node import run as run_node
from schedulers.local.plan import blocked_by, is_fresh
from schedulers.local.values import DEFAULT_TIME_LIMIT_S, ENDED, Job, JobSpec, Limits, LocalNode, Task, TaskState

app = typer.Typer(name="local", help="A small batch scheduler in one file.", no_args_is_help=True)

FileOption = Annotated[
    Path,
    typer.Option("--file", envvar="HEADNODE_LOCAL_FILE", metavar="PATH", help="The SQLite file that the cluster is kept in."),
]
JobArgument = Annotated[int, typer.Argument(help="The job's number.")]
NodeArgument = Annotated[str, typer.Argument(help="The node's host name.")]
LONGEST_ARRAY = 100_000


@app.command()
def init(
    file: FileOption,
    silent_after_s: Annotated[
        float, typer.Option(help="How long a node's daemon may say nothing before its node gets no new job, in seconds.")
    ] = Limits().silent_after_s,
    down_after_s: Annotated[
        float, typer.Option(help="How long before its node is down and its jobs run elsewhere, in seconds.")
    ] = Limits().down_after_s,
) -> None:
    """Make the file; one that is there keeps its jobs and nodes."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        store.create(file, Limits(silent_after_s=silent_after_s, down_after_s=down_after_s))
    except (OSError, sqlite3.Error) as err:
        raise ConfigError(
            f"the file {file} cannot be made: {err}", hint="name a path in a directory that this user may write to"
        ) from err


@app.command(context_settings={"ignore_unknown_options": True})
def submit(  # noqa: PLR0917  each is an option of the command line
    file: FileOption,
    command: Annotated[list[str], typer.Argument(help="A script, or after -- a command with its arguments.")],
    name: Annotated[str, typer.Option(help="The job's name; else the script's.")] = "",
    cpus: Annotated[int, typer.Option(min=1, help="CPUs on each node.")] = 1,
    memory_mib: Annotated[int, typer.Option(min=0, help="Memory on each node, in MiB.")] = 0,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs on each node.")] = 0,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes, all at once.")] = 1,
    array: Annotated[str, typer.Option(metavar="1-20%5", help="Run it once for each index; %n: at most n at once.")] = "",
    hold: Annotated[bool, typer.Option("--hold", help="Keep it from starting until it is released.")] = False,
    exclusive: Annotated[bool, typer.Option("--exclusive", help="Whole nodes, with nobody else on them.")] = False,
    feature: Annotated[list[str] | None, typer.Option(help="A feature that its nodes must have; may be repeated.")] = None,
    partition: Annotated[str, typer.Option(help="The partition; any, unless told.")] = "",
    priority: Annotated[int, typer.Option(help="Greater goes first.")] = 0,
    after: Annotated[list[int] | None, typer.Option(help="Start once this job has ended well; may be repeated.")] = None,
    after_any: Annotated[list[int] | None, typer.Option(help="Start once this job has ended somehow; may be repeated.")] = None,
    begin: Annotated[datetime | None, typer.Option(help="Start no earlier.")] = None,
    time_limit_s: Annotated[
        float, typer.Option("--time-limit", "--time-limit-s", min=1, help="It is killed after so many seconds.")
    ] = DEFAULT_TIME_LIMIT_S,
    no_requeue: Annotated[bool, typer.Option("--no-requeue", help="Do not run it again when its node is lost.")] = False,
    output: Annotated[Path | None, typer.Option(help="Append what it prints to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a job and print its id."""
    indices, throttle = parse_array(array)
    spec = JobSpec(
        name=name or Path(command[0]).name,
        script=_script(command),
        per_node=Shape(cpus=cpus, memory_mib=memory_mib, gpus=gpus),
        nodes=nodes,
        array=indices,
        throttle=throttle,
        exclusive=exclusive,
        partition=partition,
        features=frozenset(feature or ()),
        priority=priority,
        held=hold,
        begin_at=begin.timestamp() if begin else 0.0,
        after_ok=frozenset(after or ()),
        after_any=frozenset(after_any or ()),
        time_limit_s=time_limit_s,
        requeue=not no_requeue,
        output=str(output.resolve()) if output else "",
    )
    with _opened(file) as db:
        job_id = engine.submit(db, spec, now=time.time())
        engine.advance(db, now=time.time())
    typer.echo(json.dumps({"job_id": job_id}) if as_json else job_id)


@app.command()
def queue(
    file: FileOption,
    show_all: Annotated[bool, typer.Option("--all", help="Jobs that have ended as well.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the jobs that wait or run."""
    with _opened(file, writes=False) as db:
        jobs, tasks, snapshot = engine.jobs_of(db), engine.tasks_of(db), store.read_snapshot(db)
    shown = [task for task in tasks if show_all or task.state not in ENDED]
    waits_for = {job.job_id: str(blocked_by(job, snapshot, time.time())) for job in snapshot.jobs}
    rows = [_describe(jobs[task.job_id], task, waits_for.get(task.job_id, "")) for task in shown]
    print_rows(rows, ["job", "name", "state", "nodes", "asks for", "because"], as_json=as_json)


@app.command()
def nodes(file: FileOption, as_json: JsonOption = False) -> None:
    """List the registered nodes."""
    with _opened(file, writes=False) as db:
        rows = [_describe_node(db, node) for node in store.read_nodes(db)]
    print_rows(rows, ["node", "address", "state", "cpus", "memory_mib", "gpus", "jobs", "reason"], as_json=as_json)


@app.command()
def job(file: FileOption, job_id: JobArgument, as_json: JsonOption = False) -> None:
    """Everything known of one job."""
    with _opened(file, writes=False) as db:
        found, tasks = engine.find_job(db, job_id), engine.tasks_of(db, [job_id])
    if not as_json:
        name, submitted = printable(found.spec.name), datetime.fromtimestamp(found.submitted_at).astimezone()
        typer.echo(f"job {job_id} ({name}), submitted {submitted:%F %T}")
    rows = [
        {
            "task": task.index,
            "state": str(task.state),
            "attempts": task.attempts,
            "nodes": list(task.nodes),
            "exit_code": task.exit_code,
            "started_at": task.started_at,
            "ended_at": task.ended_at,
        }
        for task in tasks
    ]
    if as_json:
        typer.echo(json.dumps({"job_id": job_id, "name": found.spec.name, "submitted_at": found.submitted_at, "tasks": rows}))
    else:
        print_rows(rows, list(rows[0]), as_json=False)


@app.command()
def node(file: FileOption, name: Annotated[str, typer.Option(help="The node's host name; else this machine's.")] = "") -> None:
    """Run the daemon of one node, in the foreground, until it is told to end."""
    try:
        run_node(file, _parse_node(name or os.uname().nodename))
    except HeadnodeError as err:
        _fail(err)


@app.command()
def hold(file: FileOption, job_id: JobArgument) -> None:
    """Keep what waits of a job from starting."""
    with _opened(file) as db:
        engine.hold(db, job_id, held=True)


@app.command()
def release(file: FileOption, job_id: JobArgument) -> None:
    """Let a held job start."""
    with _opened(file) as db:
        engine.hold(db, job_id, held=False)
        engine.advance(db, now=time.time())


@app.command()
def cancel(file: FileOption, job_id: JobArgument) -> None:
    """End a job, waiting or running."""
    with _opened(file) as db:
        ended = engine.cancel(db, job_id, now=time.time())
    if not ended:
        typer.echo(f"job {job_id} had ended already", err=True)


@app.command()
def drain(file: FileOption, name: NodeArgument, reason: Annotated[str, typer.Option(help="Why; nodes shows it.")]) -> None:
    """Let no new job start on a node. headnode leaves it alone until it is resumed."""
    with _opened(file) as db:
        _known(engine.set_drain(db, _parse_node(name), reason), name)


@app.command()
def resume(file: FileOption, name: NodeArgument) -> None:
    """Let jobs start on a drained node again."""
    with _opened(file) as db:
        _known(engine.set_drain(db, _parse_node(name), None), name)
        engine.advance(db, now=time.time())


def parse_array(text: str) -> tuple[tuple[int, ...], int | None]:
    """The indices and the throttle of `1-20`, `1,3,5-9:2` or `1-100%5`. Raises typer.BadParameter."""
    if not text:
        return (), None
    ranges, _, limit = text.partition("%")
    indices: list[int] = []
    for part in ranges.split(","):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?(?::(\d{1,6}))?", part)
        if not match or int(match[3] or 1) == 0:
            raise typer.BadParameter(f"--array {text}: {part!r} is neither an index nor a range such as 1-20 or 1-9:2")
        first, last = int(match[1]), int(match[2] or match[1])
        indices += range(first, last + 1, int(match[3] or 1))
    unique = tuple(sorted(set(indices)))
    if not unique or unique[0] < 1 or len(unique) > LONGEST_ARRAY or (limit and not re.fullmatch(r"0*[1-9]\d{0,5}", limit)):
        raise typer.BadParameter(f"--array {text}: wants indices from 1 on, at most {LONGEST_ARRAY}, and %n with n from 1 on")
    return unique, int(limit) if limit else None


def _script(command: list[str]) -> str:
    """A file's text, or a script that becomes the command."""
    if len(command) == 1 and Path(command[0]).is_file():
        text = os.fsdecode(Path(command[0]).read_bytes())  # a script may hold bytes that are no text
        if not text.startswith("#!"):
            raise typer.BadParameter(f"{command[0]} does not begin with #! and an interpreter")
        return text
    return f"#!/bin/sh\nexec {shlex.join(command)}\n"


def _parse_node(name: str) -> Hostname:
    try:
        return parse_hostname(name)
    except InvalidValue as err:
        raise typer.BadParameter(str(err)) from err


@contextlib.contextmanager
def _opened(file: Path, *, writes: bool = True) -> Iterator[sqlite3.Connection]:
    """One transaction on the file. Its errors end the command with code 1, saying what to do."""
    try:
        with contextlib.closing(store.connect(file, timeout_s=10)) as db, store.transaction(db, writes=writes):
            yield db
    except sqlite3.Error as err:
        _fail(SchedulerUnavailable(f"{file}: {err}", hint=f"headnode local init --file {file} makes it"))
    except HeadnodeError as err:
        _fail(err)


def _fail(err: HeadnodeError) -> None:
    typer.echo(f"headnode local: {err}", err=True)
    if err.hint:
        typer.echo(f"next: {err.hint}", err=True)
    sys.exit(1)


def _known(found: bool, name: str) -> None:
    if not found:
        raise HeadnodeError(f"there is no node {name}", hint="headnode local nodes lists them")


def _describe(found: Job, task: Task, waits_for: str) -> dict[str, Any]:
    spec = found.spec
    asks = f"{spec.nodes} x " if spec.nodes > 1 else ""
    asks += f"{spec.per_node.cpus} cpus" + (f", {spec.per_node.memory_mib} MiB" if spec.per_node.memory_mib else "")
    return {
        "job": f"{task.job_id}_{task.index}" if task.index else str(task.job_id),
        "name": spec.name,
        "state": str(task.state),
        "nodes": list(task.nodes),
        "asks for": asks + (f", {spec.per_node.gpus} gpus" if spec.per_node.gpus else ""),
        "because": waits_for if task.state is TaskState.WAITING and waits_for != "nothing" else "",
    }


def _describe_node(db: sqlite3.Connection, found: LocalNode) -> dict[str, Any]:
    jobs = [f"{task.job_id}_{task.index}" if task.index else str(task.job_id) for task in store.active_tasks(db, found.hostname)]
    limits, now = store.read_limits(db), time.time()
    state = "up" if is_fresh(found, limits, now) else "silent"
    if found.heartbeat_at is None:
        state = "awaited"
    elif now - found.heartbeat_at > limits.down_after_s:
        state = "down"
    return {
        "node": found.hostname,
        "address": found.address,
        "state": state + (", drained" if found.drain_reason is not None else ""),
        "cpus": found.shape.cpus,
        "memory_mib": found.shape.memory_mib,
        "gpus": found.shape.gpus,
        "jobs": jobs,
        "reason": found.drain_reason or "",
    }
