"""Two heads on one cluster of fakes: a clock to turn, a wire on which the holder can be held still at any call, and a ledger of
who did what while who held the lease.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemons.errors import HeadnodeError
from daemons.ha.leadership import Leadership, Term
from daemons.ha.standing import EachTerm, Standing
from tests.crash.wire import Wired
from tests.fakes import FakeLeases

LEASE_S, RENEW_S = 20.0, 4.0


@dataclass
class Clock:
    now: float = 1_800_000_000.0
    awake: float = 1_000.0

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.awake += seconds


@dataclass
class Ledger:
    """What was done to the world: by whom, and who held the lease at that moment."""

    leases: FakeLeases
    service: str
    deeds: list[tuple[str, str, str]] = field(default_factory=list)

    def of(self, head: str) -> "Entry":
        return Entry(self, head)

    @property
    def wrong(self) -> list[tuple[str, str, str]]:
        return [deed for deed in self.deeds if deed[0] != deed[2]]


@dataclass
class Entry:
    ledger: Ledger
    head: str

    async def carry(self, verb: str, call: Callable[[], Awaitable[Any]]) -> Any:
        self.ledger.deeds.append((self.head, verb, self.ledger.leases.holder(self.ledger.service)))
        return await call()


@dataclass
class Pause:
    """The wire of one head: at its call number `at` the whole head stands still, until `meanwhile` is over."""

    at: int = 0
    meanwhile: Callable[[], Awaitable[None]] | None = None
    calls: int = 0
    verbs: list[str] = field(default_factory=list)

    async def carry(self, verb: str, call: Callable[[], Awaitable[Any]]) -> Any:
        self.calls += 1
        self.verbs.append(verb)
        if self.calls == self.at and self.meanwhile is not None:
            await self.meanwhile()
        return await call()


Make = Callable[["Head", Term | None], Callable[[], Awaitable[None]]]  # a service of this head for this term: its cycle


class Head:
    """One service of one head, as its process has it: the lease, what it is made of in each term, its cycles."""

    def __init__(self, name: str, ledger: Ledger, clock: Clock, make: Make) -> None:
        self.name = name
        self.ledger = ledger
        self.clock = clock
        self.wire = Pause()
        self.leadership = Leadership(
            ledger.leases,
            service=ledger.service,
            name=name,
            token=f"{name}-process",
            lease_s=LEASE_S,
            renew_s=RENEW_S,
            clock=lambda: clock.now,
            awake=lambda: clock.awake,
        )
        self._service = EachTerm(Standing(self.leadership), lambda term: make(self, term))

    @property
    def is_on(self) -> bool:
        return self.leadership.is_on

    async def turn(self) -> None:
        """What is due for the lease, and a cycle if it is held. What fails is tried again some other time, as the loop does."""
        await self.leadership.tick()
        if self.is_on:
            try:
                await self._service.get()()
            except HeadnodeError as err:
                if not err.transient:
                    raise

    def noted(self, fake: object, *verbs: str) -> Any:
        """The fake, with these of its calls in the ledger: below the guard, where things are done."""
        return Wired(fake, self.ledger.of(self.name), *verbs)  # type: ignore[arg-type]  # carries as a wire does

    def wired(self, guarded: object, *verbs: str) -> Any:
        """What the service holds in its hands: each of these calls can be where the head is held still."""
        return Wired(guarded, self.wire, *verbs)  # type: ignore[arg-type]


@dataclass
class Heads:
    """The two, and how often the lease was wrested from one that stood still, and how long that took."""

    clock: Clock
    one: Head
    other: Head
    between: Callable[[], None] = lambda: None  # what the world does before somebody takes a turn
    took_s: list[float] = field(default_factory=list)

    def hold_still(self, at: int) -> None:
        """The first head will stand still at that call, until the other has taken over and done its work."""
        self.one.wire.at = at
        self.one.wire.meanwhile = self._fail_over

    async def _fail_over(self) -> None:
        begun = self.clock.awake
        while not self.other.is_on:
            wait_s = await self.other.leadership.tick()
            if not self.other.is_on:
                self.clock.pass_time(wait_s)
        self.took_s.append(self.clock.awake - begun)
        self.between()
        await self.other.turn()

    async def turns(self, *, after_s: float = 0.0) -> None:
        """Time passes in the heads' rhythm, then each takes a turn."""
        left_s = after_s
        while left_s > 0:
            self.clock.pass_time(min(left_s, 1.0))
            left_s -= 1.0
            for head in self.both:
                await head.leadership.tick()
        for head in self.both:
            self.between()
            await head.turn()

    @property
    def both(self) -> Sequence[Head]:
        return (self.one, self.other)


def heads(service: str, make: Make) -> Heads:
    clock = Clock()
    ledger = Ledger(FakeLeases(), service)
    return Heads(clock, Head("one", ledger, clock, make), Head("other", ledger, clock, make))
