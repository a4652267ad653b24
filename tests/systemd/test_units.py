"""The units, held against systemd's own judgement."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemons.aws.session import ATTEMPTS, CONNECT_TIMEOUT_S, READ_TIMEOUT_S
from daemons.config.values import CloudwatchConfig, JobwatcherConfig, NodewatcherConfig
from daemons.process import EXIT_USAGE
from schedulers.commands import LocalCommands
from tests.needs import skip_or_fail

ROOT = Path(__file__).parents[2]
UNITS = sorted(path for pattern in ("*.service", "*.target") for path in (ROOT / "systemd").glob(pattern))
SERVICES = [path.name for path in UNITS if path.suffix == ".service"]
THRESHOLD = 20  # tenths of an exposure level


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units with the programs of this environment in place of those in /opt/headnode."""
    if shutil.which("systemd-analyze") is None:
        skip_or_fail("units cannot be judged: systemd-analyze is not installed")
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/headnode/bin", str(Path(sys.executable).parent)))
    return tmp_path


def analyze(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # The trailing colon keeps systemd's own directories in the path.
    environment = {"SYSTEMD_UNIT_PATH": f"{directory}:", "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    return subprocess.run(
        ["systemd-analyze", *words], cwd=directory, env=environment, check=False, capture_output=True, text=True, timeout=60
    )


def settings(name: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
    parser.read(ROOT / "systemd" / name)
    return parser["Service"]


def test_there_is_a_unit_for_each_service() -> None:
    assert SERVICES == ["headnode-agent.service", "jobwatcher.service", "nodewatcher.service", "sqswatcher.service"]


def test_systemd_finds_nothing_to_say_about_them(installed: Path) -> None:
    ran = analyze(installed, "verify", *(f"./{path.name}" for path in UNITS))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_what_is_wrong_would_be_said(installed: Path) -> None:
    """`verify` ends with 0 whatever it finds: only its words count."""
    unit = installed / "sqswatcher.service"
    unit.write_text(unit.read_text().replace("Restart=on-failure", "Restrat=on-failure"))
    assert "Restrat" in analyze(installed, "verify", "./sqswatcher.service").stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardly_exposed(name: str, installed: Path) -> None:
    ran = analyze(installed, "security", "--offline=true", f"--threshold={THRESHOLD}", f"./{name}")
    assert ran.returncode == 0, ran.stdout


def test_a_bare_service_would_be_too_exposed(installed: Path) -> None:
    (installed / "bare.service").write_text("[Service]\nExecStart=/bin/true\n")
    assert analyze(installed, "security", "--offline=true", f"--threshold={THRESHOLD}", "./bare.service").returncode != 0


@pytest.mark.parametrize("name", ["jobwatcher", "nodewatcher", "sqswatcher", "headnode-agent"])
def test_a_service_is_ready_when_it_says_so_and_a_wrong_configuration_is_not_tried_again(name: str) -> None:
    unit = settings(f"{name}.service")
    assert unit["Type"] == "notify"
    assert int(unit["WatchdogSec"]) > 0
    assert unit["RestartPreventExitStatus"] == str(EXIT_USAGE)
    assert unit["ExecStart"] == f"/opt/headnode/bin/{name}"
    assert unit["User"] == ("root" if name == "headnode-agent" else "headnode")


@pytest.mark.parametrize("name", ["jobwatcher", "nodewatcher", "sqswatcher"])
def test_a_service_has_more_time_to_stop_than_its_longest_step_takes(name: str) -> None:
    a_call_s = ATTEMPTS * (CONNECT_TIMEOUT_S + READ_TIMEOUT_S)
    a_command_s = LocalCommands().timeout_s
    assert int(settings(f"{name}.service")["TimeoutStopSec"]) > a_call_s + a_command_s
    assert int(settings(f"{name}.service")["WatchdogSec"]) > a_call_s + a_command_s


@pytest.mark.parametrize("name", ["jobwatcher", "nodewatcher", "sqswatcher"])
def test_a_reload_is_a_signal(name: str) -> None:
    assert settings(f"{name}.service")["ExecReload"] == "/bin/kill -HUP $MAINPID"


@pytest.mark.parametrize(
    ("name", "directory"), [("jobwatcher", JobwatcherConfig().state_dir), ("nodewatcher", NodewatcherConfig().state_dir)]
)
def test_a_service_may_write_where_it_does_by_default(name: str, directory: str) -> None:
    assert directory in [f"/var/lib/{each}" for each in settings(f"{name}.service")["StateDirectory"].split()]


@pytest.mark.parametrize("name", ["jobwatcher", "nodewatcher", "sqswatcher"])
def test_a_service_may_keep_log_lines_on_disk(name: str) -> None:
    spool = f"{CloudwatchConfig(group='g').spool_dir}/{name}"
    assert spool in [f"/var/lib/{each}" for each in settings(f"{name}.service")["StateDirectory"].split()]
