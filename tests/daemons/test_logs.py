import io
import json
import logging

import structlog

from daemons.logs import configure_logs


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
