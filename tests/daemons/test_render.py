"""Dashboard, alarms, queries and agent: everything they name exists, and AWS would take them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint_all  # type: ignore[import-untyped]
from typer.testing import CliRunner

from daemons.cli import app
from daemons.cloudwatch.render import What, render
from daemons.config import Config, parse_config
from daemons.errors import ConfigError
from daemons.events import BOUND, EVENTS, FIELDS, METRICS
from schedulers.plugins import load_settings

FILE = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc-instances"
[log.cloudwatch]
group = "/headnode/shipped"
[log.metrics]
namespace = "HPC/Head"
[log.file]
directory = "/var/log/headnode"
[budget]
warn_per_hour = 12.5
[scheduler]
name = "local"
settings = { file = "/nonexistent/local.db" }
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.large"
cpus = 2
[[fleet]]
name = "gpu"
group = "hpc-gpu"
instance_type = "g5.xlarge"
cpus = 4
"""
BY_NAME = {metric.name: metric for metric in METRICS}
EVENT_NAMES = {event.name for event in EVENTS}
PLAIN = re.sub(r"\[log\.\w+\]\n\w+ = .*\n", "", FILE)


@pytest.fixture(scope="module")
def config() -> Config:
    return parse_config(FILE, load_settings=load_settings)


def metrics_named(dashboard: dict[str, Any]) -> Iterator[tuple[str, frozenset[str]]]:
    """Each metric that a dashboard shows, with its dimensions."""
    for widget in dashboard["widgets"]:
        for line in widget["properties"].get("metrics", []):
            if isinstance(line[0], dict):
                found = re.match(r"SEARCH\('\{HPC/Head,([\w,]+)\} MetricName=\"(\w+)\" cluster=\"hpc\"'", line[0]["expression"])
                assert found is not None
                yield found[2], frozenset(found[1].split(","))
            else:
                assert line[0] == "HPC/Head"
                yield line[1], frozenset(line[2:-1:2])


def test_the_dashboard_shows_every_metric_there_is_and_no_other(config: Config) -> None:
    shown = set(metrics_named(render(What.DASHBOARD, config)))
    assert shown == {(metric.name, frozenset({"cluster", *metric.by})) for metric in METRICS}


def test_the_dashboard_is_one_that_cloudwatch_can_draw(config: Config) -> None:
    dashboard = render(What.DASHBOARD, config)
    places = [(widget["x"], widget["y"]) for widget in dashboard["widgets"]]
    assert len(set(places)) == len(places) <= 500
    for widget in dashboard["widgets"]:
        assert widget["type"] in ("metric", "log")
        assert widget["x"] + widget["width"] <= 24
        assert widget["properties"]["region"] == "eu-west-1"
        if widget["type"] == "metric":
            assert widget["properties"]["period"] % 60 == 0
            ids = [line[0]["id"] for line in widget["properties"]["metrics"] if isinstance(line[0], dict)]
            assert all(re.fullmatch(r"[a-z][A-Za-z0-9_]*", one) for one in ids)
        else:
            assert widget["properties"]["query"].startswith("SOURCE '/headnode/shipped' | ")


def test_every_alarm_is_about_a_metric_that_there_is_in_its_dimensions(config: Config) -> None:
    alarms = [resource["Properties"] for resource in render(What.ALARMS, config)["Resources"].values()]
    assert len({alarm["AlarmName"] for alarm in alarms}) == len(alarms) > 15
    for alarm in alarms:
        metric = BY_NAME[alarm["MetricName"]]
        dimensions = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
        assert set(dimensions) == {"cluster", *metric.by}
        assert dimensions["cluster"] == "hpc"
        assert dimensions.get("problem", "cycle.failed") in EVENT_NAMES
        assert dimensions.get("fleet", "batch") == "batch"
        assert alarm["DatapointsToAlarm"] <= alarm["EvaluationPeriods"]
        assert alarm["EvaluationPeriods"] * alarm["Period"] <= 86_400
        assert len(alarm["AlarmDescription"]) <= 1024
    (cost,) = [alarm for alarm in alarms if alarm["MetricName"] == "CostRate"]
    assert cost["Threshold"] == 12.5
    silent = [alarm["AlarmName"] for alarm in alarms if alarm["TreatMissingData"] == "breaching"]
    assert silent == [f"headnode-hpc-{service}-silent" for service in ("sqswatcher", "jobwatcher", "nodewatcher")]


def test_a_service_that_looks_rarely_is_not_taken_for_silent() -> None:
    rare = FILE.replace("[log.metrics]\n", "[nodewatcher]\ninterval_s = 600.0\n[log.metrics]\n")
    alarms = render(What.ALARMS, parse_config(rare, load_settings=load_settings))["Resources"]
    assert alarms["NodewatcherSilent"]["Properties"]["Period"] == 600
    assert alarms["JobwatcherSilent"]["Properties"]["Period"] == 60


def test_every_query_names_events_and_fields_that_there_are(config: Config) -> None:
    queries = [resource["Properties"]["QueryString"] for resource in render(What.QUERIES, config)["Resources"].values()]
    assert len(queries) > 5
    for query in queries:
        assert set(re.findall(r"'([a-z]+\.[a-z_]+)'", query)) <= EVENT_NAMES
        for listed in re.findall(r"fields ([^|]+)", query):
            names = {name.strip() for name in listed.split(",")}
            assert names <= {*FIELDS, *BOUND, "@timestamp", "event"}


@pytest.mark.parametrize("what", [What.ALARMS, What.QUERIES])
def test_the_templates_are_ones_that_cloudformation_takes(config: Config, what: What) -> None:
    found = lint_all(json.dumps(render(what, config)))
    assert [f"{each.rule.id} {each.message}" for each in found if not each.rule.id.startswith("I")] == []


def test_the_agent_reads_the_files_that_the_services_write(config: Config) -> None:
    collected = render(What.AGENT, config)["logs"]["logs_collected"]["files"]["collect_list"]
    assert [(each["file_path"], each["log_group_name"], each["log_stream_name"]) for each in collected] == [
        (f"/var/log/headnode/{service}.log", "/headnode/shipped", f"{{local_hostname}}/{service}")
        for service in ("sqswatcher", "jobwatcher", "nodewatcher")
    ]


@pytest.mark.parametrize(
    ("what", "section"), [(What.DASHBOARD, "[log.metrics]"), (What.ALARMS, "[log.metrics]"), (What.AGENT, "[log.file]")]
)
def test_what_the_configuration_lacks_is_said(what: What, section: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render(what, parse_config(PLAIN, load_settings=load_settings))
    assert section in caught.value.hint


@pytest.mark.parametrize("what", list(What))
def test_headnode_cloudwatch_render_prints_json(tmp_path: Path, what: What, config: Config) -> None:
    (tmp_path / "headnode.toml").write_text(FILE)
    argv = ["cloudwatch", "render", "--what", what, "--config", str(tmp_path / "headnode.toml")]
    done = CliRunner().invoke(app, argv)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == render(what, config)
    assert ("twice" in done.stderr) == (what is What.AGENT)


def test_alarms_on_warnings_that_nobody_writes_are_said(tmp_path: Path) -> None:
    file = tmp_path / "headnode.toml"
    for level, words in (("warning", ""), ("error", "log.level is error")):
        file.write_text(FILE + f'[log]\nlevel = "{level}"\n')
        done = CliRunner().invoke(app, ["cloudwatch", "render", "--what", "alarms", "--config", str(file)])
        assert (done.exit_code, words in done.stderr, bool(done.stderr)) == (0, True, bool(words))
