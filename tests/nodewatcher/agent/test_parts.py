"""The agent's parts: its settings, what it counts, and when the dead-man rule is due."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from daemons.errors import ConfigError
from daemons.metrics import HostReading, render_reading
from nodewatcher.agent.__main__ import main
from nodewatcher.agent.config import AgentBroker, AgentConfig, parse_agent_config
from nodewatcher.agent.deadman import DeadMan
from nodewatcher.agent.host import Host, parse_gpu_share, steps_among
from nodewatcher.telemetry import parse_reading

WHOLE = """
cluster = "hpc"
region = "eu-west-1"
queue = "hpc-events"
table = "hpc-instances"
head_silent_s = 900
shutdown = ["/usr/bin/systemctl", "poweroff"]
[mqtt]
host = "head.hpc.internal"
port = 8883
tls = true
password_file = "/etc/headnode/mqtt"
"""


def test_the_file_says_what_it_says_and_the_rest_has_defaults() -> None:
    config = parse_agent_config(WHOLE)
    assert (config.cluster, config.head_silent_s, config.shutdown[0]) == ("hpc", 900.0, "/usr/bin/systemctl")
    assert config.mqtt is not None
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.tls, config.mqtt.topic) == (
        "head.hpc.internal",
        8883,
        True,
        "headnode",
    )
    assert (config.interval_s, config.imds) == (10.0, "http://169.254.169.254")


def test_the_example_has_every_setting_with_its_default() -> None:
    text = (Path(__file__).parents[3] / "systemd/agent.toml.example").read_text()
    asked, whole = parse_agent_config(text), parse_agent_config(re.sub(r"^#(?=\w+ = |\[mqtt\])", "", text, flags=re.MULTILINE))
    assert asked == replace(whole, mqtt=None)
    assert whole.mqtt == AgentBroker(host="head.hpc.internal")
    named = re.findall(r"^#?(\w+) = ", text, flags=re.MULTILINE)
    assert sorted(named) == sorted({each.name for kind in (AgentConfig, AgentBroker) for each in fields(kind)} - {"mqtt"})


def test_the_dead_man_rule_is_off_unless_it_is_turned_on() -> None:
    config = AgentConfig(cluster="hpc", region="eu-west-1", queue="q", table="ttt")
    assert config.head_silent_s == 0
    rule = DeadMan(silent_s=config.head_silent_s, idle_cpu_share=config.idle_cpu_share)
    rule.heard(0.0)
    rule.saw(HostReading(), 0.0)
    assert not rule.is_due(1e9)


def test_every_problem_of_the_file_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
region = "nowhere"
queue = "hpc events"
table = "t"
interval_s = "10"
shutdown = "poweroff"
colour = "red"
imds = "ftp://example"
[mqtt]
port = 70000
tls = 1
password_file = "relative"
cert_file = "/cert"
"""
    with pytest.raises(ConfigError) as told:
        parse_agent_config(text)
    places = {problem.partition(":")[0] for problem in told.value.problems}
    assert places == {
        *("cluster", "region", "queue", "table", "interval_s", "shutdown", "colour", "imds"),
        *("mqtt.host", "mqtt.port", "mqtt.tls", "mqtt.password_file", "mqtt.cert_file"),
    }
    path = tmp_path / "agent.toml"
    path.write_text(text)
    assert main(["--config", str(path)]) == 2
    assert "no such setting" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["cluster = ", "\x00", "[mqtt", "mqtt = 3\n"])
def test_what_is_no_toml_or_no_table_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_agent_config(text)


def test_a_file_that_is_not_there_is_told_with_the_next_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tmp_path / "none.toml")]) == 2
    assert "next:" in capsys.readouterr().err


def test_check_says_whether_the_file_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(WHOLE)
    assert main(["--config", str(path), "--check"]) == 0


async def test_a_look_at_this_machine_is_a_reading_that_the_head_believes() -> None:
    host = Host()
    reading = await host.look(spot_action="stop", rebalance=True)
    assert parse_reading(render_reading(reading)) == reading
    assert 0 < reading.memory_share < 1
    assert (reading.spot_action, reading.rebalance) == ("stop", True)


def test_steps_are_counted_by_their_supervisors() -> None:
    processes: list[dict[str, object]] = [
        {"pid": 1, "ppid": 0, "name": "systemd"},
        {"pid": 10, "ppid": 1, "name": "slurmd"},
        {"pid": 11, "ppid": 10, "name": "slurmstepd"},
        {"pid": 12, "ppid": 11, "name": "bash"},
        {"pid": 20, "ppid": 1, "name": "sge_execd"},
        {"pid": 21, "ppid": 20, "name": "sge_shepherd"},
        {"pid": 22, "ppid": 20, "name": "sge_shepherd-12"},
        {"pid": 30, "ppid": 1, "name": "pbs_mom"},
        {"pid": 31, "ppid": 30, "name": "bash"},
        {"pid": 40, "ppid": 1, "name": None},
    ]
    assert steps_among(processes) == 4
    assert steps_among([]) == 0


def test_the_process_that_only_holds_slurms_control_group_is_no_step() -> None:
    keeper = {"pid": 10, "ppid": 1, "name": "slurmstepd", "cmdline": ("slurmstepd", "infinity")}
    step = {"pid": 11, "ppid": 1, "name": "slurmstepd", "cmdline": ("slurmstepd: [7.batch]",)}
    assert steps_among([keeper]) == 0
    assert steps_among([keeper, step]) == 1


@pytest.mark.parametrize(
    ("text", "share"), [("0\n100\n35\n", 1.0), ("12\n", 0.12), ("[N/A]\n7\n", 0.07), ("", None), ("[Not Supported]\n", None)]
)
def test_of_several_gpus_the_busiest_counts(text: str, share: float | None) -> None:
    assert parse_gpu_share(text) == share


IDLE = HostReading(cpu_share=0.01)


def rule() -> DeadMan:
    """The head and an idle machine are seen at 0."""
    made = DeadMan(silent_s=100.0, idle_cpu_share=0.05)
    made.heard(0.0)
    made.saw(IDLE, 0.0)
    return made


def test_a_silent_head_and_an_idle_node_for_all_of_the_time_end_it() -> None:
    one = rule()
    one.saw(IDLE, 99.0)
    assert not one.is_due(99.0)
    one.saw(IDLE, 100.0)
    assert one.is_due(100.0)


def test_cpus_may_be_left_out_of_account() -> None:
    rule = DeadMan(silent_s=100.0, idle_cpu_share=1.0)
    assert not rule.is_busy(HostReading(cpu_share=1.0))
    assert rule.is_busy(HostReading(cpu_share=0.0, steps=1))


@pytest.mark.parametrize(
    "busy",
    [HostReading(steps=1), HostReading(sessions=1), HostReading(cpu_share=0.05), HostReading(gpu_share=0.01), None],
    ids=["a step", "somebody is logged in", "CPU", "GPU", "nobody could look"],
)
def test_whatever_the_node_does_starts_the_time_anew(busy: HostReading | None) -> None:
    one = rule()
    one.saw(busy, 90.0)
    one.saw(IDLE, 100.0)
    assert not one.is_due(189.0)
    assert one.is_due(190.0)


def test_one_word_of_the_head_starts_the_time_anew() -> None:
    one = rule()
    one.heard(99.0)
    assert not one.is_due(198.0)
    assert one.is_due(199.0)


def test_a_head_that_was_never_heard_is_not_silent() -> None:
    one = DeadMan(silent_s=100.0, idle_cpu_share=0.05)
    one.saw(IDLE, 0.0)
    assert not one.is_due(1e6)
