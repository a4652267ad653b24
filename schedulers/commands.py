"""Runs a scheduler's commands: argv lists, bounded in time and in size, never through a shell."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from daemons.errors import SchedulerUnavailable
from daemons.ha.look import last_look

_INHERITED = ("PATH", "HOME", "USER", "LD_LIBRARY_PATH", "TZ", "HEADNODE_SANDBOX")
_CHUNK_BYTES = 1 << 20
_SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command that ended said."""

    exit_code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    @property
    def words(self) -> str:
        """The scheduler's own words, on one line: what it wrote to standard error, or else to standard output."""
        return " ".join((self.err.strip() or self.out.strip()).split())[:500]


class Commands(Protocol):
    """Something that runs commands: the real thing, or a stand-in that keeps state or does not answer."""

    async def run(self, *argv: str) -> Answer:
        """Run it to its end. Raises SchedulerUnavailable if it cannot start, does not end in time, or says more than the bound:
        what it was to change is then unknown. Any exit code is an answer.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCommands:
    """Commands of this machine, each in a process group of its own, which is killed as a whole when time is up.

    The environment is small and fixed (a caller's `SQUEUE_FORMAT` or locale must not change what an answer looks like); `env`
    is added to it. `calls` counts the runs of each program.
    """

    timeout_s: float = 15.0
    env: Mapping[str, str] = field(default_factory=dict)
    limit_bytes: int = 512 << 20
    calls: Counter[str] = field(default_factory=Counter)

    async def run(self, *argv: str) -> Answer:
        self.calls[Path(argv[0]).name] += 1
        process = await self._start(argv)
        try:
            async with asyncio.timeout(self.timeout_s):
                out, err = await asyncio.gather(self._read(process.stdout, argv), self._read(process.stderr, argv))
                exit_code = await process.wait()
        except TimeoutError as err_:
            raise SchedulerUnavailable(
                f"{_shown(argv)} did not end within {self.timeout_s:g} s and was killed; it may still take effect",
                hint="see whether the scheduler's server runs and answers",
                command=_shown(argv),
            ) from err_
        finally:
            await _end(process)
        return Answer(exit_code=exit_code, out=out, err=err)

    async def _start(self, argv: Sequence[str]) -> asyncio.subprocess.Process:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        last_look()
        try:
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**inherited, "LC_ALL": "C", **self.env},
                start_new_session=True,
            )
        except OSError as err:
            raise SchedulerUnavailable(
                f"{_shown(argv)} could not be started: {err.strerror}",
                hint="install the scheduler's client commands on this machine, or correct the plugin's settings",
                command=_shown(argv),
            ) from err

    async def _read(self, stream: asyncio.StreamReader | None, argv: Sequence[str]) -> str:
        chunks: list[bytes] = []
        size = 0
        while stream is not None and (chunk := await stream.read(_CHUNK_BYTES)):
            size += len(chunk)
            if size > self.limit_bytes:
                raise SchedulerUnavailable(f"{_shown(argv)} said more than {self.limit_bytes} bytes", command=_shown(argv))
            chunks.append(chunk)
        return b"".join(chunks).decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the whole group of a process that is still there, and reap it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.shield(process.wait())


def _shown(argv: Sequence[str]) -> str:
    text = " ".join(argv)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
