"""Timed work under one lock: the only place where the emulation waits."""

import heapq
import itertools
import logging
import threading
from collections.abc import Callable

from sandbox.aws.clock import Clock, ManualClock

_log = logging.getLogger(__name__)

Action = Callable[[], None]


class Agenda:
    """Runs actions when they fall due, in order of due time, holding `lock`, which also guards all state they touch."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._heap: list[tuple[float, int, Action]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def stepped(self) -> bool:
        """Whether time moves by hand; background work then runs at once, in the caller's thread."""
        return isinstance(self.clock, ManualClock)

    def after(self, delay_s: float, action: Action) -> None:
        """Have `action` run once, `delay_s` from now."""
        with self._changed:
            heapq.heappush(self._heap, (self.clock.now() + delay_s, next(self._order), action))
            self._changed.notify()

    def run_due(self) -> float | None:
        """Run all that is due; the due time of what comes next, None if nothing does."""
        with self.lock:
            while self._heap and self._heap[0][0] <= self.clock.now():
                heapq.heappop(self._heap)[2]()
            return self._heap[0][0] if self._heap else None

    def advance(self, seconds: float) -> None:
        """Move a manual clock forward, stopping at every action that falls due on the way."""
        if not isinstance(self.clock, ManualClock):
            raise TypeError("only a sandbox with a ManualClock can be advanced by hand")
        target = self.clock.now() + seconds
        while (due := self.run_due()) is not None and due <= target:
            self.clock.move_to(due)
        self.clock.move_to(target)
        self.run_due()

    def start(self) -> None:
        """Begin to run due actions in a thread, unless time moves by hand."""
        if not self.stepped:
            self._thread = threading.Thread(target=self._run, name="sandbox-agenda", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Drop what is not due yet and end the thread. Repeatable."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()

    def _run_on(self) -> float | None:
        while True:
            try:
                return self.run_due()
            except Exception:  # noqa: BLE001 - one action's failure must not stop time for the others
                _log.exception("an action of the sandbox's agenda failed")

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                due = self._run_on()
                self._changed.wait(None if due is None else max(0.0, due - self.clock.now()))


class Errands:
    """Work that must not hold the lock or its caller: each errand gets a thread, or runs at once in stepped time."""

    def __init__(self, *, stepped: bool) -> None:
        self._stepped = stepped

    def run(self, errand: Action) -> None:
        """Start `errand`, which deals with its own exceptions."""
        if self._stepped:
            errand()
        else:
            threading.Thread(target=errand, name="sandbox-errand", daemon=True).start()
