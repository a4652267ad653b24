"""The qmaster as its commands show it: fetch what is true, make a change. Errors become headnode's; nothing is decided here."""

import asyncio
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from daemons.errors import InvalidValue, SchedulerRefused, SchedulerUnavailable
from daemons.model import FleetSpec, Hostname, JobDemand
from daemons.names import parse_hostname
from schedulers.commands import Answer, Commands
from schedulers.sge import demand, details, parse, render
from schedulers.sge.asks import Site
from schedulers.sge.cell import Cell, Rolls, parse_cell, parse_rolls
from schedulers.sge.settings import SgeSettings

_JOBS_EACH = 1_000  # how many jobs one command names
_NO_ANSWER = (
    "commlib error",
    "got send error",
    "unable to contact qmaster",
    "unable to send message to qmaster",
    "failed receiving gdi request",
    "Error reading answer list",
    "unable to read qmaster name",
    "act_qmaster",
    "can't resolve host name",  # of the qmaster; "hostname", in one word, is about a node
)
_NO_GROUP = re.compile(r'Host group "[^"]*" does not exist')
_DENIED = re.compile(r'denied: "[^"]*" must be (?:manager|operator)|denied: host "[^"]*" is no (?:admin|submit) host')

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """Whom the qmaster knows, by headnode's names. Grid Engine keeps the two lists apart."""

    execution: frozenset[Hostname]
    administrative: frozenset[Hostname]


