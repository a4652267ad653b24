"""Where a service stands: alone, or as one of two heads. What it is made of is made anew for each term."""

import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar
from uuid import uuid4

from daemons.aws.leases import DynamoLeases
from daemons.aws.session import Clients
from daemons.config import Config
from daemons.ha.leadership import Leadership, Term
from daemons.loop import Gate

T = TypeVar("T")


def head_name(config: Config) -> str:
    """What this head is called: as configured, else its host name."""
    return config.ha.name or socket.gethostname()


class Standing:
    """`leadership` None: there is no other head."""

    def __init__(self, leadership: Leadership | None) -> None:
        self._leadership = leadership

    @property
    def gate(self) -> Gate | None:
        return None if self._leadership is None else self._leadership.gate

    @property
    def term(self) -> Term | None:
        """None: no lease is needed. Raises LeaseLost where one is, and this head does not hold it."""
        return None if self._leadership is None else self._leadership.term


class EachTerm(Generic[T]):
    """What is made anew when a term begins: nothing that was remembered in an earlier one is true without another look."""

    def __init__(self, standing: Standing, make: Callable[[Term | None], T]) -> None:
        self._standing = standing
        self._make = make
        self._made: tuple[Term | None, T] | None = None

    def get(self) -> T:
        """Raises LeaseLost like `Standing.term`."""
        term = self._standing.term
        if self._made is None or self._made[0] is not term:
            self._made = term, self._make(term)
        return self._made[1]


@contextlib.asynccontextmanager
async def standing(config: Config, service: str, clients: Clients, *, acts: bool = True) -> AsyncIterator[Standing]:
    """One of two heads if the configuration says so. Who only decides (`acts` False) needs no lease and takes none."""
    if not config.ha.enabled or not acts:
        yield Standing(None)
        return
    leadership = Leadership(
        DynamoLeases(clients, table=config.table),
        service=service,
        name=head_name(config),
        token=uuid4().hex,
        lease_s=config.ha.lease_s,
        renew_s=config.ha.renew_s,
        clock=time.time,
    )
    async with leadership.kept():
        yield Standing(leadership)
