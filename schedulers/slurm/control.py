"""slurmctld as its commands show it: fetch what is true, make a change. Errors become headnode's; nothing is decided here."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from daemons.errors import SchedulerRefused, SchedulerUnavailable
from daemons.model import Hostname, JobDemand, JobId
from schedulers.commands import Answer, Commands
from schedulers.slurm import demand, parse, render, rows

_THREAD_CHARS = 200_000  # parsing more than this is left to a thread
_THREAD_ROWS = 2_000
_NO_ANSWER = (
    "Unable to contact slurm controller",
    "Socket timed out",
    "Connection refused",
    "Connection reset",
    "Slurm backup controller in standby",
    "Zero Bytes were transmitted or received",
    "Transport endpoint is not connected",
    "Unexpected message received",
    "Protocol authentication error",
    "Invalid authentication credential",
    "Failed to load",
    "fatal:",
)
_DENIED = ("Invalid user id", "Access/permission denied")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """slurmctld. With it down a command takes 9 s to say so, so that each public step here begins with a ping of 4 ms."""

    commands: Commands
    bin: str = ""

    async def check(self) -> None:
        """Raises SchedulerUnavailable unless a controller says that it is up."""
        answer = await self._run(render.PING)
        if not parse.parse_ping(answer.out):
            raise SchedulerUnavailable(
                f"slurmctld does not answer: {answer.words or 'scontrol ping said nothing'}",
                hint="see `systemctl status slurmctld` and its log",
            )

    async def nodes(self) -> dict[Hostname, parse.SlurmNode]:
        """Every node, FUTURE ones and placeholders included."""
        return await _parsed(parse.parse_nodes, await self._read(render.SHOW_NODES))

    async def running(self) -> Mapping[Hostname, frozenset[JobId]]:
        """The jobs that occupy nodes, by node. All of them are read: squeue filters by node on its own side anyway, and fails
        for a node that does not exist or is FUTURE.
        """
        return await _parsed(parse.parse_running, await self._read(render.SHOW_RUNNING))

    async def demand(self) -> tuple[JobDemand, ...]:
        """Two commands, and one more each while an array is throttled or a job may spread over several nodes."""
        text, excluded = await asyncio.gather(self._read(render.SHOW_PENDING), self._read(render.SHOW_EXCLUDED))
        waiting = await _parsed(rows.parse_rows, text)
        throttled, may_spread = rows.needed_details(waiting)
        arrays = await self._read(render.SHOW_RUNNING_ARRAYS) if throttled else ""
        jobs = await self._read(render.SHOW_JOBS) if may_spread else ""

        def parsed(excluded: str) -> tuple[JobDemand, ...]:
            details = demand.Details(
                now=time.time(),
                excluded=rows.parse_excluded(excluded),
                running=rows.parse_running_arrays(arrays),
                nodes_max=rows.parse_nodes_max(jobs),
            )
            return demand.parse_demand(waiting, details)

        return parsed(excluded) if len(waiting) < _THREAD_ROWS else await asyncio.to_thread(parsed, excluded)

    async def config(self) -> Mapping[str, str]:
        return parse.parse_config(await self._read(render.SHOW_CONFIG))

    async def partitions(self) -> frozenset[str]:
        return parse.parse_partitions(await self._read(render.SHOW_PARTITIONS))

    async def change(self, commands: Iterable[tuple[str, ...]]) -> str:
        """Run commands that change nodes, one after the other; what they complained about.

        A complaint does not stop the rest, and neither it nor its absence says what became of a node: read that back. Raises
        SchedulerUnavailable if one had no answer, SchedulerRefused if this user may not do it at all.
        """
        complaints: list[str] = []
        for argv in commands:
            answer = await self._run(argv)
            if not answer.ok:
                self._judge(argv, answer)
                complaints.append(answer.words)
        return "; ".join(dict.fromkeys(complaints))

    async def _read(self, argv: tuple[str, ...]) -> str:
        answer = await self._run(argv)
        if not answer.ok:
            self._judge(argv, answer)
            raise SchedulerUnavailable(f"{' '.join(argv[:3])} failed with {answer.exit_code}: {answer.words}")
        return answer.out

    def _judge(self, argv: tuple[str, ...], answer: Answer) -> None:
        what = " ".join(argv[:3])[:200]
        if any(words in answer.err for words in _NO_ANSWER) or answer.exit_code < 0 or not answer.words:
            raise SchedulerUnavailable(f"{what}: slurmctld gave no answer: {answer.words or f'exit {answer.exit_code}'}")
        if any(words in answer.err for words in _DENIED):
            raise SchedulerRefused(
                f"{what}: {answer.words}", hint="run headnode as SlurmUser or root, or make its user a Slurm administrator"
            )

    async def _run(self, argv: tuple[str, ...]) -> Answer:
        program = f"{self.bin.rstrip('/')}/{argv[0]}" if self.bin else argv[0]
        return await self.commands.run(program, *argv[1:])


async def _parsed(parser: Callable[[str], T], text: str) -> T:
    return parser(text) if len(text) < _THREAD_CHARS else await asyncio.to_thread(parser, text)
