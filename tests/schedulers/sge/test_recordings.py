"""Every recorded answer is read, or refused where it answers something else. What is in them was read off by hand."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from daemons.errors import SchedulerUnavailable
from schedulers.sge.details import parse_job_details
from schedulers.sge.parse import Snapshot, parse_snapshot

FILES = {path.name: path for path in (Path(__file__).parent / "recordings").glob("[0-9]*_*.*")}

LOGS = {  # what was seen while nodes came and went, and how long it took: for people
    path.name: path for pattern in ("*.log", "timing_*.txt") for path in (Path(__file__).parent / "recordings").glob(pattern)
}


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What was so while some recordings were made, in the words of `qstat -f`: `host[=states]`, `job.task:state@host`."""

    hosts: str = ""
    runs: str = ""
    waits: str = ""  # in the order of priority


MOMENTS = {
    "00_zero_hosts": Moment(),
    "10_pend_zero_hosts": Moment(waits="23 31 24 26.1-100:1 22 25.1-9:2 30 33 35 37 38 27:h 28:h 34"),
    "20_mixed": Moment(
        hosts="ghost1=du head=du node1 node2 node3",
        runs="56:r@node1 58.23:r@node2 62:r@node3 74:r@node3",
        waits="55 78 86 77 75 91 58.24-100:1 79 81.1-100:1 65 67 76.1-9:2 80.1-9:2 85 87 88 90 92 93"
        " 59:h 60:h 66 82:h 83:h 84.1-9:2:h 89",
    ),
    "30_eqw_susp": Moment(
        hosts="ghost1=du head=du node1 node2 node3",
        runs="94:r@node1 97:s@node1 95:r@node2 95:r@node3 96:r@node3 98.1:r@node3 98.3:r@node3",
        waits="101 98.5-9:2 99 100.1-3:1",
    ),
    "31_queue_states_Ea": Moment(
        hosts="ghost1=u head=du node1 node2=as node3",
        runs="94:r@node1 97:s@node1 95:S@node2 95:S@node3 96:r@node3 98.1:r@node3 98.3:r@node3",
        waits="101 98.5-9:2 99 100.1-3:1 102",
    ),
    "32_queue_states_uoE": Moment(
        hosts="ghost1=u head=du node1=u node2=ao node3",
        runs="94:r@node1 97:s@node1 95:r@node2 95:r@node3 96:r@node3 98.1:r@node3 98.3:r@node3",
        waits="101 98.5-9:2 99 100.1-3:1 102",
    ),
    "33_dr": Moment(
        hosts="head=du node1=uo node2=ao node3",
        runs="94:dr@node1 97:s@node1 95:r@node2 95:r@node3 96:r@node3 98.1:r@node3 98.3:r@node3",
        waits="101 98.5-9:2 99 100.1-3:1 102",
    ),
    "34_rescheduled": Moment(
        hosts="head=du node2=ao node3",
        runs="95:r@node2 95:r@node3 96:r@node3 98.1:r@node3 98.3:r@node3",
        waits="101 98.5-9:2 99 100.1-3:1 102 97:R",
    ),
    "35_Eqw_E": Moment(hosts="head=du node3=E", waits="101 99:E 100.1-3:1:E 102 97:R"),
    "40_array_100k": Moment(waits="10104.1-25000:1 10103.1-75000:1"),
    "41_array_fragmented": Moment(
        waits="10104.1,2 10104.3,4,8-99:1,101-199:1,301-25000:1 10104.200-300:1:h 10103.1-75000:1 10105.1-20:1"
    ),
    "50_hostgroup_consumables": Moment(hosts="fresh3=u head=du neg1=u node2=d node3=dE"),
    "60_odd_names": Moment(waits="1"),
}
SNAPSHOTS = sorted(name for name in FILES if name.endswith(".xml") and "qstat_f" in name)
LISTS = ("qstat.xml", "qstat_u_all.xml", "qstat_r.xml", "qstat_g_t.xml", "qstat_s_p.xml", "qstat_s_p_r.xml")
# `qstat` without `-u '*'` lists root's own jobs, of which there were none.
OWN_ONLY = {"10_pend_zero_hosts.qstat.xml", "20_mixed.qstat.xml"}
WAITING = sorted(name for name in FILES if name.partition(".")[2] in LISTS and name not in OWN_ONLY)
EACH_TASK = {  # `-g d`: a row for each task; of 26.1-100:1 a hundred, of 25.1-9:2 five, …
    "10_pend_zero_hosts.qstat_g_d.xml": 14 - 2 + 100 + 5,
    "10_pend_zero_hosts.qstat_g_d_r_ext.xml": 14 - 2 + 100 + 5,
    "10_pend_zero_hosts.qstat_s_p_r_gd.xml": 14 - 2 + 100 + 5,
    "20_mixed.qstat_g_d.xml": 26 - 5 + 77 + 100 + 5 + 5 + 5,
    "20_mixed.qstat_g_d_r_ext_urg_pri.xml": 26 - 5 + 77 + 100 + 5 + 5 + 5,
    "30_eqw_susp.qstat_g_d.xml": 4 - 2 + 3 + 3,
    "30_eqw_susp.qstat_g_d_r.xml": 4 - 2 + 3 + 3,
}
ONLY = {  # the waiting jobs of an answer that was asked for some
    "00_zero_hosts_qstat.xml": "",
    "10_pend_zero_hosts.qstat.xml": "",
    "20_mixed.qstat.xml": "",
    "10_pend_zero_hosts.qstat_s_hu.xml": "27:h",
    "20_mixed.qstat_s_hu.xml": "59:h 82:h",
    "20_mixed.qstat_s_r_r_gt.xml": "",
}
DETAILS = {  # how many tasks at once
    "10_pend_zero_hosts.qstat_j_all.xml": {"26": 5},
    "20_mixed.qstat_j_all.xml": {"58": 5, "81": 5},
    "30_eqw_susp.qstat_j_eqw.xml": {},
    "32_queue_states_uoE.qstat_j_eqw.xml": {},
    "32_queue_states_uoE.qstat_j_par100.xml": {},
    "35_Eqw_E.qstat_j_all.xml": {},
    "61_unknown_job.qstat_j.xml": {},
}
# Text for people, other commands, cluster queues without hosts, and an answer of which `head` has left sixty lines.
NO_ANSWERS = sorted(name for name in FILES if "qhost" in name or name.endswith((".txt", "_g_c.xml", "_g_d_head.xml")))


