"""The last look: where a call leaves this process, whoever began it is asked once more whether it still may.

The guards set it for the calls that they let through; AWS's clients look before each attempt, retries included, and the
schedulers' commands before each start. Where nobody set anything there is nothing to look at.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

Check = Callable[[], None]  # raises where the call may not be made


def _allow() -> None:
    pass


_check: ContextVar[Check] = ContextVar("check", default=_allow)


def last_look() -> None:
    """Raises LeaseLost where this call was begun by a holder that is none any more."""
    _check.get()()


@contextlib.contextmanager
def looking(check: Check) -> Iterator[None]:
    """`last_look` is that check, for this task and those that it starts meanwhile."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)
