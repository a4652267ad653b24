"""What ten thousand agents cost nodewatcher, and what one agent costs its node.

A real Mosquitto with the settings that `headnode mqtt render` writes. The head (`subscribed` and `Telemetry`, as nodewatcher runs
them) is a process of its own, whose CPU time and memory are read when all has been heard; so is the agent, among an emulated AWS.
The nodes are simulated: clients that each speak for many, at QoS 1, as fast as the broker acknowledges.
"""

import argparse
import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiomqtt
import psutil

from benchmarks.report import Promise, report
from daemons.broker import render_acl, render_conf, with_user
from daemons.config.values import MqttConfig
from daemons.logs import configure_logs
from daemons.metrics import HostReading, Topics, render_reading
from daemons.mqtt import Line, read_password, subscribed
from nodewatcher.telemetry import Telemetry
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, StackSpec, create_stack
from sandbox.aws.world import Timing
from sandbox.mosquitto import Mosquitto, find_mosquitto
from sandbox.slurm.host import free_ports

TOPICS = Topics("headnode", "hpc")
NODES, EACH, CLIENTS = 10_000, 6, 20  # six readings a minute, one every ten seconds
IN_FLIGHT = 10
MIB = 1 << 20
DEADLINE_S = 300.0
AGENT_S = 30.0  # how long an agent is looked at
READING = HostReading(
    load_1min=1.5, cpu_share=0.25, memory_share=0.5, sessions=1, disk_bytes_per_s=1e6, network_bytes_per_s=1e7, steps=2
)


def node(number: int) -> str:
    return f"i-{number:017x}"


def start_broker(directory: Path) -> Mosquitto:
    """Set up as an operator would: users `watcher` and `nodes`; the latter may speak for all, so that few clients suffice."""
    port = free_ports(1)[0]
    acl, passwords, conf = directory / "acl", directory / "passwords", directory / "conf"
    acl.write_text(render_acl(TOPICS, services=["watcher", "nodes"]) + f"topic write {TOPICS.reading('+')}\n")
    passwords.write_text(with_user(with_user("", "watcher", "w", salt=b"w" * 12), "nodes", "n", salt=b"n" * 12))
    for name in ("watcher", "nodes"):
        (directory / name).write_text(name[0])
    for path in (acl, passwords, directory / "watcher", directory / "nodes"):
        path.chmod(0o600)
    conf.write_text(render_conf(broker_of(port, directory, "watcher"), acl_file=str(acl), passwords=str(passwords)))
    broker = Mosquitto(directory=directory / "broker", conf=conf, port=port)
    broker.start()
    return broker


def broker_of(port: int, directory: Path, user: str) -> MqttConfig:
    return MqttConfig(host="127.0.0.1", port=port, username=user, password_file=str(directory / user))


def head(port: int, directory: Path, ours: Connection) -> None:
    """The head's process: says when it listens and, once nothing more is to come, what it heard and what that cost."""
    configure_logs(level="error", daemon="benchmark", cluster="hpc")
    asyncio.run(_hear(port, directory, ours))


async def _hear(port: int, directory: Path, ours: Connection) -> None:
    telemetry = Telemetry(TOPICS, clock=time.time)
    topics = [TOPICS.state("+"), TOPICS.reading("+")]
    listening = asyncio.Event()

    async def connected(_: Line) -> None:
        listening.set()

    watcher = broker_of(port, directory, "watcher")
    async with subscribed(watcher, topics, telemetry.hear, identifier="head", connected=connected):
        await listening.wait()
        process = psutil.Process()
        before, rss_before = sum(process.cpu_times()[:2]), process.memory_info().rss
        ours.send("listening")
        give_up_at = time.monotonic() + DEADLINE_S
        while telemetry.messages < NODES * EACH and time.monotonic() < give_up_at:  # noqa: ASYNC110  it counts; nothing rings
            await asyncio.sleep(0.05)
        usage = process.memory_info().rss
        ours.send(
            {
                "heard": telemetry.messages,
                "refused": telemetry.refused,
                "nodes": len(telemetry.readings()),
                "cpu_s": sum(process.cpu_times()[:2]) - before,
                "rss_mib": usage / MIB,
                "grown_mib": (usage - rss_before) / MIB,
            }
        )


async def _speak(config: MqttConfig, client: int) -> None:
    """One client's share of the nodes, all of their readings, each acknowledged by the broker."""
    payload = render_reading(READING)
    mine = range(client, NODES, CLIENTS)
    free = asyncio.Semaphore(IN_FLIGHT)
    async with aiomqtt.Client(
        hostname=config.host,
        port=config.port,
        identifier=f"nodes-{client}",
        username=config.username,
        password=read_password(config),
        timeout=60,
        max_inflight_messages=IN_FLIGHT,
    ) as line:

        async def say(number: int) -> None:
            async with free:
                await line.publish(TOPICS.reading(node(number)), payload, qos=1)

        for _ in range(EACH):
            await asyncio.gather(*(say(number) for number in mine))


