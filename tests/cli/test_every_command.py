"""What holds for every command: each option says what it is for, what tells something has --json, errors are alike."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from daemons.cli import main
from daemons.errors import SchedulerRefused
from tests.cli.test_man import commands, root

ALL = dict(commands(root(), "headnode"))
LEAVES = {
    path: command for path, command in ALL.items() if not getattr(command, "commands", {}) or command.invoke_without_command
}
SPEAKERS = {  # they do something, run until they are told to end, or print what is a document already
    "headnode poke",
    "headnode jobwatcher",
    "headnode top",
    "headnode man",
    "headnode iam render",
    "headnode mqtt render",
    "headnode mqtt user",
    "headnode cloudwatch render",
    "headnode local init",
    "headnode local node",
    "headnode local hold",
    "headnode local release",
    "headnode local cancel",
    "headnode local drain",
    "headnode local resume",
}


def options(command: Any) -> Iterator[tuple[str, str]]:
    for param in command.params:
        if not getattr(param, "hidden", False):
            yield param.name, param.help or ""


@pytest.mark.parametrize("path", ALL)
def test_a_command_and_each_of_its_options_say_what_they_are_for(path: str) -> None:
    assert (ALL[path].help or "").strip().endswith((".", "?")), path
    silent = [name for name, meaning in options(ALL[path]) if not meaning.strip().endswith((".", "?"))]
    assert silent == [], f"{path}: these options say nothing, or no sentence"


@pytest.mark.parametrize("path", ALL)
def test_a_terminal_shows_all_that_a_command_says_of_itself(path: str) -> None:
    """What stands in brackets would be taken for markup, and left out."""
    for words in (ALL[path].help or "", *(meaning for _, meaning in options(ALL[path]))):
        assert Text.from_markup(words).plain == words


@pytest.mark.parametrize("path", sorted(set(LEAVES) - SPEAKERS))
def test_what_tells_something_tells_it_to_programs_too(path: str) -> None:
    assert any("--json" in getattr(param, "opts", ()) for param in LEAVES[path].params)


def test_no_command_is_excused_that_is_not_there() -> None:
    assert set(LEAVES) >= SPEAKERS


def a_value(param: Any) -> str:
    """One that the parameter takes."""
    return str(next(iter(param.type_descriptor.choices or ("x",))))


CONFIGURED = sorted(path for path, command in LEAVES.items() if any("--config" in param.opts for param in command.params))


@pytest.mark.parametrize("path", CONFIGURED)
def test_a_configuration_that_is_not_there_is_one_message_with_the_next_step_and_exit_code_2(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = path.split()[1:]
    needed = [param for param in LEAVES[path].params if param.required]
    given = [word for param in needed for word in (*(one for one in param.opts[:1] if one.startswith("-")), a_value(param))]
    group = ALL[" ".join(path.split()[:-1])]
    parents = any("--config" in param.opts for param in group.params) and group is not ALL["headnode"]
    option = ["--config", str(tmp_path / "nowhere.toml")]
    argv = [*words, *given, *option] if not parents else [*words[:-1], *option, words[-1], *given]
    monkeypatch.setattr("sys.argv", ["headnode", *argv])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, ""), said.err
    assert "nowhere.toml" in said.err
    assert "Traceback" not in said.err


FILE = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc-instances"
[endpoints]
default = "http://127.0.0.1:9"
[scheduler]
name = "local"
settings = {{ file = "/nonexistent/local.db" }}
[log.cloudwatch]
group = "hpc"
[jobwatcher]
state_dir = "{state}"
[nodewatcher]
state_dir = "{state}"
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.large"
cpus = 2
"""


def ended(monkeypatch: pytest.MonkeyPatch, config: Path, *words: str) -> object:
    monkeypatch.setattr("sys.argv", ["headnode", *words])
    monkeypatch.setenv("HEADNODE_CONFIG", str(config))
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


@pytest.mark.parametrize(
    "words",
    [
        "queue depth",
        "queue dead",
        "queue redrive",
        "logs --cloudwatch",
        "iam render --account 123456789012",
        "doctor --only aws",
        "hold n1",
        "ha",
        "status --live",
        "jobs --live",
    ],
)
def test_credentials_that_cannot_even_be_looked_for_are_one_message(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "headnode.toml"
    config.write_text(FILE.format(state=tmp_path))
    monkeypatch.setenv("AWS_PROFILE", "nobody-has-this")
    assert ended(monkeypatch, config, *words.split()) == 1
    said = capsys.readouterr()
    assert "nobody-has-this" in said.out + said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("words", ["nodes", "explain", "explain job 7", "replay", "replay --nodes"])
def test_a_record_that_cannot_be_read_is_one_message(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A directory where a file should be is what root cannot read either."""
    config = tmp_path / "headnode.toml"
    config.write_text(FILE.format(state=tmp_path))
    for name in ("last.json", "decisions.jsonl"):
        (tmp_path / name).mkdir()
    assert ended(monkeypatch, config, *words.split()) == 1
    assert capsys.readouterr().err == f"headnode: {tmp_path / NAMES[words.split(maxsplit=1)[0]]}: Is a directory\n"


NAMES = {"nodes": "last.json", "explain": "last.json", "replay": "decisions.jsonl"}


def test_who_may_not_read_is_told_who_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "headnode.toml"
    config.write_text(FILE.format(state=tmp_path))

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "last.json"))

    monkeypatch.setattr("daemons.cli.nodes.read_last", denied)
    assert ended(monkeypatch, config, "nodes") == 1
    assert capsys.readouterr().err.splitlines() == [
        f"headnode: {tmp_path / 'last.json'}: Permission denied",
        "next: run it as root, or as a member of the group headnode",
    ]


def test_words_of_others_in_an_error_move_no_cursor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "headnode.toml"
    config.write_text(FILE.format(state=tmp_path))

    def refused(*_: object) -> None:
        raise SchedulerRefused("slurmctld said \x1b[2Jno\nand more", hint="\x9bm")

    monkeypatch.setattr("daemons.cli.nodes.read_last", refused)
    assert ended(monkeypatch, config, "nodes") == 1
    assert capsys.readouterr().err == "headnode: slurmctld said ?[2Jno\nand more\nnext: ?m\n"
