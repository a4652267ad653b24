"""What a node says of itself over MQTT, and where: words that its agent and the head share. Light: compute nodes load this."""

import json
from dataclasses import asdict, dataclass

from daemons.model import InstanceId

UP, GONE = b"up", b"gone"  # the payloads of a node's state; "" once its agent was stopped on purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """One look of a node at itself. Shares are between 0 and 1 of all there is; None: the host has no such thing."""

    load_1min: float = 0.0
    cpu_share: float = 0.0  # busy time of all CPUs since the last reading
    memory_share: float = 0.0
    sessions: int = 0  # people who are logged in
    disk_bytes_per_s: float = 0.0
    network_bytes_per_s: float = 0.0
    gpu_share: float | None = None  # of the busiest of them
    steps: int = 0  # of jobs that run there, as far as the agent can tell
    spot_action: str = ""  # what EC2 has announced through IMDS: "", "terminate", "stop", "hibernate"
    rebalance: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A reading as the head has it: `at` is when it came, by the head's clock. `gone`: the broker has told of its agent's end."""

    at: float
    host: HostReading = HostReading()
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one cluster. A node publishes under its own id only; the broker's ACL sees to that."""

    first: str  # the first level, `mqtt.topic` of the configuration
    cluster: str

    @property
    def head(self) -> str:
        """Where the head says after each look at the nodes that it is there."""
        return f"{self.first}/{self.cluster}/head"

    @property
    def wake(self) -> str:
        """Where whoever may publish there wakes jobwatcher."""
        return f"{self.first}/{self.cluster}/wake"

    def state(self, node: InstanceId | str) -> str:
        """Retained: UP while the node's agent is connected, GONE as its last will."""
        return f"{self.first}/{self.cluster}/nodes/{node}/state"

    def reading(self, node: InstanceId | str) -> str:
        return f"{self.first}/{self.cluster}/nodes/{node}/reading"


def render_reading(reading: HostReading) -> bytes:
    return json.dumps(asdict(reading), separators=(",", ":"), allow_nan=False).encode()
