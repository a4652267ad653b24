"""The configuration in effect, setting by setting: value, meaning, and whether the file or a default says so."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from daemons.config.parse import Reading
from daemons.config.problems import Location, fields_of, render_path


class Origin(StrEnum):
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting. `value` is made of what JSON has; a pydantic secret shows as asterisks."""

    path: str
    value: Any
    origin: Origin
    meaning: str


def effective_settings(reading: Reading) -> tuple[Setting, ...]:
    """Every setting of a valid reading, in the order in which they are declared. Raises ConfigError for an invalid one."""
    config = reading.unwrap()
    found = []
    for setting in _walk(reading.entry, reading.raw, ()):
        if setting.path != "scheduler.settings":
            found.append(setting)
            continue
        scheduler = reading.raw.get("scheduler", {})
        found += _walk(config.scheduler.settings, scheduler.get("settings", {}), ("scheduler", "settings"))
    return tuple(found)


def _walk(section: Any, raw: Mapping[str, Any], under: Location) -> Iterator[Setting]:
    for key, field in fields_of(type(section)).items():
        value = getattr(section, _attribute(section, key))
        location, given = (*under, key), raw.get(key)
        if _is_section(value):
            yield from _walk(value, given or {}, location)
        elif isinstance(value, tuple | list) and value and all(map(_is_section, value)):
            for index, member in enumerate(value):
                yield from _walk(member, given[index] if given else {}, (*location, index))
        else:
            origin = Origin.FILE if key in raw else Origin.DEFAULT
            yield Setting(path=render_path(location), value=_plain(value), origin=origin, meaning=field.description)


def _attribute(section: Any, key: str) -> str:
    """The attribute behind a key, which a plugin's model may have renamed."""
    if isinstance(section, BaseModel):
        return next(name for name, info in type(section).model_fields.items() if key in (info.alias, name))
    return key


def _is_section(value: object) -> bool:
    return isinstance(value, BaseModel) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def _plain(value: object) -> Any:
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, tuple | list):
        return [_plain(member) for member in value]
    return str(value)
