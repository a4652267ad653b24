"""Resource policies of queues and topics: whom they admit, as far as that can be told from their text."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

ANYBODY = "*"
_SOURCE_ARN = "aws:sourcearn"
# Conditions that keep other accounts out, whatever they are compared with.
_KEEP_OUT = frozenset(
    {_SOURCE_ARN, "aws:sourceaccount", "aws:sourceowner", "aws:principalaccount", "aws:principalorgid", "aws:sourceorgid"}
    | {"aws:principalarn", "aws:sourcevpc", "aws:sourcevpce"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One of a policy's statements. `conditions` are the keys in lower case, with the values that they are compared with."""

    allows: bool
    principals: frozenset[str]  # ANYBODY, a service's name, an account or an ARN
    actions: frozenset[str]
    conditions: Mapping[str, tuple[str, ...]]

    def covers(self, action: str) -> bool:
        return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in self.actions)

    def names(self, principal: str) -> bool:
        return bool(self.principals & {ANYBODY, principal})

    @property
    def keeps_strangers_out(self) -> bool:
        """Does it name accounts or roles of somebody's, or bind services and everybody to an account or an ARN?"""
        is_open = any(name == ANYBODY or name.endswith((".amazonaws.com", ".amazonaws.com.cn")) for name in self.principals)
        return not is_open or bool(_KEEP_OUT & self.conditions.keys())


def parse_policy(text: str) -> tuple[Statement, ...]:
    """The statements of a policy, none for "". Raises ValueError for what is no policy."""
    if not text:
        return ()
    document = json.loads(text)
    statements = document.get("Statement") if isinstance(document, dict) else None
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not all(isinstance(one, dict) for one in statements):
        raise ValueError("the policy has no list of statements")
    return tuple(map(_statement, statements))


def admits(statements: Iterable[Statement], action: str, *, service: str, source_arn: str) -> bool:
    """May that service do this for the resource of that ARN? Conditions other than on the source are taken to hold."""
    covering = [one for one in statements if one.covers(action) and one.names(service)]
    if any(not one.allows and not one.conditions for one in covering):
        return False
    return any(one.allows and _fits(one.conditions, source_arn) for one in covering)


def strangers(statements: Iterable[Statement], action: str) -> tuple[str, ...]:
    """Whom of other accounts the policy admits: anybody, or a service on behalf of anybody."""
    open_ones = [one for one in statements if one.allows and one.covers(action) and not one.keeps_strangers_out]
    return tuple(sorted({name for one in open_ones for name in one.principals}))


def _fits(conditions: Mapping[str, tuple[str, ...]], source_arn: str) -> bool:
    account = source_arn.split(":")[4] if source_arn.count(":") >= 5 else ""
    arns, accounts = conditions.get(_SOURCE_ARN), conditions.get("aws:sourceaccount")
    return (arns is None or any(fnmatchcase(source_arn, pattern) for pattern in arns)) and (
        accounts is None or not account or account in accounts
    )


def _statement(raw: Mapping[str, Any]) -> Statement:
    return Statement(
        allows=raw.get("Effect") == "Allow",
        principals=frozenset(_principals(raw.get("Principal"))),
        actions=frozenset(_texts(raw.get("Action"))),
        conditions=dict(_conditions(raw.get("Condition"))),
    )


def _principals(raw: object) -> Iterator[str]:
    if isinstance(raw, dict):
        for names in raw.values():
            yield from _texts(names)
    else:
        yield from _texts(raw)


def _conditions(raw: object) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Negative operators keep nobody in particular out: they are left under a name that means nothing to us."""
    for operator, keys in raw.items() if isinstance(raw, dict) else ():
        for key, values in keys.items() if isinstance(keys, dict) else ():
            name = f"not {key.lower()}" if "Not" in str(operator) else str(key).lower()
            yield name, tuple(_texts(values))


def _texts(raw: object) -> Iterator[str]:
    if isinstance(raw, str):
        yield raw
    elif isinstance(raw, list):
        yield from (one for one in raw if isinstance(one, str))
