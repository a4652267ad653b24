"""Plain HTTP, for what boto3 hides."""

import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit


def fetch(method: str, url: str, *, headers: Mapping[str, str] | None = None, body: str = "") -> tuple[int, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request(method, parts.path, body=body, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def signed(service: str, region: str = "eu-west-1") -> dict[str, str]:
    """Headers that say which service is meant; the sandbox checks no signature."""
    scope = f"AWS4-HMAC-SHA256 Credential=sandbox/20261123/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    return {"Authorization": scope, "Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
