"""`headnode`: what operators type. The services load nothing of this."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from daemons.cli.config import app as config_app
from daemons.cli.demo import demo
from daemons.cli.explain import app as explain_app
from daemons.cli.iam import app as iam_app
from daemons.cli.local import app as local_app
from daemons.cli.mqtt import app as mqtt_app
from daemons.cli.nodes import hold, nodes, release
from daemons.cli.plugins import app as plugins_app
from daemons.cli.poke import poke_command
from daemons.cli.queue import app as queue_app
from daemons.cli.replay import replay_command
from daemons.cli.resync import resync
from daemons.cli.services import jobwatcher
from daemons.errors import ConfigError, HeadnodeError

app = typer.Typer(
    name="headnode",
    help="Keeps an elastic HPC cluster on AWS the right size.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(config_app, name="config")
app.add_typer(local_app, name="local")
app.add_typer(queue_app, name="queue")
app.add_typer(explain_app, name="explain")
app.add_typer(mqtt_app, name="mqtt")
app.add_typer(plugins_app, name="plugins")
app.add_typer(iam_app, name="iam")
app.command()(demo)
app.command()(resync)
app.command("poke")(poke_command)
app.command("replay")(replay_command)
app.command()(jobwatcher)
app.command()(nodes)
app.command()(hold)
app.command()(release)


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
    """Run the command line. An error of ours is one message with the next step: exit code 2 for a wrong set-up, 1 otherwise."""
    try:
        app()
    except HeadnodeError as err:
        typer.echo(f"headnode: {err}", err=True)
        for problem in err.problems if isinstance(err, ConfigError) else ():
            typer.echo(f"  {problem}", err=True)
        if err.hint:
            typer.echo(f"next: {err.hint}", err=True)
        sys.exit(2 if isinstance(err, ConfigError) else 1)
