"""The kit on the Torque plugin: its commands emulated, its answers recorded."""

from pathlib import Path

import pytest

from daemons.model import BlockedBy
from schedulers.contract import ParserContract, Recorded, SchedulerContract
from schedulers.torque.demand import parse_demand
from schedulers.torque.parse import parse_jobs, parse_nodes
from tests.schedulers.contract.torque import TorqueBench

RECORDINGS = Path(__file__).parents[1] / "torque/recordings"


class TestTorque(SchedulerContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> TorqueBench:
        made = TorqueBench(tmp_path)
        await made.plugin.advertise([made.fleet])
        return made


def nodes(text: str) -> dict[str, tuple[str, ...]]:
    return {row.name: tuple(sorted(row.states)) for row in parse_nodes(text)[0]}


def waiting(text: str) -> dict[str, BlockedBy]:
    rows, _ = parse_jobs(text)
    found = parse_demand(rows, {}, properties={"bigmem"}, now=1795443480.0)
    return {job: demand.blocked_by for demand in found for job in demand.jobs}


class TestTorqueText(ParserContract):
    answers = (
        Recorded(
            name="nodes of which some are down and offline",
            text=(RECORDINGS / "pbsnodes-x-offline-and-down-offline.out").read_text(),
            parse=nodes,
            golden={
                "n1000": ("down", "offline"),
                "n0001": ("offline",),
                "n0002": ("offline",),
                "n0004": ("offline",),
                "n0003": ("offline",),
                "n0006": ("down", "offline"),
                "n0111": ("down",),
            },
        ),
        Recorded(
            name="a queue of all kinds",
            text=(RECORDINGS / "pending-qstat-x.out").read_text(),
            parse=waiting,
            golden={
                **{f"{number}.tbhead": BlockedBy.NOTHING for number in (3, 4, 6, 8, 9, 10)},
                "11[].tbhead": BlockedBy.ARRAY_LIMIT,
                "12[].tbhead": BlockedBy.NOTHING,
                "13.tbhead": BlockedBy.HOLD,
                "14.tbhead": BlockedBy.DEPENDENCY,
                "15.tbhead": BlockedBy.BEGIN_TIME,
            },
        ),
    )
