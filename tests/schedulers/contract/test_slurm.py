"""The kit on a real Slurm."""

import pytest

from schedulers.contract import SchedulerContract
from tests.schedulers.contract.slurm import SlurmBench
from tests.schedulers.slurm.bench import Bench


@pytest.mark.slurm
class TestSlurm(SchedulerContract):
    @pytest.fixture
    def bench(self, dynamic: Bench) -> SlurmBench:
        return SlurmBench(dynamic)
