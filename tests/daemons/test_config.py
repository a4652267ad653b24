"""The configuration file: what a good one becomes, and what is said of a bad one."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from daemons.config import DnsConfig, Reading, load_config, parse_config, read_config
from daemons.config.effective import Origin, effective_settings
from daemons.config.problems import fields_of
from daemons.config.values import FileEntry, FleetEntry
from daemons.errors import ConfigError
from daemons.model import FleetName, FleetSpec, Purchase, Shape

REPOSITORY = Path(__file__).parents[2]


class Limits(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    pace: int = Field(default=3, ge=1, description="commands at a time")


class PluginSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    timeout_s: float = Field(default=30.0, gt=0, description="how long a command may take")
    password: SecretStr = SecretStr("")
    limits: Limits = Limits()


def load_settings(name: str) -> type[BaseModel]:
    if name != "slurm":
        raise ConfigError(f"there is no scheduler plugin named {name!r}", hint="correct scheduler.name")
    return PluginSettings


TOP = 'cluster = "hpc"\nregion = "eu-west-1"\nqueue = "hpc-events"\ntable = "hpc"\n'
SCHEDULER = '[scheduler]\nname = "slurm"\n'
FLEET = '[[fleet]]\nname = "batch"\ngroup = "hpc-batch"\ninstance_type = "c5.2xlarge"\ncpus = 8\n'
MINIMAL = TOP + SCHEDULER + FLEET


def read(text: str) -> Reading:
    return read_config(text, load_settings=load_settings, source="hpc.toml")


def problems(text: str) -> list[str]:
    return [str(problem) for problem in read(text).problems]


def test_the_least_that_a_file_must_say_gives_a_whole_configuration() -> None:
    config = parse_config(MINIMAL, load_settings=load_settings)
    assert (config.cluster, config.region, config.queue, config.table) == ("hpc", "eu-west-1", "hpc-events", "hpc")
    assert config.fleets == (
        FleetSpec(name=FleetName("batch"), group="hpc-batch", instance_type="c5.2xlarge", shape=Shape(cpus=8)),
    )
    assert config.dns is None
    assert config.endpoints == {}
    assert config.scheduler.settings == PluginSettings()
    assert (config.sqswatcher.wait_s, config.jobwatcher.interval_s, config.nodewatcher.idle_for_s) == (20, 10, 600)


def test_everything_a_fleet_says_reaches_its_spec() -> None:
    extra = (
        'memory_mib = 15000\ngpus = 2\ngpu_type = "a10g"\npartition = "gpu"\nfeatures = ["nvme", "efa"]\npurchase = "spot"\n'
        "price_per_hour = 1.5\nconsumables = { scratch = 5, licence = 1 }\n"
    )
    (spec,) = parse_config(MINIMAL + extra, load_settings=load_settings).fleets
    assert spec.shape == Shape(cpus=8, memory_mib=15000, gpus=2, gpu_type="a10g", consumables=(("licence", 1), ("scratch", 5)))
    assert (spec.partition, spec.features, spec.price_per_hour) == ("gpu", frozenset({"nvme", "efa"}), 1.5)
    assert spec.purchase is Purchase.SPOT


def test_a_fleets_defaults_in_the_file_are_those_of_its_value() -> None:
    bare = FleetSpec(name=FleetName("batch"), group="g", instance_type="c5.large", shape=Shape(cpus=2))
    assert FleetEntry(name=FleetName("batch"), group="g", instance_type="c5.large", cpus=2).to_spec() == bare


def test_endpoints_keep_their_services_names() -> None:
    config = parse_config(
        MINIMAL + '[endpoints]\ndefault = "http://127.0.0.1:5000"\nsqs = "https://sqs.test/"\n', load_settings=load_settings
    )
    assert config.endpoints == {"default": "http://127.0.0.1:5000", "sqs": "https://sqs.test/"}


def test_a_zone_is_named_by_id_or_by_name_and_can_be_switched_off() -> None:
    by_name = parse_config(MINIMAL + '[dns]\nzone = "HPC.internal."\n', load_settings=load_settings)
    assert by_name.dns == DnsConfig(zone="hpc.internal")
    by_id = parse_config(MINIMAL + '[dns]\nzone_id = "Z123"\nttl_s = 5\n', load_settings=load_settings)
    assert by_id.dns == DnsConfig(zone_id="Z123", ttl_s=5)
    assert parse_config(MINIMAL + '[dns]\nzone_id = "Z123"\nenabled = false\n', load_settings=load_settings).dns is None
    assert problems(MINIMAL + '[dns]\nzone_id = "Z123"\nzone = "hpc"\n') == ["dns: has both zone_id and zone; keep one of them"]
    assert problems(MINIMAL + "[dns]\nttl_s = 5\n")[0].startswith("dns: has neither zone_id nor zone")


def test_every_problem_is_told_at_once_in_the_files_order() -> None:
    text = """