async def _speak_all(config: MqttConfig) -> None:
    await asyncio.gather(*(_speak(config, client) for client in range(CLIENTS)))


def a_minute_of_ten_thousand() -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="hn-agents-") as name:
        directory = Path(name)
        broker = start_broker(directory)
        theirs, ours = context.Pipe()
        listener = context.Process(target=head, args=(broker.port, directory, ours))
        listener.start()
        try:
            if not theirs.poll(60) or theirs.recv() != "listening":
                raise SystemExit("the head did not begin to listen")
            began = time.monotonic()
            asyncio.run(_speak_all(broker_of(broker.port, directory, "nodes")))
            if not theirs.poll(DEADLINE_S + 10):
                raise SystemExit("the head has not said what it heard")
            told: dict[str, Any] = theirs.recv()
            return {**told, "sent": NODES * EACH, "took_s": time.monotonic() - began}
        finally:
            listener.kill()
            listener.join()
            broker.stop()


def an_agent() -> dict[str, Any]:
    """One agent with the settings as they are by default, looked at once the head has registered its node."""
    with tempfile.TemporaryDirectory(prefix="hn-agent-") as name, SandboxAws(timing=Timing(boot_s=0.05)) as aws:
        directory = Path(name)
        stack = create_stack(aws.endpoint_url, StackSpec(name="agents", groups=(GroupSpec(name="batch", minimum=1),)))
        broker = start_broker(directory)
        give_up_at = time.monotonic() + 30
        while not (running := aws.scaling.instances("batch")):
            if time.monotonic() > give_up_at:
                raise SystemExit("the emulated instance did not come up")
            time.sleep(0.05)
        lines = ['cluster = "hpc"', f'region = "{stack.region}"', f'queue = "{stack.queue_url}"', f'table = "{stack.table}"']
        lines += [f'endpoint = "{aws.endpoint_url}"', f'imds = "{aws.imds_url(running[0].instance_id).rstrip("/")}"', "[mqtt]"]
        lines += ['host = "127.0.0.1"', f"port = {broker.port}", 'username = "nodes"', f'password_file = "{directory}/nodes"']
        config = directory / "agent.toml"
        config.write_text("\n".join(lines))
        env = {**os.environ, "AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox"}
        argv = [sys.executable, "-m", "nodewatcher.agent", "--config", str(config)]
        with (directory / "log").open("wb") as log:
            agent = subprocess.Popen(argv, stdout=log, stderr=log, env=env)
        try:
            return _looked_at(psutil.Process(agent.pid))
        finally:
            agent.kill()
            agent.wait()
            broker.stop()


def _looked_at(agent: psutil.Process) -> dict[str, Any]:
    """Its memory and its share of a core, from when it is alone (what announces it is a process of its own)."""
    give_up_at, seen = time.monotonic() + 60, False
    while not (seen and not agent.children()):
        seen = seen or bool(agent.children())
        if time.monotonic() > give_up_at:
            raise SystemExit("the agent did not begin, or its announcement did not end")
        time.sleep(0.05)
    before, began, most = sum(agent.cpu_times()[:2]), time.monotonic(), 0
    while time.monotonic() - began < AGENT_S:
        time.sleep(0.5)
        most = max(most, agent.memory_info().rss)
    took_s = time.monotonic() - began
    return {"rss_mib": most / MIB, "core_share": (sum(agent.cpu_times()[:2]) - before) / took_s}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args(argv).json
    if find_mosquitto() is None:
        print("agents: Mosquitto is not installed", file=sys.stderr)
        return 1
    print(f"{NODES} nodes speak {EACH} times, then an agent is looked at for {AGENT_S:.0f} s …", file=sys.stderr)
    minute = a_minute_of_ten_thousand()
    agent = an_agent()
    promises = [
        Promise(what=f"messages of {NODES * EACH} lost at QoS 1", limit=0, measured=minute["sent"] - minute["heard"]),
        Promise(what="nodes of 10,000 without a reading", limit=0, measured=NODES - minute["nodes"]),
        Promise(what="share of a core for a minute of them", limit=0.5, measured=minute["cpu_s"] / 60),
        Promise(what="MiB that 10,000 readings take", limit=40, measured=minute["grown_mib"]),
        Promise(what="MiB of an agent", limit=40, measured=agent["rss_mib"]),
        Promise(what="share of a core of an agent", limit=0.005, measured=agent["core_share"]),
    ]
    measured = minute | {f"agent_{what}": value for what, value in agent.items()}
    rows = [{"what": what, "measured": value} for what, value in measured.items()]
    return report("agents", rows, promises, as_json=as_json)


if __name__ == "__main__":
    sys.exit(main())
