"""The services as they are wired, on the emulated AWS: that they rest, and what wakes one that does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest

import jobwatcher.__main__ as growing
import nodewatcher.__main__ as shrinking
from daemons.config import Config, parse_config
from daemons.process import Serve
from daemons.wake import poke
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, Stack, StackSpec, create_stack
from sandbox.configuration import local_scheduler, render_config
from schedulers.local import store
from schedulers.plugins import load_settings

PATIENCE_S = 120.0
LOOK = ("autoscaling", "DescribeAutoScalingGroups")
GLANCE = ("dynamodb", "Scan")


@pytest.fixture(scope="module")
def aws() -> Iterator[tuple[SandboxAws, Stack]]:
    with SandboxAws(account="131313131313") as sandbox:
        yield sandbox, create_stack(sandbox.endpoint_url, StackSpec(name="rest", groups=(GroupSpec(name="rest-batch"),)))


@pytest.fixture
def site(aws: tuple[SandboxAws, Stack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """An empty cluster whose services write here."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    sandbox, stack = aws
    sandbox.faults.reset_counts()
    store.create(tmp_path / "local.db")

    def made(**sections: Mapping[str, object]) -> Config:
        text = render_config(stack, local_scheduler(tmp_path / "local.db"), fleets=(), cluster="hpc", **sections)
        return parse_config(text, load_settings=load_settings)

    return made


@contextlib.asynccontextmanager
async def served(serve: Serve, config: Config) -> AsyncIterator[None]:
    stop = asyncio.Event()
    serving = asyncio.ensure_future(serve(config, stop))
    try:
        yield
        assert not serving.done(), "it has ended by itself"
    finally:
        stop.set()
        await serving


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not so():
            await asyncio.sleep(0.02)


async def test_who_wakes_a_jobwatcher_that_rests_gets_a_look(
    aws: tuple[SandboxAws, Stack], site: Callable[..., Config], tmp_path: Path
) -> None:
    faults, socket = aws[0].faults, tmp_path / "wake"
    own = {"interval_s": 3600, "rest_s": 60, "wake_socket": socket, "wake_quiet_s": 0.1, "state_dir": tmp_path / "state"}
    async with served(growing.serve, site(jobwatcher=own)):
        for look in (1, 2, 3):
            await until(lambda look=look: faults.count(*LOOK) == look)  # type: ignore[misc]  # it is the loop's own
            poke(socket, "cron")


async def test_a_nodewatcher_with_nothing_to_do_glances_and_does_not_look(
    aws: tuple[SandboxAws, Stack], site: Callable[..., Config], tmp_path: Path
) -> None:
    faults, own = aws[0].faults, {"interval_s": 0.05, "rest_s": 60, "idle_for_s": 3600, "state_dir": tmp_path / "state"}
    async with served(shrinking.serve, site(nodewatcher=own)):
        await until(lambda: faults.count(*GLANCE) >= 7)
        assert faults.count(*LOOK) == 1
