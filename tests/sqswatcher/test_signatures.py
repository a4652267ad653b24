"""SNS's signatures, made with a key of our own: what is signed is read, and nothing that somebody has touched."""

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.x509.oid import NameOID

from daemons.config.parse import read_config
from daemons.model import State
from schedulers.plugins import load_settings
from sqswatcher.checking import Check
from sqswatcher.envelope import render_signed
from sqswatcher.signatures import (
    AGAIN_AFTER_S,
    LONGEST_CERTIFICATE,
    MOST_MISSING,
    CertificateUnavailable,
    Signatures,
    certificate_host,
    fetch_certificate,
)
from tests.fakes import FakeGroups, instance_id
from tests.sqswatcher.cluster import Cluster, compute_ready, hook, notification, spot_interruption

TOPIC = "arn:aws:sns:eu-west-1:123456789012:hpc-events"
SECOND = "arn:aws:sns:eu-west-1:123456789012:hpc-hooks"
URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0f1e2d3c4b5a69788796a5b4c3d2e1f0.pem"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
EXAMPLE = Path(__file__).parent / "events" / "asg_launch.sns.json"


def make_certificate(key: Any, *, begins: datetime = NOW - timedelta(days=1), ends: datetime = NOW + timedelta(days=1)) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    builder = x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
    builder = builder.serial_number(7).not_valid_before(begins).not_valid_after(ends)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@dataclass
class FakeSns:
    """Signs as SNS does, and serves certificates, unless it is away."""

    key: rsa.RSAPrivateKey
    certificates: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    away: bool = False

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        if self.away or url not in self.certificates:
            raise CertificateUnavailable(f"nobody answers at {url}")
        return self.certificates[url]

    def envelope(
        self, message: str, *, version: str = "1", subject: str | None = "a subject", topic: str = TOPIC
    ) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": topic,
            "Message": message,
            "Timestamp": "2026-11-25T11:59:58.004Z",
            "SignatureVersion": version,
            "SigningCertURL": URL,
            "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
        }
        if subject is not None:
            fields["Subject"] = subject
        algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()  # noqa: S303  as AWS does
        signature = self.key.sign(render_signed(fields), PKCS1v15(), algorithm)
        return fields | {"Signature": base64.b64encode(signature).decode()}


@pytest.fixture(scope="session")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def sns(key: rsa.RSAPrivateKey) -> FakeSns:
    return FakeSns(key, {URL: make_certificate(key)})


@pytest.fixture
def check(sns: FakeSns) -> Check:
    return Signatures([TOPIC, SECOND], fetch=sns.fetch, clock=NOW.timestamp).check


async def refused(check: Check, fields: object) -> str:
    checked = await check(fields if isinstance(fields, str) else json.dumps(fields))
    assert bool(checked.refused) != bool(checked.body)
    return checked.refused


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", ["Auto Scaling: launch", "", None])
async def test_what_sns_has_signed_is_read(version: str, subject: str | None, sns: FakeSns, check: Check) -> None:
    message = notification(1, "LAUNCH")
    checked = await check(json.dumps(sns.envelope(message, version=version, subject=subject)))
    assert (checked.refused, checked.body) == ("", message)


def test_the_text_that_is_signed_is_aws_own() -> None:
    """As the documentation has it, letter by letter."""
    fields = json.loads(EXAMPLE.read_text())
    lines = render_signed({**fields, "Message": "m\nn", "Subject": "s"}).decode().split("\n")
    assert lines == [
        *("Message", "m", "n", "MessageId", fields["MessageId"], "Subject", "s", "Timestamp", fields["Timestamp"]),
        *("TopicArn", fields["TopicArn"], "Type", "Notification", ""),
    ]
    assert b"Subject" not in render_signed({name: value for name, value in fields.items() if name != "Subject"})


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Message", notification(2, "TERMINATE")),
        ("MessageId", "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf325"),
        ("Subject", "another"),
        ("Subject", None),
        ("Timestamp", "2026-11-25T11:59:59.004Z"),
        ("TopicArn", SECOND),
        ("Type", "SubscriptionConfirmation"),
        ("Signature", base64.b64encode(b"\0" * 256).decode()),
        ("Signature", "no base64!"),
        ("Signature", None),
        ("SignatureVersion", "3"),
        ("SigningCertURL", None),
    ],
)
async def test_whatever_is_touched_nothing_is_read(
    name: str, value: str | None, version: str, sns: FakeSns, check: Check
) -> None:
    fields = sns.envelope(notification(1, "LAUNCH"), version=version)
    assert await refused(check, fields) == ""
    assert await refused(check, fields | {name: value})
    without = {key: one for key, one in fields.items() if key != name}
    assert await refused(check, without)


