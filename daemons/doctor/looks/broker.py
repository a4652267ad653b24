"""The MQTT broker: are we let in, and does what we say come back?

It says a word on the topic that wakes jobwatcher, which then looks once, as it does every few seconds anyway.
"""

import asyncio
from collections.abc import Sequence

from daemons.config.values import MqttConfig
from daemons.doctor.findings import Finding, Severity
from daemons.doctor.judges import broker as judge
from daemons.doctor.scene import Scene
from daemons.errors import ConfigError
from daemons.metrics import Topics
from daemons.mqtt import BrokerUnavailable, Heard, Line, publish, read_password, subscribed

HEARD_WITHIN_S = 15.0
_WORD = b"doctor"


async def look_at_broker(scene: Scene) -> Sequence[Finding]:
    config = scene.config.mqtt
    if config is None:
        return [Finding(id="broker-connection", severity=Severity.OK, looked_at="mqtt", found="no broker is configured")]
    findings = [judge.check_encryption(config)]
    if config.username:
        findings.append(_password(config))
    if findings[-1].severity is Severity.ERROR:
        return findings
    topic = Topics(config.topic, scene.config.cluster).wake
    try:
        await publish(config, topic, _WORD, identifier=f"headnode-doctor-{scene.config.cluster}")
    except (BrokerUnavailable, ConfigError) as err:
        return [*findings, judge.check_reached(config, error=str(err))]
    findings.append(judge.check_reached(config, error=""))
    return [*findings, judge.check_words(config, topic, heard=await _comes_back(config, topic, scene.config.cluster))]


def _password(config: MqttConfig) -> Finding:
    try:
        read_password(config)
    except ConfigError as err:
        return judge.check_password_file(config, error=str(err), hint=err.hint)
    return judge.check_password_file(config, error="", hint="")


async def _comes_back(config: MqttConfig, topic: str, cluster: str) -> bool:
    heard = asyncio.Event()

    def hear(message: Heard) -> None:
        if message.payload == _WORD:
            heard.set()

    async def speak(line: Line) -> None:
        await line.say(topic, _WORD)

    async with subscribed(config, [topic], hear, identifier=f"headnode-doctor-{cluster}", connected=speak):
        try:
            await asyncio.wait_for(heard.wait(), HEARD_WITHIN_S)
        except TimeoutError:
            return False
    return True
