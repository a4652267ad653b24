"""`headnode doctor`: what an operator types, sees and gets as an exit code."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemons.cli import app
from daemons.cli.doctor import print_told
from daemons.doctor.examine import AREAS, Told
from daemons.doctor.findings import Finding, Severity
from daemons.errors import ConfigError
from sandbox.aws.server import SandboxAws
from tests.doctor.ground import ACCOUNT, Ground

runner = CliRunner()


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    with SandboxAws(account=ACCOUNT) as aws:
        yield Ground.make(aws, tmp_path)


def run(ground: Ground, *words: str, code: int) -> str:
    result = runner.invoke(app, ["doctor", "--config", str(ground.directory / "headnode.toml"), *words])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def test_a_healthy_cluster_is_exit_code_0(ground: Ground) -> None:
    told = json.loads(run(ground, "--json", *(f"--only={area}" for area in AREAS if area not in ("zone", "host")), code=0))
    assert told["ok"]
    assert {finding["area"] for finding in told["findings"]} == set(AREAS) - {"zone", "host"}
    assert set(told["findings"][0]) == {"area", "id", "severity", "looked_at", "found", "remedy"}


def test_an_error_is_exit_code_1_and_the_remedy_is_told(ground: Ground) -> None:
    ground.group(NewInstancesProtectedFromScaleIn=False)
    told = run(ground, "--only", "groups", code=1)
    assert "group-protection (hpc-batch): new instances are not protected" in told
    assert "remedy: aws autoscaling update-auto-scaling-group --auto-scaling-group-name hpc-batch" in told
    assert "group-bounds" not in told, "what is well is only counted"
    assert told.splitlines()[-1] == "1 error"
    assert "group-bounds" in run(ground, "--only", "groups", "--all", code=1)


def test_a_warning_alone_is_exit_code_0(ground: Ground) -> None:
    ground.queue(MessageRetentionPeriod="60")
    assert json.loads(run(ground, "--json", "--only", "queue", code=0))["worst"] == "warning"


def test_an_area_that_there_is_not(ground: Ground) -> None:
    result = runner.invoke(app, ["doctor", "--config", str(ground.directory / "headnode.toml"), "--only", "weather"])
    assert isinstance(result.exception, ConfigError)
    assert "permissions" in result.exception.hint


def test_words_of_others_move_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    words = "AWS said \x1b[2J [red]no[/red]"
    finding = Finding(id="queue-exists", severity=Severity.ERROR, looked_at="q\x9b", found=words, remedy=words)
    print_told([Told(area="queue", finding=finding)], show_all=False)
    said = capsys.readouterr().out
    assert not {"\x1b", "\x9b"} & set(said)
    assert said.count("AWS said ?[2J [red]no[/red]") == 2
