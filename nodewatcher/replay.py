"""Makes recorded verdicts again, with the code of today, and tells what is different. Pure."""

from collections.abc import Iterator

from daemons.replays import Replay
from nodewatcher.plan import plan_nodes
from nodewatcher.record import Record, sentences_of


def replay(record: Record) -> Replay:
    plan = plan_nodes(record.seen, record.memory, record.options)
    now = sentences_of(plan)
    again = {one.instance_id: f"{one.action}: {one.reason}" for one in now}
    found = [] if now == record.verdicts else list(_differences(record, again))
    if plan.alarms != record.alarms:
        found.append(f"alarms were {[one.key for one in record.alarms]} then, are {[one.key for one in plan.alarms]} now")
    return Replay(at=record.seen.now, version=record.version, differences=tuple(found))


def _differences(record: Record, now: dict[str, str]) -> Iterator[str]:
    for then in record.verdicts:
        said = f"{then.action}: {then.reason}"
        if now.get(then.instance_id) != said:
            yield f"{then.instance_id}: {said!r} then, {now.get(then.instance_id, 'no verdict')!r} now"
