"""An administrator's drain, as a plugin makes it for them: what all plugins say of it. Pure."""

from schedulers.base import DRAIN_MARK, NodeResult, Outcome

_OURS = "headnode has drained it itself, to end it: `headnode hold` makes it give that up"


def administrators_reason(words: str) -> str:
    """A reason that does not read as one of ours, nor as none."""
    while words.startswith(DRAIN_MARK):
        words = words.removeprefix(DRAIN_MARK).strip()
    return words or "drained by an administrator"


def set_aside(*, is_drained: bool, by_us: bool, said: str) -> NodeResult:
    """What became of a node that was to be an administrator's: how it is now, and what the scheduler complained about."""
    if by_us:
        return NodeResult(outcome=Outcome.REFUSED, detail=_OURS)
    if is_drained:
        return NodeResult(outcome=Outcome.DONE)
    return NodeResult(outcome=Outcome.UNKNOWN, detail=" ".join(said.split())[:300] or "it still takes jobs")


def given_back(*, is_drained: bool, by_us: bool, said: str) -> NodeResult:
    """What became of a node whose drain was to be taken back."""
    if not is_drained:
        return NodeResult(outcome=Outcome.DONE)
    if by_us:
        return NodeResult(outcome=Outcome.REFUSED, detail=_OURS)
    return NodeResult(outcome=Outcome.UNKNOWN, detail=" ".join(said.split())[:300] or "it is still drained")
