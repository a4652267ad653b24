"""A world of one's own: network and mount namespaces that nobody else sees and that vanish with the last process in them."""

import ctypes
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_MS_REC, _MS_PRIVATE, _MS_NOSUID, _MS_NODEV = 0x4000, 0x40000, 2, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where the sandbox runs. Not isolated: on the machine's own network, and `reason` says why."""

    isolated: bool
    reason: str = ""


def enter_private_world() -> World:
    """Move this process into new network and mount namespaces, with loopback up and an empty /run of its own.

    Everything it starts from then on is there too: ports, bridges, named network namespaces and sockets meet nobody else's, and
    nothing of them is left when the last process has ended. Call it from the main thread before there are others: each thread
    has namespaces of its own. Where it is not possible nothing is changed and the result says why.
    """
    if reason := _why_not():
        return World(isolated=False, reason=reason)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS) != 0:
        return World(isolated=False, reason=f"new namespaces were refused: {os.strerror(ctypes.get_errno())}")
    _mount(libc, None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount(libc, "tmpfs", "/run", "tmpfs", _MS_NOSUID | _MS_NODEV)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True, timeout=10)
    return World(isolated=True)


def _why_not() -> str:
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    missing = [tool for tool in ("ip", "nsenter", "unshare") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: iproute2, util-linux)"
    if threading.current_thread() is not threading.main_thread() or threading.active_count() > 1:
        return "other threads run already, and they would stay outside"
    return ""


def _mount(libc: ctypes.CDLL, source: str | None, target: str, kind: str | None, flags: int) -> None:
    def text(value: str | None) -> bytes | None:
        return None if value is None else value.encode()

    if libc.mount(text(source), target.encode(), text(kind), ctypes.c_ulong(flags), None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mounting {target} for the sandbox failed: {os.strerror(number)}")
