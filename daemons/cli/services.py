"""`headnode jobwatcher`: the services, as commands of the one command line."""

from typing import Annotated

import typer

from daemons.cli.common import ConfigOption
from jobwatcher.__main__ import main


def jobwatcher(
    config: ConfigOption = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Decide and record, and do nothing; may run beside the real one.")
    ] = False,
) -> None:
    """Run jobwatcher in the foreground. With --shadow it decides and records, and asks nobody for anything."""
    argv = [*(["--config", str(config)] if config is not None else []), *(["--shadow"] if shadow else [])]
    raise typer.Exit(main(argv))
