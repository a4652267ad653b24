"""The kit on a real Grid Engine."""

import pytest

from schedulers.contract import SchedulerContract
from tests.schedulers.contract.sge import SgeBench
from tests.schedulers.sge.bench import Bench


@pytest.mark.sge
class TestGridEngine(SchedulerContract):
    @pytest.fixture
    def bench(self, sge_bench: Bench) -> SgeBench:
        return SgeBench(sge_bench)
