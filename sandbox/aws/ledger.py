"""Who called what: every operation that was asked for, by the words with which its client introduced itself."""

import threading
from collections import Counter


class Ledger:
    """Safe to use from any thread."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()

    def note(self, user_agent: str, service: str, operation: str) -> None:
        with self._lock:
            self._calls[user_agent, service, operation] += 1

    def calls_by(self, word: str) -> Counter[tuple[str, str]]:
        """How often clients whose User-Agent has that word called each (service, operation)."""
        found: Counter[tuple[str, str]] = Counter()
        with self._lock:
            for (user_agent, service, operation), count in self._calls.items():
                if word in user_agent.split():
                    found[service, operation] += count
        return found
