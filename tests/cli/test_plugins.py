"""`headnode plugins`, and the check of a plugin against its cluster."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemons.cli import app
from daemons.errors import ConfigError
from daemons.model import Hostname, InstanceId, JobId, Node, NodeSpec, Shape
from schedulers.base import Results
from schedulers.check import check_changing, check_reading
from schedulers.local import Local, LocalSettings, store
from schedulers.plugins import find_plugins
from schedulers.specs import valid_specs
from tests.schedulers.contract import mutants
from tests.schedulers.contract.local import LocalBench

HEAD = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc-instances"
[scheduler]
name = "local"
settings = {{ file = "{file}" }}
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.large"
cpus = 2
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    store.create(tmp_path / "local.db")
    path = tmp_path / "headnode.toml"
    path.write_text(HEAD.format(file=tmp_path / "local.db"))
    return path


def run(*argv: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(app, ["plugins", *argv])
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result.stdout


def test_every_installed_plugin_is_listed_with_where_it_is_from_and_what_it_lacks() -> None:
    rows = {row["name"]: row for row in json.loads(run("--json"))}
    assert set(rows) == set(find_plugins())
    assert {row["from"] for row in rows.values()} == {"headnode"}
    assert rows["torque"]["lacks"] == ["addresses"]
    assert "arrays" in rows["slurm"]["capabilities"]
    assert rows["local"]["settings"] == ["busy_timeout_s", "file"]
    assert "schedulers.sge:Sge" in run()


def test_the_configured_plugin_is_checked_by_reading_alone(config: Path) -> None:
    before = (config.parent / "local.db").read_bytes()
    told = json.loads(run("check", "local", "--config", str(config), "--json"))
    assert (told["ok"], len(told["findings"])) == (True, 3)
    assert (config.parent / "local.db").read_bytes() == before


def test_with_mutate_a_node_comes_and_goes_and_nothing_is_left(config: Path) -> None:
    said = run("check", "local", "--mutate", "--config", str(config))
    assert said.count("kept") == 8
    assert "BROKEN" not in said
    with store.transaction(store.connect(config.parent / "local.db", timeout_s=1)) as db:
        assert store.read_nodes(db) == ()


def test_another_plugin_than_the_configured_one_cannot_be_checked(config: Path) -> None:
    result = CliRunner().invoke(app, ["plugins", "check", "slurm", "--config", str(config)])
    assert isinstance(result.exception, ConfigError)
    assert "configured scheduler is local" in str(result.exception)


def test_a_cluster_that_does_not_answer_breaks_the_promises(config: Path) -> None:
    (config.parent / "local.db").unlink()
    told = json.loads(run("check", "local", "--config", str(config), "--json", exit_code=1))
    assert not told["ok"]
    assert all("gave no usable answer" in finding["seen"] for finding in told["findings"])


class ForgetsNames(Local):
    async def jobs_on(self, hostnames: Collection[Hostname]) -> Mapping[Hostname, frozenset[JobId]]:
        return {name: jobs for name, jobs in (await super().jobs_on(hostnames)).items() if jobs}


class ListsTwice(Local):
    async def nodes(self) -> tuple[Node, ...]:
        return (
            *await super().nodes(),
            Node(hostname=Hostname("n1"), total=Shape()),
            Node(hostname=Hostname("n1"), total=Shape()),
        )


class ForgetsWhatItRegistered(Local):
    """It refuses what it must, and registers nothing of the rest."""

    async def register(self, nodes: Sequence[NodeSpec]) -> Results:
        refused, valid = valid_specs(nodes)
        return refused | {node.hostname: mutants.DONE for node in valid}


def node(bench: LocalBench) -> NodeSpec:
    return replace(bench.spec(1), hostname=Hostname("throw-away"), instance_id=InstanceId("i-00000000000000000"))


@pytest.mark.parametrize(
    ("plugin", "promise"),
    [
        (ForgetsNames, "jobs_on answers for every node asked for"),
        (ListsTwice, "nodes are answered, each once"),
        (mutants.AcceptsHostileNames, "a hostile name is refused"),
        (ForgetsWhatItRegistered, "a node is registered, and again"),
        (mutants.SaysDrainedAndIsNot, "a drain is ours, and is taken back"),
        (mutants.AbsentNodesAreDone, "a node is deregistered, and is absent then"),
    ],
)
async def test_broken_promises_are_found(plugin: type[Local], promise: str, tmp_path: Path) -> None:
    bench = LocalBench(tmp_path, plugin)
    findings = await check_reading(bench.plugin) + await check_changing(bench.plugin, node(bench))
    assert promise in {finding.promise for finding in findings if not finding.kept}


async def test_a_node_that_is_somebodys_is_not_tried(tmp_path: Path) -> None:
    """Its name was given by mistake: deregistering it would take its jobs from it."""
    bench = LocalBench(tmp_path)
    await bench.plugin.register([node(bench)])
    (finding,) = await check_changing(bench.plugin, node(bench))
    assert (finding.kept, finding.seen) == (False, "there is a node throw-away")
    assert [known.hostname for known in await bench.plugin.nodes()] == ["throw-away"]


async def test_a_plugin_that_blocks_the_event_loop_is_found(tmp_path: Path) -> None:
    bench = LocalBench(tmp_path)
    blocking = mutants.BlocksTheLoop.open(
        LocalSettings(file=bench.cluster.file, busy_timeout_s=0.6), cluster="kit", fleets=[bench.fleet]
    )
    with bench.hang():
        findings = await check_reading(blocking)
    assert [finding.promise for finding in findings if not finding.kept] == ["jobs_on answers for every node asked for"]
