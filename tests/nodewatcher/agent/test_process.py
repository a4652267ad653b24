"""The agent as a process of its own, among the emulated AWS with its metadata service and a real Mosquitto."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from daemons.aws.table import render_item
from daemons.metrics import GONE, UP, HostReading, Topics
from daemons.model import FleetName, Hostname, Instance, InstanceId, State
from daemons.names import parse_instance_id
from nodewatcher.telemetry import parse_reading
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, Stack, StackSpec, client, create_stack
from sandbox.aws.world import Timing
from sandbox.mosquitto import Mosquitto, find_mosquitto
from sqswatcher.messages import ComputeReady
from sqswatcher.parse import parse_message
from tests.needs import skip_or_fail

TOPICS = Topics("headnode", "hpc")
DEADLINE_S = 60.0
AGENT = ("-m", "nodewatcher.agent")
# The agent where nobody is logged in and no job runs, whoever works on the machine that the tests run on.
QUIET = """
import sys
from nodewatcher.agent import __main__, host
host.count_steps = lambda: 0
host.psutil.users = list
sys.exit(__main__.main())
"""
ENV = {**os.environ, "AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox"}


def until(condition: Callable[[], Any], what: str) -> Any:
    give_up_at = time.monotonic() + DEADLINE_S
    while not (answer := condition()):
        assert time.monotonic() < give_up_at, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.02)
    return answer


class Ear:
    """The broker's words about all nodes, as a client of its own hears them; it can speak as the head does."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="ear")
        self._client.on_connect = lambda client, *_: client.subscribe([(TOPICS.state("+"), 1), (TOPICS.reading("+"), 1)])
        self._client.on_message = lambda _, __, message: self.heard.append((message.topic, bytes(message.payload)))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def states(self) -> list[bytes]:
        return [payload for topic, payload in self.heard if topic.endswith("/state")]

    def readings(self) -> list[HostReading]:
        return [parse_reading(payload) for topic, payload in self.heard if topic.endswith("/reading")]

    def speak_as_head(self) -> None:
        self._client.publish(TOPICS.head, b"here", qos=1).wait_for_publish(DEADLINE_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@dataclass
class Site:
    """One instance that runs, a queue and a table for it, a broker, and agents on it."""

    aws: SandboxAws
    stack: Stack
    instance_id: InstanceId
    broker: Mosquitto
    ear: Ear
    directory: Path
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *, broker: bool = True, agent: Sequence[str] = AGENT, **settings: object) -> subprocess.Popen[bytes]:
        told: dict[str, object] = {"cluster": "hpc", "region": self.stack.region, "queue": self.stack.queue_url}
        told |= {"table": self.stack.table, "endpoint": self.aws.endpoint_url, "interval_s": 0.2, "notice_interval_s": 0.2}
        told |= {"imds": self.aws.imds_url(self.instance_id).rstrip("/")} | settings
        lines = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
        lines += ["[mqtt]", 'host = "127.0.0.1"', f"port = {self.broker.port}"] if broker else []
        config = self.directory / "agent.toml"
        config.write_text("\n".join(lines))
        with (self.directory / "agent.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, *agent, "--config", str(config)], stdout=log, stderr=log, env=ENV)
        self.agents.append(process)
        return process

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "agent.log").read_text().splitlines() if line.startswith("{")]

    def says(self, event: str) -> dict[str, Any]:
        found: dict[str, Any] = until(
            lambda: next((one for one in self.events if one["event"] == event), None), f"the agent's log has {event}"
        )
        return found

    def messages(self) -> list[str]:
        sqs = client("sqs", endpoint_url=self.aws.endpoint_url, region=self.stack.region)
        answer = sqs.receive_message(QueueUrl=self.stack.queue_url, MaxNumberOfMessages=10, VisibilityTimeout=60)
        return [message["Body"] for message in answer.get("Messages", ())]

    def is_registered(self) -> None:
        row = Instance(
            instance_id=self.instance_id,
            fleet=FleetName("batch"),
            state=State.REGISTERED,
            version=1,
            hostname=Hostname("ip-10-0-0-1"),
            registered_at=1.0,
        )
        table = client("dynamodb", endpoint_url=self.aws.endpoint_url, region=self.stack.region)
        table.put_item(TableName=self.stack.table, Item=render_item(row))


@pytest.fixture(scope="module")
def cloud() -> Iterator[tuple[SandboxAws, Stack, InstanceId]]:
    with SandboxAws(account="777788881111", timing=Timing(boot_s=0.05, shutdown_s=0.05)) as aws:
        stack = create_stack(aws.endpoint_url, StackSpec(name="agent", groups=(GroupSpec(name="hpc-batch", minimum=1),)))
        running = until(lambda: aws.scaling.instances("hpc-batch"), "one runs")
        yield aws, stack, parse_instance_id(running[0].instance_id)


@pytest.fixture
def site(cloud: tuple[SandboxAws, Stack, InstanceId], tmp_path: Path) -> Iterator[Site]:
    if find_mosquitto() is None:
        skip_or_fail("no real Mosquitto: it is not installed")
    aws, stack, instance_id = cloud
    with contextlib.ExitStack() as after:
        broker = Mosquitto(directory=tmp_path / "broker")
        after.callback(broker.stop)
        broker.start()
        ear = Ear(broker.port)
        after.callback(ear.close)
        one = Site(aws, stack, instance_id, broker, ear, tmp_path)
        one.messages()  # what Auto Scaling said of the launch, or an earlier agent
        client("dynamodb", endpoint_url=aws.endpoint_url, region=stack.region).delete_item(
            TableName=stack.table, Key={"instanceId": {"S": instance_id}}
        )
        yield one
        for agent in one.agents:
            agent.kill()
            agent.wait()


