"""`headnode logs`: the right lines, from files, the journal and CloudWatch."""

import io
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from daemons.cli import app
from daemons.cli.loglines import Wanted, parse_line, render_line
from daemons.cli.logs import parse_since
from daemons.cli.logsources import NotReadable, cloudwatch, files, journal
from daemons.config import Config, parse_config
from daemons.errors import HeadnodeError, InvalidValue
from daemons.logs import configure_logs, written_to
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import client
from schedulers.plugins import load_settings

FILE = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc-instances"
{more}
[scheduler]
name = "local"
settings = {{ file = "/nonexistent/local.db" }}
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.large"
cpus = 2
"""


def line(event: str, *, at: str = "2026-11-25T10:00:00.000000Z", level: str = "info", **fields: object) -> str:
    return json.dumps({"event": event, "timestamp": at, "level": level, "daemon": "sqswatcher", "cluster": "hpc"} | fields)


def test_a_line_for_a_person_says_when_how_bad_who_what_and_why() -> None:
    text = line("node.ended", level="warning", hostname="n1", because="idle for 600 s", address="", messages=[], batch="b1")
    assert render_line(parse_line(text)) == (
        "2026-11-25 10:00:00 warning sqswatcher  node.ended  hostname=n1 batch=b1  because: idle for 600 s"
    )


def test_what_could_move_the_cursor_is_not_shown() -> None:
    assert "\x1b" not in render_line(parse_line(line("x.y", because="\x1b[2Jgone")))
    assert "\x1b" not in render_line(parse_line("\x1b[2Jno JSON"))


@pytest.mark.parametrize("text", ["", "Traceback (most recent call last):", "[1, 2]", "{broken", "[" * 100_000, "null"])
def test_what_is_no_line_of_ours_is_shown_as_it_is(text: str) -> None:
    assert render_line(parse_line(text)) == text


@pytest.mark.parametrize(
    ("wanted", "fields", "is_wanted"),
    [
        (Wanted(instance="i-1"), {"instance_id": "i-1"}, True),
        (Wanted(instance="i-1"), {"instance_ids": ["i-0", "i-1"]}, True),
        (Wanted(instance="n1"), {"hostname": "n1", "instance_id": "i-1"}, True),
        (Wanted(instance="i-1"), {"instance_id": "i-11"}, False),
        (Wanted(message="m1"), {"message_ids": ["m1"]}, True),
        (Wanted(message="m1"), {"message_id": "m2"}, False),
        (Wanted(job="7"), {"jobs": ["6", "7"]}, True),
        (Wanted(job="7"), {"because": "kept: jobs 5, 7 run there"}, True),
        (Wanted(job="7"), {"because": "kept: job 7"}, True),
        (Wanted(job="7"), {"because": "kept: job 77, and 7 nodes"}, False),
        (Wanted(job="7"), {"because": "kept: job 7.2"}, False),
        (Wanted(event="node."), {"event": "node.ended"}, True),
        (Wanted(event="node.ended"), {"event": "node.resumed"}, False),
        (Wanted(daemon="jobwatcher"), {"daemon": "sqswatcher"}, False),
        (Wanted(level="warning"), {"level": "info"}, False),
        (Wanted(level="warning"), {"level": "error"}, True),
        (Wanted(since="2026-11-25T09:59:59"), {}, True),
        (Wanted(since="2026-11-25T10:00:01"), {}, False),
    ],
)
def test_which_lines_are_wanted(wanted: Wanted, fields: dict[str, Any], is_wanted: bool) -> None:
    text = json.dumps(json.loads(line("x.y")) | fields)
    assert wanted.wants(parse_line(text)) is is_wanted


def test_times_that_people_write() -> None:
    assert parse_since("30m", now=10_000.0) == 10_000.0 - 1_800
    assert parse_since("1970-01-01T01:00", now=0.0) == 3_600.0
    assert parse_since("1970-01-01T01:00+01:00", now=0.0) == 0.0
    with pytest.raises(InvalidValue):
        parse_since("yesterday", now=0.0)


@pytest.mark.parametrize("text", ["999999d", "0001-01-01", "0001-01-01T00:00+23:59"])
def test_before_all_time_is_the_beginning(text: str) -> None:
    assert parse_since(text, now=1_764_000_000.0) == 0.0


def test_lines_of_all_files_come_in_the_order_of_time_older_files_first(tmp_path: Path) -> None:
    def at(second: int) -> str:
        return f"2026-11-25T10:00:{second:02d}.000000Z"

    (tmp_path / "a.log.2").write_text(line("a.one", at=at(1)) + "\n")
    (tmp_path / "a.log.1").write_text(line("a.three", at=at(3)) + "\n")
    (tmp_path / "a.log").write_text(line("a.five", at=at(5)) + "\n")
    (tmp_path / "b.log").write_text("".join(line(f"b.{second}", at=at(second)) + "\n" for second in (2, 4)))
    read = files([tmp_path / "a.log", tmp_path / "b.log"], follow=False)
    assert [one.fields["event"] for one in read] == ["a.one", "b.2", "a.three", "b.4", "a.five"]


def test_what_is_added_is_followed_through_the_change_to_a_new_file(tmp_path: Path) -> None:
    """As the services write it: the file is begun anew again and again while it is followed, and nothing is missed."""
    path, written = tmp_path / "sqswatcher.log", 0
    configure_logs(level="info", stream=io.StringIO())
    with written_to(path, most_bytes=1_000, keep=100):

        def write_some() -> None:
            nonlocal written
            for _ in range(3):
                structlog.get_logger().info("some.event", number=written)
                written += 1

        numbers: list[int] = []
        for one in files([path], follow=True, wait=write_some):
            numbers.append(one.fields["number"])
            if len(numbers) == 200:
                break
    assert numbers == list(range(200))
    assert len(list(tmp_path.iterdir())) > 10, "it was begun anew many times"


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path, text = tmp_path / "a.log", line("a.whole")
    path.write_text(text[:10])

    def finish() -> None:
        with path.open("a") as file:
            file.write(text[10:] + "\n")

    assert next(iter(files([path], follow=True, wait=finish))).text == text


def test_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(HeadnodeError, match="there is no log file"):
        list(files([tmp_path / "a.log"], follow=False))


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journalctl that writes down what it was asked, and answers with the file `answer`."""
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\ncd "${0%/*}"\nfor word; do echo "$word"; done > asked\ncat answer\ncat complaint >&2\nexit $(cat code)\n'
    )
    program.chmod(0o755)
    for name, text in (("answer", ""), ("complaint", ""), ("code", "0")):
        (program.parent / name).write_text(text)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return program.parent


