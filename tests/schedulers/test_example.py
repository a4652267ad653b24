"""The example package as its users have it: installed by its own pyproject, found by its entry point, tried by the kit."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/spool_plugin"
HEAD = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc-instances"
[scheduler]
name = "spool"
settings = {settings}
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.large"
cpus = 2
"""


@dataclass(frozen=True)
class Site:
    packages: Path
    directory: Path

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self.packages), str(ROOT)])
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(
            [sys.executable, *argv], check=False, capture_output=True, text=True, timeout=300, env=environment, cwd=self.directory
        )

    def headnode(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("-c", "from daemons.cli import main; main()", *words)

    def config(self, *command: str) -> Path:
        (self.directory / "spool").mkdir(exist_ok=True)
        settings = f"{{ dir = {json.dumps(str(self.directory / 'spool'))}, command = {json.dumps(command)} }}"
        path = self.directory / "headnode.toml"
        path.write_text(HEAD.format(settings=settings))
        return path

    def check(self, command: Sequence[str], *words: str) -> tuple[int, dict[str, object]]:
        ran = self.headnode("plugins", "check", "spool", "--config", str(self.config(*command)), "--json", *words)
        told: dict[str, object] = json.loads(ran.stdout)
        return ran.returncode, told


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The package built from a copy, with the lock's setuptools and no network, and installed aside: it is in nobody's way."""
    packages = tmp_path_factory.mktemp("packages")
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "spool_plugin")
    uv = str(Path(sys.executable).with_name("uv"))
    argv = [uv, "pip", "install", "-q", "--offline", "--no-build-isolation", "--no-deps", "--python", sys.executable]
    argv += ["--target", str(packages), str(source)]
    subprocess.run(argv, check=True, timeout=300)
    return Site(packages, tmp_path_factory.mktemp("spool"))


def test_it_is_found_where_it_comes_from(site: Site) -> None:
    rows = {row["name"]: row for row in json.loads(site.headnode("plugins", "--json").stdout)}
    assert {"slurm", "sge", "torque", "local", "spool"} <= set(rows)
    assert (rows["spool"]["from"], rows["spool"]["version"]) == ("headnode-spool", "0.1.0")
    assert rows["spool"]["class"] == "headnode_spool:Spool"
    assert "arrays" in rows["spool"]["lacks"]
    assert rows["spool"]["settings"] == ["command", "dir", "timeout_s"]
    assert not rows["spool"]["problem"]


def test_its_settings_are_checked_with_the_rest(site: Site) -> None:
    path = site.config(sys.executable)
    path.write_text(path.read_text().replace("command =", "comand ="))
    ran = site.headnode("config", "check", "--config", str(path))
    assert ran.returncode != 0
    assert "comand" in ran.stdout + ran.stderr


def test_it_is_checked_on_its_cluster(site: Site) -> None:
    code, told = site.check([sys.executable, str(site.packages / "spool.py")], "--mutate")
    assert (code, told["ok"]) == (0, True), told


def test_a_scheduler_that_is_not_there_is_found(site: Site) -> None:
    code, told = site.check(["/nonexistent/spool"])
    assert (code, told["ok"]) == (1, False)


def test_it_passes_the_kit(site: Site) -> None:
    """Its own tests, in a process of their own, on what was installed."""
    rootdir = ["-c", str(EXAMPLE / "pyproject.toml"), "--rootdir", str(EXAMPLE)]
    ran = site.run("-m", "pytest", "-q", "-p", "no:cacheprovider", *rootdir, str(EXAMPLE / "tests"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
