"""`headnode config`: is the configuration right, and what is in effect?"""

import json
import os
from dataclasses import asdict
from pathlib import Path

import typer

from daemons.cli.common import ConfigOption, JsonOption
from daemons.config import Config, Reading, config_path, read_file
from daemons.config.effective import effective_settings
from daemons.config.problems import render_value
from schedulers.plugins import load_settings

INVALID = 2  # the exit status of both commands for a configuration that cannot be used

app = typer.Typer(name="config", help="Check and show the configuration.", no_args_is_help=True)


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
