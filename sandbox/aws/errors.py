"""Errors the emulated services answer with: AWS's code, AWS's words, the HTTP status AWS uses."""


class AwsError(Exception):
    """An answer, not an accident: it is rendered in the protocol of the call that raised it."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def validation_error(message: str) -> AwsError:
    """Auto Scaling's one code for everything it does not like about a call."""
    return AwsError("ValidationError", message)


def unknown_group(name: str) -> AwsError:
    """What Auto Scaling says of a group that is not there."""
    return validation_error(f"AutoScalingGroup name not found - AutoScalingGroup {name!r} not found")


def unknown_managed_instance(instance_id: str) -> AwsError:
    """What Auto Scaling says of an instance that none of its groups holds."""
    return validation_error(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")
