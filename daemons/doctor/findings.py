"""What the doctor says of one thing: how bad it is, what was looked at, what was found, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is, from harmless to what keeps the cluster from working."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


_RANK = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`id` names the check and never changes; the same check of another group or topic has the same id and another
    `looked_at`. `remedy` is a command or a setting, "" where nothing is to be done.
    """

    id: str
    severity: Severity
    looked_at: str
    found: str
    remedy: str = ""


def judged(check: str, looked_at: str, found: str, *, holds: bool, remedy: str, otherwise: Severity = Severity.ERROR) -> Finding:
    """A finding that is OK if it `holds`, and `otherwise` that bad, with the remedy."""
    severity = Severity.OK if holds else otherwise
    return Finding(id=check, severity=severity, looked_at=looked_at, found=found, remedy="" if holds else remedy)


def worst(findings: Iterable[Finding]) -> Severity:
    """The worst of them; OK for none."""
    return max((finding.severity for finding in findings), key=_RANK.__getitem__, default=Severity.OK)
