"""Trouble on demand: throttles, server errors, lost connections and slow answers for calls; unreliable delivery of messages.

Rules touch callers from outside only; the sandbox's own publishing sees message faults and nothing else. Every draw
comes from the sandbox's seed.
"""

import threading
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Literal

from sandbox.aws.errors import AwsError

Kind = Literal["error", "drop-before", "drop-after", "slow"]

_RATE = "Rate exceeded"
_THROTTLES: dict[str, AwsError] = {
    "ec2": AwsError("RequestLimitExceeded", "Request limit exceeded.", status=503),
    "dynamodb": AwsError(
        "ProvisionedThroughputExceededException", "The level of configured provisioned throughput was exceeded."
    ),
    "sqs": AwsError("RequestThrottled", "Request is throttled.", status=403),
    "logs": AwsError("ThrottlingException", _RATE),
    "sns": AwsError("Throttling", _RATE),
}
_DEFAULT_THROTTLE = AwsError("Throttling", _RATE)
_SERVER_ERRORS = {
    "sqs": "InternalError",
    "dynamodb": "InternalServerError",
    "ec2": "InternalError",
    "autoscaling": "InternalFailure",
}


@dataclass(slots=True, kw_only=True)
class Rule:
    """A standing fault. `calls` counts down the calls it still hits (None: no end); it acts once `probability` says so."""

    kind: Kind
    service: str
    operation: str | None = None
    probability: float = 1.0
    calls: int | None = None
    error: AwsError | None = None
    delay_s: float = 0.0

    def matches(self, service: str, operation: str) -> bool:
        """Whether it is about this call and has not run out."""
        return self.service in (service, "*") and self.operation in (None, operation) and self.calls != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFaults:
    """How badly the queue delivers; shares of messages between 0 and 1. Delays are drawn evenly up to `longest_delay_s`."""

    duplicate: float = 0.0
    delay: float = 0.0
    longest_delay_s: float = 1.0
    reorder: float = 0.0
    drop: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of one message. `place` is where in the queue it goes, 0 front to 1 end; None is its own place."""

    copies: int = 1
    delay_s: float = 0.0
    place: float | None = None


class Faults:
    """The rules in force and a count of all calls from outside. Safe to use from any thread."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._rules: list[Rule] = []
        self._calls: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self.messages = MessageFaults()

    def throttle(
        self,
        service: str,
        operation: str | None = None,
        *,
        calls: int | None = None,
        probability: float = 1.0,
        code: str | None = None,
    ) -> None:
        """Refuse calls for their rate, in the service's own words; `code` replaces its code (PriorRequestNotComplete)."""
        error = _THROTTLES.get(service, _DEFAULT_THROTTLE)
        if code:
            error = AwsError(code, _RATE)
        self.fail(service, operation, error=error, calls=calls, probability=probability)

    def server_error(
        self, service: str, operation: str | None = None, *, calls: int | None = None, probability: float = 1.0
    ) -> None:
        """Answer with HTTP status 500, before any effect."""
        code = _SERVER_ERRORS.get(service, "InternalFailure")
        error = AwsError(code, "We encountered an internal error. Please try again.", status=500)
        self.fail(service, operation, error=error, calls=calls, probability=probability)

    def fail(
        self,
        service: str,
        operation: str | None = None,
        *,
        error: AwsError,
        calls: int | None = None,
        probability: float = 1.0,
    ) -> None:
        """Answer with any error, AccessDenied for instance, before any effect."""
        rule = Rule(kind="error", service=service, operation=operation, error=error, calls=calls, probability=probability)
        self._add(rule)

    def drop(
        self,
        service: str,
        operation: str | None = None,
        *,
        after_effect: bool,
        calls: int | None = None,
        probability: float = 1.0,
    ) -> None:
        """Cut the connection instead of answering, before or after the call took effect."""
        kind: Kind = "drop-after" if after_effect else "drop-before"
        self._add(Rule(kind=kind, service=service, operation=operation, calls=calls, probability=probability))

    def slow(
        self,
        service: str,
        operation: str | None = None,
        *,
        delay_s: float,
        calls: int | None = None,
        probability: float = 1.0,
    ) -> None:
        """Take effect and answer only after `delay_s`."""
        rule = Rule(kind="slow", service=service, operation=operation, delay_s=delay_s, calls=calls, probability=probability)
        self._add(rule)

    def _add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        """No faults any more, of calls or of messages. Counts stay."""
        with self._lock:
            self._rules.clear()
            self.messages = MessageFaults()

    def strike(self, service: str, operation: str) -> tuple[Rule, ...]:
        """Count a call and draw the faults that hit it, in the order the rules were made."""
        with self._lock:
            self._calls[service, operation] += 1
            struck = []
            for rule in self._rules:
                if not rule.matches(service, operation) or self._random.random() >= rule.probability:
                    continue
                if rule.calls is not None:
                    rule.calls -= 1
                struck.append(rule)
            return tuple(struck)

    def draw_fate(self) -> Fate:
        """What becomes of the next message."""
        with self._lock:
            faults, draw = self.messages, self._random.random
            if draw() < faults.drop:
                return Fate(copies=0)
            return Fate(
                copies=2 if draw() < faults.duplicate else 1,
                delay_s=draw() * faults.longest_delay_s if draw() < faults.delay else 0.0,
                place=draw() if draw() < faults.reorder else None,
            )

    def count(self, service: str, operation: str | None = None) -> int:
        """How many calls came in since the last reset, failed ones included."""
        with self._lock:
            return sum(n for (name, one), n in self._calls.items() if name == service and operation in (None, one))

    def counts(self) -> dict[tuple[str, str], int]:
        """The same for every (service, operation) seen."""
        with self._lock:
            return dict(self._calls)

    def reset_counts(self) -> None:
        """Start counting anew."""
        with self._lock:
            self._calls.clear()
