"""`headnode log-level`: how much the services log, from now on and after their next start."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from daemons.cli.common import ConfigOption, JsonOption, printable
from daemons.cli.gather import SERVICES
from daemons.cli.loglines import Level
from daemons.cli.rewrite import NotRewritten, rewrite
from daemons.cli.units import fetch_units
from daemons.config import config_path, read_file
from daemons.config.edit import with_log_level
from schedulers.plugins import load_settings

_PATIENCE_S = 90.0
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A service that systemd runs, and why it was not told to read its configuration again; "" where it was."""

    service: str
    why_not: str = ""


def log_level(
    level: Annotated[Level | None, typer.Argument(help="From this level up lines are written.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the configured log level, or change it: in the configuration file, and in the services that run.

    Only the value of `level` in section `log` changes in the file. The services that systemd runs on this machine are told to
    reload, and go on with what they are doing; one that was started with --log-level keeps that. Metrics are written at every
    level. Exit code 1 if a service that runs could not be told.
    """
    path = config_path(config, os.environ)
    before = read_file(path, load_settings=load_settings).unwrap().log.level
    if level is None:
        typer.echo(json.dumps({"source": str(path), "level": before}) if as_json else before)
        return
    if level != before:
        _edit(path, level)
    told = tuple(_tell_all())
    done = not any(one.why_not for one in told)
    if as_json:
        services = [asdict(one) for one in told]
        typer.echo(json.dumps({"source": str(path), "level": level, "before": before, "ok": done, "services": services}))
    else:
        typer.echo(f"{path}: log.level is {level}" + (f", and was {before}" if level != before else " already"))
        for one in told:
            typer.echo(f"{one.service}: {f'not told: {printable(one.why_not)}' if one.why_not else 'told to reload'}")
        if not told:
            typer.echo("systemd runs no service of headnode's here: one that was started by hand takes it by SIGHUP")
    if not done:
        raise typer.Exit(1)


def _edit(path: Path, level: str) -> None:
    """Raises NotRewritten."""
    before = path.read_bytes()
    mark = _BOM if before.startswith(_BOM) else b""
    after = with_log_level(before.removeprefix(mark).decode(), level)
    if after is None:
        raise NotRewritten(
            f"{path} says log.level in a way that is not understood here", hint="edit it by hand, and reload the services"
        )
    rewrite(path, before, mark + after.encode())


def _tell_all() -> Iterator[Told]:
    """One that is not up yet is left alone: a signal that comes too early would end it."""
    for service, unit in fetch_units(SERVICES).items():
        if unit.active in ("active", "reloading"):
            yield Told(service=service, why_not=_reload(service))
        elif unit.active == "activating":
            yield Told(service=service, why_not=f"it is not up yet: systemctl reload {service} once it is")


def _reload(service: str) -> str:
    """Why it could not be told; "" where it was."""
    program = shutil.which("systemctl") or "systemctl"
    try:
        subprocess.run([program, "reload", f"{service}.service"], check=True, capture_output=True, text=True, timeout=_PATIENCE_S)
    except (OSError, subprocess.SubprocessError) as err:
        return " ".join((getattr(err, "stderr", "") or str(err)).split())
    return ""