async def test_a_signature_of_the_other_version_is_none(sns: FakeSns, check: Check) -> None:
    assert await refused(check, sns.envelope(notification(1, "LAUNCH"), version="1") | {"SignatureVersion": "2"})


async def test_what_was_not_signed_is_not_read_though_it_stands_beside_it(sns: FakeSns) -> None:
    """The parser takes an envelope that has an Event for the message itself."""
    cluster = Cluster(FakeGroups.of(1, 2))
    cluster.restart(check=Signatures([TOPIC], fetch=sns.fetch, clock=NOW.timestamp).check)
    slipped = json.loads(notification(2, "TERMINATE"))
    await cluster.hears(compute_ready(2))
    await cluster.hears(json.dumps(slipped | sns.envelope(notification(1, "LAUNCH"))))
    assert cluster.state(2) is State.REGISTERED
    assert instance_id(1) in cluster.rows.stored


@pytest.mark.parametrize(
    "url",
    [
        URL.replace("https", "http"),
        URL.replace("sns.eu-west-1", "sns.us-east-1"),
        URL.replace("amazonaws.com", "amazonaws.com.evil.example"),
        URL.replace("https://", "https://evil.example@"),
        URL.replace("amazonaws.com/", "amazonaws.com:8443/"),
        URL.replace("https://sns", "https://evil.example/sns"),
        URL.replace("/Simple", "/../Simple"),
        URL.replace(".pem", ".pem?x=1"),
        URL.replace(".pem", ".pem#x"),
        URL.replace(".pem", "\n.pem"),
        "https://s3.eu-west-1.amazonaws.com/bucket/SimpleNotificationService-00.pem",
        "https://[",
        "",
    ],
)
async def test_a_certificate_comes_from_sns_own_host_or_not_at_all(url: str, sns: FakeSns, check: Check) -> None:
    assert "certificate's address" in await refused(check, sns.envelope(notification(1, "LAUNCH")) | {"SigningCertURL": url})
    assert sns.asked == []


async def test_somebody_elses_topic_is_not_heard_though_sns_has_signed_it(sns: FakeSns, check: Check) -> None:
    theirs = "arn:aws:sns:eu-west-1:999999999999:hpc-events"
    assert "none of ours" in await refused(check, sns.envelope(notification(1, "LAUNCH"), topic=theirs))


@pytest.mark.parametrize("body", [notification(1, "TERMINATE"), hook(1, "LAUNCHING", "join")])
async def test_auto_scaling_without_a_signature_is_not_believed(body: str, check: Check) -> None:
    assert "without SNS's signature" in await refused(check, body)
    assert await refused(check, {"Type": "Notification", "Message": body})
    assert await refused(check, {"detail-type": "mine", "source": "mine", "detail": json.loads(body)})


OF_A_RULE = json.dumps(
    {"detail-type": "EC2 Instance Terminate Successful", "source": "aws.autoscaling", "detail": {"EC2InstanceId": instance_id(1)}}
)


@pytest.mark.parametrize("body", [compute_ready(1), spot_interruption(1), OF_A_RULE, "{broken", '{"a": 1, "a": 2}'])
async def test_what_does_not_come_through_sns_is_left_to_the_queues_policy_and_the_parser(body: str, check: Check) -> None:
    checked = await check(body)
    assert (checked.body, checked.refused) == (body, "")


async def test_a_certificate_is_fetched_once(sns: FakeSns, check: Check) -> None:
    for number in range(1, 9):
        assert await refused(check, sns.envelope(notification(number, "LAUNCH"))) == ""
    assert sns.asked == [URL]


async def test_a_certificate_is_good_for_its_time_alone(sns: FakeSns, key: rsa.RSAPrivateKey, check: Check) -> None:
    day = timedelta(days=1)
    for begins, ends in ((NOW - 3 * day, NOW - day), (NOW + day, NOW + 3 * day)):
        sns.certificates[URL] = make_certificate(key, begins=begins, ends=ends)
        late = Signatures([TOPIC], fetch=sns.fetch, clock=NOW.timestamp).check
        assert "not good at this time" in await refused(late, sns.envelope(notification(1, "LAUNCH")))


