"""`--live` asks everybody itself, on the emulated AWS and the local scheduler; dead letters get another chance."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from daemons.cli import app
from daemons.cli.jobs import NoLiveLook
from daemons.model import Shape
from schedulers.local import engine, store
from schedulers.local.values import JobSpec
from tests.cli.terminal import Terminal
from tests.cli.test_queue_and_resync import Ground, ground

__all__ = ["ground"]

LAUNCH = json.dumps({"Type": "Notification", "Message": "{broken"})


def has_state(ground: Ground) -> Path:
    """The services' directories, empty, in the configuration."""
    for service in ("jobwatcher", "nodewatcher"):
        text = ground.config.read_text()
        ground.config.write_text(f'{text}\n[{service}]\nstate_dir = "{ground.config.parent / service}"\n')
    return ground.config.parent


def with_a_job(directory: Path) -> None:
    with store.connect(directory / "local.db", timeout_s=10) as db, store.transaction(db, writes=True):
        engine.submit(db, JobSpec(name="one", script="#!/bin/sh\n", per_node=Shape(cpus=4)), now=1.0)


def until_waiting(ground: Ground, count: int) -> None:
    """So many messages are in the queue: they arrive in their own time."""
    give_up_at = time.monotonic() + 60

    def waiting() -> int:
        asked = {"QueueUrl": ground.stack.queue_url, "AttributeNames": ["ApproximateNumberOfMessages"]}
        return int(ground.boto("sqs").get_queue_attributes(**asked)["Attributes"]["ApproximateNumberOfMessages"])

    while waiting() != count:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def test_a_live_page_shows_what_waits_though_no_service_has_looked(ground: Ground) -> None:
    with_a_job(has_state(ground))
    until_waiting(ground, 1)  # Auto Scaling's test notification
    page = ground.told("status", "--live", code=1)
    assert page["problems"] == ["jobwatcher is not well: has recorded nothing", "nodewatcher is not well: has recorded nothing"]
    assert [(line["jobs"], line["waits_for"]) for line in page["waiting"]] == [(1, "new nodes of fleet batch")]
    assert (page["fleets"][0]["fleet"], page["fleets"][0]["verdict"]) == ("batch", "grows from 0 to 1")
    assert page["queue"] == {"waiting": 1, "in flight": 0, "delayed": 0, "dead letters": 0, "oldest_s": None}
    assert not (ground.config.parent / "jobwatcher").exists(), "a look writes nothing"
    group = ground.boto("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"][0]
    assert group["DesiredCapacity"] == 0, "and asks for nothing"
    assert [line["needs"] for line in ground.told("jobs", "--live")["waiting"]] == ["4 cpus"]


def test_who_does_not_answer_is_a_problem_and_the_others_are_told(ground: Ground) -> None:
    (has_state(ground) / "local.db").unlink()
    ground.boto("sqs").send_message(QueueUrl=ground.stack.dead_letter_queue_url, MessageBody="{broken")
    page = ground.told("status", "--live", code=1)
    assert any(problem.startswith("the scheduler's nodes cannot be had:") for problem in page["problems"])
    assert "a message has been put aside: headnode queue dead lists them" in page["problems"]
    done = CliRunner().invoke(app, ["jobs", "--live", "--config", str(ground.config)])
    assert isinstance(done.exception, NoLiveLook)


def test_the_age_of_the_oldest_message_is_sqss_own_word(ground: Ground) -> None:
    has_state(ground)
    ground.boto("cloudwatch").put_metric_data(
        Namespace="AWS/SQS",
        MetricData=[
            {
                "MetricName": "ApproximateAgeOfOldestMessage",
                "Dimensions": [{"Name": "QueueName", "Value": "cli-events"}],
                "Timestamp": datetime.now(UTC) - timedelta(minutes=2),
                "Value": 777.0,
            }
        ],
    )
    ages = {row["queue"]: row["oldest_s"] for row in ground.told("queue", "depth")}
    assert ages == {"events": 777.0, "dead letters": None}
    page = ground.told("status", "--live", code=1)
    assert any(problem.startswith("the oldest message in the queue has waited for 777 s") for problem in page["problems"])


def depths(ground: Ground) -> dict[str, int]:
    return {row["queue"]: row["waiting"] + row["in flight"] for row in ground.told("queue", "depth")}


def test_messages_that_were_put_aside_go_back_only_when_that_is_said(ground: Ground) -> None:
    sqs = ground.boto("sqs")
    bodies = [f"{{broken {number} {'x' * 90_000}" for number in range(23)]
    for body in bodies:
        sqs.send_message(
            QueueUrl=ground.stack.dead_letter_queue_url,
            MessageBody=body,
            MessageAttributes={"from": {"DataType": "String", "StringValue": "node"}},
        )
    before = depths(ground)
    plan = ground.told("queue", "redrive")
    assert (plan["applied"], plan["waiting"], plan["moved"]) == (False, 23, 0)
    assert depths(ground) == before == {"events": 1, "dead letters": 23}
    assert ground.told("queue", "redrive", "--apply", "--most", "4")["moved"] == 4
    assert depths(ground) == {"events": 5, "dead letters": 19}
    moved = ground.told("queue", "redrive", "--apply")
    assert (moved["applied"], moved["moved"], moved["left"]) == (True, 19, 0)
    assert depths(ground) == {"events": 24, "dead letters": 0}
    found: dict[str, Any] = {}
    while batch := sqs.receive_message(
        QueueUrl=ground.stack.queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    ).get("Messages"):
        found |= {one["Body"]: one.get("MessageAttributes", {}) for one in batch}
    assert {body for body in found if body.startswith("{broken")} == set(bodies)
    assert found[bodies[0]]["from"]["StringValue"] == "node"


def test_dead_letters_are_listed_with_their_age_and_stay(ground: Ground) -> None:
    ground.boto("sqs").send_message(QueueUrl=ground.stack.dead_letter_queue_url, MessageBody=LAUNCH)
    (row,) = ground.told("queue", "dead")
    assert row["age_s"] >= 0
    assert "not JSON" in row["reason"]
    assert depths(ground)["dead letters"] == 1


def test_without_a_queue_for_dead_letters_there_is_nothing_to_redrive(ground: Ground) -> None:
    ground.boto("sqs").set_queue_attributes(QueueUrl=ground.stack.queue_url, Attributes={"RedrivePolicy": ""})
    result = CliRunner().invoke(app, ["queue", "redrive", "--config", str(ground.config)])
    assert (result.exit_code, "no dead-letter queue" in result.output) == (1, True)


def test_what_takes_longer_shows_on_a_terminal_that_it_goes_on_and_leaves_nothing_behind(ground: Ground) -> None:
    terminal = Terminal("resync", "--plan", "--config", str(ground.config), lines=24, columns=100)
    try:
        terminal.shows(lambda lines: any("comparing" in line for line in lines))
        assert terminal.ends() == 0
        assert [line for line in terminal.lines if line] == ["everything is as it should be"]
    finally:
        terminal.close()
