"""What nodes say of themselves: believed where it can be, refused where it cannot, forgotten with its node."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from daemons.errors import InvalidValue
from daemons.metrics import GONE, UP, HostReading, Topics, render_reading
from daemons.model import InstanceId
from daemons.mqtt import Heard
from nodewatcher import telemetry as module
from nodewatcher.telemetry import Telemetry, parse_reading

TOPICS = Topics("headnode", "hpc")
ONE, TWO = InstanceId("i-00000001"), InstanceId("i-00000002")
BUSY = HostReading(load_1min=1.5, cpu_share=0.9, memory_share=0.5, sessions=1, gpu_share=0.25, steps=3)


class Head:
    """The head's side, with a clock to turn and a line that can be down."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.line_is_up = True
        self.said: list[tuple[str, bytes, bool]] = []
        self.telemetry = Telemetry(TOPICS, clock=lambda: self.now)

    def hears(self, node: str, leaf: str, payload: bytes, *, retained: bool = False) -> None:
        self.telemetry.hear(Heard(f"headnode/hpc/nodes/{node}/{leaf}", payload, retained))

    async def say(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        if self.line_is_up:
            self.said.append((topic, payload, retain))
        return self.line_is_up

    async def looks(self, *live: InstanceId) -> None:
        await self.telemetry.looked(live, self)


def test_a_reading_is_what_was_sent_at_the_time_it_came() -> None:
    head = Head()
    head.hears(ONE, "reading", render_reading(BUSY))
    reading = head.telemetry.readings()[ONE]
    assert reading.host == BUSY
    assert (reading.at, reading.gone) == (1000.0, False)


def test_a_reading_that_the_broker_kept_is_of_no_known_age_and_so_of_no_use() -> None:
    head = Head()
    head.hears(ONE, "reading", render_reading(BUSY), retained=True)
    assert ONE not in head.telemetry.readings()


def test_the_last_will_is_known_also_to_a_head_that_started_later_until_the_node_speaks_again() -> None:
    head = Head()
    head.hears(ONE, "state", GONE, retained=True)
    assert head.telemetry.readings()[ONE].gone
    head.hears(ONE, "state", UP)
    assert ONE not in head.telemetry.readings()
    head.hears(ONE, "reading", render_reading(BUSY))
    assert not head.telemetry.readings()[ONE].gone


def test_an_agent_that_was_stopped_on_purpose_is_no_sign_of_trouble() -> None:
    head = Head()
    head.hears(ONE, "reading", render_reading(BUSY))
    head.hears(ONE, "state", b"")
    assert ONE not in head.telemetry.readings()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"up"',
        b'{"cpu_share": 1.5}',
        b'{"cpu_share": -0.1}',
        b'{"cpu_share": NaN}',
        b'{"cpu_share": 1e999}',
        b'{"cpu_share": "0.5"}',
        b'{"sessions": 1.5}',
        b'{"sessions": -1}',
        b'{"gpu_share": 7}',
        b'{"load_1min": 1e300}',
        b'{"spot_action": "explode"}',
        b'{"rebalance": 1}',
        b"\xff\xfe",
        json.dumps({"spot_action": "x" * 5000}).encode(),
        b"[" * 4000,
    ],
)
def test_what_cannot_be_a_reading_is_refused_and_the_last_one_stays(payload: bytes) -> None:
    head = Head()
    head.hears(ONE, "reading", render_reading(BUSY))
    head.hears(ONE, "reading", payload)
    assert head.telemetry.readings()[ONE].host == BUSY
    assert head.telemetry.refused == 1
    with pytest.raises(InvalidValue):
        parse_reading(payload)


@pytest.mark.parametrize("node", ["i-1", "../i-00000001", "i-00000001 ", "I-00000001", "-".join("x" * 300), "\x00"])
def test_who_has_no_instance_id_is_not_heard(node: str) -> None:
    head = Head()
    head.hears(node, "reading", render_reading(BUSY))
    assert not head.telemetry.readings()


@given(st.binary(max_size=300), st.text(max_size=40), st.sampled_from(["state", "reading", "x"]), st.booleans())
def test_no_message_whatever_it_is_ends_the_listening(payload: bytes, node: str, leaf: str, retained: bool) -> None:
    head = Head()
    with capture_logs():
        head.hears(node, leaf, payload, retained=retained)
        head.hears(ONE, leaf, payload, retained=retained)
    assert set(head.telemetry.readings()) <= {ONE}


def test_a_node_that_goes_on_sending_rubbish_is_told_of_once() -> None:
    head = Head()
    with capture_logs() as events:
        for _ in range(100):
            head.hears(ONE, "reading", b"rubbish")
        head.hears(ONE, "reading", render_reading(BUSY))
        head.hears(ONE, "reading", b"rubbish")
    assert [event["event"] for event in events] == ["reading.refused"] * 2
    assert head.telemetry.refused == 101


def test_no_more_nodes_are_kept_than_a_cluster_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NODES", 3)
    head = Head()
    for number in range(10):
        head.hears(f"i-{number:08x}", "reading", render_reading(BUSY))
    assert len(head.telemetry.readings()) == 3
    head.hears(InstanceId("i-00000001"), "reading", render_reading(HostReading()))
    assert head.telemetry.readings()[ONE].host == HostReading()


async def test_instances_that_are_no_more_are_forgotten_in_time_and_their_state_is_cleared_at_the_broker() -> None:
    head = Head()
    head.hears(ONE, "state", UP)
    head.hears(ONE, "reading", render_reading(BUSY))
    head.hears(TWO, "state", GONE, retained=True)
    await head.looks(ONE)
    assert set(head.telemetry.readings()) == {ONE, TWO}, "its row may not be written yet"
    head.now += 3601
    head.line_is_up = False
    await head.looks(ONE)
    head.line_is_up = True
    await head.looks(ONE)
    assert set(head.telemetry.readings()) == {ONE}
    cleared = [(topic, payload, retain) for topic, payload, retain in head.said if topic.endswith("state")]
    assert cleared == [("headnode/hpc/nodes/i-00000002/state", b"", True)]


async def test_a_broker_that_does_not_answer_is_asked_once_a_look_however_much_there_is_to_clear() -> None:
    head = Head()
    for number in range(50):
        head.hears(f"i-{number:08x}", "state", UP, retained=True)
    asked = 0

    class Dead:
        async def say(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
            nonlocal asked
            asked += 1
            return False

    await head.telemetry.looked([], Dead())
    assert asked == 1


async def test_states_of_thousands_that_are_no_more_are_cleared_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CLEARED_A_LOOK", 4)
    monkeypatch.setattr(module, "MOST_NODES", 9)
    head = Head()
    for number in range(30):
        head.hears(f"i-{number:08x}", "state", UP, retained=True)
    cleared = []
    for _ in range(4):
        head.said.clear()
        await head.looks()
        cleared.append(len(head.said) - 1)
    assert cleared == [4, 4, 1, 0], "no more are remembered than a cluster can have"


async def test_after_each_look_the_head_says_that_it_is_there() -> None:
    head = Head()
    await head.looks()
    await head.looks()
    assert head.said == [("headnode/hpc/head", b"here", False)] * 2
