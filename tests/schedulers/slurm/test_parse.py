"""Slurm's words for nodes, recorded, and the small grammars in them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons.errors import SchedulerUnavailable
from daemons.model import BlockedBy, Hostname, NodeState, Shape
from schedulers.slurm import parse
from schedulers.slurm.hostlist import parse_hostlist, render_hostlists
from schedulers.slurm.reasons import blocked_by

RECORDINGS = Path(__file__).parent / "recordings"
NODES = parse.parse_nodes((RECORDINGS / "nodes.txt").read_text())


def node(number: int) -> parse.SlurmNode:
    return NODES[Hostname(f"ip-10-77-1-{number}")]


def changed(**replacements: str) -> parse.SlurmNode:
    """The first recorded real node with some of its line's text replaced."""
    lines = (RECORDINGS / "nodes.txt").read_text().splitlines()
    text = next(line for line in lines if line.startswith("NodeName=ip-10-77-1-4 "))
    for old, new in replacements.items():
        text = text.replace({"state": "State=DOWN+DYNAMIC_NORM", "gres": "Gres=(null)", "used": "GresUsed=gpu:0"}[old], new)
    return parse.parse_nodes(text)[Hostname("ip-10-77-1-4")]


def test_recorded_nodes_are_placeholders_and_members() -> None:
    assert [name for name, one in NODES.items() if not one.is_placeholder] == [
        f"ip-10-77-1-{number}" for number in (1, 2, 4, 3, 5)
    ]
    assert sum(one.is_placeholder and one.is_future and one.is_dynamic for one in NODES.values()) == 12


def test_a_node_that_we_drained_while_a_job_runs() -> None:
    one = node(1)
    assert one.states == {NodeState.BUSY, NodeState.DRAIN}
    assert (one.reason, one.drained_by_us, one.address) == ("headnode: idle for 300 s", True, "10.77.1.1")
    assert (one.total, one.used) == (Shape(cpus=4, memory_mib=7000), Shape(cpus=4, memory_mib=400))
    assert one.features == {"batch", "c5", "compute"}
    assert one.partitions == {"compute"}


def test_an_administrators_reason_is_kept_whole_and_is_not_ours() -> None:
    one = node(2)
    assert (one.reason, one.drained_by_us, one.comment) == ("disk [sda] State=IDLE Comment=headnode: no", False, "")


def test_a_node_with_gpus_and_a_comment() -> None:
    one = node(3)
    assert one.total == Shape(cpus=8, memory_mib=30_000, gpus=2, gpu_type="a100")
    assert one.used == Shape(cpus=2, memory_mib=200, gpus=1, gpu_type="a100")
    assert one.states == {NodeState.BUSY}
    assert (one.comment, one.reason) == ("of mine", "")


def test_a_reason_of_two_lines_does_not_hide_the_next_node() -> None:
    assert node(4).states == {NodeState.DOWN}
    assert node(4).reason == "not responding"


def test_a_node_that_has_not_reported_is_awaited() -> None:
    one = node(5).as_node(frozenset())
    assert one.states == {NodeState.AWAITED}
    assert (one.is_awaited, one.is_usable) == (True, False)


@pytest.mark.parametrize(
    ("state", "states"),
    [
        ("IDLE", set()),
        ("IDLE*", {NodeState.SILENT}),
        ("IDLE+DYNAMIC_NORM+NOT_RESPONDING", {NodeState.SILENT}),
        ("IDLE+COMPLETING", {NodeState.BUSY}),
        ("MIXED+DRAIN", {NodeState.BUSY, NodeState.DRAIN}),
        ("ALLOCATED", {NodeState.BUSY}),
        ("IDLE+CLOUD+POWERED_DOWN", {NodeState.DOWN}),
        ("IDLE#", {NodeState.AWAITED}),
        ("IDLE+PLANNED", {NodeState.PLANNED}),
        ("IDLE+MAINTENANCE+RESERVED", {NodeState.RESERVED}),
        ("DOWN*+DRAIN", {NodeState.DOWN, NodeState.SILENT, NodeState.DRAIN}),
        ("IDLE+INVALID_REG", {NodeState.DOWN}),
        ("IDLE+SOME_NEW_FLAG", set()),
        ("UNKNOWN", {NodeState.UNKNOWN}),
        ("SLEEPING", {NodeState.UNKNOWN}),
    ],
)
def test_states(state: str, states: set[NodeState]) -> None:
    assert changed(state=f"State={state}").states == states


