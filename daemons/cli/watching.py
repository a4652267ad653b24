"""What goes on until somebody has seen enough: `--watch` and `--follow`."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM)


class Watch:
    """`goes_on` waits for the time of the next look; False once it is over."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self.is_over = False

    def goes_on(self) -> bool:
        if not self.is_over:
            time.sleep(self._every_s)
        return not self.is_over

    def end(self, *_: object) -> NoReturn:
        """A signal's handler. What it raises may land where somebody else takes it for his: then the next look is the last."""
        self.is_over = True
        raise KeyboardInterrupt


@contextlib.contextmanager
def watching(every_s: float = 0.0) -> Iterator[Watch]:
    """Until Ctrl-C, SIGTERM, or until who reads the output has gone: none of these is an error, and nothing is said of them."""
    watch = Watch(every_s)
    heeds = threading.current_thread() is threading.main_thread()
    heeded = [number for number in _ENDING if heeds and signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, watch.end) for number in heeded}
    try:
        yield watch
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python flushes at its end goes there
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
