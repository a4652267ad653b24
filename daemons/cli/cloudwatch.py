"""`headnode cloudwatch`: what CloudWatch should show of this cluster."""

import json
from typing import Annotated

import typer

from daemons.cli.common import ConfigOption, read_config
from daemons.cloudwatch.render import What, render

app = typer.Typer(
    help="A dashboard, alarms and queries for CloudWatch, made of the list of events and metrics.", no_args_is_help=True
)


@app.callback()
def cloudwatch() -> None:
    """Keeps `render` a command of its own, so that others may come."""


@app.command("render")
def render_command(
    what: Annotated[
        What,
        typer.Option(
            help="dashboard: for `aws cloudwatch put-dashboard --dashboard-body`; alarms, queries: templates for "
            "`aws cloudformation deploy`; agent: the amazon-cloudwatch-agent's configuration."
        ),
    ],
    config: ConfigOption = None,
) -> None:
    """Print it as JSON for this cluster."""
    chosen = read_config(config)
    typer.echo(json.dumps(render(what, chosen), indent=2, ensure_ascii=False))
    if what is What.AGENT and chosen.log.cloudwatch is not None:
        typer.echo("# [log.cloudwatch] is configured too: with the agent every line would come twice", err=True)
    if what is What.ALARMS and chosen.log.level == "error":
        typer.echo("# log.level is error: warnings are neither written nor counted, so that no alarm on one goes off", err=True)
