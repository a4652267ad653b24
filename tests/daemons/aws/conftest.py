from collections.abc import AsyncIterator, Iterator

import pytest

from daemons.aws.session import Clients, open_clients
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, Stack, StackSpec, create_stack
from sandbox.aws.world import Timing
from tests.fakes import BATCH


@pytest.fixture(scope="module")
def aws() -> Iterator[SandboxAws]:
    with SandboxAws(account="111122223333", timing=Timing(boot_s=0.05, shutdown_s=0.05)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def stack(aws: SandboxAws) -> Stack:
    return create_stack(aws.endpoint_url, StackSpec(name="hpc", groups=(GroupSpec(name=BATCH.group, maximum=4, minimum=1),)))


@pytest.fixture
async def clients(aws: SandboxAws, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clients]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    aws.faults.clear()
    async with open_clients(region=aws.region, endpoints={"default": aws.endpoint_url}) as opened:
        yield opened
    aws.faults.clear()
