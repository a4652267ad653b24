"""The nodes as operators see them, and their word on one, through a real table."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from daemons.aws.session import open_clients
from daemons.aws.table import DynamoRows
from daemons.cli import app
from daemons.cli.common import NothingKnown
from daemons.errors import InvalidValue
from daemons.model import FleetName, Instance, State
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import Stack, StackSpec, create_stack
from tests.cli.test_poke import CONFIG
from tests.fakes import FakeGroups, hostname, instance_id
from tests.nodewatcher.cluster import Cluster


@pytest.fixture(scope="module")
def aws() -> Iterator[tuple[SandboxAws, Stack]]:
    with SandboxAws(account="121212121212") as sandbox:
        yield sandbox, create_stack(sandbox.endpoint_url, StackSpec(name="hold", groups=()))


@pytest.fixture
def config(aws: tuple[SandboxAws, Stack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    sandbox, stack = aws
    path = tmp_path / "headnode.toml"
    text = CONFIG.format(socket=tmp_path / "wake").replace("hpc-instances", stack.table)
    path.write_text(f'{text}[endpoints]\ndefault = "{sandbox.endpoint_url}"\n')
    return path


async def rows_of(aws: tuple[SandboxAws, Stack], *put: Instance) -> dict[str, Instance]:
    sandbox, stack = aws
    async with open_clients(region=sandbox.region, endpoints={"default": sandbox.endpoint_url}) as clients:
        rows = DynamoRows(clients, table=stack.table)
        if put:
            await rows.put(put)
        return {row.instance_id: row for row in await rows.all()}


async def headnode(*argv: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, list(argv))


async def test_a_node_is_held_by_its_name_with_the_reason_and_released_by_its_id(
    aws: tuple[SandboxAws, Stack], config: Path
) -> None:
    row = Instance(instance_id=instance_id(1), fleet=FleetName("batch"), state=State.REGISTERED, hostname=hostname(1))
    await rows_of(aws, row)
    done = await headnode("hold", hostname(1), "--for", "2h", "--reason", "kernel test", "--config", str(config))
    assert done.exit_code == 0, done.output
    held = (await rows_of(aws))[instance_id(1)]
    assert held.held_until is not None
    assert (held.hold_reason, bool(held.held_by), held.state) == ("kernel test", True, State.REGISTERED)
    done = await headnode("release", instance_id(1), "--config", str(config), "--json")
    assert (done.exit_code, json.loads(done.output)) == (0, {"node": instance_id(1), "held_until": None})
    released = (await rows_of(aws))[instance_id(1)]
    assert (released.held_until, released.hold_reason, released.held_by) == (None, "", "")


async def test_an_unknown_node_and_an_impossible_time_are_refused(config: Path) -> None:
    assert isinstance((await headnode("hold", "elsewhere", "--config", str(config))).exception, NothingKnown)
    for period in ("soon", "0h", "9999d", "-1h"):
        assert isinstance((await headnode("hold", "x", f"--for={period}", "--config", str(config))).exception, InvalidValue)


async def test_the_nodes_are_listed_as_they_were_last_seen() -> None:
    two = Cluster(groups=FakeGroups.of(1, 2))
    two.scheduler.work(hostname(2), "5")
    await two.passes()
    done = await headnode("nodes", "--state", str(two.directory))
    assert done.exit_code == 0
    assert "busy: job 5" in done.output
    done = await headnode("nodes", "--state", str(two.directory), "--json")
    lines = json.loads(done.output)
    assert [line["node"] for line in lines] == [hostname(1), hostname(2)]
    assert lines[1]["verdict"] == "busy: job 5"


async def test_where_nothing_has_been_seen_that_is_said(tmp_path: Path) -> None:
    done = await headnode("nodes", "--state", str(tmp_path))
    assert isinstance(done.exception, NothingKnown)
    assert "is it running?" in done.exception.hint
