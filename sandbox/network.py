"""Network namespaces on a bridge: each node has an address, and its loss is the loss of a machine. Only in a private world."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A bridge named `<name>0`, where the head has the address `head` of a /16, and nodes by index."""

    name: str
    head: str

    @property
    def bridge(self) -> str:
        return f"{self.name}0"

    def make_bridge(self) -> None:
        """The bridge with the head's address. slurmctld does not even start where loopback is the only address."""
        _ip(f"link add {self.bridge} type bridge", f"addr add {self.head}/16 dev {self.bridge}", f"link set {self.bridge} up")

    def remove_bridge(self) -> None:
        subprocess.run(["ip", "link", "del", self.bridge], check=False, capture_output=True, timeout=10)

    def node(self, index: int) -> str:
        """The name of a node's cable and namespace."""
        return f"{self.name}-n{index}"

    def namespace(self, index: int) -> str:
        """Its path."""
        return f"/run/netns/{self.node(index)}"

    def make_namespace(self, index: int, address: str) -> None:
        """A namespace with one interface on the bridge."""
        node = self.node(index)
        _ip(
            f"netns add {node}",
            f"link add {node} type veth peer name eth0 netns {node}",
            f"link set {node} master {self.bridge} up",
        )
        _ip("link set lo up", f"addr add {address}/16 dev eth0", "link set eth0 up", within=node)

    def remove_namespace(self, index: int) -> None:
        """Cut the cable, then drop the namespace's name: the rest goes with its last process. Repeatable."""
        for argv in (["ip", "link", "del", self.node(index)], ["ip", "netns", "del", self.node(index)]):
            subprocess.run(argv, check=False, capture_output=True, timeout=10)


def _ip(*commands: str, within: str = "") -> None:
    argv: Sequence[str] = ["ip", *(["-n", within] if within else []), "-batch", "-"]
    done = subprocess.run(argv, input="\n".join(commands), text=True, check=False, capture_output=True, timeout=10)
    if done.returncode:
        raise OSError(f"`ip` failed at one of {commands}: {done.stderr.strip()}")
