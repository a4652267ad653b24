"""This machine: units, directories, files, sockets, space."""

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from daemons.doctor.findings import Finding, Severity, judged

MANY_RESTARTS = 5
LEAST_FREE_MIB = 100
TARGET = "headnode.target"
_ENABLED = ("enabled", "enabled-runtime", "static")


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Whom the services run as."""

    name: str
    uid: int
    gids: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFacts:
    """A file or directory; `mode` is None where there is none, or where we may not look (`hidden`)."""

    path: str
    hidden: bool = False
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    free_mib: int | None = None

    def admits(self, who: Who, *, bits: int) -> bool:
        """May they, as far as owner, group and mode say? `bits` are those of one of the three, as in 6 for rw."""
        if self.mode is None:
            return False
        if who.uid == 0:
            return True
        shift = 6 if self.uid == who.uid else 3 if self.gid in who.gids else 0
        return (self.mode >> shift) & bits == bits


def check_config_file(file: PathFacts, who: Who) -> Finding:
    """Whoever may write it, may name the commands that the services run."""
    mode = file.mode or 0
    is_open = bool(mode & stat.S_IWOTH)
    readable = file.admits(who, bits=4)
    return judged(
        "config-file",
        file.path,
        "everybody may write it" if is_open else f"{who.name} may read it" if readable else f"{who.name} may not read it",
        holds=not is_open and readable,
        remedy=f"chown root:{who.name} {file.path} && chmod 640 {file.path}",
    )


def check_directory(directory: PathFacts, who: Who, *, setting: str) -> Finding:
    if directory.hidden:
        found, remedy = "whoever asks may not look there", "sudo headnode doctor --only host"
        return judged("state-dir", f"{setting} {directory.path}", found, holds=False, otherwise=Severity.NOTE, remedy=remedy)
    there = directory.mode is not None
    usable = there and stat.S_ISDIR(directory.mode or 0) and directory.admits(who, bits=7)
    return judged(
        "state-dir",
        f"{setting} {directory.path}",
        f"{who.name} may write there" if usable else f"{who.name} may not write there" if there else "it is not there",
        holds=usable,
        remedy=f"install -d -o {who.name} -g {who.name} -m 750 {directory.path}",
    )


def check_space(directory: PathFacts, *, needs_mib: int, setting: str) -> Finding:
    """`needs_mib` is what the service may come to keep there."""
    free = directory.free_mib or 0
    return judged(
        "disk-space",
        directory.path,
        f"{free} MiB are free, and up to {needs_mib} MiB may be kept there ({setting})",
        holds=free >= needs_mib + LEAST_FREE_MIB,
        otherwise=Severity.ERROR if free < LEAST_FREE_MIB else Severity.WARNING,
        remedy=f"make room on the file system of {directory.path}, or lower {setting}",
    )


def check_wake_socket(path: str, *, heard: bool) -> Finding:
    if not path:
        return Finding(id="wake-socket", severity=Severity.OK, looked_at="jobwatcher.wake_socket", found="none is configured")
    return judged(
        "wake-socket",
        path,
        "jobwatcher listens there" if heard else "nobody listens there",
        holds=heard,
        otherwise=Severity.WARNING,
        remedy="systemctl start jobwatcher, which makes the socket in a directory of its user's (RuntimeDirectory=headnode)",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFacts:
    """What `systemctl show` says of a unit, in its own words."""

    name: str
    load: str
    active: str
    enabled: str
    result: str
    restarts: int
    status: str


def parse_units(text: str) -> Mapping[str, UnitFacts]:
    """`systemctl show --property=…`: a block of Name=value lines for each unit."""
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")]
    found = {}
    for block in blocks:
        if name := block.get("Id", ""):
            restarts = block.get("NRestarts", "")
            found[name] = UnitFacts(
                name=name,
                load=block.get("LoadState", ""),
                active=block.get("ActiveState", ""),
                enabled=block.get("UnitFileState", ""),
                result=block.get("Result", ""),
                restarts=int(restarts) if restarts.isdigit() else 0,
                status=block.get("StatusText", ""),
            )
    return found


def check_units(units: Mapping[str, UnitFacts]) -> Iterator[Finding]:
    """Every unit. What the target wants starts with it, enabled or not."""
    target = units.get(TARGET)
    for unit in units.values():
        starts = [one.name for one in (unit, target) if one is not None and one.enabled in _ENABLED]
        yield from check_unit(unit, started_by=starts[0] if starts else "")


def check_unit(unit: UnitFacts, *, started_by: str) -> Iterator[Finding]:
    """Installed, running, started at boot (by the unit of that name), and not over and over."""
    installed = unit.load == "loaded"
    yield judged(
        "unit-installed",
        unit.name,
        f"systemd says {unit.load}",
        holds=installed,
        remedy="run `headnode install` as root: it lays down the units and has systemd read them",
    )
    if not installed:
        return
    yield judged(
        "unit-running",
        unit.name,
        f"{unit.active}: {unit.status or unit.result}",
        holds=unit.active == "active",
        remedy=f"systemctl start {unit.name}; see `journalctl -u {unit.name}` for why it does not run",
    )
    yield judged(
        "unit-enabled",
        unit.name,
        f"{started_by} starts it at boot" if started_by else f"nothing starts it at boot: {unit.enabled or 'not enabled'}",
        holds=bool(started_by),
        otherwise=Severity.WARNING,
        remedy=f"systemctl enable {TARGET}",
    )
    yield judged(
        "unit-restarts",
        unit.name,
        f"systemd has started it anew {unit.restarts} times",
        holds=unit.restarts < MANY_RESTARTS,
        otherwise=Severity.WARNING,
        remedy=f"journalctl -u {unit.name} -p warning, for why it ends; `systemctl reset-failed {unit.name}` counts anew",
    )
