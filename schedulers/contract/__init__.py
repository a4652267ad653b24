"""The contract of `schedulers.base` as tests that a plugin's author inherits. Needs pytest and pytest-asyncio; not for services.

class TestMyScheduler(SchedulerContract):
@pytest.fixture
async def bench(self): ...        # a Bench on an empty cluster

class TestMyParser(ParserContract):
answers = [Recorded(...), ...]
"""

import pytest

pytest.register_assert_rewrite(
    "schedulers.contract.drains",
    "schedulers.contract.jobs",
    "schedulers.contract.membership",
    "schedulers.contract.parsers",
    "schedulers.contract.silence",
)

from schedulers.base import Capability  # noqa: E402  after the rewriting is asked for
from schedulers.contract.bench import Bench, JobAsk, JobState, until  # noqa: E402
from schedulers.contract.drains import DrainContract  # noqa: E402
from schedulers.contract.jobs import JobContract  # noqa: E402
from schedulers.contract.membership import MembershipContract  # noqa: E402
from schedulers.contract.parsers import ParserContract, Recorded  # noqa: E402
from schedulers.contract.silence import SilenceContract  # noqa: E402

__all__ = ["Bench", "Capability", "JobAsk", "JobState", "ParserContract", "Recorded", "SchedulerContract", "until"]


class SchedulerContract(MembershipContract, JobContract, DrainContract, SilenceContract):
    """All of it, on a real or an emulated cluster: the author gives a fixture `bench`."""
