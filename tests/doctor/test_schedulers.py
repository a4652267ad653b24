"""The settings of schedulers that run: read in full, and found right as the sandbox sets them up."""

from pathlib import Path

import pytest

from daemons.doctor.findings import Finding, Severity
from daemons.doctor.judges.schedulers import check_sge, check_slurm, check_torque
from daemons.doctor.looks.scheduler import fetch_sge, fetch_slurm, fetch_torque
from sandbox.torque.cluster import FakeTorque
from schedulers.commands import LocalCommands
from schedulers.slurm import SlurmSettings
from schedulers.torque import Torque, TorqueSettings
from tests.schedulers.sge.bench import Bench as SgeBench
from tests.schedulers.slurm.bench import Bench as SlurmBench
from tests.schedulers.torque.test_plugin import FLEET, GPU


def wrong(findings: list[Finding]) -> set[str]:
    return {one.id for one in findings if one.severity in (Severity.WARNING, Severity.ERROR)}


@pytest.mark.slurm
async def test_a_real_slurm(bench: SlurmBench) -> None:
    settings = SlurmSettings.model_validate(bench.cluster.settings)
    facts = await fetch_slurm(bench.slurm, settings, bench.fleets, (1,) * len(bench.fleets))
    findings = list(check_slurm(facts, bench.fleets))
    assert wrong(findings) == set()
    assert {"slurm-version", "slurm-part-limits", "slurm-partition", "slurm-return-to-service"} <= {one.id for one in findings}
    too_many = await fetch_slurm(bench.slurm, settings, bench.fleets, (100_000,))
    assert wrong(list(check_slurm(too_many, bench.fleets))) == (
        {"slurm-max-node-count", "slurm-placeholders"} if facts.dynamic else set()
    )


@pytest.mark.sge
async def test_a_real_grid_engine(sge_bench: SgeBench) -> None:
    facts = await fetch_sge(sge_bench.sge, sge_bench.sge.qmaster.settings, sge_bench.fleets)
    findings = list(check_sge(facts, sge_bench.fleets))
    assert wrong(findings) == set()
    assert {"sge-queue", "sge-memory-default", "sge-host-groups", "sge-placeholder"} <= {one.id for one in findings}


@pytest.fixture
def torque(tmp_path: Path) -> FakeTorque:
    fake = FakeTorque(directory=tmp_path / "torque")
    fake.start()
    return fake


async def test_torque_before_and_after_sqswatcher_has_set_it_up(torque: FakeTorque) -> None:
    settings = TorqueSettings(bin=torque.bin)
    plugin = Torque.over(LocalCommands(), settings, [FLEET, GPU], clock=torque.now)
    before = list(check_torque(await fetch_torque(plugin, settings, (10,))))
    assert wrong(before) == {"torque-nodect", "torque-placeholder"}
    await plugin.advertise([FLEET, GPU])
    assert wrong(list(check_torque(await fetch_torque(plugin, settings, (10,))))) == set()
