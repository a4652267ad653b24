"""What may be read of a message: all of it, unless somebody checks where it comes from."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The part of a body that may be acted on, or why none of it may."""

    body: str = ""
    refused: str = ""


Check = Callable[[str], Awaitable[Checked]]


async def take_as_it_is(body: str) -> Checked:
    return Checked(body=body)
