"""Queue instances, recorded and made up, as nodes."""

import pytest

from daemons.model import FleetName, Hostname, NodeState, Shape
from schedulers.sge.nodes import Counting, Host, hosts_of, nodes_of
from schedulers.sge.parse import parse_snapshot
from tests.schedulers.sge.words import BATCH, instance, qstat, recorded_cell, recording

COUNTING = Counting(cell=recorded_cell(), fleets=(BATCH,), memory="h_vmem", gpu="gpu")
OURS = '<resource name="headnode_drain" type="hf">headnode: idle for 300 s</resource>'
THEIRS = '<resource name="headnode_drain" type="hf">disk</resource>'
REPORTED = "<arch>lx-amd64</arch>"


def host(*instances: str) -> Host:
    (one,) = hosts_of(parse_snapshot(qstat(instances="".join(instances)))).values()
    return one


def recorded(name: str) -> dict[str, Host]:
    return {str(hostname): host for hostname, host in hosts_of(parse_snapshot(recording(name))).items()}


def test_recorded_hosts() -> None:
    hosts = recorded("32_queue_states_uoE.qstat_f_r.xml")
    assert not hosts["head"].has_slots
    assert hosts["ghost1"].states == {NodeState.AWAITED}
    assert hosts["node1"].states == {NodeState.DOWN, NodeState.BUSY}
    assert hosts["node2"].states == {NodeState.DRAIN, NodeState.BUSY, NodeState.RESERVED}
    assert hosts["node2"].reason == "load alarm, taken out of its queue, where jobs still run"
    assert hosts["node3"].jobs == {"95", "96", "98.1", "98.3"}


def test_recorded_alarms_errors_and_deletions() -> None:
    hosts = recorded("31_queue_states_Ea.qstat_f.xml")
    assert hosts["node2"].states == {NodeState.BUSY, NodeState.DRAIN, NodeState.RESERVED}
    assert recorded("35_Eqw_E.qstat_f.xml")["node3"].states == {NodeState.DOWN}
    dead = recorded("33_dr.qstat_f.xml")["node1"]
    assert dead.states == {NodeState.DOWN, NodeState.BUSY, NodeState.DRAIN}
    assert "94" in dead.jobs


def test_total_is_what_the_group_says_and_used_what_jobs_were_charged() -> None:
    hosts = recorded("20_mixed.qstat_f_r.xml")
    node = COUNTING.node_of(hosts["node3"], FleetName("batch_1"))
    assert node.total == Shape(cpus=2, memory_mib=7_000, gpus=2, consumables=(("perjob", 3),))
    assert node.used == Shape(cpus=2, memory_mib=4_096 + 512, gpus=2)
    assert node.features == {"c5.big-x_1", "batch_1"}
    assert node.partitions == {"all.q"}
    assert not node.is_idle


def test_a_host_of_no_fleet_has_what_is_left_and_what_is_used() -> None:
    text = instance(
        "all.q@n1", inside='<resource name="h_vmem" type="hc">12.000G</resource><resource name="gpu" type="hl">9</resource>'
    )
    node = COUNTING.node_of(host(text), None)
    assert (node.total, node.features) == (Shape(cpus=4, memory_mib=12_288), frozenset())


@pytest.mark.parametrize(
    ("letters", "states"),
    [
        ("", set()),
        ("d", {NodeState.DRAIN}),
        ("D", {NodeState.DRAIN}),
        ("s", {NodeState.DRAIN}),
        ("C", {NodeState.DRAIN}),
        ("E", {NodeState.DOWN}),
        ("c", {NodeState.DOWN}),
        ("u", {NodeState.AWAITED}),
        ("au", {NodeState.AWAITED, NodeState.RESERVED}),
        ("S", {NodeState.RESERVED}),
        ("x", {NodeState.UNKNOWN}),
    ],
)
def test_what_the_letters_mean(letters: str, states: set[NodeState]) -> None:
    assert host(instance("all.q@n1", state=letters)).states == states


def test_a_host_whose_daemon_once_reported_is_down_not_awaited() -> None:
    assert host(instance("all.q@n1", state="u", inside=REPORTED)).states == {NodeState.DOWN}


def test_reserved_slots_are_no_idle_host() -> None:
    assert host(instance("all.q@n1", reserved=1)).states == {NodeState.RESERVED}


def test_slots_in_use_without_a_job_are_somebodys_all_the_same() -> None:
    one = host(instance("all.q@n1", used=2))
    assert one.states == {NodeState.BUSY}
    assert one.jobs == {"2 slots of all.q@n1"}


def test_our_drain_bears_our_note() -> None:
    ours = host(instance("all.q@n1", state="d", inside=OURS))
    assert (ours.drained_by_us, ours.reason) == (True, "headnode: idle for 300 s")


def test_other_drains_are_an_administrators() -> None:
    bare, theirs = (host(instance("all.q@n1", state="d", inside=inside)) for inside in ("", THEIRS))
    assert (bare.drained_by_us, bare.reason) == (False, "disabled")
    assert (theirs.drained_by_us, theirs.reason) == (False, "disk")


def test_a_note_alone_is_no_drain() -> None:
    one = host(instance("all.q@n1", inside=OURS))
    assert (one.drained_by_us, one.is_drained, one.states) == (False, False, frozenset())


def test_a_host_is_drained_when_all_its_instances_are() -> None:
    half = host(instance("all.q@n1", state="d"), instance("long.q@n1"))
    whole = host(instance("all.q@n1", state="d"), instance("long.q@n1.domain", state="dS"))
    assert (half.is_drained, half.is_disabled, whole.is_drained) == (False, True, True)
    assert COUNTING.node_of(whole, None).partitions == {"all.q", "long.q"}


def test_a_host_without_slots_stands_for_nodes_to_come_if_its_note_says_so() -> None:
    note = '<resource name="headnode_drain" type="hf">headnode: placeholder</resource>'
    ours = host(instance("all.q@head", state="du", total=0, inside=note))
    theirs = host(instance("all.q@n1", state="du", total=0))
    busy = host(instance("all.q@n2", state="duo", total=0, used=1, inside=note))
    assert [one.is_placeholder for one in (ours, theirs, busy)] == [True, False, False]
    hosts = {one.hostname: one for one in (ours, theirs, busy)}
    assert set(nodes_of(hosts, members=[Hostname("head")])) == {"n2"}
    assert set(nodes_of(hosts, members=[Hostname("n1")])) == {"n1", "n2"}
