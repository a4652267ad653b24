"""`headnode demo`: a whole cluster on this machine, from a job to the last node's end."""

import importlib.util
from enum import StrEnum
from typing import Annotated

import typer

from daemons.errors import ConfigError


class SchedulerChoice(StrEnum):
    AUTO = "auto"
    SLURM = "slurm"
    SGE = "sge"
    LOCAL = "local"


def demo(
    scheduler: Annotated[
        SchedulerChoice, typer.Option(help="Which scheduler runs the jobs; auto is a real Slurm if it can run here.")
    ] = SchedulerChoice.AUTO,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with the verdict, and nothing else.")] = False,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Let AWS throttle, fail, hang and cut calls, and lose, repeat and mix up messages.")
    ] = False,
    keep: Annotated[str, typer.Option(metavar="DIR", help="Copy logs, configuration and records to DIR at the end.")] = "",
) -> None:
    """Run jobs on a whole cluster in miniature, watch it grow and shrink, and judge what happened.

    The AWS is emulated, the scheduler, the services and the jobs are real. Everything lives in a private directory and is gone
    afterwards. The verdict is computed from the ground truth; the exit code is 1 if any promise was broken.
    """
    if importlib.util.find_spec("moto") is None:
        raise ConfigError("headnode demo needs the sandbox's packages", hint="pip install 'headnode[sandbox]', or make setup")
    from sandbox.demo.run import run_demo  # noqa: PLC0415  loads moto, which nothing else needs

    wanted = None if scheduler is SchedulerChoice.AUTO else scheduler.value
    raise typer.Exit(run_demo(scheduler=wanted, as_json=as_json, keep=keep, chaos=chaos))
