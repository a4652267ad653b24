"""A command on a terminal, and what is to be seen there."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable

import pyte

DEADLINE_S = 120.0


class Terminal:
    """A process on a terminal of that size, and what is to be seen there."""

    def __init__(self, *argv: str, lines: int, columns: int) -> None:
        self.outside, self.inside = pty.openpty()
        self.resize(lines, columns)
        self.before = termios.tcgetattr(self.inside)
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from daemons.cli import main; main()", *argv],
            stdin=self.inside,
            stdout=self.inside,
            stderr=self.inside,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.written = b""

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.outside, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self.outside, keys.encode())

    def shows(self, what: Callable[[list[str]], bool]) -> list[str]:
        """The lines, once they are so. Fails with what is seen instead."""
        self._read_until(lambda: what(self.lines))
        return self.lines

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    def ends(self) -> int:
        self._read_until(lambda: self.process.poll() is not None)
        with contextlib.suppress(AssertionError):
            self._read_until(lambda: False, within_s=0.1)
        return self.process.wait(DEADLINE_S)

    def _read_until(self, so: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
        give_up_at = time.monotonic() + within_s
        while not so():
            assert time.monotonic() < give_up_at, "\n".join(self.lines)
            if select.select([self.outside], [], [], 0.05)[0]:
                data = os.read(self.outside, 65_536)
                self.written += data
                self.stream.feed(data)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.outside)
        os.close(self.inside)
