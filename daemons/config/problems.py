"""What is wrong with a configuration: where, what came, and what to do about it."""

import dataclasses
import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from daemons.config.values import FileEntry
from daemons.lines import without_secrets

Location = tuple[str | int, ...]
LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to correct. `wrong` goes on from the key path; `came` is "" where nothing came."""

    path: str
    wrong: str
    came: str = ""
    hint: str = ""

    def __str__(self) -> str:
        came = f" (it is {self.came})" if self.came else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.path}: {self.wrong}{came}{hint}"


def render_path(location: Location) -> str:
    """`("fleet", 1, "cpus")` as `fleet[1].cpus`; keys that TOML would quote are quoted."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            bare = part.replace("-", "").replace("_", "")
            key = part if bare.isascii() and bare.isalnum() else json.dumps(part[:LONGEST_VALUE])
            path += f".{key}" if path else key
    return path


def render_value(value: object) -> str:
    """A value as TOML has it, or nearly; long ones are cut and secrets never shown."""
    text = without_secrets(json.dumps(value, default=str, ensure_ascii=False))
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A setting as its section declares it."""

    kind: Any
    description: str = ""


def fields_of(section: object) -> dict[str, Field]:
    """The settings of a section: a dataclass or a pydantic model. {} for anything else."""
    if isinstance(section, type) and issubclass(section, BaseModel):
        return {
            info.alias or name: Field(kind=info.annotation, description=info.description or "")
            for name, info in section.model_fields.items()
        }
    if isinstance(section, type) and dataclasses.is_dataclass(section):
        hints = get_type_hints(section, include_extras=True)
        return {field.name: _declared(hints[field.name]) for field in dataclasses.fields(section)}
    return {}


def _declared(hint: Any) -> Field:
    notes = [note.description for note in getattr(hint, "__metadata__", ()) if isinstance(note, FieldInfo) and note.description]
    return Field(kind=get_args(hint)[0] if hasattr(hint, "__metadata__") else hint, description=notes[-1] if notes else "")


def _inner(kind: Any) -> Any:
    """What the members of an optional, a tuple or a list are."""
    while get_origin(kind) is not None:
        kind = next((arg for arg in get_args(kind) if arg is not NoneType), None)
    return kind


def declared_at(location: Location, settings: type[BaseModel] | None) -> Field | None:
    """The setting at that place in the file, the plugin's own included; None where none is declared."""
    here = Field(kind=FileEntry)
    for depth, part in enumerate(location):
        if isinstance(part, int):
            continue
        if location[: depth + 1] == ("scheduler", "settings") and settings is not None:
            here = Field(kind=settings)
            continue
        found = fields_of(_inner(here.kind)).get(part)
        if found is None:
            return None
        here = found
    return here


_WRONG: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is missing",
    "bool_type": lambda _: "must be true or false",
    "int_type": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "string_type": lambda _: "must be a string in quotes",
    "dict_type": lambda _: "must be a table",
    "dataclass_type": lambda _: "must be a table",
    "model_type": lambda _: "must be a table",
    "tuple_type": lambda _: "must be an array",
    "list_type": lambda _: "must be an array",
    "frozen_set_type": lambda _: "must be an array",
    "set_type": lambda _: "must be an array",
    "greater_than": lambda context: f"must be above {context['gt']:g}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than": lambda context: f"must be below {context['lt']:g}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
    "literal_error": lambda context: f"must be {context['expected']}",
    "enum": lambda context: f"must be {context['expected']}",
}
_UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")


def describe(error: ValidationError, *, under: Location, settings: type[BaseModel] | None) -> Iterator[tuple[Location, Problem]]:
    """Each of pydantic's findings with its place in the file. `under` is where the validated value stands in it."""
    for detail in error.errors(include_url=False):
        location = (*under, *(part for part in detail["loc"] if part != "[key]"))
        if detail["type"] in _UNKNOWN_KEY:
            yield location, _unknown_key(location, detail["input"], settings)
        else:
            yield location, _problem(location, detail, settings)


def _problem(location: Location, detail: ErrorDetails, settings: type[BaseModel] | None) -> Problem:
    say = _WRONG.get(detail["type"])
    wrong = say(detail.get("ctx", {})) if say else detail["msg"]
    declared = declared_at(location, settings)
    hint = declared.description if declared else ""
    if location == ("fleet",) and detail["type"] == "tuple_type" and isinstance(detail["input"], Mapping):
        return Problem(path="fleet", wrong="must be an array of tables", hint="write [[fleet]], in two pairs of brackets")
    came = "" if detail["type"] == "missing" or _is_secret(declared) else render_value(detail["input"])
    return Problem(path=render_path(location), wrong=wrong, came=came, hint=hint)


def _is_secret(declared: Field | None) -> bool:
    inner = _inner(declared.kind) if declared else None
    return isinstance(inner, type) and issubclass(inner, SecretStr)


def _unknown_key(location: Location, value: object, settings: type[BaseModel] | None) -> Problem:
    """A key that no section declares here: a slip of the finger, or a key that stands below the wrong header."""
    *section, key = location
    around = declared_at(tuple(section), settings)
    known = list(fields_of(_inner(around.kind))) if around else []
    return Problem(
        path=render_path(location),
        wrong="is not a setting",
        came=render_value(value),
        hint=_meant(str(key), known) or _misplaced(str(key)) or f"known here: {', '.join(known) or 'nothing'}",
    )


def _meant(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else ""


def _misplaced(key: str) -> str:
    top = fields_of(FileEntry)
    if key in top:
        return f"{key} belongs above the first [section]" if not fields_of(_inner(top[key].kind)) else f"it is a section: [{key}]"
    owners = [name for name, field in top.items() if key in fields_of(_inner(field.kind))]
    return f"{key} belongs into [{'] or ['.join(owners)}]" if owners else ""
