import asyncio
from pathlib import Path

from typer.testing import CliRunner

from daemons.cli import app
from daemons.errors import ConfigError
from daemons.wake import NobodyListens, Wakeups, listen_datagrams

CONFIG = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc-instances"
[scheduler]
name = "slurm"
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.xlarge"
cpus = 4
[jobwatcher]
wake_socket = "{socket}"
"""


async def test_poke_wakes_the_one_that_listens(tmp_path: Path) -> None:
    path, config = tmp_path / "wake", tmp_path / "headnode.toml"
    config.write_text(CONFIG.format(socket=path))
    wakeups = Wakeups(quiet_s=0)
    async with listen_datagrams(path, wakeups.ring):
        done = await asyncio.to_thread(CliRunner().invoke, app, ["poke", "--config", str(config), "submit"])
        assert (done.exit_code, done.output) == (0, "")
        assert await asyncio.wait_for(wakeups.wait(30, asyncio.Event()), 30) == ("submit",)


def test_that_nobody_listens_is_an_error_unless_told_otherwise(tmp_path: Path) -> None:
    missing = str(tmp_path / "wake")
    assert isinstance(CliRunner().invoke(app, ["poke", "--socket", missing]).exception, NobodyListens)
    assert CliRunner().invoke(app, ["poke", "--socket", missing, "--quiet"]).exit_code == 0


def test_without_a_broker_there_is_no_ringing_over_mqtt(tmp_path: Path) -> None:
    config = tmp_path / "headnode.toml"
    config.write_text(CONFIG.format(socket=tmp_path / "wake"))
    done = CliRunner().invoke(app, ["poke", "--config", str(config), "--mqtt"])
    assert isinstance(done.exception, ConfigError)
    assert "[mqtt]" in done.exception.hint