def moment(snapshot: Snapshot) -> Moment:
    return Moment(
        hosts=" ".join(f"{one.host}={one.states}" if one.states else one.host for one in snapshot.instances),
        runs=" ".join(f"{row.job}:{row.state}@{one.host}" for one in snapshot.instances for row in one.jobs),
        waits=waits(snapshot),
    )


def waits(snapshot: Snapshot) -> str:
    """`qw` goes without saying; of `hqw`, `Eqw` and `Rq` the first letter is told."""
    return " ".join(row.job if row.state == "qw" else f"{row.job}:{row.state[0]}" for row in snapshot.waiting)


def golden(name: str) -> Moment:
    return next(known for prefix, known in MOMENTS.items() if name.startswith(prefix))


def read(name: str) -> str:
    return FILES[name].read_text()


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_snapshot_has_every_host_and_every_job(name: str) -> None:
    assert moment(parse_snapshot(read(name))) == golden(name)


@pytest.mark.parametrize("name", WAITING)
def test_a_list_has_every_waiting_job(name: str) -> None:
    assert waits(parse_snapshot(read(name))) == golden(name).waits


@pytest.mark.parametrize("name", EACH_TASK)
def test_a_list_of_tasks_has_each_of_them(name: str) -> None:
    rows = parse_snapshot(read(name)).waiting
    assert len(rows) == len({row.job for row in rows}) == EACH_TASK[name]


@pytest.mark.parametrize("name", ONLY)
def test_a_list_of_some_has_those(name: str) -> None:
    assert waits(parse_snapshot(read(name))) == ONLY[name]


@pytest.mark.parametrize("name", DETAILS)
def test_details_have_throttles(name: str) -> None:
    assert parse_job_details(read(name)).throttles == DETAILS[name]


@pytest.mark.parametrize("name", [*NO_ANSWERS, *LOGS])
def test_what_the_plugin_never_asks_for_is_no_answer(name: str) -> None:
    text = (FILES | LOGS)[name].read_text(errors="replace")
    for parser in (parse_snapshot, parse_job_details):
        with pytest.raises(SchedulerUnavailable):
            parser(text)


def test_no_recording_is_left_out() -> None:
    assert len(SNAPSHOTS) + len(WAITING) >= 20
    assert {*SNAPSHOTS, *WAITING, *EACH_TASK, *ONLY, *DETAILS, *NO_ANSWERS} == set(FILES)
