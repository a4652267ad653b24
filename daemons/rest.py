"""A service rests while nothing is due: it goes on asking what would wake it, and leaves out the rest of its look."""

from collections.abc import Hashable


class Rest:
    """Whether another whole look may wait, since the last one left nothing to be done before a time unless something stirs.

    `signs` are what would show that something has stirred: the same signs, the same world as far as this service cares.
    """

    def __init__(self) -> None:
        self._span: tuple[float, float] | None = None
        self._signs: Hashable = None

    def begin(self, *, now: float, until: float, signs: Hashable) -> None:
        """There is nothing to do before `until`, seconds on the clock of `now`, as long as `signs` are what they are."""
        self._span, self._signs = (now, until), signs

    def end(self) -> None:
        self._span = None

    def lasts(self, now: float) -> bool:
        """Is it not over by the clock? One that was set back ends it: nobody knows how long it has lasted then."""
        return self._span is not None and self._span[0] <= now < self._span[1]

    def is_undisturbed(self, signs: Hashable) -> bool:
        return self._span is not None and signs == self._signs
