"""What a shell completes, as the shell asks for it; bash itself is asked too."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_status import Head
from tests.fakes import FakeGroups, hostname, instance_id
from tests.needs import skip_or_fail

HEADNODE = "import sys; sys.argv[0] = 'headnode'; from daemons.cli import main; main()"


def asked(env: dict[str, str], *, code: str = HEADNODE, argv: tuple[str, ...] = ()) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **env}
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def bash(line: str, env: dict[str, str] | None = None) -> list[str]:
    """The words that bash offers after such a line."""
    at = str(len(line.split(" ")) - 1)
    return asked({"_HEADNODE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": at, **(env or {})})


@pytest.fixture
def head(tmp_path: Path) -> Head:
    head = Head.of(tmp_path, FakeGroups.of(1, 2, 13))
    asyncio.run(head.look())
    return head


def test_commands_and_their_own_commands_are_completed() -> None:
    assert bash("headnode re") == ["replay", "resume", "release", "resync"]
    assert bash("headnode queue re") == ["redrive"]
    assert bash("headnode config ") == ["check", "show", "import"]


def test_options_of_a_command_that_is_not_loaded_yet_are_completed() -> None:
    assert {"--apply", "--most", "--json", "--config"} <= set(bash("headnode queue redrive --"))
    assert bash("headnode jobs --fate b") == ["blocked"]


def test_the_names_of_nodes_and_fleets_come_from_what_the_services_have_written(head: Head) -> None:
    env = {"HEADNODE_CONFIG": str(head.directory / "headnode.toml")}
    assert bash("headnode drain ip-10-0-0-1", env) == [hostname(1), hostname(13)]
    assert bash("headnode hold i-", env) == [instance_id(1), instance_id(2), instance_id(13)]
    assert bash("headnode explain node ip-", env) == [hostname(1), hostname(13), hostname(2)]
    assert bash("headnode explain fleet ", env) == ["batch"]


@pytest.mark.parametrize("text", [None, "cluster = ", "\x00"])
def test_a_configuration_that_cannot_be_used_completes_nothing_and_says_nothing(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "headnode.toml"
    if text is not None:
        path.write_text(text)
    assert bash("headnode drain ip-", {"HEADNODE_CONFIG": str(path)}) == []


def test_zsh_and_fish_are_answered_with_the_summaries() -> None:
    zsh = asked({"_HEADNODE_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "headnode dra"})
    assert "drain" in "".join(zsh)
    assert "Let no new job start" in "".join(zsh)
    fish = {"_HEADNODE_COMPLETE": "complete_fish", "_TYPER_COMPLETE_ARGS": "headnode dra"}
    assert asked({**fish, "_TYPER_COMPLETE_FISH_ACTION": "get-args"})[0].startswith("drain\tLet no new job start")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script(shell: str) -> None:
    script = "\n".join(asked({"_HEADNODE_COMPLETE": f"source_{shell}"}))
    assert "_HEADNODE_COMPLETE" in script
    assert f"complete_{shell}" in script


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_put_where_the_shell_looks_for_it(shell: str, tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    told = asked(env, argv=("--install-completion", shell))
    assert told[0].startswith(f"{shell} completion installed in {tmp_path}")
    script = Path(told[0].partition(" installed in ")[2])
    assert f"complete_{shell}" in script.read_text()


def test_completing_a_commands_name_loads_no_command() -> None:
    code = (
        "import json, sys, atexit\n"
        "atexit.register(lambda: print('loaded ' + json.dumps(sorted(m for m in sys.modules if m.startswith('daemons.cli.')))))\n"
        f"{HEADNODE}"
    )
    env = {"_HEADNODE_COMPLETE": "complete_bash", "COMP_WORDS": "headnode de", "COMP_CWORD": "1"}
    *words, loaded = asked(env, code=code)
    assert words == ["demo"]
    assert set(json.loads(loaded.removeprefix("loaded "))) <= {"daemons.cli.commands", "daemons.cli.lazy"}


def test_bash_itself_completes(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        skip_or_fail("bash is not installed")
    script = tmp_path / "completion.bash"
    script.write_text("\n".join(asked({"_HEADNODE_COMPLETE": "source_bash"})))
    program = tmp_path / "headnode"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{HEADNODE}" "$@"\n')
    program.chmod(0o755)
    asks = (
        f"source {script}; words=$(complete -p headnode); COMP_WORDS=(headnode queue re); COMP_CWORD=2; "
        '_headnode_completion headnode re queue; echo "${COMPREPLY[@]}"'
    )
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(["bash", "-c", asks], capture_output=True, text=True, check=False, timeout=120, env=env)
    assert (done.stdout.strip(), done.returncode) == ("redrive", 0), done.stderr
