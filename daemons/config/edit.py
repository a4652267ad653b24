"""One setting in a configuration's text is another, and every other character stays what and where it is. Pure.

No TOML is written here: a few places where the setting may stand are tried, and the first is taken with which the whole text says
what it said before, but for that setting. tomllib is the judge, so that nothing else can have changed.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

_VALUE = re.compile(r"""(\blevel["']?[ \t]*=[ \t]*)(["'])[^"'\r\n]*\2""")
_HEADER = re.compile(r"^[ \t]*\[[ \t]*log[ \t]*\][ \t]*(?:#[^\r\n]*)?(?=\r?$|\Z)", re.MULTILINE)


def with_log_level(text: str, level: str) -> str | None:
    """The text with `log.level` set to that plain word; None where there is no place for it. Raises TOMLDecodeError for what is
    no TOML to begin with.
    """
    said = tomllib.loads(text)
    if _log(said).get("level") == level:
        return text
    wanted = {**said, "log": {**_log(said), "level": level}}
    return next((fresh for fresh in _candidates(text, level) if _says(fresh, wanted)), None)


def _candidates(text: str, level: str) -> Iterator[str]:
    newline = "\r\n" if "\r\n" in text else "\n"
    for found in _VALUE.finditer(text):
        yield f"{text[: found.start()]}{found[1]}{found[2]}{level}{found[2]}{text[found.end() :]}"
    for header in _HEADER.finditer(text):
        yield f'{text[: header.end()]}{newline}level = "{level}"{text[header.end() :]}'
    end = "" if not text or text.endswith("\n") else newline
    yield f'{text}{end}{newline}[log]{newline}level = "{level}"{newline}'
    yield f'log.level = "{level}"{newline}{text}'


def _log(said: Mapping[str, Any]) -> Mapping[str, Any]:
    found = said.get("log", {})
    return found if isinstance(found, dict) else {}


def _says(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False
