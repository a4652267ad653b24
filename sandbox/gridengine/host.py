"""What this machine has to offer for a Grid Engine of one's own."""

import pwd
from pathlib import Path

from sandbox.world import World

BINARIES = Path("/usr/lib/gridengine")  # the programs themselves; those in PATH are scripts that look for the system's own cell
SHARED = Path("/usr/share/gridengine")
INSTALLED = Path("/var/lib/gridengine")
ADMIN = "sgeadmin"  # the packages make this user; the qmaster becomes it

_PROGRAMS = ("sge_qmaster", "sge_execd", "sge_shepherd", "qconf", "qstat", "qsub", "qmod", "qdel", "spoolinit", "spooldefaults")
_DEBIAN = "Debian: gridengine-master gridengine-exec gridengine-client"


def can_run(world: World) -> str | None:
    """None if a private Grid Engine can run here, otherwise why not and what would help."""
    missing = [name for name in _PROGRAMS if not (BINARIES / name).exists()]
    if missing:
        return f"not installed: {', '.join(missing)} ({_DEBIAN})"
    try:
        pwd.getpwnam(ADMIN)
    except KeyError:
        return f"there is no user {ADMIN} ({_DEBIAN} make it)"
    if not world.isolated:
        return f"its hosts have to have names and addresses of their own, which needs network namespaces, and {world.reason}"
    return None
