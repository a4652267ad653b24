"""What the services take of their head: `python -m benchmarks.footprint [--json] [--window SECONDS]`.

The three are processes of their own, as systemd would start them and with their settings as they are by default, on an emulated
AWS and the local scheduler. Memory is looked at when each has said that it is ready, on a cluster without nodes. Then a thousand
nodes are registered and idle, and the services are started again; once every one has gone round some times, its CPU time is
counted while it goes on. One that did not take a whole look meanwhile has not been measured, which is an error.
"""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import Promise, report
from daemons.aws.table import render_item
from daemons.model import FleetName, Hostname, Instance, InstanceId, NodeSpec, Shape, State
from daemons.record import MEMORY
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, Stack, StackSpec, client, create_stack
from sandbox.aws.values import EmulatedInstance
from sandbox.aws.world import Timing
from sandbox.configuration import local_scheduler, render_config
from schedulers.local import engine, store
from schedulers.local.values import Limits

NODES, BATCH = 1_000, 25
ROUNDS, WINDOW_S = 3, 120.0
DEADLINE_S = 600.0
MIB = 1 << 20
GROUP, FLEET = "footprint-batch", FleetName("batch")
MOST_MIB = {"sqswatcher": 95, "jobwatcher": 80, "nodewatcher": 95}  # EC2's client, which all but jobwatcher load, takes 16
MOST_SHARE = 0.005


@dataclass
class Process:
    """A service, and what it says to the one who started it."""

    name: str
    directory: Path
    _heard: list[str] = field(default_factory=list)

    def start(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.directory / f"{self.name}.notify"))
        self._socket.setblocking(False)
        keys = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox", "AWS_EC2_METADATA_DISABLED": "true"}
        env = {**os.environ, **keys, "NOTIFY_SOCKET": str(self.directory / f"{self.name}.notify")}
        argv = [sys.executable, "-m", self.name, "--config", str(self.directory / "headnode.toml")]
        with (self.directory / f"{self.name}.log").open("wb") as log:
            self._popen = subprocess.Popen(argv, stdout=log, stderr=log, env=env)
        self._process = psutil.Process(self._popen.pid)

    def hear(self) -> list[str]:
        """Everything that it has said of itself so far."""
        if self._popen.poll() is not None:
            raise SystemExit(f"{self.name} ended: {(self.directory / f'{self.name}.log').read_text()[-2000:]}")
        with contextlib.suppress(BlockingIOError):
            while True:
                self._heard += self._socket.recv(4096).decode().splitlines()
        return self._heard

    def cycles(self) -> int:
        """How many cycles have ended, well or not."""
        return sum(words.startswith("STATUS=") for words in self.hear())

    @property
    def remembered_at(self) -> int | None:
        """When it last wrote down what a whole look has taught it, in ns; None: it has no such memory."""
        try:
            return (self.directory / self.name / MEMORY).stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def goes_well(self) -> bool:
        told = [words for words in self.hear() if words.startswith("STATUS=")]
        return bool(told) and "went well" in told[-1]

    @property
    def rss_mib(self) -> float:
        return float(self._process.memory_info().rss) / MIB

    @property
    def cpu_s(self) -> float:
        """Its own, and that of the commands it has run."""
        return float(sum(self._process.cpu_times()))

    def stop(self) -> None:
        self._popen.kill()
        self._popen.wait()
        self._socket.close()
        (self.directory / f"{self.name}.notify").unlink()


def until(look: Callable[[], Any], what: str) -> None:
    give_up_at = time.monotonic() + DEADLINE_S
    while not look():
        if time.monotonic() > give_up_at:
            raise SystemExit(f"not within {DEADLINE_S:g} s: {what}")
        time.sleep(0.2)


def fill(aws: SandboxAws, stack: Stack, file: Path) -> None:
    """So many instances run, each with its row and its node, as the services leave them; all have been idle for a while."""
    scaling = client("autoscaling", endpoint_url=stack.endpoint_url, region=stack.region)
    scaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=NODES)
    until(lambda: len(aws.scaling.instances(GROUP)) == NODES, "the instances run")
    rows = [row_of(instance, time.time()) for instance in aws.scaling.instances(GROUP)]
    table = client("dynamodb", endpoint_url=stack.endpoint_url, region=stack.region)
    for begin in range(0, NODES, BATCH):
        puts: Any = [{"PutRequest": {"Item": render_item(row)}} for row in rows[begin : begin + BATCH]]
        table.batch_write_item(RequestItems={stack.table: puts})
    with contextlib.closing(store.connect(file, timeout_s=30.0)) as db, store.transaction(db):
        for row in rows:
            engine.register(db, node_of(row))
        db.execute("UPDATE nodes SET heartbeat_at = ?", [time.time()])