def test_the_journal_is_asked_for_the_services_units(journalctl: Path) -> None:
    (journalctl / "answer").write_text(f"-- No entries --\n{line('x.y')}\nno JSON\n")
    read = list(journal(["sqswatcher", "jobwatcher"], since=1_000.4, follow=False))
    assert [one.fields["event"] for one in read] == ["x.y", "no JSON"]
    assert (journalctl / "asked").read_text().split() == [
        *("--output=cat", "--no-pager", "--since=@1000"),
        *("--unit", "sqswatcher.service", "--unit", "jobwatcher.service"),
    ]


def test_the_journal_is_followed_without_losing_what_was_there(journalctl: Path) -> None:
    (journalctl / "answer").write_text(line("x.y") + "\n")
    assert len(list(journal(["sqswatcher"], since=0, follow=True))) == 1
    assert {"--follow", "--no-tail"} <= set((journalctl / "asked").read_text().split())


def test_a_journal_that_may_not_be_read_says_what_would_help(journalctl: Path) -> None:
    (journalctl / "complaint").write_text("No journal files were opened due to insufficient permissions.\n")
    (journalctl / "code").write_text("1")
    with pytest.raises(NotReadable, match="insufficient permissions") as caught:
        list(journal(["sqswatcher"], since=0, follow=False))
    assert "systemd-journal" in caught.value.hint


class FakeLogs:
    """CloudWatch Logs with what has come so far; each look brings some more, late ones too."""

    def __init__(self, looks: Sequence[Sequence[tuple[str, int]]]) -> None:
        self.looks = list(looks)
        self.events: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []

    def get_paginator(self, _: str) -> "FakeLogs":
        return self

    def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
        self.asked.append(asked)
        fresh = self.looks.pop(0) if self.looks else ()
        self.events += [{"eventId": name, "timestamp": at, "message": line(name)} for name, at in fresh]
        found = sorted(
            (each for each in self.events if each["timestamp"] >= asked["startTime"]), key=lambda one: one["timestamp"]
        )
        yield {"events": found[:2]}
        yield {"events": found[2:]}


def configured(**settings: str) -> Config:
    more = "\n".join(settings.values())
    return parse_config(FILE.format(more=more), load_settings=load_settings)


