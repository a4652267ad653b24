"""How long nobody acts when a head dies, and when it stops as it should. `python -m benchmarks.failover [--json] [--lease S]`.

Two real sqswatchers on an emulated AWS. The one that acts is killed (SIGKILL), or told to stop (SIGTERM); the time counts until
the other one has taken over the lease and asks the queue for messages. Then the first is started again, and stands by.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import Promise, report
from daemons.aws.leases import parse_lease
from daemons.ha.lease import Lease, lease_key
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, Stack, StackSpec, client, create_stack
from sandbox.configuration import local_scheduler, render_config
from schedulers.local import store

HEADS = ("head-a", "head-b")
SERVICE = "sqswatcher"
ROUNDS = 5
GRACE_S = 2.0
PATIENCE_S = 120.0
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox", "AWS_EC2_METADATA_DISABLED": "true"}


class Pair:
    """The two heads, of which one holds the lease."""

    def __init__(self, aws: SandboxAws, stack: Stack, directory: Path, lease_s: float) -> None:
        self._aws = aws
        self._stack = stack
        self._directory = directory
        self._lease_s = lease_s
        self._dynamodb: Any = client("dynamodb", endpoint_url=aws.endpoint_url, region=stack.region)
        self._processes = {head: self._start(head) for head in HEADS}
        until(lambda: self._looks() > 2 and self._acts(), "one acts and the other stands by")

    def fail_over(self, number: signal.Signals) -> float:
        """End the one that acts; for how long nobody did."""
        before = self.lease()
        polls = self._aws.faults.count("sqs", "ReceiveMessage")
        begun = time.monotonic()
        self._processes[before.holder].send_signal(number)
        until(lambda: self.lease().holder not in ("", before.holder), "the other takes over")
        until(lambda: self._aws.faults.count("sqs", "ReceiveMessage") > polls, "the other acts")
        took_s = time.monotonic() - begun
        self._processes[before.holder].wait(PATIENCE_S)
        looks = self._looks()
        self._processes[before.holder] = self._start(before.holder)
        until(lambda: self._looks() > looks + 3, "it stands by again")  # a holder does not look
        return took_s

    def lease(self) -> Lease:
        key = {"instanceId": {"S": lease_key(SERVICE)}}
        return parse_lease(SERVICE, self._dynamodb.get_item(TableName=self._stack.table, Key=key, ConsistentRead=True)["Item"])

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _acts(self) -> bool:
        return self._aws.faults.count("sqs", "ReceiveMessage") > 0

    def _looks(self) -> int:
        return self._aws.faults.count("dynamodb", "BatchGetItem")

    def _start(self, head: str) -> "subprocess.Popen[bytes]":
        config = self._directory / f"{head}.toml"
        config.write_text(self._config(head))
        argv = [sys.executable, "-m", SERVICE, "--config", str(config)]
        return subprocess.Popen(argv, env=os.environ | CREDENTIALS, stdout=subprocess.DEVNULL)

    def _config(self, head: str) -> str:
        return render_config(
            self._stack,
            local_scheduler(self._directory / "local.db"),
            ha={"enabled": True, "name": head, "lease_s": self._lease_s, "renew_s": self._lease_s / 5},
            sqswatcher={"wait_s": 1},
        )


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"never: {what}")
        time.sleep(0.02)


@contextmanager
def two_heads(lease_s: float) -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="hn-failover-") as directory, SandboxAws(account="666677778888") as aws:
        store.create(Path(directory) / "local.db")
        stack = create_stack(aws.endpoint_url, StackSpec(name="heads", groups=(GroupSpec(name="heads-batch"),)))
        pair = Pair(aws, stack, Path(directory), lease_s)
        try:
            yield pair
        finally:
            pair.close()


def measure(pair: Pair, how: signal.Signals) -> list[float]:
    took_s = []
    for number in range(1, ROUNDS + 1):
        took_s.append(pair.fail_over(how))
        print(f"{how.name} {number} of {ROUNDS}: {took_s[-1]:.2f} s", file=sys.stderr)
    return took_s


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failover", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--lease", type=float, default=6.0, metavar="S", help="ha.lease_s (default: %(default)s)")
    arguments = parser.parse_args(argv)
    os.environ |= CREDENTIALS
    with two_heads(arguments.lease) as pair:
        died, stopped = measure(pair, signal.SIGKILL), measure(pair, signal.SIGTERM)
    rows = [
        {"ended by": name, "rounds": len(took_s), "median s": median(took_s), "longest s": max(took_s)}
        for name, took_s in (("SIGKILL", died), ("SIGTERM", stopped))
    ]
    promises = [
        Promise(
            what=f"seconds until the other acts, lease {arguments.lease:g} s + 2 s",
            limit=arguments.lease + GRACE_S,
            measured=round(max(died), 2),
        ),
        Promise(what="seconds to hand over at a stop", limit=GRACE_S, measured=round(max(stopped), 2)),
    ]
    return report("failover", rows, promises, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
