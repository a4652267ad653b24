"""`headnode config check` and `headnode config show`, with a plugin that somebody else has installed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemons.cli.config import app

PLUGIN = """
from pydantic import BaseModel, ConfigDict, Field
from schedulers.base import Scheduler

class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    spool: str = Field(default="/var/spool", description="where it keeps its jobs")

class Guest(Scheduler):
    name = "guest"
    Settings = Settings
"""

GOOD = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc-table"
[scheduler]
name = "guest"
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.2xlarge"
cpus = 8
"""


@pytest.fixture(autouse=True)
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler plugin installed the way anybody's is: a module and an entry point."""
    info = tmp_path / "site" / "guest-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[headnode.schedulers]\nguest = headnode_guest_plugin:Guest\n")
    (info.parent / "headnode_guest_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(info.parent)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "headnode.toml"
    path.write_text(GOOD)
    return path


def run(*args: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(args), env=environ, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_check_says_ok_and_what_the_cluster_is(file: Path) -> None:
    code, out, err = run("check", "--config", str(file))
    assert (code, err) == (0, "")
    assert out.startswith(f"OK {file}\n")
    assert "hpc in eu-west-1" in out
    assert "batch (c5.2xlarge, 8 CPUs, group hpc-batch)" in out


def test_check_lists_every_problem_of_the_file_and_of_the_plugins_settings(file: Path) -> None:
    file.write_text(GOOD.replace("cpus = 8", "cpus = 0") + "[scheduler.settings]\nspol = 1\n[log]\nlevel = 9\n")
    code, out, err = run("check", "--config", str(file))
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines[0] == f"{file} cannot be used: 3 problems"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["scheduler.settings.spol", "fleet[0].cpus", "log.level"]
    assert "did you mean spool?" in lines[1]


def test_check_as_json_is_one_document_with_the_problems_parts(file: Path) -> None:
    file.write_text(GOOD + "[jobwatcher]\ninterval_s = 0\n")
    code, out, _ = run("check", "--json", "--config", str(file))
    answer = json.loads(out)
    assert (code, answer["ok"], answer["source"]) == (2, False, str(file))
    assert answer["problems"] == [
        {
            "path": "jobwatcher.interval_s",
            "wrong": "must be above 0",
            "came": "0",
            "hint": "seconds between two looks at the waiting jobs",
        }
    ]
    file.write_text(GOOD)
    code, out, _ = run("check", "--json", "--config", str(file))
    assert (code, json.loads(out)["ok"], json.loads(out)["summary"]["scheduler"]) == (0, True, "guest")


def test_a_missing_file_and_a_missing_plugin_are_told_with_what_to_do(file: Path, tmp_path: Path) -> None:
    code, _, err = run("check", environ={"HEADNODE_CONFIG": str(tmp_path / "nowhere.toml")})
    assert code == 2
    assert "nowhere.toml: does not exist; create it" in err
    file.write_text(GOOD.replace('"guest"', '"gast"'))
    code, _, err = run("check", "--config", str(file))
    assert code == 2
    assert "scheduler.name: there is no scheduler plugin named 'gast'; known are:" in err


def test_show_prints_each_setting_with_its_origin(file: Path) -> None:
    code, out, _ = run("show", environ={"HEADNODE_CONFIG": str(file)})
    lines = {line.split(" = ")[0]: line for line in out.splitlines()}
    assert code == 0
    assert "# file " in lines["fleet[0].cpus"]
    assert lines["sqswatcher.wait_s"].startswith("sqswatcher.wait_s = 20 ")
    assert "# default" in lines["sqswatcher.wait_s"]
    assert lines["scheduler.settings.spool"].endswith("# default where it keeps its jobs")


def test_show_as_json_has_every_setting(file: Path) -> None:
    code, out, _ = run("show", "--json", "--config", str(file))
    settings = {setting["path"]: setting for setting in json.loads(out)["settings"]}
    assert code == 0
    assert settings["cluster"] == {
        "path": "cluster",
        "value": "hpc",
        "origin": "file",
        "meaning": "the cluster's name, on every log line",
    }
    assert settings["scheduler.settings.spool"]["value"] == "/var/spool"


def test_show_refuses_a_file_that_cannot_be_used(file: Path) -> None:
    file.write_text("cluster")
    code, out, err = run("show", "--config", str(file))
    assert (code, out) == (2, "")
    assert f"{file} cannot be used: 1 problem\n" in err
    assert "is not valid TOML" in err
