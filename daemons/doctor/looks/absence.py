"""AWS's many ways to say that something is not there."""

_WORDS = ("NonExistent", "DoesNotExist", "NotFound", "NoSuch")


def is_absent(code: str) -> bool:
    return any(word in code for word in _WORDS)
