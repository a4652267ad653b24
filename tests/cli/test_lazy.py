"""A command loads what it needs itself, and `headnode` knows of the others without loading them."""

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from daemons.cli import Headnode, app
from daemons.cli.commands import COMMANDS
from daemons.cli.lazy import Later

HEAVY = {"boto3", "botocore", "aiobotocore", "aiomqtt", "rich", "moto", "sqswatcher", "jobwatcher", "nodewatcher"}


def loaded_by(*argv: str) -> set[str]:
    """The heavy packages that a process of its own has loaded once it has run this command."""
    code = (
        "import json, sys\n"
        f"sys.argv = ['headnode', *{list(argv)!r}]\n"
        "from daemons.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return HEAVY & set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("argv", [["--version"], ["poke", "--quiet", "--socket", "/nowhere/wake", "submit"]])
def test_what_is_called_often_loads_no_heavy_library(argv: list[str]) -> None:
    assert loaded_by(*argv) == set()


def test_the_list_of_commands_loads_none_of_them() -> None:
    assert loaded_by("--help") == {"rich"}


def test_a_command_loads_what_it_needs() -> None:
    assert {"boto3", "sqswatcher"} <= loaded_by("queue", "--help")


@pytest.mark.parametrize("later", COMMANDS, ids=lambda later: later.name)
def test_the_list_says_of_each_command_what_its_own_help_begins_with(later: Later) -> None:
    command = later.load()
    assert command.name == later.name
    assert " ".join(command.help.split()).startswith(later.summary)
    assert later.summary.endswith(".")


def test_each_command_is_called_by_its_name_alone() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, Headnode)
    assert [*group.commands] == [later.name for later in COMMANDS]
    assert len(group.commands) == len(COMMANDS)
    for later in COMMANDS:
        done = CliRunner().invoke(app, [later.name, "--help"])
        assert done.exit_code == 0, done.output
        assert f"headnode {later.name}" in done.output or f"root {later.name}" in done.output


def test_a_command_that_is_misspelt_is_guessed_at() -> None:
    done = CliRunner().invoke(app, ["hol"])
    assert done.exit_code == 2
    assert "Did you mean 'hold'?" in done.output
