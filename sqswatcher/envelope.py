"""SNS's envelopes, as far as their signatures go: what was signed, with which certificate, and what may be read then. Pure.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqswatcher.parse import kind_of
from sqswatcher.readers import Unreadable, read_json

NOTIFICATION = "Notification"
_PATH = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem")
_OF_SNS = frozenset({"Signature", "SignatureVersion", "SigningCertURL", "TopicArn"})
_SIGNED = (
    "Message",
    "MessageId",
    "Subject",
    "Timestamp",
    "TopicArn",
    "Type",
)  # in this order; without Subject where there is none
_VERSIONS = ("1", "2")  # SHA-1 and SHA-256
_LONGEST_SIGNATURE = 2048
_AUTO_SCALING = "autoscaling:"
_UNSIGNED = (
    "groups and hooks have to notify a topic of sqswatcher.topics, whose subscription does not deliver raw messages: "
    "headnode doctor --only topics"
)
_UNLISTED = "if the cluster's groups notify that topic, add its ARN to sqswatcher.topics and reload sqswatcher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """An envelope whose signature is to be checked. `message` is what it holds, the only part to be acted on."""

    topic: str
    message: str
    text: bytes
    signature: bytes
    version: str
    certificate: str  # its address, on SNS's own host


def read_signed(body: str, hosts: Mapping[str, str]) -> Signed | None:
    """The envelope; None for a body that needs none: an EventBridge event, or a node's own word. `hosts` are the topics that are
    ours, each with the host of SNS's certificates in its region.

    Raises Unreadable for an envelope that cannot be right, and for Auto Scaling's own words without one. A body that is no
    message at all is left to the parser.
    """
    try:
        fields = read_json(body)
    except Unreadable:
        return None
    if not _OF_SNS & fields.keys():
        if kind_of(body).startswith(_AUTO_SCALING):
            raise Unreadable("it is Auto Scaling's, and comes without SNS's signature", hint=_UNSIGNED)
        return None
    topic = _text(fields, "TopicArn")
    if topic not in hosts:
        raise Unreadable(f"its topic {topic[:200]!r} is none of ours", hint=_UNLISTED)
    if _text(fields, "Type") != NOTIFICATION:
        raise Unreadable(f"SNS's envelope is of type {fields['Type'][:40]!r}")
    version = _text(fields, "SignatureVersion")
    if version not in _VERSIONS:
        raise Unreadable(f"signature version {version[:20]!r} is unknown")
    return Signed(
        topic=topic,
        message=_text(fields, "Message"),
        text=render_signed(fields),
        signature=_signature(_text(fields, "Signature")),
        version=version,
        certificate=_certificate(_text(fields, "SigningCertURL"), hosts[topic]),
    )


def render_signed(fields: Mapping[str, Any]) -> bytes:
    """The text that SNS signs: names and values, a line each, those that are there. Raises Unreadable."""
    names = [name for name in _SIGNED if name != "Subject" or fields.get(name) is not None]
    try:
        return "".join(f"{name}\n{_text(fields, name)}\n" for name in names).encode()
    except UnicodeEncodeError as err:
        raise Unreadable("the envelope holds half a character") from err


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise Unreadable(f"SNS's envelope has no {name}")
    return value


def _signature(text: str) -> bytes:
    try:
        return base64.b64decode(text[:_LONGEST_SIGNATURE], validate=True)
    except (binascii.Error, ValueError) as err:
        raise Unreadable("the signature is not base64") from err


def _certificate(url: str, host: str) -> str:
    """The address, if it is a certificate's on exactly that host. Raises Unreadable."""
    try:
        parts = urlsplit(url)
    except ValueError as err:
        raise Unreadable(f"the certificate's address {url[:200]!r} is none") from err
    is_plain = not (parts.query or parts.fragment) and url.isprintable()
    if parts.scheme != "https" or parts.netloc != host or not _PATH.fullmatch(parts.path) or not is_plain:
        raise Unreadable(f"the certificate's address {url[:200]!r} is not SNS's")
    return url
