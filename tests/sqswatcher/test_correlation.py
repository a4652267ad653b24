"""From cause to effect: every line about an instance names the messages that led to it, and the batch in which it happened."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from tests.fakes import FakeGroups, hostname, instance_id
from tests.sqswatcher.cluster import Cluster, compute_ready, notification

JOIN = ["message.received", "row.written", "dns.changed", "node.changed", "row.written", "message.deleted", "instance.advanced"]


@pytest.fixture
def cluster() -> Cluster:
    one, numbers = Cluster(FakeGroups.of(1, 2, 3)), count(1)
    one.service._new_id = lambda: f"b{next(numbers)}"
    return one


@contextmanager
def captured() -> Iterator[list[Any]]:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        yield lines


def about(lines: list[Any], number: int) -> list[Any]:
    """The lines that name this instance."""
    one = instance_id(number)
    return [line for line in lines if line.get("instance_id") == one or one in line.get("instance_ids", ())]


def messages_of(line: Any) -> list[str]:
    return [line["message_id"]] if "message_id" in line else list(line["message_ids"])


async def test_a_join_can_be_followed_from_its_message_to_its_row(cluster: Cluster) -> None:
    with captured() as lines:
        await cluster.hears(compute_ready(1), compute_ready(2), notification(2, "LAUNCH"), compute_ready(3))
    ids = {1: ["m0"], 2: ["m1", "m2"], 3: ["m3"]}
    for number, causes in ids.items():
        own = about(lines, number)
        assert {tuple(messages_of(line)) for line in own if line["event"] != "message.received"} == {tuple(causes)}
        assert sorted(messages_of(line)[0] for line in own if line["event"] == "message.received") == causes
        deleted = [line for line in lines if line["event"] == "message.deleted" and line["message_id"] in causes]
        events = [line["event"] for line in lines if line in own or line in deleted]
        assert list(dict.fromkeys(events)) == list(dict.fromkeys(JOIN))
        hosts = {line["hostname"] for line in own if "hostname" in line}
        assert hosts == {hostname(number)}
    assert {line["batch"] for line in lines if line["event"] in JOIN} == {"b2"}, "b1 is the comparison at the start"


async def test_a_join_that_fails_names_its_messages_too_and_no_others(cluster: Cluster) -> None:
    cluster.scheduler.refuses = {hostname(2)}
    with captured() as lines:
        await cluster.hears(compute_ready(1), compute_ready(2))
    failed = [line for line in lines if line["event"] in ("node.not_changed", "instance.not_advanced")]
    assert [(line["event"], line["message_ids"]) for line in failed] == [
        ("node.not_changed", ["m1"]),
        ("instance.not_advanced", ["m1"]),
    ]


async def test_a_step_that_fails_for_all_names_all_of_them(cluster: Cluster) -> None:
    await cluster.hears()
    cluster.zone.unplugged = True
    with captured() as lines:
        await cluster.hears(compute_ready(1), compute_ready(2))
    (failed,) = [line for line in lines if line["event"] == "batch.step_failed"]
    assert failed["instance_ids"] == [instance_id(1), instance_id(2)]
    assert failed["message_ids"] == ["m0", "m1"]


async def test_the_same_message_in_a_later_batch_keeps_its_id(cluster: Cluster) -> None:
    await cluster.hears()
    cluster.zone.unplugged = True
    with captured() as first:
        await cluster.hears(compute_ready(1))
    cluster.zone.unplugged = False
    with captured() as second:
        await cluster.hears_again()
    joined = [line for line in second if line["event"] == "instance.advanced"]
    assert [line["message_ids"] for line in joined] == [["m0"]]
    assert {line["batch"] for line in about(first, 1)}.isdisjoint(line["batch"] for line in about(second, 1))


async def test_the_batch_is_bound_for_its_time_only(cluster: Cluster) -> None:
    await cluster.hears(compute_ready(1))
    assert "batch" not in structlog.contextvars.get_contextvars()
