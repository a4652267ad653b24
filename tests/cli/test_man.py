"""The manual page: whole, without a warning of groff's, and not older than the commands."""

import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from daemons.cli import app
from daemons.cli.commands import COMMANDS
from daemons.cli.lazy import LazyGroup
from daemons.cli.man import render_man
from tests.needs import skip_or_fail

PAGE = Path(__file__).parents[2] / "docs/headnode.1"


def root() -> LazyGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, LazyGroup)
    return group


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    if isinstance(command, LazyGroup):
        for later in COMMANDS:
            yield from commands(command.load(later.name), f"{path} {later.name}")
        return
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from commands(inner, f"{path} {name}")


def shown(text: str, *options: str) -> str:
    """What a reader of the page sees, without bold letters and broken lines; fails with whatever groff warns of."""
    if shutil.which("groff") is None:
        skip_or_fail("groff is not installed (Debian: man-db)")
    argv = ["groff", "-ww", "-man", "-Tascii", "-P-cbou", "-rLL=500n", "-rHY=0", *options]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""
    return " ".join(done.stdout.split())


def test_the_page_in_the_repository_is_not_stale() -> None:
    rendered = render_man(root(), release=version("headnode"))
    assert PAGE.read_text() == rendered, "make man writes it anew"
    assert CliRunner().invoke(app, ["man"]).output == rendered


def test_groff_warns_of_nothing_and_every_command_and_option_is_shown() -> None:
    page = shown(PAGE.read_text())
    for path, command in commands(root(), "headnode"):
        assert path in page
        context = typer.Context(command, info_name=path)
        for param in command.params:
            record = param.get_help_record(context)
            if record is None or getattr(param, "hidden", False):
                continue
            for part in record:
                assert " ".join(str(part).split()) in page, f"{path}: {part}"


def test_man_itself_shows_the_page() -> None:
    if shutil.which("man") is None:
        skip_or_fail("man is not installed (Debian: man-db)")
    done = subprocess.run(
        ["man", "--warnings", "--encoding=UTF-8", "--local-file", str(PAGE)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stderr == ""
    assert "NAME" in done.stdout


def test_what_means_something_to_roff_is_shown_as_it_is() -> None:
    made = typer.Typer(cls=LazyGroup, add_completion=False)

    @made.callback()
    def callback() -> None:
        r""".TH is no macro here, \fBnor\fR this; 'quoted' --words-- and ~tilde^ "in" `ticks`."""

    group = typer.main.get_command(made)
    assert isinstance(group, LazyGroup)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("daemons.cli.man.COMMANDS", ())
        page = shown(render_man(group, release="1"))
    assert r""".TH is no macro here, \fBnor\fR this; 'quoted' --words-- and ~tilde^ "in" `ticks`""" in page
