import io
import json
import logging
from pathlib import Path

import pytest
import structlog

from daemons.errors import ConfigError
from daemons.logs import configure_logs, written_to


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_lines_and_every_librarys_are_one_json_stream_with_the_bound_keys() -> None:
    stream = io.StringIO()
    configure_logs(level="info", stream=stream, daemon="sqswatcher", cluster="hpc")
    structlog.get_logger().info("instance.advanced", instance_id="i-1", because="line one\nline two")
    logging.getLogger("somebody").warning("careful: %s", 7)
    ours, theirs = lines(stream)
    assert (ours["event"], ours["daemon"], ours["cluster"], ours["level"]) == ("instance.advanced", "sqswatcher", "hpc", "info")
    assert (theirs["event"], theirs["daemon"], theirs["level"]) == ("careful: 7", "sqswatcher", "warning")
    assert all("timestamp" in line for line in (ours, theirs))


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    configure_logs(level="warning", stream=stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("somebody").info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_a_botocore_request_is_not_written_at_any_level() -> None:
    stream = io.StringIO()
    configure_logs(level="debug", stream=stream)
    logging.getLogger("botocore.endpoint").debug("Authorization: secret")
    assert stream.getvalue() == ""


def test_a_file_has_the_same_lines_and_gets_no_larger_than_it_may(tmp_path: Path) -> None:
    stream, path = io.StringIO(), tmp_path / "logs" / "sqswatcher.log"
    configure_logs(level="info", stream=stream, daemon="sqswatcher")
    with written_to(path, most_bytes=2_000, keep=2):
        for number in range(100):
            structlog.get_logger().info("instance.advanced", number=number)
    structlog.get_logger().info("after.the.end")
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["sqswatcher.log", "sqswatcher.log.1", "sqswatcher.log.2"]
    assert all(0 < file.stat().st_size <= 2_000 for file in files)
    kept = [line for file in reversed(files) for line in file.read_text().splitlines()]
    assert kept == stream.getvalue().splitlines()[-1 - len(kept) : -1]


def test_a_file_that_cannot_be_made_is_a_wrong_set_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught, written_to(tmp_path / "file" / "x.log", most_bytes=1, keep=1):
        pass
    assert "cannot be written" in str(caught.value)
    assert caught.value.hint


def test_a_full_disk_stops_nobody_and_is_told_once_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    configure_logs(level="info", stream=stream)
    log = structlog.get_logger()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with written_to(tmp_path / "x.log", most_bytes=1 << 20, keep=1):
        log.info("one")
        (handler,) = [each for each in logging.getLogger().handlers if isinstance(each, logging.FileHandler)]
        with monkeypatch.context() as patch:
            patch.setattr(handler, "format", full)
            log.info("two")
            log.info("three")
        log.info("four")
        with monkeypatch.context() as patch:
            patch.setattr(handler, "format", full)
            log.info("five")
    assert [line["event"] for line in lines(stream)] == [
        *("one", "two", "logfile.not_written", "three", "four", "five", "logfile.not_written"),
    ]
    assert [json.loads(line)["event"] for line in (tmp_path / "x.log").read_text().splitlines()] == ["one", "four"]
