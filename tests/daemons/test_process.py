"""The services as processes: arguments, a bad configuration, a clean stop."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schedulers.local import store

SERVICES = ("sqswatcher", "jobwatcher", "nodewatcher")
CONFIG = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc"
[endpoints]
default = "http://127.0.0.1:9"
[scheduler]
name = "local"
[scheduler.settings]
file = "FILE"
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.xlarge"
cpus = 4
"""


def start(service: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    return subprocess.Popen(
        [sys.executable, "-m", service, *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_wrong_configuration_is_told_whole_and_ends_with_code_2(service: str, tmp_path: Path) -> None:
    path = tmp_path / "headnode.toml"
    path.write_text('cluster = "hpc"\nregoin = "eu-west-1"\n[jobwatcher]\ninterval_s = -1\n')
    out, err = start(service, "--config", str(path)).communicate(timeout=60)
    assert out == ""
    for wrong in ("regoin", "jobwatcher.interval_s", "fleet", "queue"):
        assert wrong in err


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_whose_world_is_away_says_so_keeps_trying_and_stops_when_told(service: str, tmp_path: Path) -> None:
    path = tmp_path / "headnode.toml"
    path.write_text(CONFIG.replace("FILE", str(tmp_path / "local.db")))
    process = start(service, "--config", str(path))
    assert process.stdout is not None
    events = []
    deadline = time.monotonic() + 60
    while "cycle.failed" not in events and time.monotonic() < deadline:
        events.append(json.loads(process.stdout.readline())["event"])
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    events += [json.loads(line)["event"] for line in rest.splitlines()]
    assert events[0] == "service.started"
    assert "cycle.failed" in events
    assert events[-1] == "service.stopped"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("service", "more"),
    [("jobwatcher", ""), ("nodewatcher", ""), ("sqswatcher", ""), ("sqswatcher", '[dns]\nzone = "hpc.internal"\n')],
    ids=["jobwatcher", "nodewatcher", "sqswatcher", "before its first cycle"],
)
def test_a_service_that_is_told_to_stop_while_aws_does_not_answer_ends_well(service: str, more: str, tmp_path: Path) -> None:
    """Left to itself the call would take five attempts of 30 s, beyond this test's patience."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        path = tmp_path / "headnode.toml"
        store.create(tmp_path / "local.db")
        path.write_text(CONFIG.replace("FILE", str(tmp_path / "local.db")).replace("127.0.0.1:9", endpoint) + more)
        process = start(service, "--config", str(path))
        try:
            asked, _ = silent.accept()
            with asked:
                assert asked.recv(1), "it has asked something"
                process.send_signal(signal.SIGTERM)
                out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    events = [json.loads(line)["event"] for line in out.splitlines()]
    assert process.returncode == 0, err
    assert events[-1] == "service.stopped"
    assert "service.failed" not in events


@pytest.mark.parametrize("service", SERVICES)
def test_sighup_brings_a_configuration_that_can_be_used_and_no_other(service: str, tmp_path: Path) -> None:
    path, usable = tmp_path / "headnode.toml", CONFIG.replace("FILE", str(tmp_path / "local.db"))
    path.write_text(usable)
    with ended_at_last(start(service, "--config", str(path))) as process:
        hear(process, lambda line: line["event"] == "cycle.failed")
        for wrong, problems in (
            (usable.replace("eu-west-1", "eu-west-2"), ["region: cannot change while the service runs"]),
            (usable + "[nodewatcher]\ninterval_s = -1\nidle = 3\n", ["nodewatcher.interval_s: ", "nodewatcher.idle: "]),
        ):
            path.write_text(wrong)
            process.send_signal(signal.SIGHUP)
            refused = hear(process, lambda line: line["event"] == "config.refused")
            assert all(told.startswith(said) for told, said in zip(refused["problems"], problems, strict=True))
        path.write_text(usable.replace("127.0.0.1:9", "127.0.0.1:10").replace("local.db", "other.db"))
        process.send_signal(signal.SIGHUP)
        changed = hear(process, lambda line: line["event"] == "config.changed")
        assert changed["changes"][0] == 'endpoints.default: "http://127.0.0.1:9" -> "http://127.0.0.1:10"'
        assert changed["changes"][1].startswith("scheduler.settings.file: ")
        hear(process, lambda line: line["event"] == "cycle.failed" and ("127.0.0.1:10/" in str(line) or "other.db" in str(line)))
        process.send_signal(signal.SIGTERM)
        assert rest_of(process)[-1] == "service.stopped"
        assert process.returncode == 0


def test_sighup_changes_the_level_alone_at_once_and_the_service_goes_on(tmp_path: Path) -> None:
    path, usable = tmp_path / "headnode.toml", CONFIG.replace("FILE", str(tmp_path / "local.db"))
    path.write_text(usable)
    with ended_at_last(start("sqswatcher", "--config", str(path))) as process:
        hear(process, lambda line: line["event"] == "cycle.failed")
        path.write_text(usable + '[log]\nlevel = "error"\n')
        process.send_signal(signal.SIGHUP)
        assert hear(process, lambda line: line["event"] == "config.changed")["changes"] == ['log.level: "info" -> "error"']
        path.write_text(usable + '[log]\nlevel = "debug"\n')
        process.send_signal(signal.SIGHUP)
        assert hear(process, lambda _: True)["changes"] == ['log.level: "error" -> "debug"'], "no warning in between"
        hear(process, lambda line: line["event"] == "cycle.failed")
        process.send_signal(signal.SIGTERM)
        assert rest_of(process)[-1] == "service.stopped"


def test_who_was_started_with_a_level_keeps_it_whatever_the_file_says(tmp_path: Path) -> None:
    path, usable = tmp_path / "headnode.toml", CONFIG.replace("FILE", str(tmp_path / "local.db"))
    path.write_text(usable)
    with ended_at_last(start("sqswatcher", "--config", str(path), "--log-level", "debug")) as process:
        hear(process, lambda line: line["event"] == "cycle.failed")
        path.write_text(usable + '[log]\nlevel = "error"\n')
        process.send_signal(signal.SIGHUP)
        hear(process, lambda line: line["event"] == "config.changed")
        hear(process, lambda line: line["event"] == "cycle.failed")


FAILING = """
import sys
from daemons.errors import {error}
from daemons.process import run_service
from schedulers.plugins import load_settings

async def serve(config, over):
    raise {error}("{words}")

sys.exit(run_service("jobwatcher", "", serve, load_settings=load_settings))
"""


@pytest.mark.parametrize(
    ("error", "code", "last"),
    [("SchedulerRefused", 1, "no: go away"), ("ConfigError", 2, "no: go away"), ("ValueError", 1, "ValueError: no: go away")],
)
def test_why_a_service_ended_is_told_once_wherever_its_lines_go(error: str, code: int, last: str, tmp_path: Path) -> None:
    path, program = tmp_path / "headnode.toml", tmp_path / "failing.py"
    more = f'[log.file]\ndirectory = "{tmp_path}"\n[log.metrics]\nnamespace = "Headnode"\n[scheduler]\n'
    path.write_text(CONFIG.replace("FILE", "/nonexistent").replace("[scheduler]\n", more))
    source = FAILING.format(error=error, words="no: go away")
    program.write_text(source.replace("from daemons.errors import ValueError\n", ""))
    argv = [sys.executable, str(program), "--config", str(path)]
    root = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **root})
    assert done.returncode == code, done.stderr
    written = (tmp_path / "jobwatcher.log").read_text().splitlines()
    assert written == done.stdout.splitlines()
    started, failed, measured = map(json.loads, written)
    assert [started["event"], failed["event"], failed["level"]] == ["service.started", "service.failed", "error"]
    assert failed["error"] == last
    assert (measured["problem"], measured["Problems"]) == ("service.failed", 1.0), "or no alarm would ever be raised"


@pytest.fixture
def failing(tmp_path: Path) -> Callable[[str], "subprocess.Popen[str]"]:
    """A process of a service whose start fails, as systemd starts it: with a runtime directory, and so long to wait at first."""
    (tmp_path / "run").mkdir()
    (tmp_path / "headnode.toml").write_text(CONFIG.replace("FILE", "/nonexistent") + f'[log.file]\ndirectory = "{tmp_path}"\n')
    program = tmp_path / "failing.py"
    program.write_text(FAILING.format(error="SchedulerRefused", words="no: go away"))
    argv = [sys.executable, str(program), "--config", str(tmp_path / "headnode.toml")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "RUNTIME_DIRECTORY": str(tmp_path / "run")}

    def started(first_wait_s: str) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        return subprocess.Popen(
            argv, env={**environment, "HEADNODE_BACK_OFF_S": first_wait_s}, stdout=pipe, stderr=pipe, text=True
        )

    return started


def told_by(process: "subprocess.Popen[str]") -> list[str]:
    """The events of a process that ends by itself, with the code that has it restarted."""
    events = rest_of(process)
    assert process.returncode == 1, events
    return events


@contextlib.contextmanager
def ended_at_last(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """Killed afterwards, and after two minutes in any case: its output ends then, and the waiting for it."""
    deadline = threading.Timer(120.0, process.kill)
    deadline.start()
    try:
        yield process
    finally:
        deadline.cancel()
        process.kill()
        process.communicate()


def rest_of(process: "subprocess.Popen[str]") -> list[str]:
    """The events until it ends. What `hear` has left may be in the pipe's buffer already, where `communicate` does not look."""
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    process.communicate(timeout=120)
    return [json.loads(line)["event"] for line in lines]


def test_starts_that_fail_in_a_row_are_held_back_and_a_stop_meanwhile_ends_that(
    failing: Callable[[str], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    counted = tmp_path / "run" / "jobwatcher.starts"
    assert told_by(failing("0.01")) == ["service.started", "service.failed"]
    assert told_by(failing("0.01"))[-2:] == ["service.started", "service.failed"]
    assert json.loads(counted.read_text())["failures"] == 2
    waiting = failing("300")
    held = hear(waiting, lambda line: line["event"] == "service.held_back")
    assert (held["failures"], held["because"]) == (2, "no: go away")
    waiting.send_signal(signal.SIGTERM)
    assert rest_of(waiting) == ["service.stopped"]
    assert waiting.returncode == 0
    assert "service.held_back" in (tmp_path / "jobwatcher.log").read_text(), "who reads the file reads that too"
    assert not counted.exists()
    assert told_by(failing("300")) == ["service.started", "service.failed"], "at once"


def test_one_that_fails_as_it_stops_was_told_to_and_the_next_start_is_not_held_back(
    failing: Callable[[str], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    told_by(failing("0.01"))
    program = tmp_path / "failing.py"
    program.write_text(program.read_text().replace("    raise", "    await over.wait()\n    raise"))
    ending = failing("0.01")
    hear(ending, lambda line: line["event"] == "service.started")
    assert json.loads((tmp_path / "run" / "jobwatcher.starts").read_text())["failures"] == 2
    ending.send_signal(signal.SIGTERM)
    assert told_by(ending) == ["service.failed"]
    assert not (tmp_path / "run" / "jobwatcher.starts").exists()


def test_one_that_was_held_back_begins_with_the_configuration_that_is_there_then(
    failing: Callable[[str], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    told_by(failing("300"))
    waiting = failing("300")
    hear(waiting, lambda line: line["event"] == "service.held_back")
    path = tmp_path / "headnode.toml"
    path.write_text(path.read_text().replace('name = "batch"', 'name = "mended"').replace("eu-west-1", "eu-west-2"))
    waiting.send_signal(signal.SIGHUP)
    assert hear(waiting, lambda line: line["event"] == "service.started")["fleets"] == ["mended"]
    assert told_by(waiting) == ["service.failed"]


def test_a_configuration_that_cannot_be_used_is_told_at_once_and_forgets_what_was_counted(
    failing: Callable[[str], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    told_by(failing("300"))
    (tmp_path / "headnode.toml").write_text("cluster = 7")
    wrong = failing("300")
    _, err = wrong.communicate(timeout=120)
    assert wrong.returncode == 2
    assert "the configuration cannot be used" in err
    assert not (tmp_path / "run" / "jobwatcher.starts").exists()


def hear(process: subprocess.Popen[str], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The next line like that; whatever comes before is passed over. The process's end is the end of waiting."""
    assert process.stdout is not None
    passed = []
    while text := process.stdout.readline():
        line: dict[str, Any] = json.loads(text)
        if wanted(line):
            return line
        passed.append(line)
        assert line["event"] != "service.stopped", "it goes on, whatever it reads again"
        assert len(passed) < 100, passed
    raise AssertionError(f"it ended before: {passed}")


@pytest.mark.parametrize("service", SERVICES)
def test_the_services_load_nothing_heavy(service: str) -> None:
    code = (
        f"import sys, {service}.__main__; print([m for m in ('typer', 'moto', 'boto3', 'pytest', 'sandbox') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"