reigon = "eu-west-1"
cluster = "-hpc"
queue = 7
[sqswatcher]
wait_s = 21
[scheduler]
name = "slurm"
[scheduler.settings]
timeout_s = 0
timeouts = 1
limits.pace = "fast"
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.2xlarge"
cpus = 8
[[fleet]]
name = "batch"
group = "a:b"
instance_type = "c5"
cpus = "8"
"""
    found = [(problem.path, problem.wrong, problem.came) for problem in read(text).problems]
    assert found == [
        ("reigon", "is not a setting", '"eu-west-1"'),
        ("cluster", "is not a plain word (such as compute)", '"-hpc"'),
        ("queue", "must be a string in quotes", "7"),
        ("sqswatcher.wait_s", "must be at most 20", "21"),
        ("scheduler.settings.timeout_s", "must be above 0", "0"),
        ("scheduler.settings.timeouts", "is not a setting", "1"),
        ("scheduler.settings.limits.pace", "must be a whole number", '"fast"'),
        ("fleet[1].name", "is the same as fleet[0].name", '"batch"'),
        ("fleet[1].group", "is not an Auto Scaling group's name (such as hpc-compute)", '"a:b"'),
        ("fleet[1].instance_type", "is not an EC2 instance type (such as c5.2xlarge)", '"c5"'),
        ("fleet[1].cpus", "must be a whole number", '"8"'),
        ("region", "is missing", ""),
        ("table", "is missing", ""),
    ]


def test_a_problem_says_what_the_setting_is_for() -> None:
    assert problems(MINIMAL + "[sqswatcher]\nwait_s = 60\n") == [
        "sqswatcher.wait_s: must be at most 20 (it is 60); how long a poll waits for messages, in seconds"
    ]
    assert problems(MINIMAL + "[scheduler.settings]\ntimeout_s = -1\n") == [
        "scheduler.settings.timeout_s: must be above 0 (it is -1); how long a command may take"
    ]


@pytest.mark.parametrize(
    ("addition", "hint"),
    [
        ("[sqswatcher]\nwait = 5\n", "did you mean wait_s?"),
        ("[nodewatcher]\nidle_fors = 5\n", "did you mean idle_for_s?"),
        ("[scheduler.settings]\ntimeout = 5.0\n", "did you mean timeout_s?"),
        ("[scheduler.settings.limits]\npac = 5\n", "did you mean pace?"),
        ('[log]\nqueue = "x"\n', "queue belongs above the first [section]"),
        ("[log]\nidle_for_s = 1\n", "idle_for_s belongs into [nodewatcher]"),
        ("[log]\ninterval_s = 1\n", "interval_s belongs into [jobwatcher] or [nodewatcher]"),
        ("[log]\nendpoints = 1\n", "it is a section: [endpoints]"),
        ("[log]\nxyzzy = 1\n", "known here: level, cloudwatch, metrics, file"),
    ],
)
def test_an_unknown_key_is_a_problem_with_a_hint_at_what_was_meant(addition: str, hint: str) -> None:
    (problem,) = read(MINIMAL + addition).problems
    assert (problem.wrong, problem.hint) == ("is not a setting", hint)


def _sections() -> list[str]:
    nested = [
        name
        for name, field in fields_of(FileEntry).items()
        if name not in ("fleet", "scheduler", "dns") and fields_of(field.kind)
    ]
    return sorted([*nested, "dns"])


@pytest.mark.parametrize("section", _sections())
def test_no_section_takes_a_key_that_it_does_not_know(section: str) -> None:
    text = MINIMAL + f"[{section}]\nsurprise = 1\n" + ('zone = "hpc"\n' if section == "dns" else "")
    assert [(problem.path, problem.wrong) for problem in read(text).problems] == [(f"{section}.surprise", "is not a setting")]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("[sqswatcher]\nwait_s = -1", "sqswatcher.wait_s"),
        ("[sqswatcher]\nwait_s = true", "sqswatcher.wait_s"),
        ("[sqswatcher]\nvisibility_s = 43201", "sqswatcher.visibility_s"),
        ("[sqswatcher]\nreceivers = 0", "sqswatcher.receivers"),
        ("[jobwatcher]\ninterval_s = 0", "jobwatcher.interval_s"),
        ("[jobwatcher]\ninterval_s = inf", "jobwatcher.interval_s"),
        ("[nodewatcher]\nidle_for_s = nan", "nodewatcher.idle_for_s"),
        ("[nodewatcher]\nmax_ending_share = 1.1", "nodewatcher.max_ending_share"),
        ("[nodewatcher]\nmax_ending_share = 0", "nodewatcher.max_ending_share"),
        ('[log]\nlevel = "loud"', "log.level"),
        ("[log]\nlevel = 2026-11-23", "log.level"),
        ("log = 3", "log"),
        ('[endpoints]\nsqs = "ftp://x"', "endpoints.sqs"),
        ('[endpoints]\nsqs = "http://user:word@host"', "endpoints.sqs"),
        ('[endpoints]\nsqs = "http://host:99999"', "endpoints.sqs"),
        ('[endpoints]\nsqs = "http://[::1"', "endpoints.sqs"),
        ('[endpoints]\nsqs = ""', "endpoints.sqs"),
        ('[dns]\nzone = "a..b"', "dns.zone"),
        ('[dns]\nzone_id = "/hostedzone/Z1"', "dns.zone_id"),
        ("[dns]\nzone_id = 'Z1'\nttl_s = 0", "dns.ttl_s"),
        ("fleet.x = 1", "fleet"),
    ],
)
def test_a_value_out_of_bounds_is_one_problem_at_its_key(line: str, path: str) -> None:
    text = TOP + line + "\n" + SCHEDULER + FLEET if line.startswith("log =") else MINIMAL + line + "\n"
    if line.startswith("fleet"):
        text = TOP + line + "\n" + SCHEDULER
    assert [problem.path for problem in read(text).problems] == [path]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("cpus = 0", "fleet[0].cpus"),
        ("cpus = 8.0", "fleet[0].cpus"),
        ("memory_mib = -1", "fleet[0].memory_mib"),
        ('gpu_type = "a100"', "fleet[0].gpu_type"),
        ('purchase = "free"', "fleet[0].purchase"),
        ("price_per_hour = -0.1", "fleet[0].price_per_hour"),
        ('features = ["ok", "--bad"]', "fleet[0].features[1]"),
        ('features = "nvme"', "fleet[0].features"),
        ('consumables = { "a b" = 1 }', 'fleet[0].consumables."a b"'),
        ("consumables = { scratch = -1 }", "fleet[0].consumables.scratch"),
        ('partition = "a\\nb"', "fleet[0].partition"),
        ('name = "Batch"', "fleet[0].name"),
    ],
)
def test_a_fleets_values_are_bounded_too(line: str, path: str) -> None:
    key = line.partition(" ")[0]
    fleet = "".join(kept + "\n" for kept in FLEET.splitlines() if not kept.startswith(f"{key} ")) + line + "\n"
    assert [problem.path for problem in read(TOP + SCHEDULER + fleet).problems] == [path]


def test_one_bracket_too_few_is_told_as_such() -> None:
    (problem,) = read(MINIMAL.replace("[[fleet]]", "[fleet]")).problems
    assert (problem.path, problem.hint) == ("fleet", "write [[fleet]], in two pairs of brackets")


def test_a_cluster_without_fleets_is_refused() -> None:
    assert [problem.path for problem in read("fleet = []\n" + TOP + SCHEDULER).problems] == ["fleet"]
    assert problems(TOP + SCHEDULER) == ["fleet: is missing; a [[fleet]] table for each Auto Scaling group"]


def test_an_unknown_plugin_is_told_together_with_the_rest() -> None:
    text = MINIMAL.replace('"slurm"', '"slrum"') + "[jobwatcher]\ninterval_s = 0\n"
    assert [problem.path for problem in read(text).problems] == ["scheduler.name", "jobwatcher.interval_s"]


def test_a_plugins_secret_is_neither_shown_nor_repeated_in_a_problem() -> None:
    text = MINIMAL + '[scheduler.settings]\npassword = "hunter2"\n'
    shown = {setting.path: setting.value for setting in effective_settings(read(text))}
    assert shown["scheduler.settings.password"] == "**********"
    (problem,) = read(MINIMAL + "[scheduler.settings]\npassword = 424242\n").problems
    assert (problem.path, problem.came) == ("scheduler.settings.password", "")


def test_a_syntax_error_is_told_with_line_and_column() -> None:
    (problem,) = read('cluster = "hpc"\nregion eu-west-1\n').problems
    assert problem.path == "hpc.toml:2:8"
    assert problem.wrong.startswith("is not valid TOML: Expected '='")


@pytest.mark.parametrize("text", ["x = " + "[" * 100_000, "x = " + "9" * 5000, "x = 2026-99-99", '"', "[a]\n[a]\n"])
def test_text_that_is_no_toml_is_one_problem(text: str) -> None:
    (problem,) = read(text).problems
    assert "is not valid TOML" in problem.wrong


_LEAVES = st.none().map(lambda _: "x") | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_KEYS = st.sampled_from([*fields_of(FileEntry), *fields_of(FleetEntry), "settings", "wait_s", "level", "zone", "x"])
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12
)


@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow])  # the first draw builds the strategy
@given(st.dictionaries(_KEYS, _VALUES, max_size=8))
def test_whatever_the_tables_hold_the_answer_is_problems_and_never_another_error(raw: dict[str, Any]) -> None:
    reading = read(_toml(raw))
    assert reading.problems or reading.config is not None


def _toml(value: Any) -> str:
    """A table as TOML, in inline form below the top."""

    def inline(member: Any) -> str:
        if isinstance(member, dict):
            return "{" + ", ".join(f"{key} = {inline(inner)}" for key, inner in member.items()) + "}"
        if isinstance(member, list):
            return "[" + ", ".join(map(inline, member)) + "]"
        if isinstance(member, str):
            return '"' + "".join(f"\\U{ord(letter):08x}" for letter in member if not 0xD800 <= ord(letter) < 0xE000) + '"'
        return str(member).lower()

    return "".join(f"{key} = {inline(member)}\n" for key, member in value.items())


@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    assert read(text).problems


def test_the_file_comes_from_the_argument_then_the_environment(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(MINIMAL.replace('"hpc"', f'"{name}"', 1))
    environ = {"HEADNODE_CONFIG": str(tmp_path / "two")}
    assert load_config(tmp_path / "one", environ, load_settings=load_settings).cluster == "one"
    assert load_config(None, environ, load_settings=load_settings).cluster == "two"


def _refusal(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(path, {}, load_settings=load_settings)
    return caught.value


def test_a_file_that_cannot_be_had_is_one_clear_problem(tmp_path: Path) -> None:
    assert "does not exist" in _refusal(tmp_path / "missing").problems[0]
    assert "is a directory" in _refusal(tmp_path).problems[0]
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'cluster = "x"\nregion = "\xe9"\n')
    assert "is not UTF-8 at line 2 (byte 24)" in _refusal(latin).problems[0]
    latin.write_bytes(b"#" * (1 << 20) + b"\n")
    assert "is larger than 1 MiB" in _refusal(latin).problems[0]
    looped = tmp_path / "loop"
    looped.symlink_to(looped)
    assert "cannot be read" in _refusal(looped).problems[0]


@pytest.fixture
def unreadable(tmp_path: Path) -> Path:
    path = tmp_path / "headnode.toml"
    path.write_text(MINIMAL)
    path.chmod(0)
    return path


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root may read everything, so a test of permissions is somebody else meanwhile."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65_534)
    yield
    os.seteuid(before)


def test_a_file_that_may_not_be_read_is_one_clear_problem(unreadable: Path, nobody: None) -> None:
    assert "may not be read by this user" in _refusal(unreadable).problems[0]


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "headnode.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_config(path, {}, load_settings=load_settings).cluster == "hpc"


def test_the_error_holds_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "headnode.toml"
    path.write_text(MINIMAL + "[jobwatcher]\ninterval_s = 0\n[log]\nlevel = 1\n")
    error = _refusal(path)
    assert [problem.partition(":")[0] for problem in error.problems] == ["jobwatcher.interval_s", "log.level"]
    assert str(error) == f"{path} cannot be used: {error.problems[0]} (and 1 more)"


def test_effective_settings_tell_the_file_from_the_defaults() -> None:
    text = MINIMAL + '[sqswatcher]\nwait_s = 20\n[dns]\nzone = "hpc"\n[scheduler.settings.limits]\npace = 4\n'
    settings = {setting.path: (setting.value, setting.origin) for setting in effective_settings(read(text))}
    assert settings["sqswatcher.wait_s"] == (20, Origin.FILE)
    assert settings["sqswatcher.receivers"] == (8, Origin.DEFAULT)
    assert settings["dns.zone"] == ("hpc", Origin.FILE)
    assert settings["fleet[0].cpus"] == (8, Origin.FILE)
    assert settings["fleet[0].features"] == ([], Origin.DEFAULT)
    assert settings["scheduler.settings.limits.pace"] == (4, Origin.FILE)
    assert settings["scheduler.settings.timeout_s"] == (30.0, Origin.DEFAULT)


def test_every_setting_says_what_it_means() -> None:
    text = MINIMAL + '[dns]\nzone = "hpc"\n'
    own = [setting for setting in effective_settings(read(text)) if not setting.path.startswith("scheduler.settings.")]
    assert [setting.path for setting in own if not setting.meaning] == []


def test_the_example_is_right_and_names_every_setting_with_its_default() -> None:
    text = (REPOSITORY / "systemd/headnode.toml.example").read_text()
    assert read(text).problems == ()
    uncommented = re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE).replace('zone = "hpc.internal"', "")
    reading = read(uncommented)
    assert reading.problems == ()
    free = ("endpoints.", "fleet[1].", "fleet[0].gpu", "fleet[0].consumables", "dns.zone", "scheduler.settings.")
    optional = '[dns]\nzone = "x"\n[mqtt]\nhost = "localhost"\n[log.cloudwatch]\ngroup = "/x"\n[log.metrics]\n[log.file]\n'
    defaults = {setting.path: setting for setting in effective_settings(read(MINIMAL + optional))}
    for setting in effective_settings(reading):
        if not setting.path.startswith(free):
            assert setting.origin is Origin.FILE, setting.path
            if defaults[setting.path].origin is Origin.DEFAULT and setting.path != "fleet[0].memory_mib":
                assert setting.value == defaults[setting.path].value, setting.path
    assert set(tomllib.loads(uncommented)["endpoints"]) == set(fields_of(fields_of(FileEntry)["endpoints"].kind))


def test_reading_the_configuration_loads_no_command_line_library() -> None:
    script = "import sys, daemons.config; print(sorted({'typer', 'rich', 'boto3', 'botocore', 'schedulers'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("ha", "said"),
    [
        ("renew_s = 7.0", "ha.renew_s: is more than a third of lease_s, which is 20 (it is 7.0)"),
        ("lease_s = 6.0", "ha.renew_s: is more than a third of lease_s, which is 6 (it is 4.0)"),
        ("lease_s = 1.0\nrenew_s = 0.1", "ha.lease_s: must be at least 2"),
        ('name = "a b"', "ha.name: is not a plain word"),
    ],
)
def test_a_lease_outlasts_renewals_without_an_answer(ha: str, said: str) -> None:
    [problem] = read(MINIMAL + f"[ha]\nenabled = true\n{ha}\n").problems
    assert str(problem).startswith(said)
