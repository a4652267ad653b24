"""Who we are to AWS, where it is, and whether we agree with it about the time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from daemons.doctor.findings import Finding, Severity, judged

CLOSE_S, REFUSED_S = 5.0, 240.0  # AWS refuses requests that are five minutes off
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """AWS's answer to "who am I?". `ahead_s` is how far this machine's clock is ahead of AWS's, as far as whole seconds tell."""

    account: str
    arn: str
    ahead_s: float


def check_credentials(caller: Caller) -> Finding:
    is_root = caller.arn.endswith(":root")
    severity = Severity.WARNING if is_root else Severity.NOTE
    return judged(
        "aws-credentials",
        "sts GetCallerIdentity",
        f"we are {caller.arn}",
        holds=":assumed-role/" in caller.arn,
        otherwise=severity,
        remedy="give the head node an instance profile with the policy of `headnode iam render --role head`",
    )


def check_account(caller: Caller, queue: str) -> Finding:
    owner = urlsplit(queue).path.strip("/").partition("/")[0] if "://" in queue else ""
    return judged(
        "aws-account",
        f"the account of queue {queue}",
        f"the queue is in account {owner}, we are in {caller.account}" if owner else f"we are in account {caller.account}",
        holds=owner in ("", caller.account),
        otherwise=Severity.WARNING,
        remedy=f"set queue to the one of account {caller.account}, or use that account's credentials",
    )


def check_clock(ahead_s: float) -> Finding:
    """By how much this machine's clock is ahead of AWS's."""
    off_s = abs(ahead_s)
    way = "ahead of" if ahead_s > 0 else "behind"
    return judged(
        "aws-clock",
        "this machine's clock against AWS's",
        f"it is {off_s:.0f} s {way} AWS's" if off_s >= 1 else "they agree",
        holds=off_s <= CLOSE_S,
        otherwise=Severity.WARNING if off_s <= REFUSED_S else Severity.ERROR,
        remedy="run a time service (systemctl enable --now chrony; server 169.254.169.123), and set the clock: chronyc makestep",
    )


def check_region(region: str, known: Iterable[str]) -> Finding:
    return judged(
        "aws-region",
        "region",
        f"{region} is {'known' if region in (regions := set(known)) else 'unknown to botocore'}",
        holds=region in regions,
        otherwise=Severity.WARNING,
        remedy='correct region in the configuration, such as region = "eu-west-1"',
    )


def check_endpoints(region: str, endpoints: Mapping[str, str]) -> tuple[Finding, ...]:
    """Each address of our own choice: in another region, or not encrypted."""
    return tuple(_check_endpoint(region, name, url) for name, url in endpoints.items()) or (
        Finding(id="aws-endpoint", severity=Severity.OK, looked_at="endpoints", found="AWS's own"),
    )


def _check_endpoint(region: str, name: str, url: str) -> Finding:
    host = urlsplit(url).hostname or ""
    labels = host.split(".")
    elsewhere = "amazonaws" in labels and any(_is_region(label) and label != region for label in labels)
    open_line = url.startswith("http://") and host not in _LOOPBACK
    wrong = f"in another region than {region}" if elsewhere else "not encrypted" if open_line else "as it should be"
    return judged(
        "aws-endpoint",
        f"endpoints.{name}",
        f"{url} is {wrong}",
        holds=not elsewhere and not open_line,
        otherwise=Severity.ERROR if elsewhere else Severity.WARNING,
        remedy=f"correct endpoints.{name}" if elsewhere else f"set endpoints.{name} to an https:// address",
    )


def _is_region(label: str) -> bool:
    parts = label.split("-")
    return len(parts) >= 3 and parts[-1].isdigit() and parts[0].isalpha() and len(parts[0]) in (2, 3)
