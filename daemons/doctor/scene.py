"""What is looked at, and by what means."""

import asyncio
import os
import pwd
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemons.aws.session import Clients
from daemons.config import Config
from daemons.doctor.judges.host import Who
from schedulers.commands import Commands

SERVICES = ("sqswatcher", "jobwatcher", "nodewatcher")
USER = "headnode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The cluster, and this machine. `commands` are the machine's, for systemctl."""

    config: Config
    file: Path
    clients: Clients
    commands: Commands
    who: Who
    clock: Callable[[], float] = time.time
    resolv_conf: Path = Path("/etc/resolv.conf")
    _fetched: dict[str, "asyncio.Future[Any]"] = field(default_factory=dict)

    async def once(self, what: str, fetch: Callable[["Scene"], Awaitable[Any]]) -> Any:
        """What `fetch` answers, fetched once for all who ask. What it raises is raised to each of them."""
        if what not in self._fetched:
            self._fetched[what] = asyncio.ensure_future(fetch(self))
        return await asyncio.shield(self._fetched[what])


def find_who(environ: Mapping[str, str]) -> Who:
    """Whom the services run as: the units' user where there is one, else whoever asks."""
    name = USER if _knows(USER) else environ.get("USER", "")
    entry = pwd.getpwnam(name) if name and _knows(name) else pwd.getpwuid(os.getuid())
    gids = frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Who(name=entry.pw_name, uid=entry.pw_uid, gids=gids)


def _knows(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