def test_cloudwatch_is_followed_each_line_once_late_ones_too() -> None:
    now = 1_795_500_000_000
    logs = FakeLogs(
        [[("one", now), ("two", now + 1_000)], [("late", now - 5_000), ("three", now + 2_000)], [("four", now + 90_000)]]
    )
    config, rounds = configured(log='[log.cloudwatch]\ngroup = "/x"'), iter(range(3))

    def wait() -> None:
        if next(rounds, None) is None:
            raise KeyboardInterrupt

    read = cloudwatch(config, since=now / 1000 - 60, follow=True, client=logs, wait=wait)
    found: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(one.fields["event"] for one in read)
    assert found == ["one", "two", "late", "three", "four"]
    assert logs.asked[-1]["startTime"] == now + 30_000, "what is long past is not asked for again"


def test_cloudwatch_that_is_not_configured_is_said() -> None:
    with pytest.raises(HeadnodeError, match="nothing goes to CloudWatch"):
        list(cloudwatch(configured(), since=0, follow=False))


def test_the_command_reads_files_and_chooses(tmp_path: Path) -> None:
    path = tmp_path / "headnode.toml"
    path.write_text(FILE.format(more=f'[log.file]\ndirectory = "{tmp_path}"'))
    configure_logs(level="info", stream=io.StringIO(), daemon="sqswatcher")
    with written_to(tmp_path / "sqswatcher.log", most_bytes=1 << 20, keep=1):
        structlog.get_logger().info("instance.advanced", instance_id="i-1", because="it is ready")
        structlog.get_logger().info("instance.advanced", instance_id="i-2")
    (tmp_path / "jobwatcher.log").write_text(
        line("capacity.raised", at="2020-01-01T00:00:00.000000Z", daemon="jobwatcher") + "\n"
    )
    shown = CliRunner().invoke(app, ["logs", "--instance", "i-1", "--config", str(path)])
    assert shown.exit_code == 0, shown.output
    assert len(shown.output.splitlines()) == 1
    assert "instance.advanced  instance_id=i-1  because: it is ready" in shown.output
    told = CliRunner().invoke(app, ["logs", "--json", "--config", str(path)])
    assert [json.loads(text)["instance_id"] for text in told.stdout.splitlines()] == ["i-1", "i-2"], "what is too old is left out"
    old = CliRunner().invoke(app, ["logs", "--json", "--daemon", "jobwatcher", "--since", "2019-01-01", "--config", str(path)])
    assert [json.loads(text)["event"] for text in old.stdout.splitlines()] == ["capacity.raised"]


def test_each_line_for_a_program_is_json_whatever_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "headnode.toml"
    path.write_text(FILE.format(more=f'[log.file]\ndirectory = "{tmp_path}"'))
    (tmp_path / "sqswatcher.log").write_text("{broken \x1b[2J\nTraceback\n")
    told = CliRunner().invoke(app, ["logs", "--json", "--config", str(path)])
    assert [json.loads(text) for text in told.stdout.splitlines()] == [{"event": "{broken \x1b[2J"}, {"event": "Traceback"}]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxAws]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    with SandboxAws(account="444455556666") as one:
        yield one


def test_the_command_reads_cloudwatch(tmp_path: Path, aws: SandboxAws) -> None:
    logs = client("logs", endpoint_url=aws.endpoint_url, region="eu-west-1")
    logs.create_log_group(logGroupName="/headnode/read")
    at = time.time_ns() // 1_000_000
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    for host in ("head-a", "head-b"):
        stream = f"{host}/sqswatcher"
        logs.create_log_stream(logGroupName="/headnode/read", logStreamName=stream)
        events = [{"timestamp": at, "message": line("instance.advanced", at=now, instance_id=f"i-{host[-1]}")}]
        logs.put_log_events(logGroupName="/headnode/read", logStreamName=stream, logEvents=events)
    path = tmp_path / "headnode.toml"
    path.write_text(FILE.format(more=f'[endpoints]\ndefault = "{aws.endpoint_url}"\n[log.cloudwatch]\ngroup = "/headnode/read"'))
    all_of_them = CliRunner().invoke(app, ["logs", "--cloudwatch", "--json", "--config", str(path)])
    assert sorted(json.loads(text)["instance_id"] for text in all_of_them.stdout.splitlines()) == ["i-a", "i-b"]
    one = CliRunner().invoke(app, ["logs", "--cloudwatch", "--instance", "i-b", "--json", "--config", str(path)])
    assert [json.loads(text)["instance_id"] for text in one.stdout.splitlines()] == ["i-b"]