def has_more(ear: Ear, count: int) -> None:
    until(lambda: len(ear.readings()) > count, f"more than {count} readings")


def ready_of(bodies: list[str]) -> list[ComputeReady]:
    return [message for message in map(parse_message, bodies) if isinstance(message, ComputeReady)]


def test_the_node_is_announced_to_the_head(site: Site) -> None:
    site.start(slots=6)
    (ready,) = until(lambda: ready_of(site.messages()), "COMPUTE_READY is in the queue")
    instance = site.aws.scaling.instance(site.instance_id)
    assert (ready.instance_id, ready.slots, ready.status) == (site.instance_id, 6, "Complete")
    assert ready.hostname == instance.hostname.partition(".")[0]
    assert ready.instance_type == instance.instance_type
    assert site.says("agent.announced")["tries"] == 1


def test_a_node_that_the_head_has_registered_is_not_announced_again(site: Site) -> None:
    site.is_registered()
    site.start(broker=False)
    assert site.says("agent.registered")["tries"] == 1
    assert not ready_of(site.messages())


def test_it_speaks_for_its_node_while_it_lives_and_its_broker_when_it_dies(site: Site) -> None:
    agent = site.start()
    until(lambda: len(site.ear.readings()) >= 3, "three readings")
    assert site.ear.states() == [UP]
    assert {topic.split("/")[3] for topic, _ in site.ear.heard} == {site.instance_id}
    assert all(0 <= reading.cpu_share <= 1 for reading in site.ear.readings())
    assert site.ear.readings()[-1].memory_share > 0
    agent.kill()
    until(lambda: site.ear.states() == [UP, GONE], "the last will")


def test_an_agent_that_is_stopped_leaves_no_sign_of_trouble(site: Site) -> None:
    agent = site.start()
    until(site.ear.readings, "a reading")
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(DEADLINE_S) == 0
    until(lambda: site.ear.states()[-1:] == [b""], "its state is cleared")
    assert GONE not in site.ear.states()
    assert site.says("agent.stopped")


def test_an_agent_that_is_told_to_reload_goes_on_and_says_what_helps(site: Site) -> None:
    agent = site.start()
    until(site.ear.readings, "a reading")
    agent.send_signal(signal.SIGHUP)
    assert "at its start alone" in site.says("agent.reload_refused")["because"]
    before = len(site.ear.readings())
    until(lambda: len(site.ear.readings()) > before, "readings go on")
    assert GONE not in site.ear.states()


def test_what_aws_announces_to_the_node_is_said_at_once(site: Site) -> None:
    site.start(interval_s=3600.0)
    until(site.ear.readings, "the first reading")
    assert not site.ear.readings()[-1].rebalance
    site.aws.scaling.recommend_rebalance(site.instance_id)
    until(lambda: site.ear.readings()[-1].rebalance, "the recommendation")
    assert site.ear.readings()[-1].spot_action == ""


def test_a_broker_that_comes_back_hears_the_node_again(site: Site) -> None:
    site.start()
    until(site.ear.readings, "a reading")
    site.broker.stop()
    assert site.says("broker.lost")
    site.broker.start()
    before = len(site.ear.readings())
    until(lambda: len(site.ear.readings()) > before, "readings go on")


def test_a_metadata_token_that_runs_out_is_asked_for_again(site: Site) -> None:
    from nodewatcher.agent.imds import Imds, ImdsUnavailable  # noqa: PLC0415

    imds = Imds(site.aws.imds_url(site.instance_id))
    assert imds.read("meta-data/instance-id") == site.instance_id
    imds._token = "run-out"
    with pytest.raises(ImdsUnavailable, match="401"):
        imds.read("meta-data/instance-id")
    assert imds.read("meta-data/instance-id") == site.instance_id


def test_a_node_that_nobody_leads_and_that_does_nothing_ends_itself(site: Site) -> None:
    mark = site.directory / "shut down"
    rule: dict[str, Any] = {"head_silent_s": 8.0, "idle_cpu_share": 1.0, "shutdown": ["/usr/bin/touch", str(mark)]}
    agent = site.start(agent=("-c", QUIET), **rule)
    until(site.ear.readings, "a reading")
    for count in (4, 8, 12, 16, 20):
        site.ear.speak_as_head()
        has_more(site.ear, count)
    assert agent.poll() is None
    assert not mark.exists(), "the head was there all the time"
    assert agent.wait(DEADLINE_S) == 0
    assert mark.exists()
    assert "no word of the head" in site.says("agent.ends_its_node")["because"]


def test_a_head_that_was_never_heard_is_not_missed(site: Site) -> None:
    mark = site.directory / "shut down"
    agent = site.start(agent=("-c", QUIET), head_silent_s=0.5, idle_cpu_share=1.0, shutdown=["/usr/bin/touch", str(mark)])
    until(lambda: len(site.ear.readings()) >= 8, "more than a second of readings")
    assert agent.poll() is None
    assert not mark.exists()
