"""`headnode queue redrive`: each message gets one more chance, none a second, and what stayed is counted with the reason."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from daemons.cli import app
from daemons.cli.queue import what_stayed
from daemons.cli.sqs import DEPTHS, ClusterQueue, Moved
from daemons.config import parse_config
from schedulers.plugins import load_settings
from tests.cli.terminal import Terminal
from tests.cli.test_queue_and_resync import Ground, ground

__all__ = ["ground"]  # a fixture

TOML = """
cluster = "cli"
region = "eu-west-1"
queue = "https://sqs/events"
table = "cli"
[scheduler]
name = "local"
settings = { file = "/nonexistent/local.db" }
[[fleet]]
name = "batch"
group = "cli-batch"
instance_type = "c5.xlarge"
cpus = 4
"""


def put_aside(ground: Ground, count: int) -> None:
    sqs = ground.boto("sqs")
    for begin in range(0, count, 10):
        entries = [{"Id": str(number), "MessageBody": f"{{broken {number}"} for number in range(begin, min(begin + 10, count))]
        sqs.send_message_batch(QueueUrl=ground.stack.dead_letter_queue_url, Entries=entries)


@contextmanager
def a_consumer_that_fails(ground: Ground) -> Iterator[None]:
    """Receives each message once, does nothing with it and lets it go: the second receive finds it put aside."""
    over, sqs = threading.Event(), ground.boto("sqs")
    asked: dict[str, Any] = {"QueueUrl": ground.stack.queue_url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0}

    def consume() -> None:
        while not over.is_set():
            sqs.receive_message(**asked)
            over.wait(0.01)

    thread = threading.Thread(target=consume)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def redriven(ground: Ground, *more: str) -> Result:
    return CliRunner().invoke(app, ["queue", "redrive", "--apply", *more, "--config", str(ground.config)])


def test_messages_that_come_back_are_not_moved_round_and_round(ground: Ground) -> None:
    put_aside(ground, 120)
    with a_consumer_that_fails(ground):
        done = redriven(ground, "--json")
    told = json.loads(done.stdout)
    assert told["moved"] == told["waiting"] in (120, 121), "each once, and maybe Auto Scaling's test notification"
    back = {one["because"]: one["messages"] for one in told["stayed"]}
    assert told["left"] == sum(back.values())
    assert all("came back while this ran" in because for because in back), "that some did may or may not be seen"
    assert done.exit_code == (1 if back else 0)


@dataclass
class FakeSqs:
    """Bears each message to the dead letters as it comes, under the id that it got when it was sent, as SQS does. The dead
    letters are received from the newest on, and those that were `seen` once come again where `shows_again`.
    """

    dead: list[dict[str, Any]]
    refuses: str = ""  # bodies with that are not taken
    shows_again: bool = False
    does_them: bool = False  # what was sent does not come back
    seen: list[dict[str, Any]] = field(default_factory=list)
    sends: int = 0
    attributes: list[Any] = field(default_factory=list)  # of what was sent

    def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        depths = dict.fromkeys(DEPTHS.values(), "0") | {DEPTHS["waiting"]: str(len(self.dead))}
        return {"Attributes": {"RedrivePolicy": json.dumps({"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead"}), **depths}}

    def get_queue_url(self, QueueName: str) -> dict[str, str]:  # noqa: N803  SQS's name
        return {"QueueUrl": f"https://sqs/{QueueName}"}

    def receive_message(self, MaxNumberOfMessages: int, **_: Any) -> dict[str, Any]:  # noqa: N803
        if not self.dead and self.shows_again:
            self.dead, self.seen = self.seen, []
        batch = [self.dead.pop() for _ in range(min(MaxNumberOfMessages, len(self.dead)))]
        self.seen += batch
        return {"Messages": batch}

    def send_message_batch(self, Entries: list[dict[str, Any]], **_: Any) -> dict[str, Any]:  # noqa: N803
        assert sum(len(entry["MessageBody"].encode()) for entry in Entries) <= 262_144, "SQS takes no more in a call"
        done, failed = [], []
        for entry in Entries:
            if self.refuses and self.refuses in entry["MessageBody"]:
                failed.append(
                    {"Id": entry["Id"], "Code": "InvalidMessageContents", "Message": "not allowed", "SenderFault": True}
                )
                continue
            self.sends += 1
            self.attributes.append(entry["MessageAttributes"])
            done.append({"Id": entry["Id"], "MessageId": f"sent-{self.sends}"})
            if not self.does_them:
                self.dead.append(message(f"sent-{self.sends}", entry["MessageBody"]))
        return {"Successful": done, "Failed": failed}

    def delete_message_batch(self, Entries: list[dict[str, Any]], **_: Any) -> dict[str, Any]:  # noqa: N803
        gone = {entry["ReceiptHandle"] for entry in Entries}
        self.seen = [one for one in self.seen if one["ReceiptHandle"] not in gone]
        return {}


def message(name: str, body: str) -> dict[str, Any]:
    return {"MessageId": name, "ReceiptHandle": f"handle-{name}", "Body": body}


def moved(sqs: FakeSqs) -> Moved:
    [*_, last] = ClusterQueue(parse_config(TOML, load_settings=load_settings), client=sqs).move(1_000)
    return last


@pytest.mark.parametrize("shows_again", [False, True])
def test_one_that_comes_back_is_left_where_it_is_and_counted(shows_again: bool) -> None:
    sqs = FakeSqs([message(f"m{number}", f"{{broken {number}") for number in range(95)], shows_again=shows_again)
    assert moved(sqs) == Moved(moved=95, came_back=95)
    assert sqs.sends == 95


def test_one_that_sqs_does_not_take_keeps_none_of_the_others_from_going() -> None:
    sqs = FakeSqs([message(f"m{number}", f"{'bad' if number % 10 == 0 else 'good'} {number}") for number in range(50)])
    sqs.refuses = "bad"
    last = moved(sqs)
    assert (last.moved, last.refused) == (45, {"not allowed": 5})
    assert {one["Body"].partition(" ")[0] for one in sqs.seen if one["MessageId"].startswith("m")} == {"bad"}, "they stay"


def test_large_ones_go_in_as_many_calls_as_they_take() -> None:
    assert moved(FakeSqs([message(f"m{number}", "\u00e4" * 50_000) for number in range(10)])).moved == 10


def test_a_messages_own_attributes_go_with_it_as_they_can_be_sent() -> None:
    kept = {"DataType": "String", "StringValue": "site"}
    sqs = FakeSqs([message("m1", "{broken") | {"MessageAttributes": {"sender": {**kept, "StringListValues": []}}}])
    moved(sqs)
    assert sqs.attributes == [{"sender": kept}]


@pytest.mark.parametrize(
    ("refuses", "does_them", "code"),
    [("", False, 1), ("bad", True, 1), ("", True, 0)],
    ids=["came back", "refused", "all moved"],
)
def test_that_some_came_back_or_were_refused_is_exit_code_1(
    refuses: str, does_them: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = FakeSqs([message(f"m{number}", "bad") for number in range(12)], refuses=refuses, does_them=does_them)
    monkeypatch.setattr(ClusterQueue, "_client", lambda *_: sqs)
    path = tmp_path / "headnode.toml"
    path.write_text(TOML)
    assert CliRunner().invoke(app, ["queue", "redrive", "--apply", "--config", str(path)]).exit_code == code


def test_what_stays_is_counted_by_its_reason() -> None:
    assert what_stayed(Moved(moved=95, came_back=2, refused={"not allowed": 3}), 110, 100) == {
        "they failed once more and came back while this ran: headnode queue dead says why": 2,
        "SQS does not take them: not allowed": 3,
        "--most was reached": 10,
        "SQS did not hand them out, or somebody looks at them: try again in a minute": 2,
    }
    assert what_stayed(Moved(moved=110), 110, 1_000) == {}


def test_what_is_beyond_the_most_stays_and_is_said(ground: Ground) -> None:
    put_aside(ground, 5)
    done = redriven(ground, "--most", "2")
    assert (done.exit_code, done.stdout) == (0, "2 of 5 messages are in the queue again\n")
    assert done.stderr == "3 stayed: --most was reached\n"


def test_a_terminal_shows_that_it_goes_on(ground: Ground) -> None:
    put_aside(ground, 40)
    ground.aws.faults.slow("sqs", "SendMessageBatch", delay_s=1.0)
    terminal = Terminal("queue", "redrive", "--apply", "--config", str(ground.config), lines=24, columns=100)
    try:
        terminal.shows(lambda lines: any("moving messages" in line and "50%" in line for line in lines))
        assert terminal.ends() == 0
        assert [line for line in terminal.lines if line] == ["40 of 40 messages are in the queue again"]
    finally:
        terminal.close()
