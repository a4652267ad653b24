"""The distributions, built without a network and used where there is nothing but what they say they need."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {"daemons", "jobwatcher", "nodewatcher", "sandbox", "schedulers", "sqswatcher"}
SERVICES = ("sqswatcher", "jobwatcher", "nodewatcher")
UV = str(Path(sys.executable).with_name("uv"))
TIMEOUT_S = 300


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path

    @property
    def version(self) -> str:
        return self.wheel.name.split("-")[1]

    def names(self) -> set[str]:
        """What the wheel holds."""
        return set(zipfile.ZipFile(self.wheel).namelist())


@dataclass(frozen=True)
class Site:
    """An environment that has the wheel, what it requires, and nothing else."""

    directory: Path

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HEADNODE"))}
        argv = (str(self.directory / "venv/bin" / argv[0]), *argv[1:])
        return subprocess.run(
            argv, check=False, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment, cwd=self.directory
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The wheel is built from the source distribution, so both are whole."""
    clone = tmp_path_factory.mktemp("source") / "headnode"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist"))
    made = tmp_path_factory.mktemp("dist")
    argv = [UV, "build", "-q", "--offline", "--no-build-isolation", "--python", sys.executable, "-o", str(made), str(clone)]
    subprocess.run(argv, check=True, timeout=TIMEOUT_S)
    (sdist,), (wheel,) = made.glob("*.tar.gz"), made.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="module")
def site(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return install(built, tmp_path_factory.mktemp("plain"), extras=())


def install(built: Built, directory: Path, *, extras: tuple[str, ...]) -> Site:
    """Into a fresh environment; what the wheel requires is lent by this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory / "venv"], check=True, timeout=TIMEOUT_S)
    python = directory / "venv/bin/python"
    argv = [UV, "pip", "install", "-q", "--offline", "--no-deps", "--python", str(python), str(built.wheel)]
    subprocess.run(argv, check=True, timeout=TIMEOUT_S)
    (packages,) = (directory / "venv/lib").glob("python*/site-packages")
    for place in lent(built, extras):
        (packages / place.name).symlink_to(place)
    return Site(directory)


def lent(built: Built, extras: tuple[str, ...]) -> set[Path]:
    """The places in this environment of everything that the wheel requires, directly or not."""
    places: set[Path] = set()
    for name in required_names(built, extras):
        distribution = importlib.metadata.distribution(name)
        tops = {path.parts[0] for path in distribution.files or ()} - {"..", "__pycache__"}
        places |= {Path(str(distribution.locate_file(top))) for top in tops}
    return places


def required_names(built: Built, extras: tuple[str, ...]) -> Iterator[str]:
    """By the wheel's own word, and then by the word of what it requires."""
    wheel = importlib.metadata.PathDistribution(zipfile.Path(built.wheel, f"headnode-{built.version}.dist-info/"))
    waiting = [each for extra in ("", *extras) for each in wanted(wheel.requires or [], extra)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) not in seen:
            seen.add((name, extra))
            waiting += wanted(importlib.metadata.requires(name) or [], extra)
            yield name


def wanted(requirements: list[str], extra: str) -> Iterator[tuple[str, str]]:
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield from ((requirement.name, each) for each in ("", *requirement.extras))


def test_the_wheel_holds_the_packages_their_types_and_the_licence_and_no_tests(built: Built) -> None:
    names = built.names()
    information = f"headnode-{built.version}.dist-info"
    assert {name.split("/")[0] for name in names} == TOP_LEVEL | {information}
    assert {f"{package}/py.typed" for package in TOP_LEVEL} | {f"{information}/licenses/LICENSE"} <= names
    assert not [name for name in names if "tests/" in name or "/test_" in name or name.endswith(".pyc")]
    tracked = {str(path.relative_to(ROOT)) for package in TOP_LEVEL for path in (ROOT / package).rglob("*.py")}
    assert tracked == {name for name in names if name.endswith(".py")}


def test_the_source_holds_what_an_operator_reads_too(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "requirements.lock",
        "schedulers/README.md",
        "sandbox/debian.sh",
        "docs/headnode.1",
    }
    wanted |= {f"systemd/{path.name}" for path in (ROOT / "systemd").iterdir() if path.is_file()}
    wanted |= {f"docs/decisions/{path.name}" for path in (ROOT / "docs/decisions").iterdir()}
    assert wanted <= names
    assert not [name for name in names if name.startswith(("tests/", ".")) or name.endswith(".pyc")]


def test_its_commands_tell_about_themselves(built: Built, site: Site) -> None:
    assert site.run("headnode", "--version").stdout == f"headnode {built.version}\n"
    assert "explain" in site.run("headnode", "--help").stdout
    for name in SERVICES:
        ran = site.run(name, "--help")
        assert (ran.returncode, ran.stderr) == (0, "")
        assert "--config" in ran.stdout


def test_it_is_the_wheel_that_runs(site: Site) -> None:
    where = site.run("python", "-c", "import daemons.cli, sqswatcher; print(daemons.__file__, sqswatcher.__file__)").stdout
    assert where.count(str(site.directory)) == 2
    assert site.run("python", "-c", "import pytest").returncode != 0


def test_the_example_configuration_is_right(site: Site) -> None:
    ran = site.run("headnode", "config", "check", "--json", "--config", str(ROOT / "systemd/headnode.toml.example"))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["ok"] is True


def test_it_lays_down_the_units_that_it_brings(site: Site, tmp_path: Path) -> None:
    ran = site.run("headnode", "install", "--prefix", str(tmp_path), "--programs", "/opt/headnode/bin")
    assert ran.returncode == 0, ran.stderr
    for name in SERVICES:
        assert (tmp_path / f"etc/systemd/system/{name}.service").read_text() == (ROOT / f"systemd/{name}.service").read_text()
    assert site.run("headnode", "uninstall", "--prefix", str(tmp_path)).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_every_plugin_of_its_own_is_found(site: Site) -> None:
    rows = json.loads(site.run("headnode", "plugins", "--json").stdout)
    assert {row["name"]: row["problem"] for row in rows} == dict.fromkeys(("slurm", "sge", "torque", "local"), "")


def test_the_small_scheduler_keeps_a_job(site: Site) -> None:
    file = str(site.directory / "local.db")
    assert site.run("headnode", "local", "init", "--file", file).returncode == 0
    assert json.loads(site.run("headnode", "local", "submit", "--file", file, "--json", "--", "true").stdout) == {"job_id": 1}
    (job,) = json.loads(site.run("headnode", "local", "queue", "--file", file, "--json").stdout)
    assert (job["job"], job["state"]) == ("1", "waiting")


def test_what_an_extra_brings_is_named_where_it_is_missing(site: Site) -> None:
    for argv, extra in (
        (("headnode", "demo", "--scheduler", "local"), "headnode[sandbox]"),
        (("headnode-agent", "--config", str(ROOT / "systemd/agent.toml.example")), "headnode[agent]"),
    ):
        ran = site.run(*argv)
        assert ran.returncode == 2
        assert extra in ran.stderr
        assert "Traceback" not in ran.stderr


def test_with_its_extras_a_whole_cluster_runs(built: Built, tmp_path: Path) -> None:
    site = install(built, tmp_path, extras=("sandbox", "agent"))
    assert site.run("headnode-agent", "--help").returncode == 0
    ran = site.run("headnode", "demo", "--scheduler", "local", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["ok"] is True
