"""`headnode`: what operators type. The services load nothing of this, and a command loads nothing of another."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from daemons.cli.commands import COMMANDS
from daemons.cli.lazy import LazyGroup
from daemons.errors import ConfigError, HeadnodeError


class Headnode(LazyGroup):
    """All of `daemons.cli.commands`."""

    table = COMMANDS


app = typer.Typer(
    name="headnode",
    cls=Headnode,
    help="Keeps an elastic HPC cluster on AWS the right size.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headnode {version('headnode')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that come before every command."""


def main() -> None:
    """Run the command line. An error of ours is one message with the next step: exit code 2 for a wrong set-up, 1 otherwise; and
    so is a file that cannot be read or written.
    """
    try:
        app()
    except HeadnodeError as err:
        _complain(
            str(err), *(f"  {problem}" for problem in (err.problems if isinstance(err, ConfigError) else ())), hint=err.hint
        )
        sys.exit(2 if isinstance(err, ConfigError) else 1)
    except OSError as err:
        if err.filename is None:
            raise
        denied = isinstance(err, PermissionError)
        _complain(
            f"{err.filename}: {err.strerror}", hint="run it as root, or as a member of the group headnode" if denied else ""
        )
        sys.exit(1)


def _complain(first: str, *more: str, hint: str) -> None:
    """On standard error. Some of the words are others': AWS's, the scheduler's."""
    from daemons.cli.common import printable  # noqa: PLC0415  it loads what reads a configuration

    words = "\n".join([f"headnode: {first}", *more, *([f"next: {hint}"] if hint else [])])
    typer.echo("\n".join(map(printable, words.split("\n"))), err=True)
