"""An administrator's drain through the command, on the local scheduler, as the scheduler and the services see it."""

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from daemons.cli import app
from daemons.config import load_config
from daemons.errors import InvalidValue, SchedulerRefused
from daemons.model import FleetName, Hostname, Node, NodeSpec, Shape
from schedulers.local import Local, engine, store
from schedulers.plugins import load_settings
from tests.cli.test_status import CONFIG
from tests.fakes import hostname, instance_id


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "headnode.toml"
    path.write_text(CONFIG.format(jobs=tmp_path / "jobs", nodes=tmp_path / "nodes").replace("/nowhere/", f"{tmp_path}/"))
    store.create(tmp_path / "local.db")
    with contextlib.closing(store.connect(tmp_path / "local.db", timeout_s=10)) as db, store.transaction(db):
        for number in (1, 2):
            spec = NodeSpec(
                instance_id=instance_id(number),
                hostname=hostname(number),
                address=f"10.0.0.{number}",
                fleet=FleetName("batch"),
                shape=Shape(cpus=8),
                partition="compute",
            )
            engine.register(db, spec)
    return path


def headnode(config: Path, *argv: str) -> Result:
    return CliRunner().invoke(app, [*argv, "--config", str(config)])


def told(config: Path, *argv: str, code: int = 0) -> Any:
    done = headnode(config, *argv, "--json")
    assert done.exit_code == code, done.output
    return {row["node"]: row["outcome"] for row in json.loads(done.stdout)}


def plugin(config: Path) -> Local:
    chosen = load_config(config, {}, load_settings=load_settings)
    return Local.open(chosen.scheduler.settings, cluster=chosen.cluster, fleets=chosen.fleets)


def node(config: Path, name: Hostname) -> Node:
    return next(one for one in asyncio.run(plugin(config).nodes()) if one.hostname == name)


def test_a_drained_node_is_an_administrators_with_reason_and_name_until_it_is_resumed(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    assert told(config, "drain", hostname(1), "--reason", "kernel test") == {hostname(1): "done"}
    drained = node(config, hostname(1))
    assert (drained.is_usable, drained.drained_by_us, drained.reason) == (False, False, "kernel test (alice)")
    assert not node(config, hostname(2)).reason
    assert told(config, "drain", hostname(1), "--reason", "again") == {hostname(1): "done"}
    assert node(config, hostname(1)).reason == "kernel test (alice)", "the first one stays"
    assert told(config, "resume", hostname(1), hostname(2)) == {hostname(1): "done", hostname(2): "done"}
    assert not node(config, hostname(1)).reason


@pytest.mark.parametrize("error", [KeyError("uid not found: 4711"), OSError("No username set in the environment")])
def test_a_user_that_has_no_name_is_told_by_number(config: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def nameless() -> str:
        raise error

    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr("getpass.getuser", nameless)
    assert told(config, "drain", hostname(1), "--reason", "kernel test") == {hostname(1): "done"}
    assert node(config, hostname(1)).reason == f"kernel test (uid {os.getuid()})"


def test_what_headnode_itself_drains_is_told_and_left(config: Path) -> None:
    asyncio.run(plugin(config).drain([hostname(1)], reason="idle for 600 s"))
    assert told(config, "drain", hostname(1), "--reason", "mine", code=1) == {hostname(1): "refused"}
    assert told(config, "resume", hostname(1), hostname(9), code=1) == {hostname(1): "refused", hostname(9): "absent"}
    assert "headnode hold" in headnode(config, "resume", hostname(1)).output
    assert node(config, hostname(1)).drained_by_us


def test_nobody_drains_without_a_reason_or_by_a_name_that_is_none(config: Path) -> None:
    assert headnode(config, "drain", hostname(1)).exit_code == 2
    for reason in ("", "  ", "two\nlines", "x" * 201):
        assert isinstance(headnode(config, "drain", hostname(1), "--reason", reason).exception, InvalidValue)
    assert isinstance(headnode(config, "drain", "node;reboot", "--reason=x").exception, InvalidValue)
    assert not node(config, hostname(1)).reason


def test_a_reason_cannot_pass_for_one_of_headnodes_own(config: Path) -> None:
    told(config, "drain", hostname(1), "--reason", "headnode: headnode: idle")
    assert not node(config, hostname(1)).drained_by_us


def test_a_plugin_that_leaves_it_to_the_scheduler_says_so(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Local, "set_aside")
    error = headnode(config, "drain", hostname(1), "--reason", "x").exception
    assert isinstance(error, SchedulerRefused)
    assert "the scheduler's own commands" in error.hint
