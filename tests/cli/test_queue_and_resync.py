"""The commands that look into a running cluster, on the emulated AWS and the local scheduler."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from daemons.cli import app
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, Stack, StackSpec, client, create_stack
from sandbox.configuration import local_scheduler, render_config
from schedulers.local import store
from tests.fakes import instance_id

runner = CliRunner()


@dataclass
class Ground:
    aws: SandboxAws
    stack: Stack
    config: Path

    def boto(self, service: str) -> Any:
        return client(service, endpoint_url=self.aws.endpoint_url, region=self.stack.region)

    def told(self, *arguments: str, code: int = 0) -> Any:
        result = runner.invoke(app, [*arguments, "--config", str(self.config), "--json"])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    store.create(tmp_path / "local.db")
    with SandboxAws(account="444455556666") as aws:
        stack = create_stack(aws.endpoint_url, StackSpec(name="cli", groups=(GroupSpec(name="cli-batch"),), max_receive_count=1))
        config = tmp_path / "headnode.toml"
        local = local_scheduler(tmp_path / "local.db")
        config.write_text(render_config(stack, local, queue="cli-events", dns={"zone_id": stack.zone_id}))
        yield Ground(aws, stack, config)


def test_what_was_put_aside_is_listed_with_its_reason_and_stays(ground: Ground) -> None:
    sqs = ground.boto("sqs")
    assert ground.told("queue", "quarantine") == []
    for body in ("{broken", '{"Event": "\\u001b[31mred"}'):
        sqs.send_message(QueueUrl=ground.stack.dead_letter_queue_url, MessageBody=body)
    listed = ground.told("queue", "quarantine")
    assert sorted(row["body"] for row in listed) == sorted(["{broken", '{"Event": "\\u001b[31mred"}'])
    assert any("not JSON" in row["reason"] for row in listed)
    depths = {row["queue"]: row["waiting"] + row["in flight"] for row in ground.told("queue", "depth")}
    assert depths == {"events": 1, "dead letters": 2}  # Auto Scaling has sent its test notification


def test_a_row_whose_instance_is_in_no_group_is_planned_away_and_then_is(ground: Ground) -> None:
    ground.boto("dynamodb").put_item(
        TableName=ground.stack.table,
        Item={
            "instanceId": {"S": instance_id(1)},
            "hostname": {"S": "ip-10-0-0-1"},
            "fleet": {"S": "batch"},
            "state": {"S": "registered"},
            "registered_at": {"N": "1"},
            "version": {"N": "1"},
        },
    )

    def state() -> str:
        [item] = ground.boto("dynamodb").scan(TableName=ground.stack.table)["Items"]
        return str(item["state"]["S"])

    planned = ground.told("resync", "--plan")
    assert [(row["kind"], row["instance_id"]) for row in planned["findings"]] == [("ended-instance", instance_id(1))]
    assert (planned["applied"], planned["steps"], state()) == (False, [instance_id(1)], "registered")
    applied = ground.told("resync", "--apply")
    assert (applied["applied"], applied["steps"], state()) == (True, [instance_id(1)], "gone")
    assert ground.told("resync", "--plan")["findings"] == []


def test_a_queue_that_is_not_there_is_one_message(ground: Ground) -> None:
    ground.config.write_text(ground.config.read_text().replace("cli-events", "nobody"))
    result = runner.invoke(app, ["queue", "depth", "--config", str(ground.config)])
    assert result.exit_code == 1
    assert "nobody" in str(result.exception)
