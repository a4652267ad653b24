"""Every error that headnode raises on purpose: one base, a stable code, facts as fields and a hint for the operator."""

from typing import ClassVar


class HeadnodeError(Exception):
    """Base of all. `facts` are values worth logging; `hint` is the operator's next step, "" where there is none."""

    code: ClassVar[str] = "headnode-error"
    transient: ClassVar[bool] = False  # may the next cycle simply try again?

    def __init__(self, message: str, *, hint: str = "", **facts: object) -> None:
        super().__init__(message)
        self.hint = hint
        self.facts = facts

    def to_event(self) -> dict[str, object]:
        """The error as fields of a log line."""
        return {**self.facts, "code": self.code, "error": str(self), "hint": self.hint}


class InvalidValue(HeadnodeError):
    """A string from outside (a hostname, an id, an address) is not what its name says. Nothing was done with it."""

    code = "invalid-value"


class ConfigError(HeadnodeError):
    """The configuration cannot be used. `problems` holds every problem found, in the file's order."""

    code = "config-invalid"

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), hint: str = "", **facts: object) -> None:
        super().__init__(message, hint=hint, **facts)
        self.problems = problems


class SchedulerUnavailable(HeadnodeError):
    """The scheduler gave no usable answer. What a command was to change may or may not have happened: read again."""

    code = "scheduler-unavailable"
    transient = True


class SchedulerRefused(HeadnodeError):
    """The scheduler answered and said no, for a reason that repeating the same call will not change."""

    code = "scheduler-refused"


class AwsUnavailable(HeadnodeError):
    """AWS gave no usable answer after its client's own retries (throttled, 5xx, no connection). The effect is unknown."""

    code = "aws-unavailable"
    transient = True


class CutShort(AwsUnavailable):
    """Told to stop, the service waited no longer for this answer. As from any answer that did not come, nothing follows."""

    code = "cut-short"


class AwsRefused(HeadnodeError):
    """AWS answered and said no: missing permission, missing resource, or a bound. `error_code` is AWS's own code."""

    code = "aws-refused"

    def __init__(self, message: str, *, error_code: str, hint: str = "", **facts: object) -> None:
        super().__init__(message, hint=hint, error_code=error_code, **facts)
        self.error_code = error_code


class StaleRow(HeadnodeError):
    """Somebody else moved this row first. Read it again and plan anew."""

    code = "row-stale"
    transient = True


class LeaseLost(HeadnodeError):
    """The other head acts for this service now, or may before long: nothing was begun. What was planned is void."""

    code = "lease-lost"
    transient = True
