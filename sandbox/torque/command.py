"""One command of the emulated Torque: DIRECTORY PROGRAM ARGUMENT…, run through the wrappers that FakeTorque writes.

Holds the state file's lock while it works, as pbs_server serialises its clients; `frozen` hangs and `down` refuses, in the
recorded words.
"""

import fcntl
import getopt
import os
import pickle
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sandbox.torque.render import render_jobs, render_nodes, render_server, render_table
from sandbox.torque.state import NO_FEASIBLE, SERVER, JobFact, NodeFact, State, advance, finish, is_feasible, is_young

_UNREACHABLE = f"\nUnable to communicate with {SERVER}(10.99.0.1)\nCannot connect to specified server host '{SERVER}'.\n"
_DOWN = {"qstat": 111, "qsub": 111, "qdel": 111, "qrerun": 111, "qhold": 111, "qrls": 111, "pbsnodes": 1, "qmgr": 3}
_FROZEN = {**dict.fromkeys(_DOWN, 248), "pbsnodes": 1, "qmgr": 3}
_NO_NODES = "Server has no node list MSG=node list is empty - check 'server_priv/nodes' file"
_DENIED = "Unauthorized Request  MSG=error in permissions (PERM_MANAGER)"
_UNSENT = (
    "The updated okclients list hasn't been sent out to the cluster yet. The node(s) will automatically update to free once this"
    " is done and the mom has reported in."
)

Said = tuple[int, str, str]  # exit code, standard output, standard error


