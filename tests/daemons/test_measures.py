"""What each service measures, on stateful fakes: the numbers of its metrics are those of the world."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from daemons.meter import Meter, metered_by
from daemons.model import BlockedBy, FleetName, LaunchFailure, State
from daemons.ports import Received
from tests.fakes import BATCH, FakeGroups, hostname, instance_id
from tests.jobwatcher.cluster import Cluster as Growth
from tests.nodewatcher.cluster import IDLE_FOR_S
from tests.nodewatcher.cluster import Cluster as Nodes
from tests.sqswatcher.cluster import Cluster as Members
from tests.sqswatcher.cluster import compute_ready


class Measured(dict[str, Any]):
    """The last value of each metric."""


@contextmanager
def measured() -> Iterator[Measured]:
    found = Measured()
    with capture_logs() as lines, metered_by(Meter(cluster="hpc", daemon="x", namespace="Headnode", clock_ms=lambda: 1)):
        yield found
    for line in lines:
        if line["event"] == "metrics.measured":
            found |= {each["Name"]: line[each["Name"]] for each in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}


def put(members: Members, number: int, *, sent_at: float, receives: int = 1) -> None:
    body = compute_ready(number)
    members.queue.waiting.append(Received(message_id=f"m{number}", receipt="r", body=body, receives=receives, sent_at=sent_at))


async def test_sqswatcher_tells_how_old_messages_were_and_how_long_a_node_took_to_join() -> None:
    one = Members(FakeGroups.of(1, 2, 3))
    put(one, 1, sent_at=990.0)
    put(one, 2, sent_at=998.0)
    put(one, 3, sent_at=100.0, receives=4)  # it is not the queue's fault that this one is old
    with measured() as found:
        await one.service.cycle(asyncio.Event())
    assert (found["MessagesReceived"], found["QueueAge"], found["InstancesFailed"]) == (3, 10.0, 0)
    assert found["JoinTime"] == [10.0, 2.0, 900.0]


async def test_an_empty_queue_is_zero_seconds_old_and_a_clock_behind_the_queue_s_makes_no_negative_age() -> None:
    one = Members(FakeGroups.of(1))
    with measured() as found:
        await one.service.cycle(asyncio.Event())
    assert (found["MessagesReceived"], found["QueueAge"]) == (0, 0.0)
    put(one, 1, sent_at=1_000_000.0)
    with measured() as found:
        await one.service.cycle(asyncio.Event())
    assert (found["QueueAge"], found["JoinTime"]) == (0.0, 0.0)


async def test_a_node_that_did_not_join_is_a_failure_and_no_join() -> None:
    one = Members(FakeGroups.of(1))
    one.scheduler.refuses = {hostname(1)}
    put(one, 1, sent_at=990.0)
    with measured() as found:
        await one.service.cycle(asyncio.Event())
    assert found["InstancesFailed"] == 1
    assert "JoinTime" not in found


async def test_jobwatcher_tells_what_waits_what_is_there_and_what_it_costs(tmp_path: Path) -> None:
    one = Growth(tmp_path, FakeGroups.of(1, 2, 3))
    fleet = one.groups.groups[BATCH.name]
    one.groups.groups[BATCH.name] = replace(fleet, spec=replace(fleet.spec, price_per_hour=0.5))
    one.registered(1)
    one.registered(2, state=State.READY)
    one.waits(40, submitted_at=one.now - 100.0)
    one.waits(3, job="9", submitted_at=one.now - 5_000.0, blocked_by=BlockedBy.HOLD)
    with measured() as found:
        await one.service.cycle()
    assert (found["JobsWaiting"], found["JobsBlocked"], found["LongestWait"]) == (40, 3, 100.0)
    assert (found["Instances"], found["Booting"], found["Registered"], found["CostRate"]) == (3, 1, 1, 1.5)
    assert (found["Desired"], found["Maximum"]) == (one.desired, fleet.maximum)
    assert one.desired > 3


async def test_jobwatcher_counts_launches_that_failed_by_kind(tmp_path: Path) -> None:
    one = Growth(tmp_path, FakeGroups.of())
    one.waits(1)
    await one.look()
    failure = LaunchFailure(fleet=FleetName(BATCH.name), at=one.now, error_code="InsufficientInstanceCapacity", activity_id="a1")
    one.groups.failures = [failure, replace(failure, activity_id="a2")]
    with capture_logs() as lines, metered_by(Meter(cluster="hpc", daemon="x", namespace="H", clock_ms=lambda: 1)):
        await one.look()
    counted = {line["failure"]: line["LaunchFailures"] for line in lines if "LaunchFailures" in line}
    assert counted == {"insufficient-capacity": 2}


async def test_nodewatcher_tells_who_is_idle_and_counts_what_it_ends() -> None:
    three = Nodes(groups=FakeGroups.of(1, 2, 3))
    three.scheduler.work(hostname(1), "7")
    three.scheduler.known.pop(hostname(3))  # of which nobody knows anything
    with measured() as found:
        await three.passes()
    assert (found["Idle"], found["Busy"], found["Draining"]) == (1, 1, 0)
    assert "Ended" not in found
    with measured() as found:
        await three.passes(after_s=IDLE_FOR_S)
    assert found["Ended"] == 1
    assert three.groups.ended == [instance_id(2)]
