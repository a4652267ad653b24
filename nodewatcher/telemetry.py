"""What the nodes say of themselves, as the head keeps it. Everything they send is hostile until it has been parsed."""

from collections.abc import Callable, Collection, Mapping
from functools import cache
from itertools import islice
from typing import Protocol

import structlog
from pydantic import TypeAdapter, ValidationError

from daemons.errors import InvalidValue
from daemons.metrics import GONE, UP, HostReading, Reading, Topics
from daemons.model import InstanceId
from daemons.mqtt import Heard
from daemons.names import parse_instance_id

log = structlog.get_logger()

LONGEST_READING = 4096  # bytes of a payload
MOST_NODES = 50_000  # whose readings are kept
_MOST_SUSPECT = 1000
_MOST = 1e15
_ACTIONS = ("", "terminate", "stop", "hibernate")
_CLEARED_A_LOOK = 200  # states at the broker, one after the other
_FORGET_AFTER_S = 3600.0  # an instance may speak before its row is written, and after it is closed


class Line(Protocol):
    async def say(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Send it; False if there is no broker to send it to."""


class Telemetry:
    """The newest word of each node, and what the head tells them."""

    def __init__(self, topics: Topics, *, clock: Callable[[], float]) -> None:
        self._topics = topics
        self._clock = clock
        self._readings: dict[InstanceId, Reading] = {}
        self._retained: set[InstanceId] = set()  # of which the broker keeps a state
        self._suspect: set[str] = set()  # topics whose last message was refused
        self.messages = 0  # understood
        self.refused = 0

    def readings(self) -> Mapping[InstanceId, Reading]:
        return self._readings

    def hear(self, heard: Heard) -> None:
        """Take one message. What is no node's word is counted, told of once for each topic in a row, and otherwise left alone."""
        try:
            instance_id, leaf = parse_topic(self._topics, heard.topic)
            if leaf == "state":
                self._hear_state(instance_id, heard.payload)
            elif not heard.retained:  # how old a retained reading is nobody knows
                self._take(instance_id, Reading(at=self._clock(), host=parse_reading(heard.payload)))
        except InvalidValue as err:
            self.refused += 1
            if heard.topic not in self._suspect and len(self._suspect) < _MOST_SUSPECT:
                self._suspect.add(heard.topic)
                log.warning("reading.refused", topic=heard.topic[:200], error=str(err))
        else:
            self.messages += 1
            self._suspect.discard(heard.topic)

    def _hear_state(self, instance_id: InstanceId, payload: bytes) -> None:
        known = self._readings.get(instance_id)
        if payload == GONE:
            self._take(instance_id, Reading(at=self._clock(), host=known.host if known else HostReading(), gone=True))
            self._retained.add(instance_id)
        elif payload == UP:
            if known is not None and known.gone:
                del self._readings[instance_id]  # it speaks again: its next reading counts
            if len(self._retained) < MOST_NODES:
                self._retained.add(instance_id)
        elif not payload:  # its agent was stopped, or the head has cleared the topic
            self._readings.pop(instance_id, None)
            self._retained.discard(instance_id)
        else:
            raise InvalidValue(f"{payload[:40]!r} is no state of an agent")

    def _take(self, instance_id: InstanceId, reading: Reading) -> None:
        if instance_id not in self._readings and len(self._readings) >= MOST_NODES:
            raise InvalidValue(f"{MOST_NODES} nodes have been heard, and this is one more")
        self._readings[instance_id] = reading

    async def looked(self, live: Collection[InstanceId], line: Line) -> None:
        """After a look at the nodes: forget instances that are no more, at the broker too, and tell the rest that we are here.

        A broker that does not answer, or knows thousands that are no more, keeps nobody waiting: what is left is for later looks.
        """
        now, known = self._clock(), frozenset(live)
        old = [node for node, reading in self._readings.items() if node not in known and now - reading.at > _FORGET_AFTER_S]
        for node in old:
            del self._readings[node]
        if not await line.say(self._topics.head, b"here"):
            return
        left = (node for node in self._retained if node not in known and node not in self._readings)
        for node in list(islice(left, _CLEARED_A_LOOK)):
            if not await line.say(self._topics.state(node), b"", retain=True):
                return
            self._retained.discard(node)


def parse_topic(topics: Topics, topic: str) -> tuple[InstanceId, str]:
    """Who speaks, and the last level: "state" or "reading". Raises InvalidValue."""
    parts = topic.split("/")
    if len(parts) == 5 and parts[:3] == [topics.first, topics.cluster, "nodes"] and parts[4] in ("state", "reading"):
        return parse_instance_id(parts[3]), parts[4]
    raise InvalidValue(f"{topic[:200]!r} is no node's topic")


def parse_reading(payload: bytes) -> HostReading:
    """The reading of a payload. Raises InvalidValue for one that is too long, no such JSON, or holds impossible amounts."""
    if len(payload) > LONGEST_READING:
        raise InvalidValue(f"a reading of {len(payload)} bytes is longer than {LONGEST_READING}")
    try:
        reading = _adapter().validate_json(payload, strict=True)
    except ValidationError as err:
        raise InvalidValue(f"this is no reading: {err.errors(include_url=False)[0]['msg']}") from err
    shares = (reading.cpu_share, reading.memory_share, reading.gpu_share or 0.0)
    amounts = (reading.load_1min, reading.sessions, reading.disk_bytes_per_s, reading.network_bytes_per_s, reading.steps)
    if any(not 0 <= share <= 1 for share in shares) or any(not 0 <= amount <= _MOST for amount in amounts):
        raise InvalidValue("a reading holds amounts that cannot be")
    if reading.spot_action not in _ACTIONS:
        raise InvalidValue(f"{reading.spot_action!r:.40} is nothing that EC2 does to Spot instances")
    return reading


@cache
def _adapter() -> TypeAdapter[HostReading]:
    return TypeAdapter(HostReading)
