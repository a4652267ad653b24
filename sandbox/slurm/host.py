"""What this machine has to offer for a Slurm of one's own."""

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from daemons.model import FleetSpec
from sandbox.world import World

_CLIENTS = ("scontrol", "squeue", "sbatch", "munged")
_DAEMONS = ("slurmctld", "slurmd")


def can_run(world: World, fleets: Sequence[FleetSpec] = ()) -> str | None:
    """None if a private Slurm can run here, otherwise why not and what would help."""
    missing = [name for name in _CLIENTS if find(name) is None] + [name for name in _DAEMONS if daemon(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge slurm-wlm-basic-plugins)"
    if not world.isolated:
        if len({fleet.shape for fleet in fleets}) > 1:
            return f"fleets of different shapes need network namespaces, and {world.reason}"
        try:
            socket.getaddrinfo(None, 0, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG)
        except socket.gaierror:  # what slurmctld itself asks first
            return "slurmctld does not start on a machine that has a loopback address only"
    return None


def find(name: str) -> str | None:
    """A program's path; administrators' directories are looked into even if an ordinary user's PATH leaves them out."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def daemon(name: str) -> Path | None:
    """A Slurm daemon's real file: Debian names it slurmctld-wlm behind links."""
    path = find(f"{name}-wlm") or find(name)
    return Path(path).resolve() if path else None


def free_ports(count: int) -> list[int]:
    """TCP ports that nobody listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
