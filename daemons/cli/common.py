"""What commands share: the configuration they work on, and how tables and JSON are printed."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from daemons.config import Config, load_config
from daemons.errors import HeadnodeError
from schedulers.plugins import load_settings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help="The file to read; else HEADNODE_CONFIG, else /etc/headnode/headnode.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


class NothingKnown(HeadnodeError):
    """There is no such thing, or nothing has been written about any."""

    code = "nothing-known"


def read_config(path: Path | None) -> Config:
    """The cluster that the command is about. Raises ConfigError with everything that is wrong with its file."""
    return load_config(path, os.environ, load_settings=load_settings)


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """A table of these columns, or with `as_json` the rows whole."""
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.console import Console  # noqa: PLC0415  loaded where a person reads
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        cells = (row[name] for name in columns)
        table.add_row(*(escape(", ".join(map(str, cell)) if isinstance(cell, list) else str(cell)) for cell in cells))
    Console().print(table)
