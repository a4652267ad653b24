"""The service dies at every call that it makes to the outside, before and after its effect, and nothing is lost or doubled.

The story has everything that happens to membership, with duplicates and in a bad order. It is told once undisturbed; then once
for each call, with a death or a failure there. Each time the end must be the same.
"""

from collections.abc import Callable

import pytest

from daemons.errors import AwsUnavailable, SchedulerUnavailable
from daemons.lifecycle import Event, advance
from daemons.model import Notice, State
from tests.crash.wire import Killed, Wire, wired
from tests.fakes import FakeGroups, FakePlaces, FakeQueue, FakeRows, FakeScheduler, FakeZone, hostname, instance_id
from tests.sqswatcher.cluster import Cluster, compute_ready, hook, notification, spot_interruption

MOST_ROUNDS = 30
LEAST_POINTS = 100


def wired_cluster(wire: Wire) -> Cluster:
    groups = FakeGroups.of(1, 2, 3, 4, 5)
    queue, rows, zone, scheduler, places = FakeQueue(), FakeRows(), FakeZone(), FakeScheduler(), FakePlaces()
    wired(groups, wire, "fleets", "fleet_of", "complete_hook")
    wired(queue, wire, "receive", "delete", "postpone")
    wired(rows, wire, "get", "put", "live", "all")
    wired(zone, wire, "change", "records")
    wired(scheduler, wire, "register", "deregister", "nodes", "jobs_on", "advertise")
    wired(places, wire, "places")
    return Cluster(groups=groups, queue=queue, rows=rows, zone=zone, scheduler=scheduler, places=places)


def drained_and_ended(cluster: Cluster) -> list[str]:
    """nodewatcher drains node 1 and asks for its end; Auto Scaling ends it. No message yet."""
    row = advance(cluster.rows.stored[instance_id(1)], Event.DRAINED, now=cluster.now)
    cluster.rows.hold(advance(row, Event.ENDING, now=cluster.now))
    cluster.groups.forget(instance_id(1))
    return []


def told_of_the_end(cluster: Cluster) -> list[str]:
    cluster.groups.forget(instance_id(3))
    return [notification(3, "TERMINATE")]


STORY: list[Callable[[Cluster], list[str]]] = [
    lambda _: [compute_ready(1), notification(1, "LAUNCH"), notification(2, "LAUNCH"), compute_ready(1), "{not a message"],
    lambda _: [compute_ready(9), compute_ready(3), compute_ready(2), notification(3, "LAUNCH")],
    lambda _: [spot_interruption(2), spot_interruption(2)],
    lambda _: [compute_ready(5), hook(5, "LAUNCHING", "join"), hook(5, "LAUNCHING", "join")],
    drained_and_ended,
    lambda _: [compute_ready(4, host=1), notification(1, "TERMINATE"), notification(1, "TERMINATE")],
    lambda _: [hook(3, "TERMINATING", "leave"), compute_ready(3)],
    told_of_the_end,
    lambda _: [compute_ready(1), notification(3, "LAUNCH"), compute_ready(3), notification(2, "LAUNCH")],
]


async def tell(wire: Wire) -> Cluster:
    """The whole story, with new processes after deaths and another cycle after failures, until each chapter is settled."""
    cluster = wired_cluster(wire)
    for chapter in STORY:
        for body in chapter(cluster):
            cluster.queue.put(body)
        for _ in range(MOST_ROUNDS):
            try:
                await cluster.hears_again()
            except Killed:
                cluster.restart()
            except (AwsUnavailable, SchedulerUnavailable):
                pass  # the loop's next cycle
            if settled(cluster):
                break
        else:
            pytest.fail(f"never settled: {cluster.queue.waiting} {cluster.queue.in_flight}")
    return cluster


def settled(cluster: Cluster) -> bool:
    """Everything but what is malformed has been seen to."""
    left = [*cluster.queue.waiting, *cluster.queue.in_flight.values()]
    return all(message.body.startswith("{not") for message in left)


def outcome(cluster: Cluster) -> dict[str, object]:
    """The state of the world, times and versions aside."""
    rows = cluster.rows.stored.values()
    return {
        "rows": {row.instance_id: (row.state, row.hostname, row.fleet, row.address, row.notice) for row in rows},
        "scheduler": {name: cluster.scheduler.addresses[name] for name in cluster.scheduler.known},
        "zone": cluster.zone.names,
        "hooks": set(cluster.groups.completed_hooks),
        "malformed": {message.body for message in [*cluster.queue.waiting, *cluster.queue.in_flight.values()]},
    }


async def test_the_undisturbed_story_ends_as_it_should() -> None:
    end = outcome(await tell(Wire()))
    assert {key: (value[0], value[1], value[4]) for key, value in end["rows"].items()} == {  # type: ignore[attr-defined]
        instance_id(1): (State.GONE, hostname(1), None),
        instance_id(2): (State.REGISTERED, hostname(2), Notice.SPOT_INTERRUPTION),
        instance_id(3): (State.GONE, hostname(3), None),
        instance_id(4): (State.REGISTERED, hostname(1), None),
        instance_id(5): (State.REGISTERED, hostname(5), None),
    }
    assert end["scheduler"] == {hostname(2): "10.0.0.2", hostname(1): "10.0.0.4", hostname(5): "10.0.0.5"}
    assert end["zone"] == end["scheduler"]
    assert end["hooks"] == {("join", instance_id(5), True), ("leave", instance_id(3), True)}
    assert end["malformed"] == {"{not a message"}


FAILURES: dict[str, Callable[[str], BaseException]] = {
    "killed": Killed,
    "AWS does not answer": lambda verb: AwsUnavailable(f"{verb}: no answer"),
    "scheduler does not answer": lambda verb: SchedulerUnavailable(f"{verb}: no answer"),
}


@pytest.mark.no_cover  # the story is told hundreds of times, and what it visits is covered elsewhere
@pytest.mark.parametrize("failure", FAILURES)
async def test_whatever_happens_at_whichever_call_the_end_is_the_same(failure: str, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Wire()
    expected = outcome(await tell(quiet))
    points = 0
    for at in range(1, quiet.calls + 1):
        for after in (False, True):
            wire = Wire(at=at, after=after, failure=FAILURES[failure])
            end = outcome(await tell(wire))
            assert end == expected, f"{failure} {'after' if after else 'before'} call {at}, {wire.verbs[at - 1]}"
            points += 1
    with capsys.disabled():
        print(f"\n{failure}: {points} points visited, {len(set(quiet.verbs))} kinds of call", end=" ")
    assert points >= LEAST_POINTS
