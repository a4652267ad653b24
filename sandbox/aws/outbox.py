"""What AWS sends by itself leaves in order and in the background: no API call waits for it."""

import logging
import queue
import threading
from collections.abc import Callable

from sandbox.aws.notices import Notice

_log = logging.getLogger(__name__)


class Outbox:
    """Publishes notices one after the other, in a thread, or at once in stepped time."""

    def __init__(self, publish: Callable[[Notice], None], *, stepped: bool) -> None:
        self._publish = publish
        self._stepped = stepped
        self._waiting: queue.SimpleQueue[Notice | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sandbox-outbox", daemon=True)
        self.failures: list[str] = []  # notices nobody could take: a topic or queue that is not there

    def put(self, notice: Notice) -> None:
        """Have a notice sent."""
        if self._stepped:
            self._send(notice)
        else:
            self._waiting.put(notice)

    def start(self) -> None:
        """Begin to send."""
        if not self._stepped:
            self._thread.start()

    def stop(self) -> None:
        """Send what waits, then end."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (notice := self._waiting.get()) is not None:
            self._send(notice)

    def _send(self, notice: Notice) -> None:
        try:
            self._publish(notice)
        except Exception as err:  # noqa: BLE001 - best effort, as AWS's notifications are
            self.failures.append(f"{type(err).__name__}: {err}")
            _log.debug("a notice was lost: %s", err)
