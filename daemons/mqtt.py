"""The MQTT broker as a service needs it: a subscription that outlives the broker's absences, and one message sent."""

import asyncio
import contextlib
import ssl
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiomqtt
import structlog

from daemons.config.values import MqttConfig
from daemons.errors import ConfigError, HeadnodeError

log = structlog.get_logger()

LONGEST_PAYLOAD = 4096  # bytes; what is longer is not looked at
_RETRY_S, _RETRY_MOST_S = 1.0, 60.0
_LONGEST_PASSWORD = 4096


class BrokerUnavailable(HeadnodeError):
    """The broker cannot be reached, or does not let us in."""

    code = "broker-unavailable"
    transient = True


def wake_topic(config: MqttConfig, cluster: str) -> str:
    """Where whoever may publish there wakes jobwatcher."""
    return f"{config.topic}/{cluster}/wake"


def read_password(config: MqttConfig) -> str | None:
    """The password, None where no user is configured. Raises ConfigError for a file that is not there or that others may read."""
    if not config.username:
        return None
    path = Path(config.password_file)
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")[:_LONGEST_PASSWORD].strip("\r\n")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(
            f"mqtt.password_file cannot be read: {err}", hint="write the password there, for its owner alone"
        ) from err
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"mqtt.password_file {path} may be read by others than its owner", hint=f"chmod 600 {path}")
    return text


def _client(config: MqttConfig, identifier: str) -> aiomqtt.Client:
    """A client that is not connected yet. Raises ConfigError for files that cannot be used."""
    context: ssl.SSLContext | None = None
    if config.tls:
        try:
            context = ssl.create_default_context(cafile=config.ca_file or None)
            if config.cert_file:
                context.load_cert_chain(config.cert_file, config.key_file)
        except OSError as err:  # ssl.SSLError is one
            raise ConfigError(f"mqtt's TLS files cannot be used: {err}", hint="check ca_file, cert_file and key_file") from err
    return aiomqtt.Client(
        hostname=config.host,
        port=config.port,
        identifier=identifier,
        username=config.username or None,
        password=read_password(config),
        tls_context=context,
        timeout=10,
    )


@contextlib.asynccontextmanager
async def subscribed(
    config: MqttConfig, topic: str, heard: Callable[[str, bytes], None], *, identifier: str
) -> AsyncIterator[None]:
    """Call `heard` with topic and payload of each message under `topic`, as long as there is a broker to hear from.

    A broker that is not there, or not yet, is tried again, later each time; nothing is raised for it. Payloads that are too long
    are left out. Raises ConfigError at once for files that cannot be used.
    """
    _client(config, identifier)
    listening = asyncio.create_task(_listen_for_ever(config, topic, heard, identifier))
    try:
        yield
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _listen_for_ever(config: MqttConfig, topic: str, heard: Callable[[str, bytes], None], identifier: str) -> None:
    failures = 0
    while True:
        try:
            async with _client(config, identifier) as client:
                await client.subscribe(topic, qos=1)
                log.info("broker.connected", host=config.host, topic=topic)
                failures = 0
                async for message in client.messages:
                    if len(message.payload) <= LONGEST_PAYLOAD:
                        heard(str(message.topic), message.payload)
        except (aiomqtt.MqttError, OSError) as err:
            failures += 1
            wait_s = min(_RETRY_S * 2.0 ** min(failures - 1, 10), _RETRY_MOST_S)
            log.warning("broker.lost", host=config.host, error=str(err), failures=failures, next_try_s=wait_s)
            await asyncio.sleep(wait_s)


async def publish(config: MqttConfig, topic: str, payload: bytes, *, identifier: str) -> None:
    """Send one message, at least once. Raises BrokerUnavailable."""
    try:
        async with _client(config, identifier) as client:
            await client.publish(topic, payload, qos=1)
    except (aiomqtt.MqttError, OSError) as err:
        raise BrokerUnavailable(
            f"sending to {topic} at {config.host}:{config.port}: {err}", hint="is the broker up, and does it let us in?"
        ) from err
