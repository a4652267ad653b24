"""CloudWatch Logs over the wire, in the sandbox's AWS."""

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from botocore.exceptions import ClientError
from structlog.testing import capture_logs

from daemons.aws.logs import LogStream, count_rejected
from daemons.aws.session import Clients, open_clients
from daemons.cloudwatch import Line, Shipper, Spool
from daemons.config import parse_config
from daemons.errors import AwsUnavailable
from daemons.logs import configure_logs
from daemons.shipping import Dropped, Outspoken, shipped
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import client
from schedulers.plugins import load_settings

REGION = "eu-west-1"
NOW_MS = 1_795_500_000_000
CONFIG = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc-instances"
[endpoints]
default = "{endpoint}"
[log.cloudwatch]
group = "/headnode/shipped"
retention_days = 30
spool_dir = "{spool}"
[scheduler]
name = "local"
settings = {{ file = "/nonexistent/local.db" }}
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.large"
cpus = 2
"""


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")


def logs(aws: SandboxAws) -> Any:
    return client("logs", endpoint_url=aws.endpoint_url, region=REGION)


def events(aws: SandboxAws, group: str) -> list[str]:
    streams = logs(aws).describe_log_streams(logGroupName=group)["logStreams"]
    return [
        event["message"]
        for stream in streams
        for event in logs(aws).get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)[
            "events"
        ]
    ]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_group_stream_and_retention_are_made_with_the_first_lines(aws: SandboxAws, clients: Clients) -> None:
    stream = LogStream(clients, group="/headnode/one", stream="head/sqswatcher", retention_days=30)
    at = now_ms()
    assert await stream.put([Line(at, "first"), Line(at + 1, "second")]) == 0
    assert await stream.put([Line(at + 2, "third")]) == 0
    assert events(aws, "/headnode/one") == ["first", "second", "third"]
    (group,) = logs(aws).describe_log_groups(logGroupNamePrefix="/headnode/one")["logGroups"]
    assert group["retentionInDays"] == 30


async def test_a_group_that_is_there_keeps_its_retention(aws: SandboxAws, clients: Clients) -> None:
    logs(aws).create_log_group(logGroupName="/headnode/two")
    logs(aws).put_retention_policy(logGroupName="/headnode/two", retentionInDays=7)
    assert await LogStream(clients, group="/headnode/two", stream="s", retention_days=30).put([Line(now_ms(), "one")]) == 0
    (group,) = logs(aws).describe_log_groups(logGroupNamePrefix="/headnode/two")["logGroups"]
    assert group["retentionInDays"] == 7


async def test_an_aws_that_is_not_there(clients: Clients) -> None:
    async with open_clients(region=REGION, endpoints={"default": "http://127.0.0.1:9"}) as nobody:
        with pytest.raises(AwsUnavailable):
            await LogStream(nobody, group="g", stream="s", retention_days=0).put([Line(NOW_MS, "one")])


async def test_a_line_that_aws_finds_invalid_does_not_hold_up_the_others() -> None:
    stored: list[str] = []

    class Picky:
        async def put_log_events(self, **call: Any) -> dict[str, Any]:
            texts = [event["message"] for event in call["logEvents"]]
            if "bad" in texts:
                raise ClientError({"Error": {"Code": "InvalidParameterException", "Message": "no"}}, "PutLogEvents")
            stored.extend(texts)
            return {}

    class Opened(Clients):
        async def get(self, service: str) -> Any:
            return Picky()

    lines = [Line(at, "bad" if at in (3, 7) else f"line {at}") for at in range(10)]
    stream = LogStream(Opened(region=REGION, endpoints={}), group="g", stream="s", retention_days=0)
    assert await stream.put(lines) == 2
    assert stored == [f"line {at}" for at in range(10) if at not in (3, 7)]


@pytest.mark.parametrize(
    ("info", "rejected"),
    [
        ({}, 0),
        ({"tooOldLogEventEndIndex": 3}, 3),
        ({"expiredLogEventEndIndex": 2, "tooOldLogEventEndIndex": 3}, 3),
        ({"tooNewLogEventStartIndex": 8}, 2),
        ({"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 9}, 2),
    ],
)
def test_rejected_lines_are_counted(info: dict[str, int], rejected: int) -> None:
    assert count_rejected(info, 10) == rejected


async def test_a_services_lines_arrive_as_json_and_libraries_lines_too(aws: SandboxAws, tmp_path: Path) -> None:
    config = parse_config(CONFIG.format(endpoint=aws.endpoint_url, spool=tmp_path), load_settings=load_settings)
    configure_logs(level="info", daemon="sqswatcher", cluster="hpc")
    async with shipped(config, "sqswatcher"):
        structlog.get_logger().info("node.registered", hostname="n1")
        structlog.get_logger().debug("not.at.this.level")
        await asyncio.to_thread(logging.getLogger("a.library").warning, "of a thread")
    structlog.get_logger().info("after.the.end")
    lines = [json.loads(text) for text in events(aws, "/headnode/shipped")]
    assert [line["event"] for line in lines] == ["node.registered", "of a thread"]
    assert (lines[0]["hostname"], lines[0]["daemon"], lines[0]["cluster"], lines[0]["level"]) == (
        "n1",
        "sqswatcher",
        "hpc",
        "info",
    )
    assert not list((tmp_path / "sqswatcher").iterdir()), "nothing was left on disk"


async def test_lines_wait_on_disk_while_aws_is_away(aws: SandboxAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = parse_config(CONFIG.format(endpoint="http://127.0.0.1:9", spool=tmp_path), load_settings=load_settings)
    configure_logs(level="info", daemon="jobwatcher", cluster="hpc")
    async with shipped(away, "jobwatcher"):
        structlog.get_logger().info("fleet.raised", fleet="batch")
    assert list((tmp_path / "jobwatcher").iterdir())
    back = parse_config(CONFIG.format(endpoint=aws.endpoint_url, spool=tmp_path), load_settings=load_settings)
    async with shipped(back, "jobwatcher"):
        pass
    said = [json.loads(text)["event"] for text in events(aws, "/headnode/shipped")]
    assert "fleet.raised" in said
    assert not list((tmp_path / "jobwatcher").iterdir())
    assert "cloudwatch.away" in capsys.readouterr().out


class Odd:
    """A client's answer that nobody has foreseen."""

    async def put(self, lines: Sequence[Line]) -> int:
        raise EOFError("half an answer")


