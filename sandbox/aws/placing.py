"""Addresses for instances that nothing really plays."""

import heapq
import ipaddress
import threading

from sandbox.aws.values import EmulatedInstance
from sandbox.runtime import Placement


class PaperRuntime:
    """Instances that exist on paper only. Addresses are reused, lowest free first, as AWS does with a small subnet."""

    def __init__(self, region: str, network: str = "10.0.0.0/16") -> None:
        self._region = region
        self._hosts = ipaddress.ip_network(network)
        self._next = 4  # AWS keeps the first four of a subnet
        self._free: list[int] = []
        self._taken: dict[str, int] = {}
        self._lock = threading.Lock()

    def place(self, instance_id: str) -> Placement:
        """Raises RuntimeError when the network has no address left."""
        with self._lock:
            offset = heapq.heappop(self._free) if self._free else self._next
            if offset >= self._hosts.num_addresses - 1:
                raise RuntimeError("There are not enough free addresses in the subnet.")
            self._next = max(self._next, offset + 1)
            self._taken[instance_id] = offset
        address = str(self._hosts[offset])
        return Placement(address=address, hostname=f"ip-{address.replace('.', '-')}.{self._region}.compute.internal")

    def boot(self, instance: EmulatedInstance) -> None:
        """Nothing runs."""

    def kill(self, instance_id: str) -> None:
        """Free the address."""
        with self._lock:
            if (offset := self._taken.pop(instance_id, None)) is not None:
                heapq.heappush(self._free, offset)