@pytest.mark.parametrize(
    ("gres", "expected"),
    [
        ("(null)", (0, "", ())),
        ("gpu:2", (2, "", ())),
        ("gpu:a100:2(S:0-1)", (2, "a100", ())),
        ("gpu:a100:1(IDX:0)", (1, "a100", ())),
        ("gpu:a100:2,gpu:v100:1", (3, "", ())),
        ("gpu:a100:1(IDX:0,2),nvme:3", (1, "a100", (("nvme", 3),))),
        ("gres:gpu:a100:2", (2, "a100", ())),
        ("gres/gpu=2", (2, "", ())),
        ("gpu", (1, "", ())),
    ],
)
def test_generic_resources(gres: str, expected: tuple[int, str, tuple[tuple[str, int], ...]]) -> None:
    assert parse.parse_gres(gres) == expected


@pytest.mark.parametrize(
    "text",
    [
        "slurm_load_node error: Unable to contact slurm controller (connect failure)",
        "NodeName=n1 State=IDLE",
        "NodeName=n1 CPUTot=many CPUAlloc=0 RealMemory=1 AllocMem=0 State=IDLE ExtSensorsJoules=n/s",
    ],
)
def test_what_is_no_node_is_no_answer(text: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        parse.parse_nodes(text)


def test_a_cluster_without_nodes_has_none() -> None:
    assert parse.parse_nodes("") == {}
    assert parse.parse_nodes("No nodes in the system\n") == {}


def test_recorded_running_jobs_by_node() -> None:
    jobs = parse.parse_running((RECORDINGS / "running.txt").read_text())
    assert {name: len(ids) for name, ids in jobs.items()} == {"ip-10-77-1-1": 1, "ip-10-77-1-2": 1, "ip-10-77-1-3": 1}
    assert jobs[Hostname("ip-10-77-1-1")] == jobs[Hostname("ip-10-77-1-2")]


def test_a_completing_job_that_has_left_its_nodes_is_nowhere() -> None:
    assert parse.parse_running(f"7{parse.SEPARATOR}\n") == {}


def test_half_a_line_of_running_jobs_is_no_answer() -> None:
    with pytest.raises(SchedulerUnavailable):
        parse.parse_running("squeue: error: something\n")


@pytest.mark.parametrize(("name", "up"), [("ping-up.txt", True), ("ping-down.txt", False)])
def test_recorded_pings(name: str, up: bool) -> None:
    assert parse.parse_ping((RECORDINGS / name).read_text()) is up


def test_a_backup_controller_will_do() -> None:
    assert parse.parse_ping("Slurmctld(primary) at a is DOWN\nSlurmctld(backup) at b is UP\n")


def test_recorded_configuration() -> None:
    assert parse.parse_config((RECORDINGS / "config.txt").read_text())["EnforcePartLimits"] == "NO"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("n1", ("n1",)),
        ("n[1-3]", ("n1", "n2", "n3")),
        ("n[08-10,12],x", ("n08", "n09", "n10", "n12", "x")),
        ("ip-10-0-0-[1,7],b", ("ip-10-0-0-1", "ip-10-0-0-7", "b")),
        ("r[1-2]n[1-2]", ("r1n1", "r1n2", "r2n1", "r2n2")),
    ],
)
def test_host_lists(text: str, names: tuple[str, ...]) -> None:
    assert parse_hostlist(text) == names


@pytest.mark.parametrize("text", ["n[1-", "n]", "n[a-b]", "n[1--3]", "n[1-9999999999]", "a[[1]]"])
def test_what_is_no_host_list_is_no_answer(text: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        parse_hostlist(text)


@given(st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), max_size=50))
def test_rendered_host_lists_are_read_back(names: list[str]) -> None:
    assert [name for text in render_hostlists(names) for name in parse_hostlist(text)] == names


def test_a_long_host_list_is_several_arguments() -> None:
    lists = render_hostlists(f"ip-10-0-{number // 256}-{number % 256}" for number in range(20_000))
    assert len(lists) > 1
    assert all(len(text.encode()) < 131_072 for text in lists)


@pytest.mark.parametrize(
    ("reason", "blocked"),
    [
        ("Resources", BlockedBy.NOTHING),
        ("(Priority)", BlockedBy.NOTHING),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2]", BlockedBy.NOTHING),
        ("ReqNodeNotAvail, Reserved for maintenance", BlockedBy.RESERVATION),
        ("PartitionNodeLimit", BlockedBy.NOTHING),
        ("JobHeldUser", BlockedBy.HOLD),
        ("Licenses", BlockedBy.LICENCE),
        ("AssocGrpCpuLimit", BlockedBy.LIMIT),
        ("QOSMaxJobsPerUserLimit", BlockedBy.LIMIT),
        ("JobArrayTaskLimit", BlockedBy.ARRAY_LIMIT),
        ("BadConstraints", BlockedBy.ERROR),
        ("SomethingOfNextYear", BlockedBy.UNKNOWN),
        ("", BlockedBy.UNKNOWN),
    ],
)
def test_reasons(reason: str, blocked: BlockedBy) -> None:
    assert blocked_by(reason) is blocked
