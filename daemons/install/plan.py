"""What is to be done so that a machine has headnode's files, or has them no longer. Pure.

The manifest remembers what was laid down and how it looked. What looks different now is somebody else's by that, and left alone.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

from daemons.install.files import Role, Shipped

MANIFEST = "var/lib/headnode/installed.json"
OPERATORS = ("etc/headnode", "var/lib/headnode", "var/log/headnode")  # what only --purge removes


class Action(StrEnum):
    MAKE = "make"  # a directory
    WRITE = "write"
    REPLACE = "replace"
    REMOVE = "remove"  # a file, or a directory that is empty
    PURGE = "purge"  # a directory with all that is in it
    LEAVE = "leave"  # nothing is done, and somebody should know why
    RUN = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`path` is relative to the prefix; with RUN it is a command line. `text` is what is written, None otherwise."""

    action: Action
    path: str
    because: str = ""
    text: str | None = field(default=None, repr=False)

    @property
    def changes(self) -> bool:
        return self.action is not Action.LEAVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was laid down: files by path with the digest of what was written, and directories that were made for them."""

    files: Mapping[str, str] = field(default_factory=dict)
    directories: frozenset[str] = frozenset()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def parents(paths: Collection[str]) -> list[str]:
    """The directories that these need below the prefix, outermost first."""
    return sorted({str(one) for path in paths for one in PurePosixPath(path).parents} - {"."})


def plan_install(
    wanted: Sequence[Shipped], manifest: Manifest, *, texts: Mapping[str, str], directories: Collection[str]
) -> tuple[Step, ...]:
    """`texts` holds what is there of the wanted paths, `directories` which directories are."""
    files = [step for one in wanted for step in _lay(one, manifest.files.get(one.path), texts.get(one.path))]
    written = [step.path for step in files if step.text is not None]
    needed = dict.fromkeys([*parents([MANIFEST]), *parents(written)])  # first of all a place to remember the rest
    made = [Step(action=Action.MAKE, path=path) for path in needed if path not in directories]
    return (*made, *files) if written else tuple(files)


def _lay(one: Shipped, recorded: str | None, present: str | None) -> Iterator[Step]:
    if present is None:
        yield Step(action=Action.WRITE, path=one.path, text=one.text)
    elif present == one.text:
        return
    elif recorded == digest(present):
        yield Step(action=Action.REPLACE, path=one.path, text=one.text, because="this version has another")
    else:
        why = "was changed since it was laid down" if recorded else "was there before"
        yield Step(action=Action.LEAVE, path=one.path, because=f"{why}, and differs from what this version has")


def after_install(manifest: Manifest, steps: Sequence[Step]) -> Manifest:
    """What is remembered once the steps are done."""
    written = {step.path: digest(step.text) for step in steps if step.text is not None}
    made = {step.path for step in steps if step.action is Action.MAKE}
    return Manifest(files={**manifest.files, **written}, directories=manifest.directories | made)


def plan_uninstall(
    manifest: Manifest, *, texts: Mapping[str, str], directories: Mapping[str, frozenset[str]], purge: bool
) -> tuple[Step, ...]:
    """`directories` holds the names in each directory that is there. Files that somebody changed stay, and so does every
    directory that is not empty then; with `purge` configuration and state go whole.
    """
    gone = [step for path, recorded in sorted(manifest.files.items()) for step in _take(path, recorded, texts.get(path))]
    purged = [Step(action=Action.PURGE, path=path) for path in OPERATORS if purge and path in directories]
    if purge:
        gone = [step for step in gone if not step.path.startswith(tuple(f"{path}/" for path in OPERATORS))]
    removed = {step.path for step in (*gone, *purged) if step.changes} | {MANIFEST}
    emptied = []
    for path in sorted(manifest.directories, reverse=True):  # what is inside comes first
        if path in directories and path not in removed and {f"{path}/{name}" for name in directories[path]} <= removed:
            emptied.append(Step(action=Action.REMOVE, path=path, because="it was made for these, and is empty"))
            removed.add(path)
    return (*gone, *purged, *emptied)


def _take(path: str, recorded: str, present: str | None) -> Iterator[Step]:
    if present is None:
        return
    if digest(present) == recorded:
        yield Step(action=Action.REMOVE, path=path)
    else:
        yield Step(action=Action.LEAVE, path=path, because="was changed since it was laid down")


def commands_after_install(role: Role) -> tuple[tuple[str, ...], ...]:
    """What makes the files known to a machine that runs."""
    users = (("systemd-sysusers", "headnode.conf"), ("systemd-tmpfiles", "--create", "headnode.conf"))
    return (*(users if role is Role.HEAD else ()), ("systemctl", "daemon-reload"))
