import json
import os
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from daemons.cli import app
from daemons.cli.local import parse_array
from daemons.errors import ConfigError
from daemons.model import FleetName, Hostname, InstanceId, NodeSpec, Shape
from schedulers.local import engine, store

runner = CliRunner()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "local.db"
    assert runner.invoke(app, ["local", "init", "--file", str(path)]).exit_code == 0
    spec = NodeSpec(
        instance_id=InstanceId("i-0c9f3a52c7de10001"),
        hostname=Hostname("n1"),
        address="10.0.0.1",
        fleet=FleetName("batch"),
        shape=Shape(cpus=4, memory_mib=8000),
        partition="compute",
    )
    db = store.connect(path, timeout_s=1)
    with store.transaction(db):
        engine.register(db, spec)
    db.close()
    return path


def told(file: Path, *arguments: str) -> object:
    result = runner.invoke(app, ["local", arguments[0], "--file", str(file), "--json", *arguments[1:]])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def said(file: Path, *arguments: str, code: int = 0) -> str:
    result = runner.invoke(app, ["local", arguments[0], "--file", str(file), *arguments[1:]])
    assert result.exit_code == code, result.output
    return result.output


def test_a_job_is_queued_held_released_shown_and_cancelled(file: Path) -> None:
    assert told(file, "submit", "--hold", "--cpus", "2", "--name", "mine", "--", "echo", "a b") == {"job_id": 1}
    assert told(file, "queue") == [
        {"job": "1", "name": "mine", "state": "waiting", "nodes": [], "asks for": "2 cpus", "because": "hold"}
    ]
    said(file, "release", "1")
    assert "hold" not in said(file, "queue")
    said(file, "cancel", "1")
    assert told(file, "queue") == []
    shown = told(file, "job", "1")
    assert isinstance(shown, dict)
    assert shown["tasks"][0]["state"] == "cancelled"
    assert "mine" in said(file, "queue", "--all")


def test_a_command_becomes_a_script_with_its_arguments_as_they_are(file: Path) -> None:
    said(file, "submit", "--", "printf", "%s\n", "$(touch /tmp/never)", "it's")
    db = store.connect(file, timeout_s=1)
    script = engine.find_job(db, 1).spec.script
    db.close()
    assert script == "#!/bin/sh\nexec printf '%s\n' '$(touch /tmp/never)' 'it'\"'\"'s'\n"


def test_nodes_are_listed_drained_and_resumed(file: Path) -> None:
    said(file, "drain", "n1", "--reason", "kernel test")
    nodes = told(file, "nodes")
    assert isinstance(nodes, list)
    [node] = nodes
    assert (node["node"], node["state"], node["reason"], node["cpus"]) == ("n1", "awaited, drained", "kernel test", 4)
    said(file, "resume", "n1")
    assert "drained" not in said(file, "nodes")
    assert "there is no node n9" in said(file, "drain", "n9", "--reason", "x", code=1)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["submit", "--cpus", "9", "--", "true"], 1, "no node that could ever be here fits 9 cpus"),
        (["submit", "--array", "0-3", "--", "true"], 2, "wants indices from 1 on"),
        (["submit", "--after", "77", "--", "true"], 1, "there is no such job"),
        (["submit", "--cpus", "none", "--", "true"], 2, "as an integer"),
        (["job", "77"], 1, "there is no job 77"),
        (["submit", "--array", "1-3%0", "--", "true"], 2, "wants indices from 1 on"),
        (["submit", "--time-limit", "0", "--", "true"], 2, "greater than or equal to 1"),
        (["drain", "no such;node", "--reason", "x"], 2, "is not a host name"),
        (["node", "--name", "../n1"], 2, "is not a host name"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_a_wrong_call_is_one_message_and_its_exit_code(file: Path, arguments: list[str], code: int, words: str) -> None:
    result = runner.invoke(app, ["local", *arguments[:1], "--file", str(file), *arguments[1:]])
    assert result.exit_code == code
    assert words in re.sub(r"[\s│]+", " ", result.output)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    result = runner.invoke(app, ["local", "queue", "--file", str(tmp_path / "nothing.db")])
    assert result.exit_code == 1
    assert "headnode local init" in result.output.replace("\n", " ")


def test_reading_goes_on_while_somebody_changes_the_file(file: Path) -> None:
    said(file, "submit", "--name", "mine", "--", "true")
    db = store.connect(file, timeout_s=1)
    with store.transaction(db):
        assert "mine" in said(file, "queue")
        assert "n1" in said(file, "nodes")
        assert "mine" in said(file, "job", "1")
    db.close()


def test_a_script_file_is_kept_byte_for_byte_and_must_name_its_interpreter(file: Path, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_bytes(b"#!/bin/sh\r\nprintf '\xff'\n")
    assert told(file, "submit", "--time-limit", "90", str(script)) == {"job_id": 1}
    db = store.connect(file, timeout_s=1)
    spec = engine.find_job(db, 1).spec
    db.close()
    assert (os.fsencode(spec.script), spec.time_limit_s, spec.name) == (script.read_bytes(), 90.0, "job.sh")
    script.write_bytes(b"echo\n")
    assert "#! and an interpreter" in re.sub(r"[\s│]+", " ", said(file, "submit", str(script), code=2))


@pytest.mark.parametrize(
    ("text", "indices", "throttle"),
    [("", (), None), ("3", (3,), None), ("1-4", (1, 2, 3, 4), None), ("1-9:4,2%3", (1, 2, 5, 9), 3)],
)
def test_array_ranges(text: str, indices: tuple[int, ...], throttle: int | None) -> None:
    assert parse_array(text) == (indices, throttle)


@pytest.mark.parametrize("text", ["0", "a", "1-", "1-2:0", "1%0", "1%x", "5-1", "1-999999"])
def test_wrong_array_ranges_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_array(text)


def test_a_jobs_name_is_shown_as_it_is_whatever_it_looks_like(file: Path) -> None:
    said(file, "submit", "--hold", "--name", "[/red]", "--", "true")
    assert "[/red]" in said(file, "queue")


def test_a_file_that_cannot_be_made_is_told_with_the_next_step(tmp_path: Path) -> None:
    result = runner.invoke(app, ["local", "init", "--file", str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    assert "cannot be made" in str(result.exception)
