"""Network namespaces on a bridge: each node has an address, and its loss is the loss of a machine. Only in a private world."""

import subprocess
from collections.abc import Sequence

BRIDGE = "headnode-sge"
HEAD = "10.80.0.1"


def make_bridge() -> None:
    """The bridge with the head's address."""
    _ip(f"link add {BRIDGE} type bridge", f"addr add {HEAD}/16 dev {BRIDGE}", f"link set {BRIDGE} up")


def remove_bridge() -> None:
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True, timeout=10)


def namespace(index: int) -> str:
    return f"/run/netns/sge{index}"


def make_namespace(index: int, address: str) -> None:
    """A namespace with one interface on the bridge."""
    _ip(
        f"netns add sge{index}",
        f"link add sge{index} type veth peer name eth0 netns sge{index}",
        f"link set sge{index} master {BRIDGE} up",
    )
    _ip("link set lo up", f"addr add {address}/16 dev eth0", "link set eth0 up", within=f"sge{index}")


def remove_namespace(index: int) -> None:
    """Cut the cable, then drop the namespace's name: the rest goes with its last process. Repeatable."""
    for argv in (["ip", "link", "del", f"sge{index}"], ["ip", "netns", "del", f"sge{index}"]):
        subprocess.run(argv, check=False, capture_output=True, timeout=10)


def _ip(*commands: str, within: str = "") -> None:
    argv: Sequence[str] = ["ip", *(["-n", within] if within else []), "-batch", "-"]
    done = subprocess.run(argv, input="\n".join(commands), text=True, check=False, capture_output=True, timeout=10)
    if done.returncode:
        raise OSError(f"`ip` failed at one of {commands}: {done.stderr.strip()}")
