"""`headnode ha`, and what the other commands do where there are two heads; on the emulated AWS."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from daemons.aws.leases import DynamoLeases
from daemons.aws.session import open_clients
from daemons.cli import app
from daemons.errors import LeaseLost
from daemons.ha.lease import SERVICES, Lease, Seen
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, Stack, StackSpec, create_stack
from sandbox.configuration import local_scheduler, render_config
from schedulers.local import store


@dataclass
class Ground:
    aws: SandboxAws
    stack: Stack
    config: Path

    def run(self, *words: str) -> Any:
        return CliRunner().invoke(app, [*words, "--config", str(self.config)])

    def take(self, service: str, *, head: str, ago_s: float = 0.0, released: bool = False) -> None:
        async def taken() -> None:
            async with open_clients(region=self.stack.region, endpoints={"default": self.aws.endpoint_url}) as clients:
                leases, at = DynamoLeases(clients, table=self.stack.table), time.time() - ago_s
                lease = Lease(
                    service=service, holder=head, token="1", fence=3, beat=1, lease_s=20.0, since=at, renewed_at=at
                )  # of that head
                assert await leases.take(lease, over=Seen())
                if released:
                    assert await leases.renew(replace(lease, holder="", beat=2))

        asyncio.run(taken())


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    store.create(tmp_path / "local.db")
    with SandboxAws(account="555566667777") as aws:
        stack = create_stack(aws.endpoint_url, StackSpec(name="heads", groups=(GroupSpec(name="ha-batch"),)))
        config = tmp_path / "headnode.toml"
        heads = {"enabled": True, "name": "head-a"}
        config.write_text(render_config(stack, local_scheduler(tmp_path / "local.db"), ha=heads))
        yield Ground(aws, stack, config)


def test_who_holds_what_since_when_and_with_which_fence(ground: Ground) -> None:
    ground.take("sqswatcher", head="head-a")
    ground.take("jobwatcher", head="head-b", ago_s=3600)
    ground.take("nodewatcher", head="head-b", released=True)
    result = ground.run("ha", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["enabled"], told["head"]) == (1, True, "head-a")
    assert [(row["service"], row["state"], row["holder"], row["fence"]) for row in told["leases"]] == [
        ("sqswatcher", "held", "head-a", 3),
        ("jobwatcher", "silent", "head-b", 3),
        ("nodewatcher", "free", "", 3),
    ]
    assert told["leases"][1]["renewed_ago_s"] >= 3600
    assert "token" not in result.stdout
    table = ground.run("ha")
    assert table.exit_code == 1
    assert "head-b" in table.stdout
    assert "UTC" in table.stdout


def test_all_held_is_exit_code_zero_and_so_is_a_single_head(ground: Ground) -> None:
    for service in SERVICES:
        ground.take(service, head="head-b")
    assert ground.run("ha").exit_code == 0
    ground.config.write_text(ground.config.read_text().replace("enabled = true", "enabled = false"))
    alone = ground.run("ha")
    assert alone.exit_code == 0
    assert "ha.enabled is false" in alone.stdout


def test_resync_mends_on_the_head_that_acts_and_nowhere_else(ground: Ground) -> None:
    nobody = ground.run("resync", "--apply")
    assert isinstance(nobody.exception, LeaseLost)
    assert nobody.exception.hint == "start sqswatcher first"
    ground.take("sqswatcher", head="head-a")
    assert ground.run("resync", "--apply").exit_code == 0
    ground.config.write_text(ground.config.read_text().replace("head-a", "head-b"))
    other = ground.run("resync", "--apply")
    assert isinstance(other.exception, LeaseLost)
    assert "head-a holds the lease" in str(other.exception)
    assert ground.run("resync", "--plan").exit_code == 0
