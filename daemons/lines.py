"""What may stand in a log line: nothing without end, and no secrets. Pure.

Every line goes through `presentable`, libraries' too. What is cut says so, and how much there was.
"""

import functools
import re
from collections.abc import Mapping, Sequence, Set
from enum import Enum
from typing import Any

from structlog.typing import EventDict, WrappedLogger

LONGEST_TEXT = 2_000  # characters of one value
MOST_ITEMS = 50  # of a list or a mapping
MOST_FIELDS = 120  # of a line
DEEPEST = 6
LONGEST_LINE = 30_000  # characters of all texts of a line together; a text that comes later gets what is left
_LEAST = 80  # each text gets that much, whatever there was before it

HIDDEN = "(not shown)"
_AS_IT_IS = "exc_info"  # for the renderer that follows
_SECRET_NAME = re.compile(r"(?i)passw(or)?d$|secret|credential|authorization|security.?token|session.?token|private.?key|^token$")
_SIGNS = (
    "=",
    ":",
    " is",
    " IS",
    "AKIA",
    "ASIA",
    "akia",
    "asia",
    "PRIVATE",
)  # without any of these no text holds one: most do not
_SECRET_TEXT = re.compile(
    r"""(?ix)
    (?P<before> (?<![a-z0-9]) (?: secret[_-]?(?:access[_-]?)?key | session[_-]?token | security[_-]?token | password | passwd
        | x-amz-(?:security-token|signature|credential) | authorization | private[_-]?key )
        ["']? \s* (?: [=:] | \ is\b ) \s* ["']? (?: (?: bearer | basic | aws4-hmac-sha256 ) \s+ )? )
      (?P<secret> [^\s"',;&]+ )
    | (?P<scheme> \b[a-z][a-z0-9+.-]{1,20}:// [^\s/:@]{0,200} : ) [^\s/@]{1,500} (?P<at> @ )
    | \b (?: AKIA | ASIA ) [A-Z0-9]{16} \b
    | -----BEGIN\ [A-Z\ ]*PRIVATE\ KEY----- .*? (?: -----END\ [A-Z\ ]*PRIVATE\ KEY----- | \Z )
    """,
    re.DOTALL,
)


def presentable(_: WrappedLogger | None, __: str, line: EventDict) -> EventDict:
    """The line as it may be written. A structlog processor; what it is given stays as it was."""
    left = [LONGEST_LINE]
    kept = list(line.items())[:MOST_FIELDS]
    told = {name: value if name == _AS_IT_IS else _named(name, value, left, DEEPEST) for name, value in kept}
    if len(line) > MOST_FIELDS:
        told["cut_fields"] = len(line) - MOST_FIELDS
    return told


def without_secrets(text: str) -> str:
    """The text with whatever looks like a credential replaced."""
    return _SECRET_TEXT.sub(_hide, text) if any(sign in text for sign in _SIGNS) else text


def harmless(text: str) -> str:
    """The text on one line, and what could move a terminal's cursor or change its colours as an escape that can be read."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _hide(found: re.Match[str]) -> str:
    before, scheme = found["before"], found["scheme"]
    if before is not None:
        return f"{before}{HIDDEN}"
    return f"{scheme}{HIDDEN}@" if scheme is not None else HIDDEN


def _named(name: str, value: Any, left: list[int], depth: int) -> Any:
    return HIDDEN if _is_secret(name, value) else _value(value, left, depth)


def _is_secret(name: str, value: object) -> bool:
    return _is_secret_name(name) and bool(value) and not isinstance(value, bool | int | float)


@functools.lru_cache(maxsize=1_024)
def _is_secret_name(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _value(value: Any, left: list[int], depth: int) -> Any:
    if type(value) is str:  # nearly always
        return _text(value, left)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Enum):
        return _value(value.value, left, depth)
    if depth and isinstance(value, Mapping):
        return _mapping(value, left, depth)
    if depth and isinstance(value, Set):
        return _items(sorted(map(str, value)), left, depth)
    if depth and isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return _items(value, left, depth)
    return _text(str(value), left)


def _mapping(value: Mapping[Any, Any], left: list[int], depth: int) -> dict[str, Any]:
    kept = [(_text(str(name), left), each) for name, each in list(value.items())[:MOST_ITEMS]]
    told = {name: _named(name, each, left, depth - 1) for name, each in kept}
    return {**told, "cut": f"{len(value)} in all"} if len(value) > MOST_ITEMS else told


def _items(value: Sequence[Any], left: list[int], depth: int) -> list[Any]:
    told = [_value(each, left, depth - 1) for each in value[:MOST_ITEMS]]
    return [*told, f"… cut, {len(value)} in all"] if len(value) > MOST_ITEMS else told


def _text(text: str, left: list[int]) -> str:
    """Cut first: whoever floods us does not have us search what nobody will see. A secret that the cut halves is still one."""
    most = max(min(LONGEST_TEXT, left[0]), _LEAST)
    shown = without_secrets(text[:most])
    left[0] -= len(shown)
    return shown if len(text) <= most else f"{shown} … cut, {len(text)} characters in all"
