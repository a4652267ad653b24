"""What a node says of itself: a reading of its host, as the agent sends it and the head understands it. Pure."""

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError, with_config

from daemons.errors import InvalidValue
from daemons.plain import render_json

LONGEST_READING = 4096  # bytes of a payload


@with_config(allow_inf_nan=False)
@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """One look of a node at itself. Shares are between 0 and 1 of all there is; None: the host has no such thing."""

    load_1min: float = 0.0
    cpu_share: float = 0.0  # busy time of all CPUs since the last reading
    memory_share: float = 0.0
    sessions: int = 0  # people who are logged in
    disk_bytes_per_s: float = 0.0
    network_bytes_per_s: float = 0.0
    gpu_share: float | None = None
    steps: int = 0  # of jobs that run there, as far as the agent can tell
    spot_action: str = ""  # what EC2 has announced through IMDS: "", "terminate", "stop", "hibernate"
    rebalance: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A reading as the head has it: `at` is when it came, by the head's clock. `gone`: the broker has told of its agent's end."""

    at: float
    host: HostReading = HostReading()
    gone: bool = False


def render_reading(reading: HostReading) -> bytes:
    return render_json(reading).encode()


def parse_reading(payload: bytes) -> HostReading:
    """The reading of a payload. Raises InvalidValue for one that is too long, no such JSON, or holds impossible amounts."""
    if len(payload) > LONGEST_READING:
        raise InvalidValue(f"a reading of {len(payload)} bytes is longer than {LONGEST_READING}")
    try:
        reading = _READING.validate_json(payload, strict=True)
    except ValidationError as err:
        raise InvalidValue(f"this is no reading: {err.errors(include_url=False)[0]['msg']}") from err
    shares = (reading.cpu_share, reading.memory_share, reading.gpu_share or 0.0)
    amounts = (reading.load_1min, reading.sessions, reading.disk_bytes_per_s, reading.network_bytes_per_s, reading.steps)
    if any(not 0 <= share <= 1 for share in shares) or any(not 0 <= amount <= _MOST for amount in amounts):
        raise InvalidValue("a reading holds amounts that cannot be")
    if reading.spot_action not in _ACTIONS:
        raise InvalidValue(f"{reading.spot_action!r:.40} is nothing that EC2 does to Spot instances")
    return reading


_MOST = 1e15
_ACTIONS = ("", "terminate", "stop", "hibernate")
_READING: TypeAdapter[HostReading] = TypeAdapter(HostReading)
