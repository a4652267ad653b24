"""`headnode install` and `headnode uninstall`: units, user, directories and examples, laid down and taken away."""

import json
import os
import re
import sysconfig
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from daemons.cli.common import JsonOption
from daemons.cli.units import BOOTED
from daemons.errors import ConfigError
from daemons.install import apply
from daemons.install.files import Role, program_names, shipped_files, unit_names
from daemons.install.plan import (
    MANIFEST,
    Action,
    Step,
    after_install,
    commands_after_install,
    plan_install,
    plan_uninstall,
)

PrefixOption = Annotated[
    Path, typer.Option("--prefix", metavar="DIR", help="The root of the machine's files, such as an image's.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]
_NOT_SEEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108  ProtectHome and PrivateTmp hide these
_PLAIN = re.compile(r"(/[A-Za-z0-9._+-]+)+")  # no specifier, blank or quote of systemd's


def install(
    prefix: PrefixOption = Path("/"),
    role: Annotated[Role, typer.Option(help="head: the three services; compute: the agent.")] = Role.HEAD,
    programs: Annotated[
        str, typer.Option(metavar="DIR", help="Where that machine has headnode's programs; else this installation's directory.")
    ] = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Lay down units, the services' user, directories and an example configuration, for this installation's programs.

    What somebody else has written or changed is left alone and told. Doing it again does nothing. Nothing is started.
    """
    root = _root(prefix)
    wanted = shipped_files(role, programs=_programs(root, role, programs))
    manifest = apply.read_manifest(root)
    paths = [one.path for one in wanted]
    steps = plan_install(wanted, manifest, texts=apply.read_texts(root, paths), directories=apply.read_directories(root, paths))
    commands = commands_after_install(role) if any(step.changes for step in steps) and _is_running(root) else ()
    if not dry_run and any(step.changes for step in steps):
        done: list[Step] = []
        try:
            apply.apply_steps(root, steps, done=done.append)
        finally:
            if (root / MANIFEST).parent.is_dir():
                apply.write_manifest(root, after_install(manifest, done))
        for argv in commands:
            apply.run_command(argv)
    _tell(root, [*steps, *_runs(commands)], dry_run=dry_run, as_json=as_json)
    if not dry_run and not as_json and any(step.changes for step in steps):
        file, unit = ("headnode.toml", "headnode.target") if role is Role.HEAD else ("agent.toml", "headnode-agent.service")
        typer.echo(f"next: write {root / 'etc/headnode' / file} (an example is beside it), then systemctl enable --now {unit}")


def uninstall(
    prefix: PrefixOption = Path("/"),
    purge: Annotated[bool, typer.Option("--purge", help="Remove configuration, state and logs as well.")] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Stop the services and take away what `headnode install` has laid down, and nothing else.

    Configuration and state stay unless --purge; so does what somebody has changed. The user stays: files may be his.
    """
    root = _root(prefix)
    manifest = apply.read_manifest(root)
    steps = plan_uninstall(
        manifest,
        texts=apply.read_texts(root, manifest.files),
        directories=apply.read_directories(root, [*manifest.files, *manifest.directories]),
        purge=purge,
    )
    units = [unit for role in Role for unit in unit_names(role) if any(path.endswith(f"/{unit}") for path in manifest.files)]
    stops = [("systemctl", "disable", "--now", *units)] if units and _is_running(root) else []
    if not dry_run:
        for argv in stops:
            apply.run_command(argv)
        files = [step for step in steps if step.path in manifest.files]
        apply.apply_steps(root, files)
        apply.forget_manifest(root)
        apply.apply_steps(root, [step for step in steps if step not in files])
        for argv in [("systemctl", "daemon-reload")] if stops else []:
            apply.run_command(argv)
    _tell(root, [*_runs(stops), *steps], dry_run=dry_run, as_json=as_json)


def _root(prefix: Path) -> Path:
    if not prefix.is_dir():
        raise ConfigError(f"--prefix {prefix} is no directory", hint="make it, or name another")
    return prefix.resolve()


def _is_running(root: Path) -> bool:
    """Is this about the machine that we are on, and is systemd its manager?"""
    return root == Path("/") and os.geteuid() == 0 and BOOTED.is_dir()


def _programs(root: Path, role: Role, given: str) -> PurePosixPath:
    """Where the machine below `root` will find the programs. Raises ConfigError if its services will not."""
    here = Path(sysconfig.get_path("scripts"))
    if given:
        inside = PurePosixPath(given)
    elif missing := [name for name in program_names(role) if not os.access(here / name, os.X_OK)]:
        hint = "install headnode with pip into an environment of its own, or name --programs"
        raise ConfigError(f"{', '.join(missing)}: not in {here}", hint=hint)
    else:
        inside = PurePosixPath("/") / here.relative_to(root) if here.is_relative_to(root) else PurePosixPath(here)
    if _PLAIN.fullmatch(str(inside)) is None:
        raise ConfigError(f"{str(inside)!r:.200} is no directory that a unit can name", hint="it is absolute, and of plain words")
    if f"{inside}/".startswith(_NOT_SEEN):
        raise ConfigError(
            f"services cannot see {inside}: their units hide homes and temporary directories",
            hint="install headnode elsewhere: python3 -m venv /opt/headnode && /opt/headnode/bin/pip install headnode",
        )
    return inside


def _runs(commands: Sequence[Sequence[str]]) -> list[Step]:
    return [Step(action=Action.RUN, path=" ".join(argv)) for argv in commands]


def _tell(root: Path, steps: Sequence[Step], *, dry_run: bool, as_json: bool) -> None:
    changed = any(step.changes for step in steps)
    if as_json:
        rows = [{name: value for name, value in asdict(step).items() if name != "text"} for step in steps]
        typer.echo(json.dumps({"prefix": str(root), "dry_run": dry_run, "changed": changed, "steps": rows}, indent=2))
        return
    for step in steps:
        where = step.path if step.action is Action.RUN else root / step.path
        typer.echo(f"{step.action:<8} {where}" + (f"  ({step.because})" if step.because else ""))
    if not changed:
        typer.echo("nothing to do")
    elif dry_run:
        typer.echo("nothing was done: --dry-run")
