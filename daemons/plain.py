"""Our values as plain data for JSON, and back. The same value always gives the same text."""

import dataclasses
import json
from collections.abc import Hashable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from daemons.errors import InvalidValue

T = TypeVar("T")

_MISSING = dataclasses.MISSING
_ATOMS = frozenset({str, int, float, bool, type(None)})


def to_plain(value: Any) -> Any:
    """What JSON has: dataclasses become objects without the fields that have their default, sets are sorted."""
    if type(value) in _ATOMS:
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str | int | float):
        return value
    if dataclasses.is_dataclass(value):
        return _plain_fields(value)
    if isinstance(value, Mapping):
        return {str(key): to_plain(value[key]) for key in sorted(value)}
    if isinstance(value, set | frozenset):
        return [to_plain(member) for member in sorted(value)]
    if isinstance(value, tuple | list):
        return [to_plain(member) for member in value]
    raise TypeError(f"{type(value).__name__} is no value that can be written down")


def _plain_fields(value: Any) -> dict[str, Any]:
    """Written for speed: a look at a thousand nodes has some ten thousand fields."""
    plain = {}
    for name, default in _fields(cast("Any", type(value))):
        own = getattr(value, name)
        if own is default or (own == default and type(own) is type(default)):
            continue
        plain[name] = own if type(own) in _ATOMS else to_plain(own)
    return plain


def render_json(value: Any) -> str:
    """One line of JSON."""
    return json.dumps(to_plain(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def parse_json(kind: type[T], text: str | bytes) -> T:
    """The value that such a line was made of. Raises InvalidValue, saying where it is something else."""
    try:
        parsed: T = _adapter(cast("Any", kind)).validate_json(text)
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the text"
        raise InvalidValue(f"this is no {kind.__name__}: {place}: {first['msg']}") from err
    return parsed


@cache
def _fields(kind: Hashable) -> tuple[tuple[str, Any], ...]:
    """Each field with its default; one without has a default that nothing equals."""
    return tuple((field.name, _default(field)) for field in dataclasses.fields(cast("Any", kind)))


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default is not _MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not _MISSING else _MISSING


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("Any", kind))