def row_of(instance: EmulatedInstance, now: float) -> Instance:
    return Instance(
        instance_id=InstanceId(instance.instance_id),
        fleet=FLEET,
        state=State.REGISTERED,
        version=4,
        hostname=Hostname(instance.hostname.partition(".")[0]),
        address=instance.address,
        instance_type=instance.instance_type,
        pending_at=now - 3600,
        ready_at=now - 3500,
        registered_at=now - 3490,
        idle_since=now - 600,
    )


def node_of(row: Instance) -> NodeSpec:
    return NodeSpec(
        instance_id=row.instance_id,
        hostname=row.hostname or Hostname(""),
        address=row.address,
        fleet=FLEET,
        shape=Shape(cpus=4),
        partition="compute",
    )


def idle(processes: Sequence[Process], window_s: float) -> dict[str, tuple[float, int]]:
    """Of each service, its share of a core over so long, and how many whole looks it took (rounds, if it keeps no memory)."""
    began = time.monotonic()
    before = {each.name: (each.cpu_s, each.cycles()) for each in processes}
    looks = {each.name: {each.remembered_at} for each in processes}
    while (took_s := time.monotonic() - began) < window_s:
        time.sleep(min(0.5, window_s - took_s))
        for each in processes:
            looks[each.name].add(each.remembered_at)
    after = {each.name: (each.cpu_s, each.cycles()) for each in processes}
    return {
        name: ((after[name][0] - cpu_s) / took_s, len(looks[name]) - 1 if None not in looks[name] else after[name][1] - cycles)
        for name, (cpu_s, cycles) in before.items()
    }


def settle(processes: Sequence[Process]) -> None:
    """Until each has gone round some times more, and the last time went well."""
    before = {each.name: each.cycles() for each in processes}
    for each in processes:
        until(lambda each=each: each.cycles() >= before[each.name] + ROUNDS and each.goes_well(), f"{each.name} goes on")  # type: ignore[misc]


@contextlib.contextmanager
def site() -> Iterator[tuple[SandboxAws, Stack, Path]]:
    with tempfile.TemporaryDirectory(prefix="hn-foot-") as name, SandboxAws(timing=Timing(boot_s=0.05)) as aws:
        directory = Path(name)
        stack = create_stack(
            aws.endpoint_url, StackSpec(name="footprint", groups=(GroupSpec(name=GROUP, maximum=NODES, notifications=False),))
        )
        store.create(directory / "local.db", Limits(silent_after_s=1e9, down_after_s=1e9))
        text = render_config(
            stack,
            local_scheduler(directory / "local.db"),
            jobwatcher={"wake_socket": directory / "jobwatcher.sock", "state_dir": directory / "jobwatcher"},
            nodewatcher={"idle_for_s": 1e6, "state_dir": directory / "nodewatcher"},
        )
        (directory / "headnode.toml").write_text(text)
        yield aws, stack, directory


@contextlib.contextmanager
def started(directory: Path) -> Iterator[list[Process]]:
    """The three services, ready."""
    processes = [Process(name, directory) for name in MOST_MIB]
    with contextlib.ExitStack() as stack:
        for each in processes:
            each.start()
            stack.callback(each.stop)
        until(lambda: all("READY=1" in each.hear() for each in processes), "the services are ready")
        yield processes


def measure(window_s: float) -> list[dict[str, Any]]:
    with site() as (aws, stack, directory):
        with started(directory) as processes:
            at_first = {each.name: each.rss_mib for each in processes}
        fill(aws, stack, directory / "local.db")
        with started(directory) as processes:
            settle(processes)
            watched = idle(processes, window_s)
            at_last = {each.name: each.rss_mib for each in processes}
    if blind := [name for name, (_, looks) in watched.items() if not looks]:
        raise SystemExit(f"{', '.join(blind)} did not look once in {window_s:g} s")
    return [
        {
            "service": name,
            "started_mib": round(at_first[name], 1),
            "idle_mib": round(at_last[name], 1),
            "idle_share": round(share, 5),
            "looks": looks,
        }
        for name, (share, looks) in watched.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--window",
        type=float,
        default=WINDOW_S,
        metavar="SECONDS",
        help="how long they are watched idle: long enough for a whole look, a minute and more",
    )
    arguments = parser.parse_args(argv)
    print(f"{NODES} idle nodes are made, then the services are watched for {arguments.window:g} s …", file=sys.stderr)
    rows = measure(arguments.window)
    promises = [
        *(
            Promise(what=f"MiB of {row['service']} after its start", limit=MOST_MIB[row["service"]], measured=row["started_mib"])
            for row in rows
        ),
        *(
            Promise(what=f"share of a core of {row['service']} when idle", limit=MOST_SHARE, measured=row["idle_share"])
            for row in rows
        ),
    ]
    return report("footprint", rows, promises, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
