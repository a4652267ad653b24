"""Every look there is, by area, and taking all of them at once: one that fails is a finding and stops no other."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from daemons.doctor.findings import Finding, Severity
from daemons.doctor.judges.permissions import is_denial
from daemons.doctor.looks import account, broker, groups, heads, hooks, host, permissions, queue, scheduler, stores, topics
from daemons.doctor.scene import Scene
from daemons.errors import AwsRefused, HeadnodeError

LONGEST_S = 120.0  # for one look, with its retries

Done = Callable[["Look"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One of an area's looks: what it looks at, in words, and how."""

    area: str
    what: str
    take: Callable[[Scene], Awaitable[Sequence[Finding]]]


def _look(area: str, what: str, take: Callable[[Scene], Awaitable[Sequence[Finding]]]) -> Look:
    return Look(area=area, what=what, take=take)


LOOKS = (
    _look("aws", "credentials and clock", account.look_at_caller),
    _look("aws", "region and endpoints", account.look_at_addresses),
    _look("permissions", "what the role may do", permissions.look_at_permissions),
    _look("queue", "queue", queue.look_at_queue),
    _look("queue", "who may send", queue.look_at_senders),
    _look("topics", "topics and subscriptions", topics.look_at_topics),
    _look("topics", "EventBridge's rules", topics.look_at_rules),
    _look("groups", "Auto Scaling groups", groups.look_at_groups),
    _look("groups", "instance types", groups.look_at_types),
    _look("hooks", "lifecycle hooks", hooks.look_at_hooks),
    _look("table", "table", stores.look_at_table),
    _look("heads", "leases", heads.look_at_leases),
    _look("zone", "hosted zone", stores.look_at_zone),
    _look("scheduler", "scheduler", scheduler.look_at_answers),
    _look("scheduler", "scheduler's settings", scheduler.look_at_settings),
    _look("broker", "MQTT broker", broker.look_at_broker),
    _look("host", "files and directories", host.look_at_files),
    _look("host", "units", host.look_at_units),
)
AREAS = tuple(dict.fromkeys(look.area for look in LOOKS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A finding, and the area that it belongs to."""

    area: str
    finding: Finding


async def examine(scene: Scene, looks: Iterable[Look] = LOOKS, *, done: Done = lambda _: None) -> tuple[Told, ...]:
    """What all of them find, in their order. `done` is called as each ends."""

    async def take(look: Look) -> list[Told]:
        findings = await _take(look, scene)
        done(look)
        return [Told(area=look.area, finding=finding) for finding in findings]

    return tuple(told for some in await asyncio.gather(*map(take, looks)) for told in some)


async def _take(look: Look, scene: Scene) -> Sequence[Finding]:
    try:
        return await asyncio.wait_for(look.take(scene), LONGEST_S)
    except AwsRefused as err:
        if not is_denial(err.error_code):
            return [_no_answer(look, str(err), err.hint)]
        remedy = "to have this looked at, give the role the policy of `headnode iam render --role doctor` as well"
        return [
            Finding(id=f"{look.area}-may-look", severity=Severity.WARNING, looked_at=look.what, found=str(err), remedy=remedy)
        ]
    except HeadnodeError as err:
        return [_no_answer(look, str(err), err.hint)]
    except TimeoutError:
        return [_no_answer(look, f"no answer within {LONGEST_S:g} s", "")]
    except (KeyError, IndexError, TypeError, ValueError) as err:  # an answer that is not as its makers document it
        return [_no_answer(look, f"the answer cannot be read: {err!r:.200}", "")]


def _no_answer(look: Look, found: str, hint: str) -> Finding:
    remedy = hint or "see whether it can be reached from here, and look again: headnode doctor --only " + look.area
    return Finding(id=f"{look.area}-answers", severity=Severity.ERROR, looked_at=look.what, found=found, remedy=remedy)
