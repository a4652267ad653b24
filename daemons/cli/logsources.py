"""Where log lines can be read: the journal, the services' files, CloudWatch Logs. Each is an iterator of lines."""

import contextlib
import heapq
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daemons.cli.common import NothingKnown
from daemons.cli.loglines import LogLine, parse_line
from daemons.config import Config
from daemons.errors import AwsUnavailable, HeadnodeError

FOLLOW_S = 0.5  # how often files are looked at
CLOUDWATCH_S = 5.0  # how often CloudWatch is asked; its account's limit is a few calls a second
_LATE_MS = 60_000  # lines may come to CloudWatch so much later than they were written
_ENDED_BY_US = (-2, -13, -15, 130)


class NotReadable(HeadnodeError):
    """The source of the lines cannot be read."""

    code = "logs-not-readable"


def journal(services: Sequence[str], *, since: float, follow: bool, program: str = "journalctl") -> Iterator[LogLine]:
    """What systemd keeps of the services' standard output. Ends with Ctrl-C where it follows."""
    path = shutil.which(program)
    if path is None:
        raise NothingKnown(
            "there is no journalctl on this machine", hint="configure [log.file], or read from CloudWatch with --cloudwatch"
        )
    argv = [path, "--output=cat", "--no-pager", f"--since=@{since:.0f}"]
    argv += [word for service in services for word in ("--unit", f"{service}.service")]
    argv += ["--follow", "--no-tail"] if follow else []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace") as reading:
        assert reading.stdout is not None  # noqa: S101  for the type: there is a pipe
        assert reading.stderr is not None  # noqa: S101
        try:
            for text in reading.stdout:
                if not text.startswith("-- "):  # journalctl's own words
                    yield parse_line(text)
            complaint = reading.stderr.read()
        finally:
            reading.terminate()
    if reading.returncode not in (0, *_ENDED_BY_US):
        raise NotReadable(
            f"journalctl ended with {reading.returncode}: {complaint.strip()[-300:]}",
            hint="read as root, or as a member of the group systemd-journal",
        )


def files(paths: Sequence[Path], *, follow: bool, wait: Callable[[], None] = lambda: time.sleep(FOLLOW_S)) -> Iterator[LogLine]:
    """The lines of these files and of the older ones beside them, in the order of time; then what is added, if told to follow."""
    tails = [Tail(path) for path in paths]
    if not follow and not any(tail.exists for tail in tails):
        raise NothingKnown(f"there is no log file in {paths[0].parent}", hint="do the services run with this configuration?")
    try:
        yield from heapq.merge(*(tail.history() for tail in tails), key=lambda line: line.at)
        while follow:
            yield from sorted((line for tail in tails for line in tail.news()), key=lambda line: line.at)
            wait()
    finally:
        for tail in tails:
            tail.close()


class Tail:
    """One service's file, which becomes an older one from time to time. Lines that are not whole yet wait for their end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None
        self._begun = ""

    @property
    def exists(self) -> bool:
        return self._path.is_file()

    def history(self) -> Iterator[LogLine]:
        older = sorted(self._path.parent.glob(f"{self._path.name}.*"), key=_age, reverse=True)
        for path in older:
            with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
                yield from map(parse_line, file)
        yield from self.news()

    def news(self) -> Iterator[LogLine]:
        """What has been added since the last time, over the end of the file into the next one."""
        while True:
            if self._file is None:
                try:
                    self._file = self._path.open(encoding="utf-8", errors="replace")
                except FileNotFoundError:
                    return
                except OSError as err:
                    raise NotReadable(f"{self._path} cannot be read: {err.strerror}", hint="read it as root or headnode") from err
            is_replaced = self._is_replaced()  # asked before the last lines of the old one are read: it gets no more
            for text in self._file:
                self._begun += text
                if self._begun.endswith("\n"):
                    yield parse_line(self._begun)
                    self._begun = ""
            if not is_replaced:
                return
            self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _is_replaced(self) -> bool:
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except OSError:  # between the old one and the new one
            return False


def _age(path: Path) -> int:
    number = path.name.rpartition(".")[2]
    return int(number) if number.isascii() and number.isdecimal() else 0


def cloudwatch(
    config: Config,
    *,
    since: float,
    follow: bool,
    pattern: str = "",
    client: Any = None,
    wait: Callable[[], None] = lambda: time.sleep(CLOUDWATCH_S),
) -> Iterator[LogLine]:
    """The lines in CloudWatch Logs from all hosts, in the order of time as far as they have come. `pattern` is its filter."""
    if config.log.cloudwatch is None:
        raise NothingKnown("nothing goes to CloudWatch Logs", hint="add a section [log.cloudwatch] to the configuration")
    logs, group = client or _client(config), config.log.cloudwatch.group
    start_ms, seen = int(since * 1000), dict[str, int]()
    while True:
        for event in _events(logs, group, start_ms=start_ms, pattern=pattern):
            if event["eventId"] not in seen:
                seen[event["eventId"]] = event["timestamp"]
                yield _with_time(parse_line(event["message"]), event["timestamp"])
        if not follow:
            return
        start_ms = max(start_ms, max(seen.values(), default=0) - _LATE_MS)
        seen = {event_id: at_ms for event_id, at_ms in seen.items() if at_ms >= start_ms}
        wait()


def _events(logs: Any, group: str, *, start_ms: int, pattern: str) -> Iterator[Mapping[str, Any]]:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  loaded where it is used

    asked = {"logGroupName": group, "startTime": start_ms, **({"filterPattern": pattern} if pattern else {})}
    try:
        for page in logs.get_paginator("filter_log_events").paginate(**asked):
            yield from page["events"]
    except (BotoCoreError, ClientError) as err:
        raise AwsUnavailable(
            f"CloudWatch Logs ({group}) cannot be read: {err}", hint=f"allow yourself logs:FilterLogEvents on {group}"
        ) from err


def _with_time(line: LogLine, at_ms: int) -> LogLine:
    """A line without a time of its own has CloudWatch's."""
    if line.at:
        return line
    at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
    return LogLine(line.text, {"timestamp": at, **line.fields})


def _client(config: Config) -> Any:
    import boto3  # noqa: PLC0415  loaded where it is used
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    endpoint = config.endpoints.get("logs", config.endpoints.get("default"))
    try:
        return boto3.client("logs", region_name=config.region, endpoint_url=endpoint)
    except BotoCoreError as err:
        raise AwsUnavailable(f"opening a client (logs): {err}", hint="check AWS_PROFILE and credentials") from err
