"""What a job asks of its nodes' features: `a&b|c`, `(a|b)&c`. Pure."""

import re

_TOKEN = re.compile(r"[A-Za-z0-9_.:/+-]+|[&|()]")
_ALTERNATIVES = 100

Alternatives = tuple[frozenset[str], ...]


def parse_features(text: str) -> Alternatives:
    """The alternatives, any of which a node may have: `a&b|c` is {a, b} or {c}.

    As slurmctld does, `&` and `|` are taken from left to right with the same weight, and parentheses group. Raises ValueError for
    anything else, counts and brackets included.
    """
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text:
        raise ValueError(f"{text!r} is no plain feature expression")
    alternatives, rest = _expression(tokens)
    if rest:
        raise ValueError(f"{text!r} does not balance its parentheses")
    return tuple(dict.fromkeys(alternatives))


def _expression(tokens: list[str]) -> tuple[Alternatives, list[str]]:
    alternatives, rest = _term(tokens)
    while rest and rest[0] in "&|":
        operator = rest[0]
        more, rest = _term(rest[1:])
        alternatives = alternatives + more if operator == "|" else tuple(one | other for one in alternatives for other in more)
        if len(alternatives) > _ALTERNATIVES:
            raise ValueError(f"more than {_ALTERNATIVES} alternatives")
    return alternatives, rest


def _term(tokens: list[str]) -> tuple[Alternatives, list[str]]:
    if not tokens or tokens[0] in "&|)":
        raise ValueError("a feature is missing")
    if tokens[0] != "(":
        return (frozenset({tokens[0]}),), tokens[1:]
    alternatives, rest = _expression(tokens[1:])
    if not rest or rest[0] != ")":
        raise ValueError("a parenthesis is not closed")
    return alternatives, rest[1:]
