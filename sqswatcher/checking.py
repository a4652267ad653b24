"""What may be read of a message: all of it, unless somebody checks where it comes from."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from daemons.config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The part of a body that may be acted on, or why none of it may and what an operator can do about that."""

    body: str = ""
    refused: str = ""
    hint: str = ""


Check = Callable[[str], Awaitable[Checked]]


async def take_as_it_is(body: str) -> Checked:
    return Checked(body=body)


def checker(config: Config) -> Check:
    """Raises ConfigError where signatures are to be checked and what that takes is not installed."""
    if not config.sqswatcher.verify_sns:
        return take_as_it_is
    from sqswatcher.signatures import Signatures, fetch_certificate  # noqa: PLC0415  it costs memory

    return Signatures(config.sqswatcher.topics, fetch=fetch_certificate, clock=time.time).check
