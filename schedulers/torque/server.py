"""pbs_server as its commands show it: read what is true, make a change. Errors become headnode's; nothing is decided here."""

import asyncio
import re
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from daemons.errors import SchedulerRefused, SchedulerUnavailable
from schedulers.commands import Answer, Commands
from schedulers.torque.parse import JobRow, NodeRow, Tasks, parse_jobs, parse_nodes, parse_tasks

log = structlog.get_logger()

_NO_NODES = "Server has no node list"
_NO_ANSWER = (
    *("cannot connect to server", "Cannot connect to specified server", "Unable to communicate with", "could not connect"),
    *("Unable to get connection to socket", "too busy", "Please retry", "Premature end of message", "End of File"),
)
_DENIED = ("Unauthorized Request", "PERM_MANAGER", "Unauthorized User")
_OF_NODE = re.compile(r"qmgr obj=(\S+) svr=\S+ (.*)")
_ATTRIBUTE = re.compile(r"^\s+([A-Za-z_.]+) = (.*)$", re.MULTILINE)
_NAME = re.compile(r"^Server ([A-Za-z0-9][A-Za-z0-9.-]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """`qmgr -c 'list server'`."""

    name: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Torque's commands. They judge badly by exit code (`pbsnodes -o` of an unknown node is 0): words are judged, and effects are
    read back.
    """

    commands: Commands
    bin: str = ""

    async def nodes(self, *, needed: Collection[str] = ()) -> tuple[NodeRow, ...]:
        """All of them: none, if the server says that it has none. Those that cannot be read are left out, unless one of them is,
        or may be, `needed`: nothing may be concluded of it then. Raises SchedulerUnavailable.
        """
        argv = (self._path("pbsnodes"), "-x")
        answer = await self.commands.run(*argv)
        if not answer.ok and _NO_NODES in answer.err:
            return ()
        _judge(argv, answer, must_succeed=True)
        rows, skipped = await asyncio.to_thread(parse_nodes, answer.out)
        _tell(len(skipped), "nodes", "pbsnodes -x")
        lacking = set(needed) - {_label(row.name) for row in rows}
        doubtful = [name for name in skipped if lacking and (not name or _label(name) in lacking)]
        if doubtful:
            raise SchedulerUnavailable(f"pbsnodes -x: the entry of {doubtful[0] or 'some node'} could not be read")
        return rows

    async def jobs(self) -> tuple[JobRow, ...]:
        argv = (self._path("qstat"), "-x")
        answer = await self.commands.run(*argv)
        _judge(argv, answer, must_succeed=True)
        rows, skipped = await asyncio.to_thread(parse_jobs, answer.out)
        _tell(skipped, "jobs", "qstat -x")
        return rows

    async def tasks(self) -> Mapping[str, Tasks]:
        argv = (self._path("qstat"), "-t")
        answer = await self.commands.run(*argv)
        _judge(argv, answer, must_succeed=True)
        return await asyncio.to_thread(parse_tasks, answer.out)

    async def facts(self) -> ServerFacts:
        argv = (self._path("qmgr"), "-c", "list server")
        answer = await self.commands.run(*argv)
        _judge(argv, answer, must_succeed=True)
        if (found := _NAME.search(answer.out)) is None:
            raise SchedulerUnavailable(f"qmgr named no server: {answer.words}")
        return ServerFacts(name=found[1], attributes=dict(_ATTRIBUTE.findall(answer.out)))

    async def manage(self, directive: str) -> Mapping[str, str]:
        """One qmgr directive; what it says of each object that it failed for, `""` for what it says of none. One directive a
        call: of several only the last would run.
        """
        argv = (self._path("qmgr"), "-c", directive)
        answer = await self.commands.run(*argv)
        _judge(argv, answer)
        said = {found[1]: found[2].strip() for found in map(_OF_NODE.match, answer.err.splitlines()) if found}
        return said if answer.ok or said else {"": answer.words}

    async def mark(self, options: Sequence[str], names: Iterable[str]) -> str:
        """`pbsnodes` with an option that changes nodes; all that it said. Its exit code means nothing."""
        argv = (self._path("pbsnodes"), *options, *names)
        answer = await self.commands.run(*argv)
        _judge(argv, answer)
        return " ".join(answer.err.split())[:300]

    async def requeue(self, jobs: Iterable[str]) -> str:
        """By force: the node may be gone. What could not be requeued is told, and the node is deleted all the same."""
        argv = (self._path("qrerun"), "-f", *jobs)
        answer = await self.commands.run(*argv)
        _judge(argv, answer)
        return " ".join(answer.err.split())[:300]

    async def probe(self) -> str:
        """Submit a held job and delete it: at a submission pbs_server loads its limits. What went wrong, "" for nothing."""
        with tempfile.NamedTemporaryFile("w", prefix="headnode-probe-", suffix=".sh", encoding="ascii") as script:
            script.write("#!/bin/sh\nexit 0\n")
            script.flush()
            argv = (self._path("qsub"), "-h", "-l", "ncpus=1", "-N", "headnode-probe", "-o", "/dev/null", "-e", "/dev/null")
            answer = await self.commands.run(*argv, script.name)
        _judge(argv, answer)
        job = answer.out.strip()
        if not answer.ok or not re.fullmatch(r"\d+[A-Za-z0-9.\[\]-]*", job):
            return answer.words
        deleted = await self.commands.run(self._path("qdel"), job)
        _judge(("qdel", job), deleted)
        return "" if deleted.ok else deleted.words

    def _path(self, program: str) -> str:
        return f"{self.bin}/{program}" if self.bin else program


def _judge(argv: Sequence[str], answer: Answer, *, must_succeed: bool = False) -> None:
    """Raises SchedulerUnavailable for no answer, SchedulerRefused where this user may not do it at all."""
    shown = " ".join(argv)[:200]
    if answer.exit_code < 0 or any(words in answer.err for words in _NO_ANSWER):
        raise SchedulerUnavailable(
            f"{shown}: pbs_server gave no answer: {answer.words or f'exit {answer.exit_code}'}",
            hint="see whether pbs_server and trqauthd run, and server_logs",
        )
    if any(words in answer.err for words in _DENIED):
        raise SchedulerRefused(
            f"{shown}: {answer.words}",
            hint="make headnode's user a manager: `qmgr -c 'set server managers += USER@HOST'`",
        )
    if must_succeed and not answer.ok:
        raise SchedulerUnavailable(f"{shown} failed with {answer.exit_code}: {answer.words}")


def _label(name: str) -> str:
    return name.partition(".")[0].lower()


def _tell(skipped: int, what: str, command: str) -> None:
    if skipped:
        log.warning("torque.skipped", entries=skipped, what=what, command=command, because="their XML could not be read")
