"""Are SNS's envelopes signed by SNS? Loaded only where `verify_sns` is set: it takes the package `cryptography`."""

import asyncio
import ssl
import urllib.request
from collections.abc import Awaitable, Callable, Iterable
from http.client import HTTPException
from typing import Any, NamedTuple

from botocore.loaders import Loader

from daemons.errors import ConfigError, HeadnodeError
from sqswatcher.checking import Checked
from sqswatcher.envelope import Signed, read_signed
from sqswatcher.readers import Unreadable

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import load_pem_x509_certificate
except ImportError as err:
    raise ConfigError(
        f"sqswatcher.verify_sns needs a package that is not there: {err}", hint="pip install 'headnode[verify]'"
    ) from err

FETCH_S = 10.0
LONGEST_CERTIFICATE = 1 << 16
MOST_KEPT = 64
FORGED = (
    "SNS has not sent it as it is: compare the queue's policy, which says who may send, with headnode iam render --role queue"
)
AWAY = "this machine has to reach SNS by https, also through its proxy: the certificate is there"
AGAIN_AFTER_S = 60.0  # before a certificate that could not be had is asked for again
MOST_MISSING = 8  # addresses without a certificate at a time: whoever makes them up shall not keep us busy

Fetch = Callable[[str], Awaitable[bytes]]


class CertificateUnavailable(HeadnodeError):
    """A certificate could not be fetched: nothing is known of the signature, and the message comes again."""

    code = "certificate-unavailable"
    transient = True


class _Known(NamedTuple):
    """A certificate's key and the time in which it is good, or why there is none until when."""

    key: RSAPublicKey | None
    begins_at: float
    ends_at: float
    why: str = ""


class Signatures:
    """Checks bodies. Certificates are kept, by their address, for as long as they are good."""

    def __init__(self, topics: Iterable[str], *, fetch: Fetch, clock: Callable[[], float]) -> None:
        """`topics` are the ARNs of those that may send."""
        self._hosts = {topic: certificate_host(topic) for topic in topics}
        self._fetch = fetch
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._one_by_one = asyncio.Lock()  # a batch of messages has one certificate, fetched once

    async def check(self, body: str) -> Checked:
        """The part of the body that may be acted on, or why nothing of it may. Raises nothing."""
        try:
            signed = read_signed(body, self._hosts)
            if signed is None:
                return Checked(body=body)
            key = await self._key(signed.certificate)
            if not await asyncio.to_thread(is_signed, signed, key):
                return Checked(refused="SNS's signature does not match", hint=FORGED)
        except Unreadable as err:
            return Checked(refused=str(err), hint=err.hint or FORGED)
        except CertificateUnavailable as err:
            return Checked(refused=f"its signature cannot be checked: {err}", hint=AWAY)
        return Checked(body=signed.message)

    async def _key(self, url: str) -> RSAPublicKey:
        """Raises Unreadable for a certificate that is not good, CertificateUnavailable for one that cannot be had."""
        async with self._one_by_one:
            now, known = self._clock(), self._known.get(url)
            if known is None or known.ends_at < now:
                if sum(one.key is None and one.ends_at >= now for one in self._known.values()) >= MOST_MISSING:
                    raise CertificateUnavailable("too many certificates of late could not be fetched")
                known = await self._fetched(url, now)
                while len(self._known) >= MOST_KEPT:
                    del self._known[next(iter(self._known))]
                self._known[url] = known
        if known.key is None:
            raise CertificateUnavailable(known.why)
        if not known.begins_at <= now <= known.ends_at:
            raise Unreadable("the certificate is not good at this time")
        return known.key

    async def _fetched(self, url: str, now: float) -> _Known:
        try:
            return parse_certificate(await self._fetch(url))
        except CertificateUnavailable as err:
            return _Known(key=None, begins_at=now, ends_at=now + AGAIN_AFTER_S, why=str(err))


def is_signed(signed: Signed, key: RSAPublicKey) -> bool:
    """Has whoever has that key's other half signed the envelope's text?"""
    algorithm = hashes.SHA256() if signed.version == "2" else hashes.SHA1()  # noqa: S303  version 1 is SHA-1, by AWS's word
    try:
        key.verify(signed.signature, signed.text, PKCS1v15(), algorithm)
    except InvalidSignature:
        return False
    return True


def parse_certificate(pem: bytes) -> _Known:
    """Raises Unreadable for what is no certificate with an RSA key."""
    try:
        certificate = load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except ValueError as err:
        raise Unreadable("there is no certificate at its address") from err
    if not isinstance(key, RSAPublicKey):
        raise Unreadable("the certificate has another kind of key than SNS's")
    return _Known(
        key=key,
        begins_at=certificate.not_valid_before_utc.timestamp(),
        ends_at=certificate.not_valid_after_utc.timestamp(),
    )


def certificate_host(topic: str) -> str:
    """Where SNS has its certificates for topics of that region: `sns.eu-west-1.amazonaws.com`. Raises ConfigError."""
    _, partition, _, region, *_ = topic.split(":")
    known = Loader().load_data("partitions")["partitions"]
    suffixes = {one["id"]: one["outputs"]["dnsSuffix"] for one in known}
    if partition not in suffixes:
        raise ConfigError(f"nobody knows partition {partition!r} of {topic}", hint="correct sqswatcher.topics")
    return f"sns.{region}.{suffixes[partition]}"


async def fetch_certificate(url: str) -> bytes:
    """Over https, from the address itself: redirections are not followed. Raises CertificateUnavailable."""
    return await asyncio.to_thread(_fetch, url)


class _NoRedirections(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None: the answer stays what it is, an error."""


def _fetch(url: str) -> bytes:
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    opener = urllib.request.build_opener(https, _NoRedirections())
    try:
        with opener.open(url, timeout=FETCH_S) as answer:  # read_signed has seen to it that this is SNS's own host, by https
            return bytes(answer.read(LONGEST_CERTIFICATE))
    except (OSError, HTTPException, ValueError) as err:
        raise CertificateUnavailable(f"SNS's certificate cannot be fetched: {err}", url=url) from err
