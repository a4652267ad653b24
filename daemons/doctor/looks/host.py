"""This machine: files, directories, space, the wake-up socket, units."""

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from daemons.doctor.findings import Finding, Severity
from daemons.doctor.judges import host as judge
from daemons.doctor.scene import SERVICES, Scene
from daemons.errors import SchedulerUnavailable

_PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,Result,NRestarts,StatusText"
_NEEDS = (judge.TARGET, *(f"{name}.service" for name in SERVICES))


async def look_at_files(scene: Scene) -> Sequence[Finding]:
    return await asyncio.to_thread(lambda: list(_files(scene)))


def _files(scene: Scene) -> Iterator[Finding]:
    config, who = scene.config, scene.who
    yield judge.check_config_file(fetch_path(scene.file), who)
    places = [
        ("jobwatcher.state_dir", config.jobwatcher.state_dir, "jobwatcher.record_mib", config.jobwatcher.record_mib),
        ("nodewatcher.state_dir", config.nodewatcher.state_dir, "nodewatcher.record_mib", config.nodewatcher.record_mib),
    ]
    if (log := config.log.cloudwatch) is not None:
        places.append(("log.cloudwatch.spool_dir", log.spool_dir, "log.cloudwatch.spool_mib", log.spool_mib * len(SERVICES)))
    if (log_file := config.log.file) is not None:
        needs_mib = log_file.most_mib * (log_file.keep + 1) * len(SERVICES)
        places.append(("log.file.directory", log_file.directory, "log.file.most_mib and log.file.keep", needs_mib))
    for setting, path, size, needs_mib in places:
        facts = fetch_path(Path(path))
        yield judge.check_directory(facts, who, setting=setting)
        if facts.free_mib is not None:
            yield judge.check_space(facts, needs_mib=needs_mib, setting=size)
    socket_path = config.jobwatcher.wake_socket
    yield judge.check_wake_socket(socket_path, heard=bool(socket_path) and _is_heard(socket_path))


def fetch_path(path: Path) -> judge.PathFacts:
    """What is there; without a mode where nothing is, or where we may not look."""
    try:
        found, space = path.stat(), os.statvfs(path)
    except PermissionError:
        return judge.PathFacts(path=str(path), hidden=True)
    except OSError:
        return judge.PathFacts(path=str(path))
    free_mib = space.f_bavail * space.f_frsize >> 20
    return judge.PathFacts(path=str(path), mode=found.st_mode, uid=found.st_uid, gid=found.st_gid, free_mib=free_mib)


def _is_heard(path: str) -> bool:
    """Connecting says nothing and wakes nobody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as knock:
        knock.setblocking(False)
        try:
            knock.connect(path)
        except OSError:
            return False
    return True


async def look_at_units(scene: Scene) -> Sequence[Finding]:
    try:
        answer = await scene.commands.run("systemctl", "show", f"--property={_PROPERTIES}", *_NEEDS)
    except SchedulerUnavailable as err:
        return [_no_systemd(str(err))]
    units = judge.parse_units(answer.out)
    if not answer.ok or not units:
        return [_no_systemd(answer.words or "systemctl said nothing")]
    return list(judge.check_units(units))


def _no_systemd(words: str) -> Finding:
    remedy = "whatever starts the services here, has to start them again when they end"
    return Finding(id="units", severity=Severity.NOTE, looked_at="systemd", found=f"it does not answer: {words}", remedy=remedy)
