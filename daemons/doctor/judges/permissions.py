"""Whether the head's role may do what the services do, action by action."""

import re
from dataclasses import dataclass

from daemons.doctor.findings import Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`allowed` is None where nothing but the call itself could tell. `how` says who was asked."""

    action: str
    resource: str
    allowed: bool | None
    how: str


def check_permission(verdict: Verdict) -> Finding:
    severity = {True: Severity.OK, False: Severity.ERROR, None: Severity.NOTE}[verdict.allowed]
    said = {True: "allowed", False: "not allowed", None: "not tried, because trying would have an effect"}[verdict.allowed]
    remedy = {
        True: "",
        False: f"allow {verdict.action} on {verdict.resource}: put `headnode iam render --role head` on its role",
        None: "allow iam:SimulatePrincipalPolicy and iam:GetRole (`headnode iam render --role doctor`), and IAM itself is asked",
    }[verdict.allowed]
    return Finding(
        id=permission_id(verdict.action),
        severity=severity,
        looked_at=f"{verdict.action} on {verdict.resource}",
        found=f"{said} ({verdict.how})",
        remedy=remedy,
    )


def permission_id(action: str) -> str:
    """`permission-dynamodb-put-item` of `dynamodb:PutItem`."""
    service, _, name = action.partition(":")
    return f"permission-{service}-{re.sub(r'(?<!^)(?=[A-Z])', '-', name).lower()}"


def is_denial(code: str) -> bool:
    """Is that error code of AWS's about what we may do, and not about what we asked?"""
    return "AccessDenied" in code or code in (
        "UnauthorizedOperation",
        "AuthorizationError",
        "NotAuthorized",
        "Client.UnauthorizedOperation",
    )


def role_name(arn: str) -> str:
    """The role of `arn:aws:sts::…:assumed-role/NAME/SESSION`, "" for somebody who is no role."""
    kind, _, rest = arn.rpartition(":")[2].partition("/")
    return rest.partition("/")[0] if kind == "assumed-role" else ""
