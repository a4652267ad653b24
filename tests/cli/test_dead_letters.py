"""What `headnode queue dead` says of a message: why it was not done, what would help, and what it holds, as it is."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from typer.testing import CliRunner

from daemons.cli import app
from daemons.cli.queue import described, show_dead
from sqswatcher.signatures import Signatures
from tests.cli.test_queue_and_resync import Ground, ground
from tests.fakes import instance_id
from tests.sqswatcher.cluster import notification, spot_interruption
from tests.sqswatcher.test_signatures import NOW, TOPIC, URL, FakeSns, make_certificate

__all__ = ["ground"]  # a fixture

LAUNCHED = notification(1, "autoscaling:EC2_INSTANCE_LAUNCH")


@pytest.fixture(scope="module")
def sns() -> FakeSns:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return FakeSns(key, {URL: make_certificate(key)})


async def row_of(body: str, sns: FakeSns) -> dict[str, Any]:
    check = Signatures([TOPIC], fetch=sns.fetch, clock=NOW.timestamp).check
    [row] = await described([{"MessageId": "m1", "Body": body}], check, now=0.0)
    return row


async def test_an_envelope_that_somebody_has_touched_says_so_and_whom_to_look_for(sns: FakeSns) -> None:
    row = await row_of(json.dumps(sns.envelope(LAUNCHED) | {"Message": LAUNCHED.replace(instance_id(1), instance_id(2))}), sns)
    assert row["reason"] == "refused: SNS's signature does not match"
    assert "headnode iam render --role queue" in row["remedy"]


async def test_auto_scalings_word_without_an_envelope_says_that_its_signature_is_missing(sns: FakeSns) -> None:
    row = await row_of(LAUNCHED, sns)
    assert row["reason"] == "refused: it is Auto Scaling's, and comes without SNS's signature"
    assert "headnode doctor --only topics" in row["remedy"]


async def test_an_envelope_of_another_topic_names_it_and_the_setting(sns: FakeSns) -> None:
    other = TOPIC.replace("events", "others")
    row = await row_of(json.dumps(sns.envelope(LAUNCHED, topic=other)), sns)
    assert row["reason"] == f"refused: its topic {other!r} is none of ours"
    assert "sqswatcher.topics" in row["remedy"]


async def test_a_signature_that_cannot_be_checked_from_here_is_no_forgery() -> None:
    away = FakeSns(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    row = await row_of(json.dumps(away.envelope(LAUNCHED)), away)
    assert row["reason"].startswith("refused: its signature cannot be checked:")
    assert "reach SNS" in row["remedy"]


async def test_what_is_signed_and_what_needs_no_signature_was_well_formed(sns: FakeSns) -> None:
    for body in (json.dumps(sns.envelope(LAUNCHED)), spot_interruption(1)):
        row = await row_of(body, sns)
        assert row["reason"].endswith("well formed, and never done")
        assert row["remedy"] == ""


@pytest.fixture
def verifying(ground: Ground) -> Ground:
    text = ground.config.read_text()
    ground.config.write_text(f'{text}\n[sqswatcher]\nverify_sns = true\ntopics = ["{TOPIC}"]\n')
    return ground


def test_the_command_checks_as_sqswatcher_does_and_says_what_is_next(verifying: Ground) -> None:
    verifying.boto("sqs").send_message(QueueUrl=verifying.stack.dead_letter_queue_url, MessageBody=LAUNCHED)
    shown = CliRunner().invoke(app, ["queue", "dead", "--config", str(verifying.config)], env={"COLUMNS": "400"})
    assert shown.exit_code == 0, shown.output
    assert "without SNS's signature" in shown.output
    assert "\nnext: groups and hooks have to notify a topic of sqswatcher.topics" in shown.output


HOSTILE = r'{"Event": "\u001b[31mred", "path": "C:\\dir\\[bold]x[/bold]", "emoji": ":warning:"}' + "\x1b[2J"


def test_a_program_is_told_a_body_as_it_is(ground: Ground) -> None:
    body = HOSTILE.replace("\x1b", "\t") + "\n\\"
    ground.boto("sqs").send_message(QueueUrl=ground.stack.dead_letter_queue_url, MessageBody=body)
    [row] = ground.told("queue", "dead")
    assert row["body"] == body


@pytest.mark.parametrize(("body", "seen"), [(HOSTILE, HOSTILE.replace("\x1b", r"\x1b")), ("a\\", "a\\"), ("[/x]\n", r"[/x]\n")])
def test_a_person_is_shown_a_body_as_it_is_but_for_what_moves_the_cursor(
    body: str, seen: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    show_dead([{"message": "m", "age_s": 1, "received": "1", "reason": "r", "remedy": "", "body": body}])
    assert capsys.readouterr().out.splitlines()[1].rstrip().partition(" r  ")[2].strip() == seen
