"""`headnode config`: is the configuration right, what is in effect, and how does one come from ParallelCluster?"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from daemons.cli.common import ConfigOption, JsonOption
from daemons.config import Config, Reading, config_path, read_config, read_file
from daemons.config.ancestor import Fleet, import_ancestor
from daemons.config.effective import effective_settings
from daemons.config.problems import render_value
from daemons.errors import ConfigError
from schedulers.plugins import load_settings

UNFINISHED = 1  # of `import`, while something is left to fill in
INVALID = 2  # the exit status of both commands for a configuration that cannot be used

app = typer.Typer(name="config", help="Check and show the configuration; import one of ParallelCluster's.", no_args_is_help=True)


@app.command()
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Say whether the services can start from this configuration; if not, list everything that is wrong with it."""
    reading = _read(config)
    if as_json:
        summary = _summary(reading.config) if reading.config else None
        problems = [asdict(problem) for problem in reading.problems]
        typer.echo(json.dumps({"source": reading.source, "ok": not problems, "problems": problems, "summary": summary}, indent=2))
    elif reading.config:
        typer.echo(f"OK {reading.source}")
        for key, value in _summary(reading.config).items():
            typer.echo(f"  {key:<9} {value if isinstance(value, str) else '; '.join(value)}")
    else:
        _print_problems(reading)
    if reading.problems:
        raise typer.Exit(INVALID)


@app.command()
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print every setting in effect, and whether the file or a default says so."""
    reading = _read(config)
    if reading.problems:
        _print_problems(reading)
        raise typer.Exit(INVALID)
    settings = effective_settings(reading)
    if as_json:
        typer.echo(json.dumps({"source": reading.source, "settings": [asdict(setting) for setting in settings]}, indent=2))
        return
    typer.echo(f"# {reading.source}")
    texts = [f"{setting.path} = {render_value(setting.value)}" for setting in settings]
    width = min(60, max(map(len, texts)))
    for text, setting in zip(texts, settings, strict=True):
        typer.echo(f"{text:<{width}}  # {setting.origin:<7} {setting.meaning}".rstrip())


@app.command(name="import")
def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="/etc/{sqs,job,node}watcher.cfg, /opt/parallelcluster/cfnconfig.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="PATH", help="Write it there, to a new file.")] = None,
    group: Annotated[str, typer.Option(metavar="NAME", help="The compute nodes' Auto Scaling group.")] = "",
    instance_type: Annotated[str, typer.Option(metavar="TYPE", help="Their EC2 type.")] = "",
    cpus: Annotated[int, typer.Option(min=0, metavar="N", help="CPUs of one of them, as the scheduler counts them.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Make headnode's file of the ones that AWS ParallelCluster 2.x has. Queue, table and rows are taken over in place.

    Prints the file, or writes it with --output; says what has no counterpart and what is left to fill in. Exit code 1 while
    there is something to fill in.
    """
    imported = import_ancestor(
        [(str(path), _text(path)) for path in files], Fleet(group=group, instance_type=instance_type, cpus=cpus)
    )
    reading = read_config(imported.toml, load_settings=load_settings, source=str(output or "headnode.toml"))
    blank = {remark.where.replace("fleet.", "fleet[0].") for remark in imported.to_fill_in}
    if wrong := [str(problem) for problem in reading.problems if problem.path not in blank]:
        raise ConfigError(
            "what came of it is no configuration", problems=tuple(wrong), hint="correct the files; nothing was written"
        )
    if output is not None:
        _write_new(output, imported.toml)
    if as_json:
        told = {"left_out": imported.left_out, "to_fill_in": imported.to_fill_in}
        remarks = {name: [asdict(remark) for remark in some] for name, some in told.items()}
        typer.echo(json.dumps({"ok": not imported.to_fill_in, "toml": imported.toml, **remarks}, indent=2))
    else:
        if output is None:
            typer.echo(imported.toml, nl=False)
        for heading, some in (("has no counterpart", imported.left_out), ("to fill in", imported.to_fill_in)):
            for remark in some:
                typer.echo(f"# {heading}: {remark}", err=True)
    if imported.to_fill_in:
        raise typer.Exit(UNFINISHED)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path} cannot be read: {err}", hint="run it as a user who may, or name another file") from err


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as err:
        raise ConfigError(f"{path} cannot be written: {err.strerror}", hint="name a file that is not there yet") from err


def _read(config: Path | None) -> Reading:
    return read_file(config_path(config, os.environ), load_settings=load_settings)


def _print_problems(reading: Reading) -> None:
    count = len(reading.problems)
    typer.echo(f"{reading.source} cannot be used: {count} problem{'s' * (count != 1)}", err=True)
    for problem in reading.problems:
        typer.echo(f"  {problem}", err=True)


def _summary(config: Config) -> dict[str, str | list[str]]:
    dns = config.dns
    return {
        "cluster": f"{config.cluster} in {config.region}",
        "scheduler": config.scheduler.name,
        "queue": config.queue,
        "table": config.table,
        "dns": f"zone {dns.zone or dns.zone_id}" if dns else "no hosted zone",
        "endpoints": [f"{name} {address}" for name, address in sorted(config.endpoints.items())] or "AWS's own",
        "fleets": [f"{spec.name} ({spec.instance_type}, {spec.shape.cpus} CPUs, group {spec.group})" for spec in config.fleets],
    }
