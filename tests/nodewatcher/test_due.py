"""How long a look is good for, case by case; and what disturbs the rest meanwhile. Seconds from now, odd ones on purpose: no look
is due just then for another reason.
"""

from dataclasses import replace

import pytest

from daemons.config.values import NodewatcherConfig
from daemons.metrics import HostReading, Reading
from daemons.model import Fleet, Instance, JobId, Member, Node, NodeState, Notice, State
from nodewatcher.due import longest_rest_s, next_look_at, signs_of
from nodewatcher.memory import Memory, Since
from nodewatcher.observe import NodeSnapshot, Observation
from nodewatcher.plan import plan_nodes
from tests.fakes import BATCH, hostname, instance_id

NOW = 1_800_000_000.0
OPTIONS = NodewatcherConfig(rest_s=50.0, idle_for_s=600.0, max_ending_share=1.0)
ONE = instance_id(1)
BOOTED_FOR = BATCH.boot_timeout_s - 23

ROW = Instance(instance_id=ONE, fleet=BATCH.name, state=State.REGISTERED, hostname=hostname(1), version=3)
MEMBER = Member(instance_id=ONE, lifecycle="InService", zone="a")
IDLE = Node(hostname=hostname(1), total=BATCH.shape, partitions=frozenset({"compute"}))
BUSY = replace(IDLE, states=frozenset({NodeState.BUSY}), jobs=frozenset({JobId("7")}))
AWAITED = replace(IDLE, states=frozenset({NodeState.AWAITED}))
DRAINED = replace(IDLE, states=frozenset({NodeState.DRAIN}), reason="a fan")
DOWN = replace(IDLE, states=frozenset({NodeState.DOWN}))
TOLD = Reading(at=NOW, host=HostReading(rebalance=True))


def good_for_s(
    row: Instance = ROW,
    node: Node | None = IDLE,
    *,
    member: Member | None = MEMBER,
    reading: Reading | None = None,
    minimum: int = 0,
    maximum: int = 9,
    unobserved_s: float = 0.0,
    booting_since: float | None = None,
) -> float:
    """A look that saw one such node."""
    fleet = Fleet(spec=BATCH, minimum=minimum, desired=1, maximum=maximum, members=(member,) if member is not None else ())
    seen = Observation(
        now=NOW,
        unobserved_s=unobserved_s,
        fleets=(fleet,),
        nodes=(node,) if node is not None else (),
        demand=(),
        snapshots=(NodeSnapshot(row=row, member=member, node=node, reading=reading),),
    )
    booting = (Since(instance_id=ONE, at=booting_since),) if booting_since is not None else ()
    return next_look_at(seen, plan_nodes(seen, Memory(booting=booting), OPTIONS), OPTIONS) - NOW


def test_while_nothing_ends_by_itself_it_is_good_for_the_whole_rest() -> None:
    assert good_for_s(node=BUSY) == 50
    assert good_for_s(node=IDLE) == 50
    assert good_for_s(node=DRAINED) == 50
    assert good_for_s(node=None) == 50


def test_it_is_good_until_an_idle_time_is_over_and_for_the_whole_rest_where_that_ended_nothing() -> None:
    idle = replace(ROW, idle_since=NOW - 583)
    assert good_for_s(idle) == 17
    over = replace(ROW, idle_since=NOW - 9000)
    assert good_for_s(over, minimum=1) == 50
    assert good_for_s(idle, minimum=1, maximum=1) == 50, "its fleet is static: the time is never over"


def test_it_is_good_until_a_hold_is_over() -> None:
    assert good_for_s(replace(ROW, held_until=NOW + 17)) == 17
    assert good_for_s(replace(ROW, held_until=NOW - 17)) == 50


@pytest.mark.parametrize("state", [State.PENDING, State.READY])
def test_it_is_good_until_a_boot_time_is_over(state: State) -> None:
    row = replace(ROW, state=state, pending_at=NOW - BOOTED_FOR)
    assert good_for_s(row, node=None) == 23
    assert good_for_s(replace(row, pending_at=NOW), node=None) == 50


def test_it_is_good_until_a_registered_node_that_takes_no_jobs_yet_has_had_its_time() -> None:
    assert good_for_s(node=AWAITED, booting_since=NOW - BOOTED_FOR) == 23


@pytest.mark.parametrize(
    ("row", "node"),
    [
        (ROW, DOWN),
        (ROW, replace(DRAINED, drained_by_us=True)),
        (replace(ROW, idle_since=NOW - 600), IDLE),
        (replace(ROW, state=State.DRAINING), None),
        (replace(ROW, state=State.DRAINING), DRAINED),
        (replace(ROW, state=State.TERMINATING, terminating_at=NOW), None),
    ],
    ids=["down", "to be resumed", "to be drained", "draining, and not mentioned", "draining", "on its way out"],
)
def test_it_is_good_for_nothing_while_a_node_is_down_or_something_is_done_about_it(row: Instance, node: Node | None) -> None:
    assert good_for_s(row, node) == 0


def test_it_is_good_for_nothing_where_auto_scaling_takes_a_node_away() -> None:
    assert good_for_s(member=replace(MEMBER, lifecycle="Terminating:Wait"), node=BUSY) == 0


@pytest.mark.parametrize("node", [AWAITED, DRAINED, None], ids=["not up yet", "an administrator's", "not mentioned"])
def test_it_is_good_for_nothing_where_a_node_that_is_about_to_go_could_take_jobs_any_moment(node: Node | None) -> None:
    for notice in Notice:
        assert good_for_s(replace(ROW, notice=notice), node) == 0
    assert good_for_s(node=node, reading=TOLD) == 0


@pytest.mark.parametrize("unobserved_s", [3600.0, -3600.0])
def test_it_is_good_for_nothing_where_time_went_by_that_nobody_can_speak_for(unobserved_s: float) -> None:
    assert good_for_s(node=BUSY, unobserved_s=unobserved_s) == 0


@pytest.mark.parametrize(("idle_for_s", "rest_s"), [(600.0, 50.0), (200.0, 20.0), (0.0, 0.0)])
def test_who_gives_nodes_back_soon_looks_often(idle_for_s: float, rest_s: float) -> None:
    assert longest_rest_s(replace(OPTIONS, idle_for_s=idle_for_s)) == rest_s


@pytest.mark.parametrize(
    "reading",
    [
        Reading(at=NOW, host=HostReading(), gone=True),
        Reading(at=NOW, host=HostReading(spot_action="terminate")),
        Reading(at=NOW, host=HostReading(rebalance=True)),
    ],
    ids=["gone", "spot", "rebalance"],
)
def test_a_node_that_says_that_it_is_about_to_go_is_a_sign(reading: Reading) -> None:
    usual = Reading(at=NOW, host=HostReading(cpu_share=0.9, sessions=2))
    before = signs_of([], {ONE: usual, instance_id(2): usual})
    assert before == signs_of([], {})
    assert signs_of([], {ONE: reading, instance_id(2): usual}) != before


def test_a_row_that_is_another_is_a_sign() -> None:
    assert signs_of([replace(ROW, version=4)], {}) != signs_of([ROW], {})
    assert signs_of([ROW], {}) != signs_of([], {})
