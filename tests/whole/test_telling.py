"""A real sqswatcher tells the same in three places: standard output, its file, and CloudWatch Logs, its metrics among them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from daemons.cli import app
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, StackSpec, client, create_stack
from sandbox.configuration import local_scheduler, render_config
from schedulers.local import store
from tests.daemons.test_meter import check_emf

DEADLINE_S = 120.0


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def wait_for(path: Path, event: str) -> None:
    give_up_at = time.monotonic() + DEADLINE_S
    while not (path.is_file() and f'"{event}"' in path.read_text()):
        assert time.monotonic() < give_up_at, f"no {event} in {path}"
        time.sleep(0.1)


def test_what_a_service_says_is_in_its_file_and_in_cloudwatch_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    store.create(tmp_path / "local.db")
    config, file = tmp_path / "headnode.toml", tmp_path / "logs" / "sqswatcher.log"
    with SandboxAws(account="777788889999") as aws:
        stack = create_stack(aws.endpoint_url, StackSpec(name="told", groups=(GroupSpec(name="told-batch"),)))
        config.write_text(
            render_config(
                stack,
                local_scheduler(tmp_path / "local.db"),
                queue="told-events",
                dns={"zone_id": stack.zone_id},
                log={
                    "file": {"directory": tmp_path / "logs"},
                    "metrics": {"period_s": 1.0},
                    "cloudwatch": {"group": "/headnode/told", "period_s": 0.5, "spool_dir": tmp_path / "spool"},
                },
            )
        )
        argv = [sys.executable, "-m", "sqswatcher", "--config", str(config)]
        with (tmp_path / "stdout").open("w") as out, (tmp_path / "stderr").open("w") as err:
            service = subprocess.Popen(argv, stdout=out, stderr=err, env=dict(os.environ))
        try:
            wait_for(file, "metrics.measured")
            service.send_signal(signal.SIGTERM)
            assert service.wait(DEADLINE_S) == 0
        finally:
            service.kill()
            service.wait()
        logs = client("logs", endpoint_url=aws.endpoint_url, region=stack.region)
        shipped = [event["message"] for event in logs.filter_log_events(logGroupName="/headnode/told")["events"]]
        said = (tmp_path / "stdout").read_text()
        assert shipped == file.read_text().splitlines() == said.splitlines()
        assert (tmp_path / "stderr").read_text() == ""
        events = [line["event"] for line in lines(said)]
        assert events[0] == "service.started"
        assert {"membership.started", "service.stopped"} <= set(events)
        measured = [line for line in lines(said) if line["event"] == "metrics.measured"]
        for line in measured:
            check_emf(line)
        assert any("QueueAge" in line for line in measured)
        read = CliRunner().invoke(app, ["logs", "--event", "service.", "--json", "--config", str(config)])
        assert [line["event"] for line in lines(read.stdout)] == ["service.started", "service.stopped"]
        far = CliRunner().invoke(app, ["logs", "--cloudwatch", "--event", "service.", "--json", "--config", str(config)])
        assert far.stdout == read.stdout
