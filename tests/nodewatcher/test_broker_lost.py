"""A real Mosquitto that dies and comes back, where nodes' own metrics are required: nobody is ended on old words."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from daemons.config.values import MqttConfig
from daemons.metrics import HostReading, Topics, render_reading
from daemons.model import State
from daemons.mqtt import Line, subscribed
from nodewatcher.telemetry import Telemetry
from sandbox.mosquitto import Mosquitto, find_mosquitto
from tests.fakes import FakeGroups, instance_id
from tests.needs import skip_or_fail
from tests.nodewatcher.cluster import IDLE_FOR_S, OPTIONS, Cluster

TOPICS = Topics("headnode", "hpc")
DEADLINE_S = 60.0
IDLE, BUSY = HostReading(cpu_share=0.01), HostReading(cpu_share=0.9)


@dataclass
class Site:
    """nodewatcher with a subscription, one client that speaks for the nodes, and a broker that can be killed."""

    cluster: Cluster
    telemetry: Telemetry
    broker: Mosquitto
    nodes: Line

    async def tells(self, number: int, reading: HostReading) -> None:
        """The node says it, and the head has heard it."""
        before = self.telemetry.messages
        assert await self.nodes.say(TOPICS.reading(instance_id(number)), render_reading(reading))
        await until(lambda: self.telemetry.messages > before)

    async def lives(self, period_s: float, **says: HostReading) -> None:
        """Time goes by, and each node says its words before each look."""
        for _ in range(int(period_s / 10)):
            self.cluster.pass_time(10.0)
            for name, reading in says.items():
                await self.tells(int(name.removeprefix("n")), reading)
            await self.cluster.passes()


async def until(condition: Callable[[], bool]) -> None:
    give_up_at = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < give_up_at, "this did not become true"
        await asyncio.sleep(0.02)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    if find_mosquitto() is None:
        skip_or_fail("no real Mosquitto: it is not installed")
    broker = Mosquitto(directory=tmp_path)
    broker.start()
    cluster = Cluster(groups=FakeGroups.of(1, 2), options=replace(OPTIONS, busy_cpu_share=0.2, metrics_stale_s=30.0))
    telemetry = Telemetry(TOPICS, clock=lambda: cluster.now)
    cluster.readings = telemetry.readings()
    config = MqttConfig(host="127.0.0.1", port=broker.port)
    topics = [TOPICS.state("+"), TOPICS.reading("+")]
    async with (
        subscribed(config, topics, telemetry.hear, identifier="head") as head,
        subscribed(config, [TOPICS.head], lambda _: None, identifier="nodes") as nodes,
    ):
        await until(lambda: head.is_up and nodes.is_up)
        yield Site(cluster, telemetry, broker, nodes)
    broker.stop()


async def test_while_the_broker_is_away_nobody_is_ended_and_afterwards_idle_nodes_go(site: Site) -> None:
    await site.lives(30, n1=IDLE, n2=BUSY)
    site.broker.stop()
    await until(lambda: not site.nodes.is_up)
    await site.lives(10 * IDLE_FOR_S)
    assert not site.cluster.ended
    assert "its own metrics are required, and the last are 590 s old" in site.cluster.sentence(1)
    assert {site.cluster.state(number) for number in (1, 2)} == {State.REGISTERED}
    site.broker.start()
    await until(lambda: site.nodes.is_up)
    await site.lives(IDLE_FOR_S - 10, n1=IDLE, n2=BUSY)
    assert not site.cluster.ended, "the idle clock begins when it is seen to be idle again"
    await site.lives(30, n1=IDLE, n2=BUSY)
    assert site.cluster.ended == [instance_id(1)]
    assert site.cluster.sentence(2).startswith("busy: 90% of its CPU time")
