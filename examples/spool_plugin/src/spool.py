"""`spool`: a scheduler that is small enough to be read, with what every scheduler has: a command, its answers, an administrator.

Its state is one file. Each command takes the lock, changes the file, lets waiting jobs begin where there is room, and leaves. It
keeps the books only: what a job does is not its business.
"""

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STATE, LOCK = "state.json", "lock"
EMPTY: dict[str, Any] = {"next": 1, "largest_cpus": 0, "nodes": {}, "jobs": {}}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, 1 for what the scheduler refuses, 2 for a wrong command line, 3 where there is no scheduler."""
    arguments = _parser().parse_args(argv)
    try:
        with (arguments.dir / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            file = arguments.dir / STATE
            state = json.loads(file.read_text()) if file.exists() else json.loads(json.dumps(EMPTY))
            said = arguments.run(state, arguments)
            _begin_what_can(state)
            new = file.with_suffix(".new")
            new.write_text(json.dumps(state))
            new.replace(file)
    except OSError as err:
        print(f"spool: no scheduler at {arguments.dir}: {err.strerror}", file=sys.stderr)
        return 3
    except _RefusedError as err:
        print(f"spool: {err}", file=sys.stderr)
        return 1
    print(said)
    return 0


class _RefusedError(Exception):
    pass


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spool", description="A scheduler in one file.")
    parser.add_argument("--dir", type=Path, default=Path(os.environ.get("SPOOL_DIR", "/var/spool/spool")))
    verbs = parser.add_subparsers(required=True)

    def verb(run: Any, *names: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(run.__name__.strip("_"))
        made.set_defaults(run=run)
        if names:
            made.add_argument(*names, nargs="+")
        return made

    verb(_nodes)
    verb(_jobs)
    add = verb(_add, "node")  # NAME=ADDRESS
    add.add_argument("--cpus", type=int, required=True)
    add.add_argument("--queue", required=True)
    add.add_argument("--feature", action="append", default=[])
    verb(_remove, "node")
    verb(_up, "node")
    verb(_drain, "node").add_argument("--reason", required=True)
    verb(_resume, "node")
    verb(_promise).add_argument("cpus", type=int)
    submit = verb(_submit)
    submit.add_argument("--cpus", type=int, default=1)
    submit.add_argument("--queue", required=True)
    submit.add_argument("--feature", default="")
    submit.add_argument("--priority", type=int, default=0)
    submit.add_argument("--held", action="store_true")
    verb(_cancel, "job")
    return parser


def _nodes(state: dict[str, Any], _: argparse.Namespace) -> str:
    shown = [{"name": name, "jobs": _jobs_on(state, name), **node} for name, node in state["nodes"].items()]
    return json.dumps({"nodes": shown})


def _jobs(state: dict[str, Any], _: argparse.Namespace) -> str:
    return json.dumps({"jobs": [{"id": number, **job} for number, job in state["jobs"].items()]})


def _add(state: dict[str, Any], wanted: argparse.Namespace) -> str:
    for each in wanted.node:
        name, _, address = each.partition("=")
        node = {"address": address, "cpus": wanted.cpus, "queue": wanted.queue, "features": wanted.feature}
        state["nodes"].setdefault(name, node | {"up": False, "drained": None})
    return ""


def _remove(state: dict[str, Any], wanted: argparse.Namespace) -> str:
    """The jobs of a node that goes wait again."""
    for name in wanted.node:
        for number in _jobs_on(state, name):
            state["jobs"][number]["node"] = None
        state["nodes"].pop(name, None)
    return ""


def _up(state: dict[str, Any], wanted: argparse.Namespace) -> str:
    for name in wanted.node:
        _known(state, name)["up"] = True
    return ""


def _drain(state: dict[str, Any], wanted: argparse.Namespace) -> str:
    """Who drained a node first has their reason kept."""
    for name in wanted.node:
        node = _known(state, name)
        node["drained"] = wanted.reason if node["drained"] is None else node["drained"]
    return ""


def _resume(state: dict[str, Any], wanted: argparse.Namespace) -> str:
    for name in wanted.node:
        _known(state, name)["drained"] = None
    return ""


def _promise(state: dict[str, Any], wanted: argparse.Namespace) -> str:
    """Jobs up to this size may be submitted while there is no node of it."""
    state["largest_cpus"] = wanted.cpus
    return ""


def _submit(state: dict[str, Any], wanted: argparse.Namespace) -> str:
    largest = max([state["largest_cpus"], *(node["cpus"] for node in state["nodes"].values())])
    if wanted.cpus > largest:
        raise _RefusedError(f"no node has {wanted.cpus} CPUs")
    number, state["next"] = str(state["next"]), state["next"] + 1
    asked = {"cpus": wanted.cpus, "queue": wanted.queue, "feature": wanted.feature, "priority": wanted.priority}
    state["jobs"][number] = asked | {"held": wanted.held, "node": None}
    return number


def _cancel(state: dict[str, Any], wanted: argparse.Namespace) -> str:
    for number in wanted.job:
        state["jobs"].pop(number, None)
    return ""


def _begin_what_can(state: dict[str, Any]) -> None:
    waiting = [job for job in state["jobs"].values() if job["node"] is None and not job["held"]]
    for job in sorted(waiting, key=lambda job: -job["priority"]):
        job["node"] = next((name for name in state["nodes"] if _has_room(state, name, job)), None)


def _has_room(state: dict[str, Any], name: str, job: dict[str, Any]) -> bool:
    node = state["nodes"][name]
    used = sum(state["jobs"][number]["cpus"] for number in _jobs_on(state, name))
    fits = node["cpus"] - used >= job["cpus"] and node["queue"] == job["queue"]
    return bool(fits and node["up"] and node["drained"] is None and (not job["feature"] or job["feature"] in node["features"]))


def _jobs_on(state: dict[str, Any], name: str) -> list[str]:
    return [number for number, job in state["jobs"].items() if job["node"] == name]


def _known(state: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in state["nodes"]:
        raise _RefusedError(f"there is no node {name}")
    node: dict[str, Any] = state["nodes"][name]
    return node


if __name__ == "__main__":
    sys.exit(main())