async def test_what_is_no_certificate_of_sns_signs_nothing(sns: FakeSns, check: Check) -> None:
    fields = sns.envelope(notification(1, "LAUNCH"))
    for pem in (b"<html>", make_certificate(ec.generate_private_key(ec.SECP256R1()))):
        sns.certificates[URL] = pem
        assert "certificate" in await refused(check, fields)
    sns.certificates[URL] = make_certificate(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    assert "does not match" in await refused(check, fields)


async def test_a_certificate_that_cannot_be_had_is_asked_for_again_after_a_while(sns: FakeSns) -> None:
    now = [NOW.timestamp()]
    check = Signatures([TOPIC], fetch=sns.fetch, clock=lambda: now[0]).check
    fields = sns.envelope(notification(1, "LAUNCH"))
    sns.away = True
    assert "nobody answers" in await refused(check, fields)
    sns.away = False
    assert await refused(check, fields), "not at once"
    now[0] += AGAIN_AFTER_S + 1
    assert await refused(check, fields) == ""
    assert len(sns.asked) == 2


async def test_made_up_certificates_do_not_keep_anybody_busy(sns: FakeSns, check: Check) -> None:
    assert await refused(check, sns.envelope(notification(1, "LAUNCH"))) == ""
    for number in range(100):
        made_up = URL.replace("0f1e", f"{number:04x}")
        assert await refused(check, sns.envelope(notification(1, "LAUNCH")) | {"SigningCertURL": made_up})
    assert len(sns.asked) == 1 + MOST_MISSING
    assert await refused(check, sns.envelope(notification(2, "LAUNCH"))) == "", "the one that is known is still good"


async def test_a_refused_message_is_put_aside_and_holds_nobody_up(sns: FakeSns) -> None:
    cluster = Cluster(FakeGroups.of(1, 2))
    cluster.restart(check=Signatures([TOPIC], fetch=sns.fetch, clock=NOW.timestamp).check)
    forged = json.dumps(sns.envelope(notification(1, "TERMINATE")) | {"Timestamp": "2026-11-25T12:00:00.000Z"})
    await cluster.hears(forged, compute_ready(1), json.dumps(sns.envelope(notification(2, "LAUNCH"))))
    assert cluster.state(1) is State.REGISTERED
    assert instance_id(2) in cluster.rows.stored
    assert {message.body for message in cluster.queue.in_flight.values()} == {forged}, "left to the redrive policy"


@pytest.mark.parametrize(
    ("topic", "host"),
    [
        (TOPIC, "sns.eu-west-1.amazonaws.com"),
        ("arn:aws-cn:sns:cn-north-1:123456789012:x", "sns.cn-north-1.amazonaws.com.cn"),
        ("arn:aws-us-gov:sns:us-gov-west-1:123456789012:x", "sns.us-gov-west-1.amazonaws.com"),
    ],
)
def test_each_partition_has_hosts_of_its_own(topic: str, host: str) -> None:
    assert certificate_host(topic) == host


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("verify_sns = true", "topics names none"),
        ('verify_sns = true\ntopics = ["hpc-events"]', "is not a topic's ARN"),
        (f'verify_sns = true\ntopics = ["{TOPIC}"]', ""),
        (f'topics = ["{TOPIC}"]', ""),
    ],
)
def test_the_configuration_names_the_topics(text: str, wrong: str, toml: Callable[[str], str]) -> None:
    reading = read_config(toml(text), load_settings=load_settings)
    assert " ".join(map(str, reading.problems)).count(wrong) >= 1 if wrong else reading.problems == ()


@pytest.fixture
def toml() -> Callable[[str], str]:
    def make(sqswatcher: str) -> str:
        return (
            'cluster = "hpc"\nregion = "eu-west-1"\nqueue = "hpc-events"\ntable = "hpc"\n[scheduler]\nname = "slurm"\n'
            '[[fleet]]\nname = "batch"\ngroup = "hpc-batch"\ninstance_type = "c5.large"\ncpus = 2\n'
            f"[sqswatcher]\n{sqswatcher}\n"
        )

    return make


class _Web(BaseHTTPRequestHandler):
    """What may be found at an address: a certificate, a way to another address, too much, nothing."""

    def do_GET(self) -> None:
        match self.path:
            case "/certificate.pem":
                self._say(200, b"a certificate")
            case "/large.pem":
                self._say(200, b"x" * (2 * LONGEST_CERTIFICATE))
            case "/moved.pem":
                self.send_response(302)
                self.send_header("Location", "/certificate.pem")
                self.end_headers()
            case _:
                self._say(404, b"nothing")

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # whoever asked has heard enough
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_certificate_is_fetched_from_where_it_is_said_to_be_and_from_nowhere_else(web: str) -> None:
    assert await fetch_certificate(f"{web}/certificate.pem") == b"a certificate"
    assert len(await fetch_certificate(f"{web}/large.pem")) == LONGEST_CERTIFICATE
    for path in ("/moved.pem", "/nothing.pem"):
        with pytest.raises(CertificateUnavailable):
            await fetch_certificate(web + path)


async def test_a_host_that_does_not_answer_is_no_certificate() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # taken, and nobody listens
        with pytest.raises(CertificateUnavailable):
            await fetch_certificate(f"https://127.0.0.1:{held.getsockname()[1]}/certificate.pem")
