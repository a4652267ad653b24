"""What commands share: the configuration they work on, and how tables and JSON are printed."""

import contextlib
import getpass
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from daemons.config import Config, load_config
from daemons.errors import HeadnodeError, InvalidValue
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


def printable(text: str) -> str:
    """Text of others for a terminal: whatever could move the cursor or change colours is a question mark."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)


def checked_reason(text: str) -> str:
    """What an administrator gives as a reason. Raises InvalidValue where it is no line of text."""
    if len(text) > 200 or not text.isprintable():
        raise InvalidValue("the reason is too long, or not printable", hint="at most 200 characters, on one line")
    return text.strip()


def who_asks() -> str:
    """The person's name, also behind sudo; the user's number where nobody has that name."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # the one until Python 3.12, the other since
        return f"uid {os.getuid()}"


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """A table of these columns, or with `as_json` the rows whole."""
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.console import Console  # noqa: PLC0415  loaded where a person reads
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        cells = (row[name] for name in columns)
        table.add_row(*(Text(printable(_cell(cell))) for cell in cells))  # as it is: no brackets, backslashes or :names: are read
    Console().print(table)


def _cell(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@contextlib.contextmanager
def progress(doing: str, *, total: int | None = None, silent: bool = False) -> Iterator[Callable[[int], None]]:
    """For what may take longer than two seconds: a bar on a terminal's standard error, nothing elsewhere.

    Yields what to call with how much is done; without a `total` the bar says only that it goes on.
    """
    if silent or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415  loaded where a person reads
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda done: bar.update(task, completed=done)
