"""Every recorded command, given back as the real Torque gave it: what the plugin makes of its words and its exit code."""

# ruff: noqa: E501, SIM905  golden lines are as long as what was recorded; lists of names are read as lines

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from daemons.errors import SchedulerRefused, SchedulerUnavailable
from schedulers.commands import Answer
from schedulers.torque.parse import JobRow, parse_jobs, parse_nodes
from schedulers.torque.server import Server

RECORDINGS = Path(__file__).parent / "recordings"
INDEX = {
    line.split("\t")[0]: line.split("\t") for line in (RECORDINGS / "INDEX.tsv").read_text().splitlines()
}  # the last of a name
UNLISTED = {path.stem for path in RECORDINGS.glob("*.out")} - INDEX.keys()  # recorded in between, by the commands in their names
NAMES = sorted(INDEX.keys() | UNLISTED)
KILLED = (124, 143)  # by whoever recorded, after a minute or five
TEXTS = sorted(path.name for path in RECORDINGS.glob("*.txt"))


class Replay:
    """Answers as it was recorded."""

    def __init__(self, name: str) -> None:
        self._answer = Answer(exit_code=code_of(name), out=recorded(name, "out"), err=recorded(name, "err"))

    async def run(self, *argv: str) -> Answer:
        if self._answer.exit_code in KILLED:
            raise SchedulerUnavailable(f"{argv} did not end")
        return self._answer


def recorded(name: str, kind: str) -> str:
    path = RECORDINGS / f"{name}.{kind}"
    return path.read_text() if path.exists() else ""


def code_of(name: str) -> int:
    found = re.match(r"rc=(\d+)", INDEX[name][1]) if name in INDEX else None
    return int(found[1]) if found else 0


def argv_of(name: str) -> list[str]:
    """What was run, without what it was run under."""
    if name in INDEX:
        words = shlex.split(INDEX[name][3].removeprefix("(as tqa)"))
        if words[:2] == ["bash", "-c"]:
            words = shlex.split(words[2])
        return words[2:] if words[0] == "env" else words
    program = re.search(r"(pbsnodes|qstat)(.*)", name)
    return [program[1], *(f"-{option}" for option in program[2].split("-")[1:])] if program else [name]


def number(job: str) -> str:
    return job.partition(".")[0]


def jobs_in_words(rows: Sequence[JobRow]) -> str:
    """`3:Q`, and of listed tasks how many there are: `11[]:H95`."""
    tasks = Counter((row.job_id.partition("[")[0], row.state) for row in rows if re.search(r"\[\d+\]", row.job_id))
    plain = [f"{row.job_id.partition('.')[0]}:{row.state}" for row in rows if not re.search(r"\[\d+\]", row.job_id)]
    return " ".join([*plain, *(f"{array}[]:{state}{count}" for (array, state), count in tasks.items())])


async def told(name: str) -> str:
    """What the plugin would understand, in a line; "-" where it never asks so."""
    server, argv = Server(commands=Replay(name)), argv_of(name)
    try:
        match argv:
            case ["pbsnodes", "-x", *_]:
                rows = await server.nodes()
                return " ".join("/".join([f"{row.name}={'+'.join(sorted(row.states))}", *map(number, row.jobs)]) for row in rows)
            case ["pbsnodes", "-o" | "-c" | "-r", *_]:
                return await server.mark((), ())
            case ["qstat", *options] if "-x" in options:
                return jobs_in_words(await server.jobs())
            case ["qstat", "-t"]:
                return " ".join(f"{array}:{tasks.waiting}+{tasks.running}" for array, tasks in (await server.tasks()).items())
            case ["qmgr", "-c", "list server", *_]:
                return (await server.facts()).name
            case ["qmgr", "-c", directive] | ["qmgr", "-c", _, "-c", directive]:
                return "; ".join(f"{node}: {words}" for node, words in (await server.manage(directive)).items())
    except SchedulerUnavailable:
        return "no answer"
    except SchedulerRefused:
        return "not allowed"
    return "-"