@dataclass(frozen=True, slots=True, kw_only=True)
class Qmaster:
    """The qmaster. One that hangs would keep a command for two minutes; `commands` is what bounds it."""

    commands: Commands
    settings: SgeSettings

    async def cell(self) -> Cell:
        """The configuration: two commands."""
        names = (await self._read(render.SHOW_NAMES)).split()
        return await _in_thread(parse_cell, await self._read(render.show_cell(names)))

    async def snapshot(self, cell: Cell | None = None) -> parse.Snapshot:
        """Hosts and what runs there, without the jobs that wait; with the cell's consumables if it is given."""
        return await _in_thread(parse.parse_snapshot, await self._read(render.show_jobs(_consumables(cell), waiting=False)))

    async def demand(self, fleets: Sequence[FleetSpec]) -> tuple[JobDemand, ...]:
        """Three commands, and up to three more while jobs wait for nodes."""
        cell = await self.cell()
        text = await self._read(render.show_jobs(_consumables(cell), waiting=True))
        snapshot = await _in_thread(parse.parse_snapshot, text)
        site = Site(
            cell=cell,
            fleets=fleets,
            memory=self.settings.memory,
            gpu=self.settings.gpu,
            licences=parse.licences(snapshot.instances),
            environment_slots=parse.running_slots(snapshot.instances),
        )
        return await asyncio.to_thread(demand.parse_demand, snapshot, site, await self._details(snapshot))

    async def _details(self, snapshot: parse.Snapshot) -> details.Details:
        needed = demand.needed_details(snapshot)
        later = details.parse_job_ids(await self._read(render.SHOW_LATER)) if needed.later else frozenset[str]()
        verdicts = details.Verdicts()
        if needed.verdicts:
            verdicts = await _in_thread(details.parse_verdicts, await self._read(render.SHOW_VERDICTS))
        throttles: dict[str, int] = {}
        rules: dict[str, tuple[details.Rule, ...]] = {}
        for some in render.batched(dict.fromkeys((*needed.details, *demand.examples(snapshot, verdicts))), _JOBS_EACH):
            found = await _in_thread(details.parse_job_details, await self._read(render.show_details(some)))
            throttles |= found.throttles
            rules |= found.rules
        return details.Details(later=later, verdicts=verdicts, jobs=details.JobDetails(throttles=throttles, rules=rules))

    async def rolls(self, groups: Sequence[str]) -> Rolls:
        """One command. Groups that there are not are left out; raises SchedulerUnavailable if a listed one is missing."""
        argv = render.show_rolls(groups)
        answer = await self._run(argv)
        self._judge(argv, answer)
        if not answer.ok and not _NO_GROUP.search(answer.err):
            raise SchedulerUnavailable(f"{_shown(argv)} failed with {answer.exit_code}: {answer.words}")
        rolls = parse_rolls(answer.out)
        if half := (rolls.names & set(groups)) - set(rolls.groups):
            raise SchedulerUnavailable(f"{_shown(argv)} gave half an answer, without {', '.join(sorted(half))}")
        return rolls

    async def hosts(self) -> Hosts:
        execution, administrative = [await self._read(("qconf", option)) for option in ("-sel", "-sh")]
        return Hosts(execution=_labels(execution), administrative=_labels(administrative))

    async def head(self) -> str:
        """The host that the qmaster schedules on, as Grid Engine calls it. It does not say for some seconds after its start."""
        name = (await self._read(render.SHOW_HEAD)).strip()
        try:
            parse_hostname(name)
        except InvalidValue as err:
            raise SchedulerUnavailable(f"the qmaster's scheduler does not run (yet): `qconf -sss` said {name[:80]!r}") from err
        return name

    async def change(self, commands: Iterable[render.Command]) -> str:
        """Run commands that change something, one after the other; all that they said.

        Neither words nor an exit code say what became of a host (either may be wrong): read that back. Raises
        SchedulerUnavailable if one had no answer, SchedulerRefused if this user may not do it at all.
        """
        said: list[str] = []
        for argv in commands:
            answer = await self._run(argv)
            self._judge(argv, answer)
            said += [answer.err.strip(), answer.out.strip()]
        return "\n".join(filter(None, said))

    async def change_from(self, option: str, text: str) -> str:
        """`qconf` with a file of that text."""
        with tempfile.NamedTemporaryFile("w", prefix="headnode-", encoding="ascii") as file:
            file.write(text)
            file.flush()
            return await self.change([("qconf", option, file.name)])

    async def _read(self, argv: render.Command) -> str:
        answer = await self._run(argv)
        self._judge(argv, answer)
        if not answer.ok and not _is_empty_list(answer):
            raise SchedulerUnavailable(f"{_shown(argv)} failed with {answer.exit_code}: {answer.words}")
        return answer.out

    def _judge(self, argv: render.Command, answer: Answer) -> None:
        said = f"{answer.err}\n{answer.out}" if not answer.ok else answer.err
        if answer.exit_code < 0 or any(words in said for words in _NO_ANSWER):
            raise SchedulerUnavailable(
                f"{_shown(argv)}: the qmaster gave no answer: {answer.words or f'exit {answer.exit_code}'}",
                hint="see whether sge_qmaster runs, and its messages file",
            )
        if found := _DENIED.search(said):
            raise SchedulerRefused(
                f"{_shown(argv)}: {found[0]}",
                hint="run headnode on an administrative host as a manager (`qconf -am USER`, `-ah HOST`)",
            )

    async def _run(self, argv: render.Command) -> Answer:
        directory = self.settings.bin.rstrip("/")
        return await self.commands.run(f"{directory}/{argv[0]}" if directory else argv[0], *argv[1:])


def _consumables(cell: Cell | None) -> list[str]:
    return [] if cell is None else sorted(name for name, known in cell.complexes.items() if known.is_consumable)


def _labels(text: str) -> frozenset[Hostname]:
    return frozenset(parse.first_label(host) for host in text.split())


def _is_empty_list(answer: Answer) -> bool:
    """Qconf fails for a list that is empty: `no parallel environment defined`."""
    return bool(re.match(r"no [a-z ]+ (?:defined|list defined)", answer.words))


def _shown(argv: Sequence[str]) -> str:
    return " ".join(argv[:4])[:200]


async def _in_thread(parser: Callable[[str], T], text: str) -> T:
    return await asyncio.to_thread(parser, text)
