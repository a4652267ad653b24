"""The configuration reference: every setting with its kind, bounds, default and meaning, as the model has them."""

import dataclasses
import re
from collections.abc import Iterator
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from daemons.config.values import FileEntry
from docs.make.blocks import table
from schedulers.plugins import load_settings

PLUGINS = ("slurm", "sge", "torque", "local")
HEADS = ("setting", "kind", "default", "meaning")
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_IMPOSSIBLE = "\n\x00 "  # what no kind of text with a rule accepts: its refusal names the rule
_TOP = """# Configuration

<!-- This page is made of daemons/config/values.py and the plugins' settings: `make reference`. -->

One file, `/etc/headnode/headnode.toml`, is read by all services and by the `headnode` command; `--config` and `HEADNODE_CONFIG`
name another. `headnode config check` finds everything that is wrong with it at once, `headnode config show` prints what is in
effect and where each value comes from. Unknown settings are refused. Nothing is converted: `"20"` is no number. Times are in
seconds. A setting without a default has to be there.

The compute nodes' agent has a file of its own: see [The agent's file](#the-agents-file).
"""
_AGENT = """## The agent's file

`/etc/headnode/agent.toml` on compute nodes. What is commented out shows the default; `headnode-agent --check` finds every
problem at once.

```{literalinclude} ../../systemd/agent.toml.example
:language: toml
```
"""


def render_settings() -> str:
    """The whole page."""
    return "\n".join([_TOP, *_sections(FileEntry, ""), _plugins(), _AGENT])


def _sections(section: Any, path: str) -> Iterator[str]:
    """The section's own settings, then the sections below it."""
    below: list[tuple[str, Any]] = []
    rows = []
    for field in dataclasses.fields(section):
        hint = get_type_hints(section, include_extras=True)[field.name]
        inner, is_array = section_in(hint)
        if inner is not None:
            name = f"{path}.{field.name}" if path else field.name
            below.append((f"[[{name}]]" if is_array else f"[{name}]", (inner, name, _meaning(hint), _is_optional(hint))))
        elif field.name != "settings":
            rows.append((f"`{field.name}`", _kind(hint), _default(field), _meaning(hint)))
    if not path:
        yield "## At the top of the file\n"
    yield table(HEADS, rows) + "\n"
    for title, (inner, name, meaning, optional) in below:
        yield f"## `{title}`\n\n{_sentence(meaning)}{' The whole section may be left out.' if optional else ''}\n"
        yield from _sections(inner, name)


def _plugins() -> str:
    parts = ["## `[scheduler.settings]`\n\nThe plugin's own settings. `headnode plugins` lists those of other packages too.\n"]
    for name in PLUGINS:
        rows = [
            (f"`{info.alias or key}`", _kind_of(info), _literal(info.get_default()), info.description or "")
            for key, info in load_settings(name).model_fields.items()
        ]
        parts.append(f'### With `scheduler.name = "{name}"`\n\n{table(HEADS, rows)}\n')
    return "\n".join(parts)


def section_in(hint: Any) -> tuple[Any, bool]:
    """The section that such a setting is, and whether there may be several; None for a plain setting."""
    kind = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    is_array = get_origin(kind) is tuple
    members = [one for one in get_args(kind) if one not in (NoneType, Ellipsis)] if get_origin(kind) else [kind]
    inner = members[0] if members else kind
    found = dataclasses.is_dataclass(inner) or (isinstance(inner, type) and issubclass(inner, BaseModel))
    return (inner, is_array) if found else (None, False)


def _is_optional(hint: Any) -> bool:
    return NoneType in get_args(get_args(hint)[0])


def _meaning(hint: Any) -> str:
    return next(
        note.description or "" for note in reversed(hint.__metadata__) if isinstance(note, FieldInfo) and note.description
    )


def _kind(hint: Any) -> str:
    return _said(get_args(hint)[0], _notes(hint.__metadata__), TypeAdapter(hint))


def _kind_of(info: FieldInfo) -> str:
    hint: Any = info.annotation
    return _said(hint, _notes(info.metadata), TypeAdapter(hint))


def _notes(metadata: Any) -> list[Any]:
    """The bounds among a setting's notes; pydantic's own are lists of them."""
    return [one for note in metadata for one in (note.metadata if isinstance(note, FieldInfo) else [note])]


def _said(kind: Any, notes: list[Any], adapter: TypeAdapter[Any]) -> str:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not NoneType)
        origin = get_origin(kind)
    if origin is Literal:
        said = f"one of {', '.join(map(_literal, get_args(kind)))}"
    elif isinstance(kind, type) and issubclass(kind, Enum):
        said = f"one of {', '.join(_literal(one.value) for one in kind)}"
    elif origin in (tuple, frozenset, list, set):
        said = f"an array: each {_member(get_args(kind)[0])}"
    elif origin is dict:
        said = f"a table of names, each with {_member(get_args(kind)[1])}"
    elif kind is str:
        said = _rule(adapter) or "text"
    else:
        said = _KINDS.get(kind, "an absolute path")
    return " ".join([said, *_bounds(notes)])


def _member(hint: Any) -> str:
    if hasattr(hint, "__metadata__"):
        return _kind(hint)
    return _said(hint, [], TypeAdapter(hint))


def _rule(adapter: TypeAdapter[Any]) -> str:
    """What the model says to a text that cannot be right."""
    try:
        adapter.validate_python(_IMPOSSIBLE)
    except ValidationError as err:
        said = err.errors()[0]
        if said["type"] == "refused":
            return re.sub(r"^is neither (.*) nor ", r"\1 or ", said["msg"]).removeprefix("is not ")
    return ""


def _bounds(notes: list[Any]) -> Iterator[str]:
    for note in notes:
        match note:
            case Ge(ge=least):
                yield f"from {least:,}" if isinstance(least, int) else f"from {least}"
            case Gt(gt=least):
                yield f"above {least}"
            case Le(le=most):
                yield f"to {most:,}" if isinstance(most, int) else f"to {most}"
            case Lt(lt=most):
                yield f"below {most}"
            case MinLen(min_length=least):
                yield f"(at least {least})"
            case MaxLen(max_length=most):
                yield f"(at most {most})"
            case _:
                continue


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return _literal(field.default)
    return _literal(field.default_factory()) if field.default_factory is not dataclasses.MISSING else ""


def _literal(value: Any) -> str:
    """A value as TOML has it; "" for none at all."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"`{value}`"
    if isinstance(value, tuple | frozenset | list):
        return f"`[{', '.join(_literal(one).strip('`') for one in value)}]`"
    if isinstance(value, dict):
        return "`{}`" if not value else f"`{value}`"
    return f'`"{value}"`' if isinstance(value, str) else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