# Read off by hand: `node=states/jobs`, `job:state`, `array[]:state and how many of its tasks`, or the words about what was not done.
TOLD = {
    "after-delete-busy-pbsnodes-x": "n1000=down+offline n0002=free/5/7 n0004=job-exclusive/1 n0003=job-exclusive/11[1] n0006=down n0111=down",
    "after-restart-0s-pbsnodes-x": "n0001=down+job-exclusive/0/1 n0002=down/0 n0003=free n1000=down",
    "after-restart-0s-qstat-x": "0:R 1:R 2:C",
    "before-delete-busy-pbsnodes-x": "n1000=down+offline n0001=job-exclusive/0/16 n0002=job-exclusive/0/5/7 n0004=job-exclusive/1 n0003=job-exclusive/11[1] n0006=down n0111=down",
    "completed-qstat-f-x": "0:R",
    "create-node-as-user": "not allowed",
    "create-node-bad-attr": "n0002: Undefined attribute  foo",
    "create-node-comma-list-good-then-unknown": "nosuch2: Unknown node",
    "create-node-comma-list-partial-dup": "n0006: Node name already exists",
    "create-node-comma-list-partial-unknown": "nosuch1: Unknown node",
    "create-node-duplicate": "n0001: Node name already exists",
    "create-node-np0": "n0002: Illegal attribute or resource value for",
    "create-node-unknown-host": "nosuchhost: Unknown node",
    "delete-node-nonexistent": "n0999: Unknown node",
    "during-delete-busy-pbsnodes-x": "n1000=down+offline n0001=free/16 n0002=free/5/7 n0004=job-exclusive/1 n0003=job-exclusive/11[1] n0006=down n0111=down",
    "empty-list-nodes": ": qmgr obj= svr=default: Server has no node list MSG=node list is empty - check 'server_priv/nodes' file",
    "empty-list-server": "tbhead",
    "list-server": "tbhead",
    "pbsnodes-o-just-created": "Error setting note attribute for n1000 - The updated okclients list hasn't been sent out to the cluster yet. The node(s) will automatically update to free once this is done and the mom has reported in.",
    "pbsnodes-o-unknown": "Error setting note attribute for n0999 - Unknown node",
    "pbsnodes-x-free-and-down": "n1000=down n0001=free n0002=free n0004=free n0003=free n0006=down n0111=down",
    "pbsnodes-x-just-created": "n1000=MOM-list-not-sent+down+offline n0001=MOM-list-not-sent+down+offline",
    "pbsnodes-x-offline-and-down-offline": "n1000=down+offline n0001=offline n0002=offline n0004=offline n0003=offline n0006=down+offline n0111=down",
    "pbsnodes-x-one-node": "n0001=free",
    "pending-pbsnodes-x": "n1000=down+offline n0001=job-exclusive/0/16 n0002=job-exclusive/0/5/7 n0004=job-exclusive/1 n0003=job-exclusive/11[1] n0006=down n0111=down",
    "pending-qstat-f-t-x": "0:R 1:R 2:C 3:Q 4:Q 5:R 6:Q 7:R 8:Q 9:Q 10:Q 13:H 14:H 15:W 16:R 11[]:R1 11[]:Q4 11[]:H95 12[]:Q3",
    "pending-qstat-f-x": "0:R 1:R 2:C 3:Q 4:Q 5:R 6:Q 7:R 8:Q 9:Q 10:Q 11[]:R 12[]:Q 13:H 14:H 15:W 16:R",
    "pending-qstat-t": "11:99+1 12:3+0",
    "pending-qstat-t-x": "0:R 1:R 2:C 3:Q 4:Q 5:R 6:Q 7:R 8:Q 9:Q 10:Q 13:H 14:H 15:W 16:R 11[]:R1 11[]:Q4 11[]:H95 12[]:Q3",
    "pending-qstat-x": "0:R 1:R 2:C 3:Q 4:Q 5:R 6:Q 7:R 8:Q 9:Q 10:Q 11[]:R 12[]:Q 13:H 14:H 15:W 16:R",
    "running-pbsnodes-x": "n1000=down+offline n0001=job-exclusive/0/2 n0002=free/0 n0004=job-exclusive/1 n0003=free n0006=down n0111=down",
    "running-qstat-f-x": "0:R 1:R 2:R",
    "set-nodect-bad": ": qmgr obj= svr=default: Illegal attribute or resource value for resources_available.nodect",
}
DONE = (  # nothing was complained of
    "create-node-comma-list create-node-gpus create-node-ok create-node-placeholder "
    "create-node-two-c-only-last-counts delete-node-busy-mom-alive delete-node-comma-list delete-node-ok-down "
    "delete-node-rest during-delete-busy-create during-delete-busy-other-qmgr pbsnodes-c pbsnodes-o-down "
    "pbsnodes-o-free pbsnodes-o-many pbsnodes-o-note pbsnodes-o-placeholder-later pbsnodes-r set-node-np "
    "set-node-state-free set-node-state-offline set-nodect"
).split()
NOTHING = (  # a server without nodes, or without jobs
    "empty-pbsnodes_-x empty-qstat_-f_-x empty-qstat_-t_-x empty-qstat_-x"
).split()
NO_ANSWER = (  # whatever was asked or to be changed is unknown
    "delete-node-busy-mom-dead frozen-PBSAPITIMEOUT5-pbsnodes frozen-PBSAPITIMEOUT5-qmgr "
    "frozen-PBSAPITIMEOUT5-qstat frozen-default-pbsnodes frozen-default-qmgr frozen-default-qstat-x frozen-pbsnodes "
    "frozen-qmgr frozen-qstat pbsnodes-x-unknown-node serverdown-pbsnodes-o serverdown-pbsnodes-x serverdown-qmgr "
    "serverdown-qstat-x"
).split()
NEVER_ASKED = (  # in a form that the plugin does not ask for
    "after-delete-busy-mom-dead-qstat-n-1 after-delete-busy-qstat-n-1 before-delete-busy-qstat-n-1 "
    "create-node-stdin-a-abort-on-error create-node-stdin-error-mid during-delete-busy-qstat-n-1 empty-pbsnodes_-a "
    "empty-qstat momctl-d3 nodes-file pbsnodes-a-free-and-down pbsnodes-a-offline-and-down-offline pbsnodes-l "
    "pbsnodes-ln pend-2x2+3x6 pend-4x4 pend-8x16 pend-array pend-array-simple pend-dep pend-held pend-hostname "
    "pend-later pend-mem pend-ncpus4 pend-nodes-gpus pend-procs8 pend-property pending-after-3-cycles-qstat-a "
    "pending-pbsnodes-a pending-qselect-sQ pending-qstat pending-qstat-B-f pending-qstat-a pending-qstat-f "
    "pending-qstat-n-1 pending-qstat-q qterm-quick run-2x2 run-excl run-short running-qstat-n-1 serverdown-qsub "
    "serverdown-qterm"
).split()
EXPECTED = TOLD | dict.fromkeys([*DONE, *NOTHING], "") | dict.fromkeys(NO_ANSWER, "no answer") | dict.fromkeys(NEVER_ASKED, "-")


@pytest.mark.parametrize("name", NAMES)
async def test_each_is_understood_as_a_person_understands_it(name: str) -> None:
    assert await told(name) == EXPECTED[name]


@pytest.mark.parametrize("name", [*NEVER_ASKED, *TEXTS])
def test_what_the_plugin_never_asks_for_is_no_answer(name: str) -> None:
    for path in RECORDINGS.glob(f"{name}*" if name in TEXTS else f"{name}.*"):
        for parse in (parse_nodes, parse_jobs):
            with pytest.raises(SchedulerUnavailable):
                parse(path.read_text())


def test_no_recording_is_left_out() -> None:
    files = {path.stem for path in RECORDINGS.iterdir() if path.suffix in (".out", ".err")}
    assert files == set(NAMES) == set(EXPECTED)
    assert {path.suffix for path in RECORDINGS.iterdir()} == {".out", ".err", ".txt", ".tsv", ".md"}
    assert len(TOLD) >= 20
