"""`headnode config import`: what ParallelCluster 2.x has on a head node becomes headnode's file, and what does not is said."""

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from daemons.cli.config import app
from daemons.config import parse_config
from daemons.errors import ConfigError
from schedulers.plugins import load_settings

SQSWATCHER = """
[sqswatcher]
region = eu-west-1
sqsqueue = https://sqs.eu-west-1.amazonaws.com/123456789012/parallelcluster-hpc-SQS-1ABCDEF
table_name = parallelcluster-hpc
scheduler = slurm
cluster_user = ec2-user
proxy = NONE
stack_name = parallelcluster-hpc
max_processed_messages = 200
"""
JOBWATCHER = """
[jobwatcher]
region = eu-west-1
scheduler = slurm
stack_name = parallelcluster-hpc
cfncluster_dir = /opt/parallelcluster/
proxy = http://proxy.example.com:3128
instance_types_data =
loglevel = DEBUG
"""
NODEWATCHER = """
[nodewatcher]
region = eu-west-1
scheduler = slurm
proxy = NONE
scaledown_idletime = 15
stack_name = parallelcluster-hpc
instance_types_data = {"c5.2xlarge": {"VCpuInfo": {"DefaultVCpus": 8}}}
"""
CFNCONFIG = """
stack_name=parallelcluster-hpc
cfn_preinstall=NONE
cfn_preinstall_args=("a b" NONE)
cfn_scheduler_slots=8
cfn_postinstall='s3://bucket/a script.sh'
"""
FILES = {"sqswatcher.cfg": SQSWATCHER, "jobwatcher.cfg": JOBWATCHER, "nodewatcher.cfg": NODEWATCHER, "cfnconfig": CFNCONFIG}


def run(directory: Path, files: dict[str, str], *words: str) -> Result:
    for name, text in files.items():
        (directory / name).write_text(text)
    return CliRunner().invoke(app, ["import", *(str(directory / name) for name in files), *words])


def problems(result: Result) -> str:
    assert isinstance(result.exception, ConfigError), result.output
    return "\n".join(result.exception.problems or (str(result.exception),))


def test_four_files_become_one_that_can_be_used(tmp_path: Path) -> None:
    target = tmp_path / "headnode.toml"
    result = run(tmp_path, FILES, "--group", "parallelcluster-hpc-ComputeFleet-1X", "--output", str(target))
    assert result.exit_code == 0, result.output
    config = parse_config(target.read_text(), load_settings=load_settings)
    assert (config.cluster, config.region, config.table) == ("parallelcluster-hpc", "eu-west-1", "parallelcluster-hpc")
    assert config.queue.endswith("/parallelcluster-hpc-SQS-1ABCDEF")
    assert config.scheduler.name == "slurm"
    assert config.nodewatcher.idle_for_s == 15 * 60
    (fleet,) = config.fleets
    assert (fleet.group, fleet.instance_type, fleet.shape.cpus) == ("parallelcluster-hpc-ComputeFleet-1X", "c5.2xlarge", 8)
    assert tomllib.loads(target.read_text())["log"] == {"level": "debug"}


def test_what_has_no_counterpart_is_said_with_its_place(tmp_path: Path) -> None:
    result = run(tmp_path, FILES, "--group", "g", "--json")
    told = {Path(each["where"]).name: each["words"] for each in json.loads(result.stdout)["left_out"]}
    assert set(told) == {
        "sqswatcher.cfg [sqswatcher] cluster_user",
        "sqswatcher.cfg [sqswatcher] max_processed_messages",
        "jobwatcher.cfg [jobwatcher] cfncluster_dir",
        "jobwatcher.cfg [jobwatcher] proxy",
    }
    assert "HTTPS_PROXY" in told["jobwatcher.cfg [jobwatcher] proxy"]


def test_what_the_ancestor_never_wrote_down_is_left_to_fill_in(tmp_path: Path) -> None:
    files = {"sqswatcher.cfg": SQSWATCHER, "cfnconfig": "cfn_scheduler_slots=vcpus\n"}
    result = run(tmp_path, files)
    assert result.exit_code == 1
    assert tomllib.loads(result.stdout)["fleet"] == [{"name": "compute", "group": "", "instance_type": "", "cpus": 0}]
    for key in ("fleet.group", "fleet.instance_type", "fleet.cpus"):
        assert f"to fill in: {key}" in result.stderr
    assert "'vcpus'" in result.stderr


def test_a_table_of_another_name_and_the_stacks_by_default(tmp_path: Path) -> None:
    files = {"a.cfg": SQSWATCHER.replace("table_name = parallelcluster-hpc\n", "")}
    assert 'table = "parallelcluster-hpc"' in run(tmp_path, files).stdout
    files = {"a.cfg": SQSWATCHER.replace("table_name = parallelcluster-hpc", "table_name = other-table")}
    assert 'table = "other-table"' in run(tmp_path, files).stdout


def test_everything_that_is_wrong_is_said_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    files = {
        "a.cfg": SQSWATCHER.replace("scheduler = slurm", "scheduler = awsbatch"),
        "b.cfg": JOBWATCHER.replace("eu-west-1", "us-east-1").replace("DEBUG", "LOUD"),
        "c.cfg": NODEWATCHER.replace("15", "soon") + "[batchwatcher]\nx = 1\n",
        "d": "PATH=a b\n[[ $x ]] && y\n",
    }
    result = run(tmp_path, files, "--output", str(tmp_path / "headnode.toml"))
    said = problems(result)
    for words in ("region: the files differ", "scheduler: the files differ", "'LOUD'", "'soon'", "[batchwatcher]", "awsbatch"):
        assert words in said
    assert not (tmp_path / "headnode.toml").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sqswatcher]\nregion = a\nregion = b\n", "already exists"),
        ("[sqswatcher\nregion = a\n", "a.cfg"),
        ("region\n", "is no assignment"),
        ("x='unclosed\n", "No closing quotation"),
        ("", "region: none of the files says it"),
    ],
)
def test_a_file_of_neither_kind(text: str, words: str, tmp_path: Path) -> None:
    assert words in problems(run(tmp_path, {"a.cfg": text}))


def test_values_that_headnode_refuses_are_refused(tmp_path: Path) -> None:
    said = problems(run(tmp_path, {"a.cfg": SQSWATCHER.replace("region = eu-west-1", "region = over there; rm")}))
    assert said.startswith("region:")


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    target = tmp_path / "headnode.toml"
    target.write_text("mine")
    assert "cannot be written" in problems(run(tmp_path, FILES, "--group", "g", "--output", str(target)))
    assert target.read_text() == "mine"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["import", str(tmp_path / "absent.cfg")])
    assert "absent.cfg cannot be read" in problems(result)
