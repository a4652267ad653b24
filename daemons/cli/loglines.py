"""Log lines for a reader: parsed, chosen, shown. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from daemons.cli.common import printable


class Level(StrEnum):
    """The least severe lines, from the least to the most."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LEVELS = tuple(Level)
_SHOWN_FIRST = ("timestamp", "level", "daemon", "event")
_NOT_SHOWN = frozenset({*_SHOWN_FIRST, "cluster", "scheduler", "_aws"})
_SENTENCES = ("because", "error", "hint", "exception")  # come last: they are long


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line as it was written, and what it says; a line that is no JSON object is its own event."""

    text: str
    fields: Mapping[str, Any]

    @property
    def at(self) -> str:
        """When, in ISO 8601 and UTC, which sorts as time does; "" for a line without."""
        return str(self.fields.get("timestamp", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which lines. "" is any; `level` and those above it; `since` in ISO 8601."""

    instance: str = ""  # an instance id, or a host name
    job: str = ""
    message: str = ""
    event: str = ""  # or its beginning, such as capacity.
    daemon: str = ""
    level: str = ""
    since: str = ""

    def wants(self, line: LogLine) -> bool:
        fields = line.fields
        return (
            (not self.instance or _names(fields, self.instance, ("instance_id", "instance_ids", "hostname")))
            and (not self.message or _names(fields, self.message, ("message_id", "message_ids")))
            and (not self.job or _names(fields, self.job, ("jobs",)) or _tells_of_job(fields, self.job))
            and (not self.event or str(fields.get("event", "")).startswith(self.event))
            and (not self.daemon or fields.get("daemon") == self.daemon)
            and (not self.level or _rank(str(fields.get("level", ""))) >= LEVELS.index(Level(self.level)))
            and (not self.since or not line.at or line.at >= self.since)
        )


def parse_line(text: str) -> LogLine:
    """Never raises: lines of the journal and of crashes are no JSON."""
    text = text.rstrip("\n")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    return LogLine(text, fields if isinstance(fields, dict) else {"event": text})


def render_line(line: LogLine) -> str:
    """For a person: when, how bad, who, what, the facts, and the sentences at the end."""
    fields = line.fields
    if "timestamp" not in fields:
        return printable(line.text)
    facts = [f"{name}={_value(value)}" for name, value in fields.items() if _is_fact(name, value)]
    said = [f"{name}: {_value(fields[name])}" for name in _SENTENCES if fields.get(name)]
    when = line.at[:19].replace("T", " ")
    begin = f"{when} {fields.get('level', '')!s:7} {fields.get('daemon', '')!s:11} {fields.get('event', '')}"
    return printable("  ".join([begin, *([" ".join(facts)] if facts else []), *said]))


def _is_fact(name: str, value: object) -> bool:
    return name not in _NOT_SHOWN and name not in _SENTENCES and value not in (None, "", [], {})


def _value(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_value, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _names(fields: Mapping[str, Any], wanted: str, where: tuple[str, ...]) -> bool:
    for name in where:
        value = fields.get(name)
        if value == wanted or (isinstance(value, list) and wanted in value):
            return True
    return False


def _tells_of_job(fields: Mapping[str, Any], job: str) -> bool:
    """Sentences name jobs as "job 7", or "jobs 7, 8"."""
    return re.search(rf"\bjobs? (?:[^\s,;]+, )*{re.escape(job)}(?![\w.\[])", str(fields.get("because", ""))) is not None


def _rank(level: str) -> int:
    """A level that we do not know is worth reading."""
    return LEVELS.index(Level(level)) if level in LEVELS else len(LEVELS)
