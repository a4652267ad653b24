"""A hundred thousand log lines to CloudWatch Logs through faults: what is lost, what comes twice, and what it takes.

This process logs as a service does and ships over the wire to an emulated AWS in another process, which throttles, fails, drops
connections before and after it has stored, and is away for a third of the time. Its limits are checked on the way.
"""

import argparse
import asyncio
import itertools
import json
import logging
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import structlog

from benchmarks.report import Promise, report
from daemons.aws.logs import LogStream
from daemons.aws.session import open_clients
from daemons.cloudwatch import Limits, Line, Shipper, Spool
from daemons.cloudwatch.batch import size_of
from daemons.errors import HeadnodeError
from daemons.logs import configure_logs, hear_lines
from sandbox.aws.server import SandboxAws

LINES, BURST = 100_000, 250
AWAY = (0.3, 0.6)  # from when to when, in shares of the lines
GROUP, STREAM = "/headnode/shipping", "head/sqswatcher"
MIB = 1 << 20
GIVE_UP_S = 600.0

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Audited:
    """The stream, and how near the calls came to AWS's limits."""

    store: LogStream
    calls: int = 0
    failed: int = 0
    most_events: int = 0
    most_bytes: int = 0
    longest_span_ms: int = 0
    out_of_order: int = 0

    async def put(self, lines: Sequence[Line]) -> int:
        self.calls += 1
        self.most_events = max(self.most_events, len(lines))
        self.most_bytes = max(self.most_bytes, sum(map(size_of, lines)))
        self.longest_span_ms = max(self.longest_span_ms, lines[-1].at_ms - lines[0].at_ms)
        self.out_of_order += sum(one.at_ms > other.at_ms for one, other in itertools.pairwise(lines))
        try:
            return await self.store.put(lines)
        except HeadnodeError:
            self.failed += 1
            raise


def emulate(ours: Connection) -> None:
    """The other process: an AWS that does what it is told, and says at the end what it has."""
    logging.disable(logging.CRITICAL)
    with SandboxAws() as aws:
        lost = _LostAnswers(aws)
        ours.send(aws.endpoint_url)
        while (word := ours.recv()) != "end":
            aws.faults.clear()
            if word == "away":
                aws.faults.server_error("logs")
            else:
                aws.faults.throttle("logs", "PutLogEvents", probability=0.15)
                aws.faults.server_error("logs", "PutLogEvents", probability=0.1)
                aws.faults.drop("logs", "PutLogEvents", after_effect=False, probability=0.1)
                aws.faults.drop("logs", "PutLogEvents", after_effect=True, probability=0.1)
            ours.send("done")
        numbers = [json.loads(text).get("number", -1) for text in _stored(aws)]
        ours.send({"numbers": numbers, "unanswered": lost.lines(), "puts": aws.faults.count("logs", "PutLogEvents")})
        ours.recv()


def _stored(aws: SandboxAws) -> list[str]:
    from moto.logs.models import logs_backends  # noqa: PLC0415  this process alone loads it

    streams = logs_backends[aws.account][aws.region].groups[GROUP].streams
    return [event.message for event in streams[STREAM].events]


class _LostAnswers:
    """Counts the lines of calls that were stored and never answered. The shipper makes one call at a time."""

    def __init__(self, aws: SandboxAws) -> None:
        self._aws, self._draw = aws, aws.faults.strike
        self._before: int | None = None
        self._lines = 0
        aws.faults.strike = self._strike  # type: ignore[method-assign]  # it only looks on

    def _strike(self, service: str, operation: str) -> Any:
        struck = self._draw(service, operation)
        if service == "logs":
            self._settle()
            if any(rule.kind == "drop-after" for rule in struck):
                self._before = self._count()
        return struck

    def _settle(self) -> None:
        if self._before is not None:
            self._lines += self._count() - self._before
            self._before = None

    def _count(self) -> int:
        try:
            return len(_stored(self._aws))
        except KeyError:  # there is no such group or stream yet
            return 0

    def lines(self) -> int:
        self._settle()
        return self._lines


