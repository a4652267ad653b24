"""Processes by a mark in their environment, which every child inherits: whose they are, whatever became of their parents."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_PATIENCE_S = 10.0


def kill_marked(mark: str) -> None:
    """Kill every process with this `NAME=VALUE` in its environment, until there is none: a job may fork while we look.

    Raises OSError if some do not end. Processes of other users cannot be seen and are left alone.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while pids := list(find_marked(mark)):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise OSError(f"processes with {mark} do not end: {pids}")
        time.sleep(0.01)


def find_marked(mark: str) -> Iterator[int]:
    """The ids of those processes, this one left out."""
    wanted = os.fsencode(mark)
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it ended meanwhile, or is somebody else's
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)