@contextmanager
def locked(directory: Path) -> Iterator[State]:
    """The state, brought up to now; written back unless the body raises."""
    with (directory / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state: State = pickle.loads((directory / "state").read_bytes())  # noqa: S301  our own file
        advance(state, time.time() + float((directory / "skew").read_text()))
        yield state
        advance(state, state.now)
        (directory / "state.new").write_bytes(pickle.dumps(state))
        (directory / "state.new").replace(directory / "state")


def main(argv: list[str]) -> int:
    directory, program, arguments = Path(argv[0]), argv[1], argv[2:]
    if (directory / "down").exists():
        text = f"{program}: cannot connect to server {SERVER} (errno=111) Connection refused\n"
        return _say((_DOWN[program], "", _UNREACHABLE + text))
    if (directory / "frozen").exists():
        time.sleep(float(os.environ.get("PBSAPITIMEOUT", "86400")))
        text = f"{program}: cannot connect to server {SERVER} (errno=15096) Unable to get connection to socket\n"
        return _say((_FROZEN[program], "", f"Unable to communicate with {SERVER}(10.99.0.1)\n" + text))
    sleep_s = 0.0
    with locked(directory) as state:
        said = _PROGRAMS[program](state, arguments)
        if program == "qmgr" and arguments[-1].startswith("delete node"):
            sleep_s = state.delete_s * len(arguments[-1].split()[2].split(","))
    time.sleep(sleep_s)  # several sleep side by side, as in pbs_server
    if (directory / "slow").exists():
        time.sleep(float((directory / "slow").read_text()))
    return _say(said)


def _say(said: Said) -> int:
    sys.stdout.write(said[1])
    sys.stderr.write(said[2])
    return said[0]


def qmgr(state: State, argv: list[str]) -> Said:
    """Of several `-c` only the last runs."""
    words = argv[-1].split(None, 3)
    if words[:2] == ["list", "server"]:
        return 0, render_server(state), ""
    if not state.managers:
        return 2, "", f"qmgr obj={words[2] if len(words) > 2 else ''} svr=default: {_DENIED}\n"
    if words[1] == "server":
        return _set_server(state, argv[-1])
    complaints = [
        f"qmgr obj={name} svr=default: {words_}\n"
        for name in words[2].split(",")
        if (words_ := _NODE_VERBS[words[0]](state, name, words[3] if len(words) > 3 else ""))
    ]
    return (2 if complaints else 0), "", "".join(complaints)


def _set_server(state: State, directive: str) -> Said:
    verb, _, rest = directive.split(None, 2)
    name, _, value = (word.strip() for word in rest.partition("="))
    if verb == "unset":
        state.server.pop(name, None)
    elif name == "resources_available.nodect" and not value.isdecimal():
        state.is_loaded = False
        return 2, "", "qmgr obj= svr=default: Illegal attribute or resource value for\n"
    else:
        state.server[name] = value
    return 0, "", ""


def _create(state: State, name: str, attributes: str) -> str:
    if name in state.nodes:
        return "Node name already exists"
    if name in state.unresolvable:
        return "Unknown node "
    node = NodeFact(name, 1, made_at=state.now)
    if complaint := _set_attributes(node, attributes):
        return complaint
    state.nodes[name] = node
    return ""


def _change(state: State, name: str, attributes: str) -> str:
    return _set_attributes(state.nodes[name], attributes) if name in state.nodes else "Unknown node "


def _set_attributes(node: NodeFact, attributes: str) -> str:
    for key, quoted, plain in re.findall(r'(\w+)\s*=\s*(?:"([^"]*)"|([^,]*)),?', attributes):
        value = quoted or plain.strip()
        if key in ("np", "gpus"):
            if not value.isdecimal() or (key == "np" and value == "0"):
                return "Illegal attribute or resource value for"
            setattr(node, key, int(value))
        elif key == "properties":
            node.properties = value.split(",")
        else:
            return f"Undefined attribute  {key}"
    return ""


def _delete(state: State, name: str, _: str) -> str:
    """Jobs of a live mom are requeued; a dead one takes them with it."""
    if name not in state.nodes:
        return "Unknown node "
    for job in list(state.jobs.values()):
        if any(where == name for where, _slot in job.where):
            if name in state.moms:
                job.state, job.where = "Q", []
            else:
                finish(state, job)
    del state.nodes[name]
    return ""


_NODE_VERBS = {"create": _create, "set": _change, "delete": _delete}


def pbsnodes(state: State, argv: list[str]) -> Said:
    options, names = getopt.gnu_getopt(argv, "xocN:r")
    chosen = dict(options)
    if "-x" in chosen:
        if not state.nodes:
            return 1, "", f"pbsnodes: {_NO_NODES}\n"
        if unknown := [name for name in names if name not in state.nodes]:
            return 1, "", f"pbsnodes: Unknown node  MSG=cannot locate specified node {unknown[0]}\n"
        return 0, render_nodes(state, names or list(state.nodes)), ""
    said = []
    for name in names:
        node = state.nodes.get(name)
        if node is None:
            said.append(f"Error setting note attribute for {name} - Unknown node \n")
        elif is_young(state, node) and "-o" in chosen:
            said.append(f"Error setting note attribute for {name} - {_UNSENT}\n")
        else:
            node.offline = "-o" in chosen or (node.offline and "-c" not in chosen)
            node.note = chosen.get("-N", node.note)
    return 0, "", "".join(said)


def qstat(state: State, argv: list[str]) -> Said:
    return 0, render_jobs(state) if "-x" in argv else render_table(state), ""


def qsub(state: State, argv: list[str]) -> Said:
    options, _ = getopt.gnu_getopt(argv, "hnl:N:t:W:a:v:p:q:o:e:j:")
    asked: dict[str, str] = {}
    for flag, value in options:
        if flag == "-l":
            asked |= dict(pair.partition("=")[::2] for pair in re.split(r",(?=\w+=)", value))
    chosen = dict(options)
    if not asked.keys() & {"nodes", "ncpus", "procs"}:
        asked["nodes"] = "1"
    state.is_loaded = state.is_loaded or "nodes" not in asked
    if not is_feasible(state, asked):
        return 190, "", f"qsub: submit error ({NO_FEASIBLE})\n"
    state.is_loaded = True
    if "nodes" in asked:
        asked["nodect"] = str(sum(_count(part) for part in asked["nodes"].split("+")))
    job = JobFact(
        f"{state.next_id}.{SERVER}",
        chosen.get("-N", "job.sh"),
        asked,
        queue=chosen.get("-q", "batch"),
        priority=int(chosen.get("-p", "0")),
        submitted_at=state.now,
        exclusive="-n" in chosen,
    )
    if found := re.search(r"\bT=([0-9.]+)", chosen.get("-v", "")):
        job.lasts_s = float(found[1])
    _hold(state, job, chosen)
    if "-t" in chosen:
        _make_array(state, job, chosen["-t"])
    else:
        state.jobs[job.job_id] = job
    state.next_id += 1
    return 0, f"{job.job_id}\n", ""


def _count(part: str) -> int:
    first = part.partition(":")[0]
    return int(first) if first.isdecimal() else 1


def _hold(state: State, job: JobFact, chosen: dict[str, str]) -> None:
    if "-h" in chosen:
        job.state, job.holds = "H", "u"
    elif found := re.match(r"depend=after(?:ok|any):(\S+)", chosen.get("-W", "")):
        if found[1] in state.jobs and state.jobs[found[1]].state != "C":
            job.state, job.holds, job.depends_on = "H", "s", found[1]
    elif "-a" in chosen:
        job.state, job.begin_at = "W", time.mktime(time.strptime(chosen["-a"], "%Y%m%d%H%M"))


def _make_array(state: State, entry: JobFact, request: str) -> None:
    number = str(state.next_id)
    entry.job_id, entry.array = f"{number}[].{SERVER}", request
    state.jobs[entry.job_id] = entry
    first, _, last = request.partition("%")[0].partition("-")
    for index in range(int(first), int(last or first) + 1):
        job_id = f"{number}[{index}].{SERVER}"
        state.jobs[job_id] = JobFact(
            job_id, f"{entry.name}-{index}", dict(entry.resources), entry.state, entry.holds, entry.queue, entry.priority,
            entry.submitted_at, lasts_s=entry.lasts_s, task_of=number,
        )  # fmt: skip


def _change_jobs(state: State, argv: list[str], verb: str) -> Said:
    said = []
    for name in argv:
        if name == "-f":
            continue
        job = state.jobs.get(name)
        if job is None:
            said.append(f"{verb}: Unknown Job Id {name}\n")
            continue
        number = name.partition("[]")[0] if "[]" in name else None
        for one in [job, *(task for task in state.jobs.values() if number and task.task_of == number)]:
            _JOB_VERBS[verb](state, one)
    return (153 if said else 0), "", "".join(said)


def _requeue(_: State, job: JobFact) -> None:
    if job.state == "R":
        job.state, job.where = "Q", []


def _set_hold(_: State, job: JobFact) -> None:
    if job.state in "QHW":
        job.state, job.holds = "H", "u"


def _release(_: State, job: JobFact) -> None:
    if job.state == "H" and job.holds == "u":
        job.state, job.holds = "Q", "n"


_JOB_VERBS = {"qdel": finish, "qrerun": _requeue, "qhold": _set_hold, "qrls": _release}
_PROGRAMS = {"qmgr": qmgr, "pbsnodes": pbsnodes, "qstat": qstat, "qsub": qsub} | {
    verb: partial(_change_jobs, verb=verb) for verb in _JOB_VERBS
}
