"""The command reference: every command with its arguments and options, from the command line's own declarations."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import typer

from daemons.cli import app
from daemons.cli.lazy import LazyGroup
from daemons.cli.man import render_man
from docs.make.blocks import table

SERVICES = {
    "sqswatcher": "sqswatcher",
    "jobwatcher": "jobwatcher",
    "nodewatcher": "nodewatcher",
    "headnode-agent": "nodewatcher.agent",
}
_TOP = """# Commands

<!-- This page is made of the command line itself: `make reference`. -->

Exit codes: 0 done; 1 the answer is no (nothing found, a check failed, a promise broken); 2 the command or the configuration
cannot be used. Errors go to standard error, with the next step on a line that begins with `next:`. Commands that tell take
`--json` and then print one JSON document. `headnode --install-completion` teaches the shell what can be typed.
"""


def render_commands() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    return "\n".join([_TOP, *_command(root, "headnode", typer.Context(root, info_name="headnode")), _services()])


def render_manual() -> str:
    """headnode(1)."""
    root = typer.main.get_command(app)
    if not isinstance(root, LazyGroup):
        raise TypeError("the command line is no group of commands")
    return render_man(root, release=version("headnode"))


def _command(command: Any, path: str, context: Any) -> Iterator[str]:
    for name in [one.name for one in command.table] if isinstance(command, LazyGroup) else ():
        command.load(name)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"## `{path}`\n\n{(command.help or '').strip()}\n\n```\n{path} {usage}\n```\n"
    rows = [record for param in command.params if (record := _parameter(param, context))]
    if rows:
        yield table(("argument or option", "meaning"), rows) + "\n"
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _command(inner, f"{path} {name}", typer.Context(inner, info_name=name, parent=context))


def _parameter(param: Any, context: Any) -> tuple[str, str] | None:
    if getattr(param, "hidden", False) or param.name in ("install_completion", "show_completion"):
        return None
    record = param.get_help_record(context)
    return (f"`{record[0]}`", " ".join(str(record[1]).split())) if record else None


def _services() -> str:
    parts = []
    for name, module in SERVICES.items():
        ran = subprocess.run(
            [sys.executable, "-m", module, "--help"], check=True, capture_output=True, text=True, env={"COLUMNS": "110"}
        )
        parts.append(f"## `{name}`\n\n```text\n{ran.stdout.rstrip()}\n```\n")
    return "\n".join(parts)
