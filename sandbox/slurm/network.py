"""Network namespaces on a bridge: each node has an address, and its loss is the loss of a machine. Only in a private world."""

import subprocess
from collections.abc import Sequence

BRIDGE = "headnode0"
CONTROLLER = "10.77.0.1"


def make_bridge() -> None:
    """The bridge with the controller's address. slurmctld does not even start where loopback is the only address."""
    _ip(f"link add {BRIDGE} type bridge", f"addr add {CONTROLLER}/16 dev {BRIDGE}", f"link set {BRIDGE} up")


def remove_bridge() -> None:
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True, timeout=10)


def namespace(index: int) -> str:
    return f"/run/netns/node{index}"


def make_namespace(index: int, address: str) -> None:
    """A namespace with one interface on the bridge."""
    _ip(
        f"netns add node{index}",
        f"link add node{index} type veth peer name eth0 netns node{index}",
        f"link set node{index} master {BRIDGE} up",
    )
    _ip("link set lo up", f"addr add {address}/16 dev eth0", "link set eth0 up", within=f"node{index}")


def remove_namespace(index: int) -> None:
    """Cut the cable, then drop the namespace's name: the rest goes with its last process. Repeatable."""
    for argv in (["ip", "link", "del", f"node{index}"], ["ip", "netns", "del", f"node{index}"]):
        subprocess.run(argv, check=False, capture_output=True, timeout=10)


def _ip(*commands: str, within: str = "") -> None:
    argv: Sequence[str] = ["ip", *(["-n", within] if within else []), "-batch", "-"]
    done = subprocess.run(argv, input="\n".join(commands), text=True, check=False, capture_output=True, timeout=10)
    if done.returncode:
        raise OSError(f"`ip` failed at one of {commands}: {done.stderr.strip()}")
