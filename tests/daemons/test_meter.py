"""Metrics as log lines, held against the rules of CloudWatch's embedded metric format."""

import ast
import io
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import structlog

from daemons.config import parse_config
from daemons.events import DIMENSIONS, METRICS, Sums
from daemons.logs import configure_logs, hear_lines, set_level, written_to
from daemons.meter import MOST_SERIES, Meter, metered, metered_by, note
from schedulers.plugins import load_settings

ROOT = Path(__file__).parents[2]
UNITS = {  # what the format allows, from CloudWatch's MetricDatum
    *("Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Bits", "Kilobits"),
    *("Megabits", "Gigabits", "Terabits", "Percent", "Count", "Bytes/Second", "Kilobytes/Second", "Megabytes/Second"),
    *("Gigabytes/Second", "Terabytes/Second", "Bits/Second", "Kilobits/Second", "Megabits/Second", "Gigabits/Second"),
    *("Terabits/Second", "Count/Second", "None"),
}
CONFIG = """
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

log = structlog.get_logger()


def check_emf(line: dict[str, Any]) -> None:
    """The rules of the specification: what a line must have for CloudWatch to make metrics of it."""
    meta = line["_aws"]
    assert set(meta) == {"Timestamp", "CloudWatchMetrics"}
    assert isinstance(meta["Timestamp"], int)
    assert meta["Timestamp"] > 0
    assert meta["CloudWatchMetrics"]
    for directive in meta["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert 1 <= len(directive["Namespace"]) <= 1024
        assert directive["Dimensions"]
        for dimensions in directive["Dimensions"]:
            assert 1 <= len(dimensions) <= 30
            for name in dimensions:
                assert 1 <= len(name) <= 250
                assert isinstance(line[name], str)
                assert 1 <= len(line[name]) <= 1024
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert set(metric) == {"Name", "Unit"}
            assert metric["Unit"] in UNITS
            value = line[metric["Name"]]
            values = value if isinstance(value, list) else [value]
            assert 1 <= len(values) <= 100
            assert all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)


@pytest.fixture
def stream() -> io.StringIO:
    chosen = io.StringIO()
    configure_logs(level="info", stream=chosen, daemon="sqswatcher", cluster="hpc")
    return chosen


@pytest.fixture
def meter() -> Meter:
    times = count(1_795_500_000_000, 60_000)
    return Meter(cluster="hpc", daemon="sqswatcher", namespace="Headnode", clock_ms=lambda: next(times))


def told(stream: io.StringIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in lines if line["event"] == "metrics.measured"]


def test_every_metric_of_the_catalogue_makes_a_line_that_cloudwatch_understands(stream: io.StringIO, meter: Meter) -> None:
    with metered_by(meter):
        for metric in METRICS:
            for value in (1, 2.5, 4):
                note(metric.name, value, **dict.fromkeys(metric.by, "batch"))
    lines = told(stream)
    for line in lines:
        check_emf(line)
    found = {name["Name"]: line[name["Name"]] for line in lines for name in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    expected = {Sums.COUNT: 7.5, Sums.GAUGE: 4, Sums.TIMES: [1, 2.5, 4]}
    assert found == {metric.name: expected[metric.sums] for metric in METRICS}


@pytest.mark.parametrize("level", ["warning", "error"])
def test_metrics_are_data_and_told_at_every_level(level: str, meter: Meter, tmp_path: Path) -> None:
    """Wherever lines go: else whoever wants to read less is told by an alarm that the service is silent."""
    chosen, heard = io.StringIO(), list[str]()
    configure_logs(level=level, stream=chosen, daemon="sqswatcher", cluster="hpc")
    with written_to(tmp_path / "s.log", most_bytes=1 << 20, keep=1), hear_lines(heard.append), metered_by(meter):
        log.info("service.started")
        note("MessagesReceived", 3)
        set_level("info")
        set_level(level)
    for text in (chosen.getvalue(), (tmp_path / "s.log").read_text(), "\n".join(heard)):
        [line] = [json.loads(one) for one in text.splitlines()]
        check_emf(line)
        assert (line["event"], line["level"], line["MessagesReceived"]) == ("metrics.measured", "info", 3)


def test_each_value_of_a_dimension_has_a_line_of_its_own(stream: io.StringIO, meter: Meter) -> None:
    with metered_by(meter):
        note("Desired", 3, fleet="batch")
        note("Booting", 1, fleet="batch")
        note("Desired", 0, fleet="gpu")
        note("JobsWaiting", 9)
    lines = told(stream)
    assert [(line.get("fleet"), line.get("Desired"), line.get("Booting"), line.get("JobsWaiting")) for line in lines] == [
        ("batch", 3, 1, None),
        ("gpu", 0, None, None),
        (None, None, None, 9),
    ]
    assert lines[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["cluster", "fleet"]]
    assert {line["cluster"] for line in lines} == {"hpc"}


def test_what_is_not_measured_is_not_told(stream: io.StringIO, meter: Meter) -> None:
    with metered_by(meter):
        note("JobsWaiting", 9)
        meter.tell()
        meter.tell()
    assert len(told(stream)) == 1


def test_more_times_than_a_line_may_hold_are_several_lines(stream: io.StringIO, meter: Meter) -> None:
    with metered_by(meter):
        for number in range(120):
            note("JoinTime", number)
        note("MessagesReceived", 120)
    lines = told(stream)
    for line in lines:
        check_emf(line)
    assert [value for line in lines for value in line["JoinTime"]] == list(range(120))
    assert [line.get("MessagesReceived") for line in lines] == [120, None, None]


def test_dimensions_without_end_are_bounded(stream: io.StringIO, meter: Meter) -> None:
    with metered_by(meter):
        for number in range(2 * MOST_SERIES):
            note("Desired", 1, fleet=f"fleet-{number}")
    assert len(told(stream)) == MOST_SERIES


def test_warnings_and_errors_of_ours_are_counted_by_event(stream: io.StringIO, meter: Meter) -> None:
    with metered_by(meter):
        log.warning("cycle.failed", code="aws-unavailable", error="", hint="")
        log.warning("cycle.failed", code="aws-unavailable", error="", hint="")
        log.error("resync.refused", because="")
        log.info("service.stopped")
        log.warning("is.in.no.catalogue")
    assert {line["problem"]: line["Problems"] for line in told(stream)} == {"cycle.failed": 2, "resync.refused": 1}


def test_nothing_is_noted_where_nobody_measures(stream: io.StringIO) -> None:
    note("JobsWaiting", 9)
    assert not stream.getvalue()


@pytest.mark.parametrize(
    ("more", "is_shadow", "names"),
    [
        ("", False, []),
        ("[log.metrics]", False, ["Headnode"]),
        ('[log.metrics]\nnamespace = "HPC/Head"', False, ["HPC/Head"]),
        ("[log.metrics]", True, []),
    ],
)
async def test_a_service_measures_if_it_is_configured(stream: io.StringIO, more: str, is_shadow: bool, names: list[str]) -> None:
    config = parse_config(CONFIG.format(more=more), load_settings=load_settings)
    async with metered(config, "jobwatcher", is_shadow=is_shadow):
        note("JobsWaiting", 9)
    assert [line["_aws"]["CloudWatchMetrics"][0]["Namespace"] for line in told(stream)] == names


def noted() -> Iterator[tuple[str, frozenset[str]]]:
    """Every metric that the code notes, with the dimensions that it gives."""
    for package in ("daemons", "sqswatcher", "jobwatcher", "nodewatcher", "schedulers"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "note":
                    assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: a metric's name is a constant"
                    yield str(node.args[0].value), frozenset(keyword.arg or "**" for keyword in node.keywords)


def test_the_catalogue_has_what_the_code_measures_and_nothing_else() -> None:
    assert set(noted()) == {(metric.name, frozenset(metric.by)) for metric in METRICS}


def test_the_catalogue_s_units_and_dimensions_are_known() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.unit in UNITS
        assert set(metric.by) <= set(DIMENSIONS)
        assert metric.statistic in ("Sum", "Maximum", "Average", "p90")