async def test_an_error_that_nobody_has_foreseen_ends_no_service_and_its_lines_wait(tmp_path: Path) -> None:
    spool = Spool(directory=tmp_path, most_bytes=1 << 20)
    store = Outspoken(store=Odd(), target="g:s")
    shipper = Shipper(store=store, spool=spool, clock_ms=lambda: NOW_MS, period_s=0.01)
    shipper.offer("a line")
    stop = asyncio.Event()
    with capture_logs() as told:
        running = asyncio.create_task(shipper.run(stop))
        async with asyncio.timeout(60):
            while not told:
                await asyncio.sleep(0.005)
        stop.set()
        await running
    assert [(line["event"], line["error"]) for line in told] == [
        ("cloudwatch.away", "writing log lines (g:s): EOFError('half an answer')")
    ]
    found = spool.first()
    assert found is not None
    assert [line.text for line in found[1]] == ["a line"]


async def test_lines_that_were_dropped_are_told_of_while_the_service_runs_each_once() -> None:
    dropped = [0]
    counted = Dropped(count=lambda: dropped[0])
    with capture_logs() as told:
        telling = asyncio.create_task(counted.tell_always(0.001))
        async with asyncio.timeout(60):
            for number in (3, 10):
                dropped[0] = number
                while sum(line["lines"] for line in told) < number:
                    await asyncio.sleep(0.001)
        telling.cancel()
        counted.tell()
    assert [(line["event"], line["lines"]) for line in told] == [("cloudwatch.dropped", 3), ("cloudwatch.dropped", 7)]


async def test_without_the_setting_nothing_happens(tmp_path: Path) -> None:
    text = CONFIG.format(endpoint="http://127.0.0.1:9", spool=tmp_path)
    config = parse_config(_without(text), load_settings=load_settings)
    handlers = list(logging.getLogger().handlers)
    async with shipped(config, "jobwatcher"):
        assert logging.getLogger().handlers == handlers


def _without(text: str) -> str:
    before, _, rest = text.partition("[log.cloudwatch]")
    return before + rest[rest.index("[scheduler]") :]
