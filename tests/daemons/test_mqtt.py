"""A real broker: heard again after its absence, closed to strangers, encrypted where asked."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemons import mqtt
from daemons.config.values import MqttConfig
from daemons.errors import ConfigError
from daemons.metrics import Topics
from daemons.mqtt import BrokerUnavailable, publish, subscribed
from daemons.mqtt import Heard as Message
from sandbox.mosquitto import Mosquitto, find_mosquitto
from tests.needs import skip_or_fail

DEADLINE_S = 60.0
WAKE = Topics("headnode", "hpc").wake


@pytest.fixture
def brokers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Brokers"]:
    if find_mosquitto() is None:
        skip_or_fail("no real Mosquitto: it is not installed")
    monkeypatch.setattr(mqtt, "_RETRY_S", 0.05)
    with ExitStack() as stack:
        yield Brokers(tmp_path, stack)


class Brokers:
    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._stack = stack

    def start(self, **fields: object) -> tuple[Mosquitto, MqttConfig]:
        broker = Mosquitto(directory=self.directory / "broker", **fields)  # type: ignore[arg-type]  # its own fields
        broker.start()
        self._stack.callback(broker.stop)
        return broker, MqttConfig(host="127.0.0.1", port=broker.port)

    def certificate(self) -> tuple[Path, Path]:
        """One that signs itself, and its key."""
        cert, key = self.directory / "cert.pem", self.directory / "key.pem"
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
        request += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
        subprocess.run(request, check=True, capture_output=True)
        return cert, key

    def password_file(self, text: str) -> str:
        path = self.directory / "password"
        path.write_text(text)
        path.chmod(0o600)
        return str(path)


class Heard:
    """What came, and a way to wait for it."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    def __call__(self, message: Message) -> None:
        self.messages.append((message.topic, message.payload))

    async def until(self, payload: bytes, config: MqttConfig) -> None:
        """Say it until it is heard: a message to nobody is lost, and when a subscription holds only the broker knows."""
        give_up_at = asyncio.get_running_loop().time() + DEADLINE_S
        while payload not in [each for _, each in self.messages]:
            assert asyncio.get_running_loop().time() < give_up_at, self.messages
            with suppress(BrokerUnavailable):
                await publish(config, WAKE, payload, identifier="test")
            await asyncio.sleep(0.05)


async def test_what_is_said_is_heard_and_again_after_the_broker_was_away(brokers: Brokers) -> None:
    broker, config = brokers.start()
    heard = Heard()
    async with subscribed(config, [WAKE], heard, identifier="listener"):
        await heard.until(b"one", config)
        assert heard.messages[0] == ("headnode/hpc/wake", b"one")
        broker.stop()
        with pytest.raises(BrokerUnavailable, match="sending to headnode/hpc/wake"):
            await publish(config, WAKE, b"lost", identifier="test")
        broker.start()
        await heard.until(b"two", config)


async def test_a_broker_that_comes_later_is_found(brokers: Brokers) -> None:
    broker, config = brokers.start()
    broker.stop()
    heard = Heard()
    async with subscribed(config, [WAKE], heard, identifier="listener"):
        broker.start()
        await heard.until(b"late", config)


async def test_a_password_file_that_is_away_while_the_broker_comes_back_is_waited_for(brokers: Brokers) -> None:
    broker, open_to_all = brokers.start(users={"jobwatcher": "s3cret"})
    config = replace(open_to_all, username="jobwatcher", password_file=brokers.password_file("s3cret"))
    heard = Heard()
    async with subscribed(config, [WAKE], heard, identifier="listener"):
        await heard.until(b"one", config)
        Path(config.password_file).unlink()
        with capture_logs() as events:
            broker.stop()
            broker.start()
            async with asyncio.timeout(DEADLINE_S):
                while not any("password_file cannot be read" in str(event.get("error")) for event in events):
                    await asyncio.sleep(0.02)
        brokers.password_file("s3cret")
        await heard.until(b"two", config)


async def test_what_is_too_long_is_left_out(brokers: Brokers) -> None:
    _, config = brokers.start()
    heard = Heard()
    async with subscribed(config, [WAKE], heard, identifier="listener"):
        await heard.until(b"before", config)
        await publish(config, WAKE, b"x" * 5000, identifier="test")
        await heard.until(b"after", config)
    assert all(len(payload) < 10 for _, payload in heard.messages)


async def test_a_password_is_read_from_its_file_and_a_wrong_one_is_told(brokers: Brokers) -> None:
    _, config = brokers.start(users={"jobwatcher": "s3cret"})
    right = replace(config, username="jobwatcher", password_file=brokers.password_file("s3cret\n"))
    heard = Heard()
    async with subscribed(right, [WAKE], heard, identifier="listener"):
        await heard.until(b"let in", right)
    wrong = replace(right, password_file=brokers.password_file("guess"))
    with pytest.raises(BrokerUnavailable):
        await publish(wrong, "headnode/hpc/wake", b"hello", identifier="test")
    with capture_logs() as events:
        async with subscribed(wrong, [WAKE], heard, identifier="listener"):
            while not events:
                await asyncio.sleep(0.02)
    assert events[0]["event"] == "broker.lost"
    assert "guess" not in str(events)


async def test_a_password_that_others_may_read_is_refused(brokers: Brokers) -> None:
    path = Path(brokers.password_file("s3cret"))
    path.chmod(0o644)
    config = MqttConfig(host="127.0.0.1", username="jobwatcher", password_file=str(path))
    with pytest.raises(ConfigError, match="may be read by others"):
        async with subscribed(config, ["x"], Heard(), identifier="listener"):
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves a refused socket to the collector
async def test_tls_is_checked(brokers: Brokers) -> None:
    cert, key = brokers.certificate()
    _, config = brokers.start(tls=(cert, key))
    known = replace(config, tls=True, ca_file=str(cert))
    heard = Heard()
    async with subscribed(known, [WAKE], heard, identifier="listener"):
        await heard.until(b"encrypted", known)
    with pytest.raises(BrokerUnavailable, match="certificate"):
        await publish(replace(known, ca_file=""), "headnode/hpc/wake", b"hello", identifier="test")
