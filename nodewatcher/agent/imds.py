"""The instance metadata service, version 2 (session tokens): who this machine is, and what AWS has announced for it.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

import json
import urllib.error
import urllib.request
from http.client import HTTPException

from daemons.errors import HeadnodeError

_TIMEOUT_S = 2.0
_TOKEN_TTL_S = 21_600
_LONGEST = 64 * 1024
_NOT_AUTHORIZED, _NOT_FOUND = 401, 404


class ImdsUnavailable(HeadnodeError):
    """The metadata service gave no usable answer."""

    code = "imds-unavailable"
    transient = True


class Imds:
    """Blocking and bounded: call it in a thread. A proxy of the environment is never asked."""

    def __init__(self, address: str) -> None:
        self._latest = address.rstrip("/") + "/latest/"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._token = ""

    def read(self, path: str) -> str | None:
        """The document there, None where there is none. Raises ImdsUnavailable."""
        if not self._token:
            self._token = self._ask("PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_TTL_S)}) or ""
        try:
            return self._ask("GET", path, {"X-aws-ec2-metadata-token": self._token})
        except _TokenRefused:
            self._token = ""  # it has run out: the next call asks for another
            raise

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> str | None:
        request = urllib.request.Request(self._latest + path, method=method, headers=headers)  # noqa: S310  http is what it speaks
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                text: str = answer.read(_LONGEST).decode()
        except urllib.error.HTTPError as err:
            err.close()
            if err.code == _NOT_FOUND:
                return None
            kind = _TokenRefused if err.code == _NOT_AUTHORIZED else ImdsUnavailable
            raise kind(f"asking the metadata service for {path}: {err.code} {err.reason}") from err
        except (OSError, HTTPException, UnicodeDecodeError) as err:
            hint = "is this an EC2 instance, and is its metadata service on?"
            raise ImdsUnavailable(f"asking the metadata service for {path}: {err}", hint=hint) from err
        return text.strip()


class _TokenRefused(ImdsUnavailable):
    pass


def read_notices(imds: Imds) -> tuple[str, bool]:
    """What EC2 will do to this Spot instance ("" for nothing, else "terminate", "stop" or "hibernate"), and whether it advises
    to rebalance. Both documents are there only once they are announced. Raises ImdsUnavailable.
    """
    document = imds.read("meta-data/spot/instance-action")
    action = ""
    if document is not None:
        try:
            action = str(json.loads(document)["action"])
        except (ValueError, TypeError, KeyError):
            action = "terminate"  # it is there, so something is coming
    return action if action in ("", "terminate", "stop", "hibernate") else "terminate", (
        imds.read("meta-data/events/recommendations/rebalance") is not None
    )
