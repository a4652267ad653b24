"""The wire between a service and the outside, on which any call can be made its last."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


class Killed(BaseException):
    """SIGKILL, as far as the service can tell: nothing catches it."""


@dataclass
class Wire:
    """Every call to the outside goes over it. At call number `at` it does what it was told to, before or after the effect."""

    at: int = 0
    after: bool = False
    failure: Callable[[str], BaseException] = Killed
    calls: int = 0
    verbs: list[str] = field(default_factory=list)

    async def carry(self, verb: str, call: Callable[[], Awaitable[Any]]) -> Any:
        self.calls += 1
        self.verbs.append(verb)
        mine = self.calls == self.at
        if mine and not self.after:
            raise self.failure(verb)
        answer = await call()
        if mine:
            raise self.failure(verb)
        return answer


def wired(target: object, wire: Wire, *verbs: str) -> None:
    """Put the wire between the service and these methods of a fake."""
    for verb in verbs:
        method = getattr(target, verb)

        def carried(*args: Any, _method: Any = method, _verb: str = verb, **kwargs: Any) -> Awaitable[Any]:
            return wire.carry(_verb, lambda: _method(*args, **kwargs))

        setattr(target, verb, carried)


class Wired:
    """A stand-in for what cannot be changed: these methods go over the wire, everything else as it is."""

    def __init__(self, target: object, wire: Wire, *verbs: str) -> None:
        self._target, self._wire, self._verbs = target, wire, verbs

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in self._verbs:
            return found
        return lambda *args, **kwargs: self._wire.carry(name, lambda: found(*args, **kwargs))
