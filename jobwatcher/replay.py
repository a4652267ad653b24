"""Makes recorded decisions again, with the code of today, and tells what is different. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from daemons.plain import render_json, to_plain
from daemons.replays import Replay
from jobwatcher.plan import plan_capacity
from jobwatcher.record import Outcome, Record, outcome_of


def replay(record: Record) -> Replay:
    again = outcome_of(plan_capacity(record.seen, record.memory, record.options))
    same = render_json(again) == render_json(record.outcome)
    found = () if same else tuple(_differences(record.outcome, again)) or ("the two differ in form only",)
    return Replay(at=record.seen.now, version=record.version, differences=found)


def _differences(then: Outcome, now: Outcome) -> Iterator[str]:
    old, new = ({one.fleet: one for one in outcome.decisions} for outcome in (then, now))
    for fleet in sorted({*old, *new}):
        yield from _changed(f"fleet {fleet}", to_plain(old.get(fleet)), to_plain(new.get(fleet)))
    before, after = ({one.jobs: one for one in outcome.answers} for outcome in (then, now))
    for jobs in sorted({*before, *after}):
        was, is_now = before.get(jobs), after.get(jobs)
        if was != is_now:
            told = [one.sentence if one is not None else "no answer" for one in (was, is_now)]
            yield f"jobs {', '.join(jobs[:3])}: {told[0]!r} then, {told[1]!r} now"
    for name in ("alarms", "used_hosts"):
        yield from _changed(name, {name: to_plain(getattr(then, name))}, {name: to_plain(getattr(now, name))})


def _changed(what: str, then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> Iterator[str]:
    for name in sorted({*(then or {}), *(now or {})}):
        was, is_now = (then or {}).get(name), (now or {}).get(name)
        if was != is_now:
            yield f"{what}: {name} was {was!r} then, is {is_now!r} now"