async def ship(theirs: Connection, directory: Path) -> dict[str, Any]:
    """Log all the lines; what was measured of it."""
    endpoint = theirs.recv()
    async with open_clients(region="eu-west-1", endpoints={"default": endpoint}) as clients:
        store = Audited(store=LogStream(clients, group=GROUP, stream=STREAM, retention_days=30))
        await store.put(
            [Line(time.time_ns() // 1_000_000, json.dumps({"event": "begin"}))]
        )  # what a first call loads is no growth
        shipper = Shipper(
            store=store,
            spool=Spool(directory=directory, most_bytes=1 << 30),
            clock_ms=lambda: time.time_ns() // 1_000_000,
            period_s=0.5,
            jitter=lambda: 0.0,
        )
        baseline, began, stop = psutil.Process().memory_info().rss, time.monotonic(), asyncio.Event()
        with hear_lines(shipper.offer):
            running = asyncio.create_task(shipper.run(stop))
            waits_s, spooled = await _log_all(theirs, shipper)
            logged_s = time.monotonic() - began
            while shipper.sent + shipper.dropped < LINES and time.monotonic() - began < GIVE_UP_S:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            took_s = time.monotonic() - began
            stop.set()
            await running
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - baseline
    return {
        "logged_s": logged_s,
        "took_s": took_s,
        "median_line_ms": waits_s[LINES // 2] * 1000,
        "slowest_but_100_line_ms": waits_s[-100] * 1000,
        "slowest_line_ms": waits_s[-1] * 1000,
        "most_spooled_mib": spooled / MIB,
        "grown_mib": grown / MIB,
        "dropped": shipper.dropped,
        "store": store,
    }


async def _log_all(theirs: Connection, shipper: Shipper) -> tuple[Sequence[float], int]:
    """How long lines took, the slowest last, and the most that waited on disk, in bytes."""
    waits_s, spooled = array("d"), 0
    for number in range(LINES):
        if number in (0, int(LINES * AWAY[0]), int(LINES * AWAY[1])):
            theirs.send("away" if number == int(LINES * AWAY[0]) else "faulty")
            await asyncio.to_thread(theirs.recv)
        began = time.perf_counter()
        log.info(
            "instance.advanced",
            number=number,
            state="registered",
            instance_id=f"i-{number:017x}",
            hostname=f"ip-10-0-{number % 250}-{number // 250 % 250}",
            fleet="batch",
            because="it is ready",
        )
        waits_s.append(time.perf_counter() - began)
        if number % BURST == 0:
            await asyncio.sleep(0.005)  # a service that logs so much waits for something between
            spooled = max(spooled, sum(path.stat().st_size for path in shipper.spool.directory.glob("*.lines") if path.exists()))
    return sorted(waits_s), spooled


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args(argv).json
    print(f"{LINES} lines, through faults, with AWS away for a third of them …", file=sys.stderr)
    os.environ |= {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox"}
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe()
    emulator = context.Process(target=emulate, args=(ours,), daemon=True)
    emulator.start()
    with tempfile.TemporaryDirectory(prefix="hn-shipping-") as name, Path("/dev/null").open("w") as nowhere:
        configure_logs(level="info", stream=nowhere, daemon="sqswatcher", cluster="hpc", scheduler="slurm")
        measured = asyncio.run(ship(theirs, Path(name) / "spool"))
        left = len(list(Path(name).glob("spool/*")))
    theirs.send("end")
    found = theirs.recv()
    theirs.send("thanks")
    emulator.join(30)
    return _report(measured, found, left, as_json=as_json)


def _report(measured: dict[str, Any], found: dict[str, Any], left: int, *, as_json: bool) -> int:
    numbers, store, limits = [number for number in found["numbers"] if number >= 0], measured.pop("store"), Limits()
    doubled = len(numbers) - len(set(numbers))
    promises = [
        Promise(what=f"lines of {LINES} lost", limit=0, measured=LINES - len(set(numbers))),
        Promise(what="lines twice beyond those whose answer was lost", limit=0, measured=max(0, doubled - found["unanswered"])),
        Promise(what="lines dropped", limit=0, measured=measured["dropped"]),
        Promise(what="files left on disk", limit=0, measured=left),
        Promise(what="events in a call", limit=limits.events, measured=store.most_events),
        Promise(what="bytes in a call", limit=limits.size_bytes, measured=store.most_bytes),
        Promise(what="ms that a call spans", limit=limits.span_ms - 1, measured=store.longest_span_ms),
        Promise(what="lines out of the order of time in a call", limit=0, measured=store.out_of_order),
        Promise(what="MiB more at the peak", limit=30, measured=measured["grown_mib"]),
    ]
    counts = {"puts": store.calls, "failed_puts": store.failed, "requests": found["puts"], "doubled": doubled}
    told = {**measured, **counts, "unanswered": found["unanswered"]}
    return report("shipping", [{"what": what, "measured": value} for what, value in told.items()], promises, as_json=as_json)


if __name__ == "__main__":
    sys.exit(main())
