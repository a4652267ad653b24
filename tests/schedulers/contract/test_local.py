"""The kit on the local scheduler."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schedulers.contract import SchedulerContract
from tests.schedulers.contract.local import LocalBench


class TestLocal(SchedulerContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[LocalBench]:
        made = LocalBench(tmp_path)
        await made.plugin.advertise([made.fleet])
        yield made
        made.cluster.stop()
