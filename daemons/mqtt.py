"""The MQTT broker as a service needs it: a subscription that outlives the broker's absences, and one message sent."""

import asyncio
import contextlib
import ssl
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import aiomqtt
import structlog

from daemons.credentials import file_of, is_credential
from daemons.errors import ConfigError, HeadnodeError

log = structlog.get_logger()

LONGEST_PAYLOAD = 4096  # bytes; what is longer is not looked at
_RETRY_S, _RETRY_MOST_S = 1.0, 60.0
_LONGEST_PASSWORD = 4096
_KEEPALIVE_S = 20  # after one and a half of it the broker speaks our will
_LEAVE_S = 2.0  # for the last words


class BrokerUnavailable(HeadnodeError):
    """The broker cannot be reached, or does not let us in."""

    code = "broker-unavailable"
    transient = True


class Broker(Protocol):
    """Where the broker is, and who we are to it: `[mqtt]` of the head's or of the agent's configuration."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def username(self) -> str: ...
    @property
    def password_file(self) -> str: ...
    @property
    def tls(self) -> bool: ...
    @property
    def ca_file(self) -> str: ...
    @property
    def cert_file(self) -> str: ...
    @property
    def key_file(self) -> str: ...


def read_password(config: Broker) -> str | None:
    """The password, None where no user is configured. Raises ConfigError for a file that is not there or that others may read."""
    if not config.username:
        return None
    path = file_of(config.password_file)
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")[:_LONGEST_PASSWORD].strip("\r\n")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(
            f"mqtt.password_file cannot be read: {err}", hint="write the password there, for its owner alone"
        ) from err
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and not is_credential(config.password_file):  # systemd sees to its own
        raise ConfigError(f"mqtt.password_file {path} may be read by others than its owner", hint=f"chmod 600 {path}")
    return text


def _client(config: Broker, identifier: str, will: aiomqtt.Will | None = None) -> aiomqtt.Client:
    """A client that is not connected yet. Raises ConfigError for files that cannot be used."""
    context: ssl.SSLContext | None = None
    if config.tls:
        try:
            context = ssl.create_default_context(cafile=file_of(config.ca_file) if config.ca_file else None)
            if config.cert_file:
                context.load_cert_chain(file_of(config.cert_file), file_of(config.key_file))
        except OSError as err:  # ssl.SSLError is one
            raise ConfigError(f"mqtt's TLS files cannot be used: {err}", hint="check ca_file, cert_file and key_file") from err
    return aiomqtt.Client(
        hostname=config.host,
        port=config.port,
        identifier=identifier,
        username=config.username or None,
        password=read_password(config),
        tls_context=context,
        will=will,
        keepalive=_KEEPALIVE_S,
        timeout=10,
    )


class Heard(NamedTuple):
    """One message. `retained`: the broker has kept it from earlier, nobody knows since when."""

    topic: str
    payload: bytes
    retained: bool


class Line:
    """Our connection to the broker, while there is one."""

    def __init__(self) -> None:
        self._client: aiomqtt.Client | None = None

    @property
    def is_up(self) -> bool:
        return self._client is not None

    async def say(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Send one message, at least once. False: there is no broker now, and the message is lost."""
        if self._client is None:
            return False
        try:
            await self._client.publish(topic, payload, qos=1, retain=retain)
        except (aiomqtt.MqttError, OSError):
            return False
        return True


async def _never(_: Line) -> None:
    return None


@contextlib.asynccontextmanager
async def subscribed(
    config: Broker,
    topics: Sequence[str],
    hear: Callable[[Heard], None],
    *,
    identifier: str,
    will: aiomqtt.Will | None = None,
    connected: Callable[[Line], Awaitable[None]] = _never,
    left: Callable[[Line], Awaitable[None]] = _never,
) -> AsyncIterator[Line]:
    """Call `hear` for each message under `topics`, as long as there is a broker to hear from. Yields the line to speak on.

    A broker that is not there, or not yet, is tried again, later each time; nothing is raised for it. Payloads that are too long
    are left out. `connected` is awaited after each connection, `left` before we leave on purpose; `will` is what the broker
    says for us when we vanish. Raises ConfigError at once for files that cannot be used.
    """
    make = partial(_client, config, identifier, will)
    make()
    line = Line()
    listening = asyncio.create_task(_listen_for_ever(make, config.host, topics, hear, line, connected))
    try:
        yield line
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(left(line), _LEAVE_S)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _listen_for_ever(
    make: Callable[[], aiomqtt.Client],
    host: str,
    topics: Sequence[str],
    hear: Callable[[Heard], None],
    line: Line,
    connected: Callable[[Line], Awaitable[None]],
) -> None:
    failures = 0
    while True:
        try:
            async with make() as client:
                for topic in topics:
                    await client.subscribe(topic, qos=1)
                log.info("broker.connected", host=host, topics=list(topics))
                failures = 0
                line._client = client  # noqa: SLF001  the line is this loop's own
                await connected(line)
                async for message in client.messages:
                    if len(message.payload) <= LONGEST_PAYLOAD:
                        hear(Heard(str(message.topic), message.payload, message.retain))
        except (aiomqtt.MqttError, OSError, ConfigError) as err:  # a file of ours may be away while somebody replaces it
            failures += 1
            wait_s = min(_RETRY_S * 2.0 ** min(failures - 1, 10), _RETRY_MOST_S)
            log.warning("broker.lost", host=host, error=str(err), failures=failures, next_try_s=wait_s)
            line._client = None  # noqa: SLF001
            await asyncio.sleep(wait_s)
        finally:
            line._client = None  # noqa: SLF001


async def publish(config: Broker, topic: str, payload: bytes, *, identifier: str) -> None:
    """Send one message, at least once. Raises BrokerUnavailable."""
    try:
        async with _client(config, identifier) as client:
            await client.publish(topic, payload, qos=1)
    except (aiomqtt.MqttError, OSError) as err:
        raise BrokerUnavailable(
            f"sending to {topic} at {config.host}:{config.port}: {err}", hint="is the broker up, and does it let us in?"
        ) from err
