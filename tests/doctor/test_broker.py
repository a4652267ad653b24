"""A real Mosquitto as the doctor finds it: right, with a wrong password, mute, and away."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemons.aws.session import open_clients
from daemons.cli.common import read_config
from daemons.config.values import MqttConfig
from daemons.doctor.examine import Told
from daemons.doctor.findings import Severity
from daemons.doctor.looks import broker
from daemons.doctor.scene import Scene, find_who
from sandbox.mosquitto import Mosquitto, find_mosquitto
from schedulers.commands import LocalCommands
from tests.doctor.ground import bad
from tests.needs import skip_or_fail

FILE = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc-instances"
[scheduler]
name = "local"
settings = { file = "/var/lib/headnode/local.sqlite" }
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.large"
cpus = 2
"""
ACL = "user head\ntopic readwrite headnode/hpc/#\nuser mute\ntopic read headnode/hpc/#\n"


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    if find_mosquitto() is None:
        skip_or_fail("no real Mosquitto: it is not installed")
    one = Mosquitto(directory=tmp_path / "broker", users={"head": "right", "mute": "right"}, acl=ACL)
    one.start()
    yield one
    one.stop()


async def examine(tmp_path: Path, mosquitto: Mosquitto, *, login: str = "right", mode: int = 0o600, **changes: Any) -> Any:
    password, file = tmp_path / "password", tmp_path / "headnode.toml"
    password.write_text(login)
    password.chmod(mode)
    file.write_text(FILE)
    mqtt = replace(MqttConfig(host="127.0.0.1", port=mosquitto.port, username="head", password_file=str(password)), **changes)
    config = replace(read_config(file), mqtt=mqtt)
    async with open_clients(region="eu-west-1", endpoints={}) as clients:
        scene = Scene(config=config, file=file, clients=clients, commands=LocalCommands(), who=find_who(os.environ))
        findings = await broker.look_at_broker(scene)
    return findings, bad([Told(area="broker", finding=one) for one in findings])


async def test_a_broker_that_lets_us_speak_and_hear(tmp_path: Path, mosquitto: Mosquitto) -> None:
    findings, wrong = await examine(tmp_path, mosquitto)
    assert wrong == {}
    assert {"broker-connection", "broker-acl", "broker-password-file"} <= {one.id for one in findings}


async def test_a_wrong_password(tmp_path: Path, mosquitto: Mosquitto) -> None:
    _, wrong = await examine(tmp_path, mosquitto, login="wrong")
    assert set(wrong) == {"broker-connection"}
    assert "headnode mqtt user head" in wrong["broker-connection"].remedy


async def test_a_broker_that_is_not_there(tmp_path: Path, mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    _, wrong = await examine(tmp_path, mosquitto)
    assert set(wrong) == {"broker-connection"}


async def test_an_acl_that_drops_our_words(tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "HEARD_WITHIN_S", 3.0)  # nothing will come, however long one waits
    _, wrong = await examine(tmp_path, mosquitto, username="mute")
    assert set(wrong) == {"broker-acl"}
    assert "headnode mqtt render" in wrong["broker-acl"].remedy


async def test_a_password_that_others_may_read(tmp_path: Path, mosquitto: Mosquitto) -> None:
    _, wrong = await examine(tmp_path, mosquitto, mode=0o644)
    assert set(wrong) == {"broker-password-file"}
    assert "chmod 600" in wrong["broker-password-file"].remedy


async def test_a_broker_elsewhere_without_tls(tmp_path: Path, mosquitto: Mosquitto) -> None:
    findings, _ = await examine(tmp_path, mosquitto, host="127.0.0.2")
    (finding,) = [one for one in findings if one.id == "broker-encryption"]
    assert finding.severity is Severity.WARNING
    assert "mqtt.tls = true" in finding.remedy
