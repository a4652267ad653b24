"""The sandbox's time: the machine's clock, or one that tests move by hand."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time in Unix seconds."""

    def now(self) -> float:
        """Unix seconds."""
        ...


class WallClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()


class ManualClock:
    """Stands still until someone moves it; `SandboxAws.advance` does, running what falls due on the way."""

    def __init__(self, start: float = 1_795_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Unix seconds."""
        return self._now

    def move_to(self, at: float) -> None:
        """Set the time; it never goes back."""
        self._now = max(self._now, at)
