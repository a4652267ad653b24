import tomllib
from pathlib import Path

from daemons.config import parse_config
from daemons.model import FleetName, FleetSpec, Shape
from sandbox.aws.stack import Stack
from sandbox.configuration import batch, fleet_section, local_scheduler, render_config, render_toml
from schedulers.plugins import load_settings

STACK = Stack(
    endpoint_url="http://127.0.0.1:5000",
    region="eu-west-1",
    queue_url="http://127.0.0.1:5000/123456789012/hpc-events",
    queue_arn="",
    dead_letter_queue_url="",
    topic_arn="",
    table="hpc-instances",
    zone_id="Z123",
    domain="hpc.internal",
    groups=("hpc-compute",),
)
LOCAL = local_scheduler(Path("/srv/local.db"))
GPUS = FleetSpec(
    name=FleetName("gpus"),
    group="hpc-gpus",
    shape=Shape(cpus=8, memory_mib=32_000, gpus=2, gpu_type="t4"),
    instance_type="g4dn.2xlarge",
    partition="learn",
    features=frozenset({"gpu", "big"}),
    price_per_hour=0.7,
)


def test_toml_says_what_the_document_says() -> None:
    document = {
        "name": 'quo"ted \\ ünï\n',
        "sizes": [1, 2],
        "none": [],
        "on": True,
        "deep": {"own": 1.5, "deeper": {"path": Path("/srv")}, "empty": {}},
        "many": [{"name": "a", "inner": {"x": 1}}, {"name": "b"}],
        "absent": None,
    }
    expected = {**document, "deep": {"own": 1.5, "deeper": {"path": "/srv"}, "empty": {}}}
    del expected["absent"]
    assert tomllib.loads(render_toml(document)) == expected


def test_a_stacks_configuration_is_one_that_the_services_take() -> None:
    config = parse_config(render_config(STACK, LOCAL), load_settings=load_settings)
    assert (config.cluster, config.region, config.queue, config.table) == ("hpc", "eu-west-1", STACK.queue_url, STACK.table)
    assert config.endpoints == {"default": STACK.endpoint_url}
    assert config.scheduler.settings == load_settings("local")(file="/srv/local.db")
    assert [(fleet.name, fleet.group, fleet.shape.cpus) for fleet in config.fleets] == [("batch", "hpc-compute", 4)]


def test_what_is_said_besides_is_stronger_than_the_stack() -> None:
    text = render_config(
        STACK, LOCAL, cluster="ha", queue="hpc-events", ha={"enabled": True, "name": "a"}, fleets=[batch(STACK, cpus=2)]
    )
    config = parse_config(text, load_settings=load_settings)
    assert (config.cluster, config.queue, config.ha.enabled, config.ha.name) == ("ha", "hpc-events", True, "a")
    assert [fleet.shape.cpus for fleet in config.fleets] == [2]


def test_a_fleet_is_read_as_it_was_written() -> None:
    config = parse_config(render_config(STACK, LOCAL, fleets=[fleet_section(GPUS)]), load_settings=load_settings)
    assert config.fleets == (GPUS,)
