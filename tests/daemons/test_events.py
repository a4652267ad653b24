"""The catalogue of events against the code that logs them, and against the documents that are made of it."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemons.cli import app
from daemons.events import BOUND, EVENTS, FIELDS, find_event, render_markdown

ROOT = Path(__file__).parents[2]
PACKAGES = ("daemons", "sqswatcher", "jobwatcher", "nodewatcher", "schedulers")
LEVELS = {"debug", "info", "warning", "error"}
OTHERS = {"exception", "critical", "fatal", "msg", "log", "warn"}
ERROR = frozenset({"code", "error", "hint"})
TELLS_METRICS = "daemons/meter.py"  # whose fields are the metrics, which tests/daemons/test_meter.py looks at
TELLS_ALARMS = "daemons/alarms.py"  # the one place where the name of an event comes from elsewhere: from an Alarm


@dataclass(frozen=True)
class Site:
    """One place in the code that logs."""

    where: str
    name: str
    levels: frozenset[str]
    fields: frozenset[str]


def sites() -> Iterator[Site]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield from sites_of(path.relative_to(ROOT).as_posix(), path.read_text())


def sites_of(where: str, text: str) -> Iterator[Site]:
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        inside = [function for function in functions if function.lineno <= call.lineno <= (function.end_lineno or 0)]
        at = f"{where}:{call.lineno}"
        if isinstance(call.func, ast.Name) and call.func.id == "Alarm":
            for name in alarm_events(at, call, inside):
                yield Site(at, name, frozenset({"warning"}), frozenset({"fleet", "because"}))
        elif levels := levels_of(at, call.func):
            first = call.args[0]
            if where == TELLS_ALARMS and ast.unparse(first) == "alarm.event":
                continue
            assert isinstance(first, ast.Constant), f"{at}: an event's name is a constant"
            yield Site(at, str(first.value), levels, fields_of(at, call, inside))


def levels_of(at: str, called: ast.expr) -> frozenset[str]:
    """() for a call that logs nothing."""
    if isinstance(called, ast.IfExp):
        return levels_of(at, called.body) | levels_of(at, called.orelse)
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id in ("log", "logger"):
        assert called.attr not in OTHERS, f"{at}: log.{called.attr} is none of {LEVELS}"
        return frozenset({called.attr}) & LEVELS
    return frozenset()


def alarm_events(at: str, call: ast.Call, inside: list[ast.FunctionDef | ast.AsyncFunctionDef]) -> set[str]:
    (event,) = (keyword.value for keyword in call.keywords if keyword.arg == "event")
    if isinstance(event, ast.Constant):
        return {str(event.value)}
    texts = {node.value for node in ast.walk(inside[-1]) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = {text for text in texts if re.fullmatch(r"[a-z_]+\.[a-z_]+", text)}
    assert names, f"{at}: nobody knows which event this alarm is"
    return names


def fields_of(at: str, call: ast.Call, inside: list[ast.FunctionDef | ast.AsyncFunctionDef]) -> frozenset[str]:
    found = {keyword.arg for keyword in call.keywords if keyword.arg not in (None, "exc_info")}  # a crash's place is no field
    for value in [keyword.value for keyword in call.keywords if keyword.arg is None]:
        if at.startswith(TELLS_METRICS):
            continue
        if isinstance(value, ast.Call) and ast.unparse(value.func).endswith(".to_event"):
            found |= ERROR
        else:
            assert isinstance(value, ast.Name), f"{at}: nobody knows which fields {ast.unparse(value)} are"
            found |= keys_of(value.id, inside[-1])
    return frozenset(found)


def keys_of(name: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    return {
        str(key.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and ast.unparse(node.targets[0]) == name
        for key in node.value.keys
        if isinstance(key, ast.Constant)
    }


SITES = tuple(sites())


def test_every_event_that_is_logged_is_in_the_catalogue() -> None:
    assert not [f"{site.where}: {site.name}" for site in SITES if find_event(site.name) is None], "add it to daemons/events.py"


def test_every_event_in_the_catalogue_is_logged_somewhere() -> None:
    assert {event.name for event in EVENTS} <= {site.name for site in SITES}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: str(event.name))
def test_levels_and_fields_are_as_the_code_has_them(event: object) -> None:
    known = next(each for each in EVENTS if each is event)
    own = [site for site in SITES if site.name == known.name]
    assert frozenset(known.levels) == frozenset().union(*(site.levels for site in own))
    assert frozenset(known.fields) == frozenset().union(*(site.fields for site in own))


def test_each_event_is_there_once_and_says_what_it_means() -> None:
    assert len({event.name for event in EVENTS}) == len(EVENTS)
    for event in EVENTS:
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", event.name), event.name
        assert event.meaning.endswith("."), event.name
        assert frozenset(event.levels) <= LEVELS, event.name
        assert event.next.endswith(".") or event.levels in (("info",), ("debug",)) or event.name == "agent.notice", event.name


def test_every_field_has_a_meaning_and_every_meaning_a_field() -> None:
    assert {field for event in EVENTS for field in event.fields} == set(FIELDS)
    assert not set(FIELDS) & set(BOUND)


@pytest.mark.parametrize(
    "statement",
    [
        "log.info('not.there', a=1)",
        "log.info(name)",
        "log.exception('cycle.failed')",
        "log.info('x.y', **whatever())",
    ],
)
def test_the_walk_finds_what_is_wrong(statement: str) -> None:
    """The test above cannot fail unless this one holds."""
    try:
        (site,) = sites_of("x.py", f"def f():\n    {statement}\n")
    except AssertionError:
        return
    assert find_event(site.name) is None


def test_the_page_is_as_the_catalogue_says() -> None:
    assert (ROOT / "docs" / "events.md").read_text() == render_markdown(), "docs/events.md is stale: run `make events`"


def test_headnode_events_lists_them_all_and_shows_one() -> None:
    listed = CliRunner().invoke(app, ["events", "--json"])
    assert [row["name"] for row in json.loads(listed.output)["events"]] == sorted(event.name for event in EVENTS)
    one = CliRunner().invoke(app, ["events", "cycle.failed"])
    assert one.exit_code == 0
    for words in ("cycle.failed", "warning", "failures", "Next:"):
        assert words in one.output
    (told,) = json.loads(CliRunner().invoke(app, ["events", "cycle.failed", "--json"]).output)["events"]
    assert told["levels"] == ["warning"]


def test_headnode_events_guesses_at_a_name_that_there_is_not() -> None:
    done = CliRunner().invoke(app, ["events", "cycle.faild"])
    assert done.exit_code == 1
    assert "cycle.failed" in str(done.exception) or "cycle.failed" in done.output
