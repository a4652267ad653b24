"""Reads untrusted JSON: strictly where a value is acted on, leniently where it only informs. Raises Unreadable, nothing else."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from daemons.errors import InvalidValue

T = TypeVar("T")

LONGEST_BODY = 1 << 20  # SQS's own limit is 1 MiB, envelopes and all
LONGEST_TEXT = 1024
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")


class Unreadable(Exception):
    """The message cannot be understood; the text says why, and `hint` what to do about it, "" where that is nothing special."""

    def __init__(self, why: str, *, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


def read_json(body: str) -> Mapping[str, Any]:
    """The JSON object that `body` is. One that could be read in two ways (a key twice, NaN) is refused."""
    if len(body) > LONGEST_BODY:
        raise Unreadable(f"the body has {len(body)} characters, more than {LONGEST_BODY}")
    try:
        value = json.loads(body, object_pairs_hook=_unambiguous, parse_constant=_no_constant)
    except RecursionError as err:
        raise Unreadable("the JSON is nested too deeply") from err
    except ValueError as err:  # JSONDecodeError, and numbers of thousands of digits
        raise Unreadable(f"the body is not JSON: {err}") from err
    if not isinstance(value, dict):
        raise Unreadable("the JSON is not an object")
    return value


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable("an object has the same key twice")
    return found


def _no_constant(name: str) -> Any:
    raise Unreadable(f"{name} is not JSON")


def require(fields: Mapping[str, Any], key: str, parse: Callable[[object], T]) -> T:
    """The field, parsed by one of `daemons.names`' parsers or one like them."""
    if key not in fields:
        raise Unreadable(f"{key} is missing")
    try:
        return parse(fields[key])
    except InvalidValue as err:
        raise Unreadable(f"{key}: {err}") from err


def allow(fields: Mapping[str, Any], key: str, parse: Callable[[object], T]) -> T | None:
    """Like `require`, but None for a field that is absent, null or empty."""
    return None if fields.get(key) in (None, "") else require(fields, key, parse)


def section(fields: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object in that field; an empty one for anything else."""
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def clean(value: object, *, most: int = LONGEST_TEXT) -> str:
    """Words for people: one line of at most `most` printable characters. "" for what is no string."""
    if not isinstance(value, str):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in value[:most]).strip()


def read_time(fields: Mapping[str, Any], key: str) -> float | None:
    """The field in seconds since the epoch, from ISO 8601 (UTC unless it says otherwise) or an HTTP date; None for the rest."""
    value = fields.get(key)
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        time = parsedate_to_datetime(value) if _HTTP_DATE.fullmatch(value) else datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
