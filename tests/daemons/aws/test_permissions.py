"""What is granted is what is called: by the code, and for this configuration alone."""

import ast
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import daemons.aws
import daemons.cli.logsources
import daemons.cli.sqs
import daemons.doctor.looks
import nodewatcher.agent.announce
from daemons.aws.permissions import CALLS, LOOKS, OPERATES
from daemons.cli import app
from daemons.errors import ConfigError, InvalidValue

SOURCES = sorted(Path(next(iter(daemons.aws.__path__))).glob("*.py"))
LOOKS_SOURCES = sorted(Path(next(iter(daemons.doctor.looks.__path__))).glob("*.py"))
HEAD = """
cluster = "hpc"
region = "{region}"
queue = "{queue}"
table = "hpc-instances"
{log}
[scheduler]
name = "local"
settings = {{ file = "/var/lib/local.db" }}
{dns}
[[fleet]]
name = "batch"
group = "hpc-batch"
instance_type = "c5.large"
cpus = 2
launch = "{launch}"
[[fleet]]
name = "gpu"
group = "hpc-gpu"
instance_type = "g5.xlarge"
cpus = 4
[sqswatcher]
{sqswatcher}
"""
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/hpc-events"


def called(path: Path) -> Iterator[str]:
    """Every method of something named `client` that a file calls or hands on."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "client":
            yield node.attr


def test_every_call_of_the_code_is_listed_and_no_other() -> None:
    assert len(SOURCES) > 5
    assert {operation for path in SOURCES for operation in called(path)} == {call.operation for call in CALLS}


def test_every_call_of_the_doctor_is_the_services_or_listed_as_its_own() -> None:
    """It tries some of the services' calls in a form that does one thing where theirs does many."""
    one_by_one = {"delete_message": "delete_message_batch", "change_message_visibility": "change_message_visibility_batch"}
    calls = {one_by_one.get(operation, operation) for path in LOOKS_SOURCES for operation in called(path)}
    assert calls - {call.operation for call in CALLS} == {call.operation for call in LOOKS} - {"get_queue_url"}


def test_every_call_of_the_commands_that_look_into_queue_and_logs_is_listed_and_no_other() -> None:
    """Their calls are made by name: `_ask("receive_message", …)`, or for pages `get_paginator("filter_log_events")`."""
    calls = set()
    for module in (daemons.cli.sqs, daemons.cli.logsources):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                words = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
                calls |= set(words[:1]) if node.func.attr in ("_ask", "_ask_of", "get_paginator") else set()
    assert calls == {call.operation for call in OPERATES}


def test_an_operator_takes_from_no_queue_but_that_of_dead_letters(tmp_path: Path) -> None:
    statements = policy(tmp_path, "--role", "operator", "--dead-letters", "hpc-dead")
    takes = [one["Resource"] for one in statements.values() if {"sqs:ReceiveMessage", "sqs:DeleteMessage"} & set(one["Action"])]
    assert takes == [["arn:aws:sqs:eu-west-1:123456789012:hpc-dead"]]
    assert "logs:FilterLogEvents" not in actions(statements), "nothing goes to CloudWatch here"
    assert "logs:FilterLogEvents" in actions(policy(tmp_path, "--role", "operator", log='[log.cloudwatch]\ngroup = "hpc"'))
    with pytest.raises(InvalidValue):
        policy(tmp_path, "--role", "operator", "--dead-letters", "*:*")


def test_what_the_doctor_needs_besides_is_to_look(tmp_path: Path) -> None:
    for action in actions(policy(tmp_path, "--role", "doctor")):
        assert action.partition(":")[2].startswith(("Get", "List", "Describe", "Simulate")), action


def test_the_agents_calls_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its announcement uses the queue and the table, and of those what follows from the two methods that it calls."""
    text = Path(nodewatcher.agent.announce.__file__).read_text()
    uses = {name for name in ("DynamoRows", "SqsQueue", "AutoScalingGroups", "Ec2Places", "Route53Zone") if f"{name}(" in text}
    assert uses == {"DynamoRows", "SqsQueue"}
    assert ".get([instance_id])" in text
    assert ".send(body)" in text
    assert {call.operation for call in CALLS if call.agent} == {"batch_get_item", "send_message", "get_queue_url"}


def policy(tmp_path: Path, *words: str, **settings: str) -> dict[str, Any]:
    values = {
        "region": "eu-west-1",
        "queue": URL,
        "dns": "",
        "launch": "desired-capacity",
        "log": "",
        "sqswatcher": "",
    } | settings
    path = tmp_path / "headnode.toml"
    path.write_text(HEAD.format(**values))
    result = CliRunner().invoke(app, ["iam", "render", "--config", str(path), *words])
    if result.exception:
        raise result.exception
    told: dict[str, Any] = json.loads(result.stdout)
    assert told["Version"] == "2012-10-17"
    return {statement["Sid"]: statement for statement in told["Statement"]}


def actions(statements: dict[str, Any]) -> set[str]:
    return {action for statement in statements.values() for action in statement["Action"]}


def test_the_head_may_what_it_does_to_what_is_its_own(tmp_path: Path) -> None:
    statements = policy(tmp_path)
    assert statements["HeadnodeQueue"]["Resource"] == ["arn:aws:sqs:eu-west-1:123456789012:hpc-events"]
    assert statements["HeadnodeTable"]["Resource"] == ["arn:aws:dynamodb:eu-west-1:123456789012:table/hpc-instances"]
    assert statements["HeadnodeGroups"]["Resource"] == [
        f"arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:*:autoScalingGroupName/hpc-{name}"
        for name in ("batch", "gpu")
    ]
    assert statements["HeadnodeInstances"]["Condition"] == {
        "StringEquals": {"ec2:ResourceTag/aws:autoscaling:groupName": ["hpc-batch", "hpc-gpu"]}
    }
    for action in statements["HeadnodeAny"]["Action"]:
        assert ":Describe" in action, "only looking is allowed everywhere"
    assert all(statement["Effect"] == "Allow" for statement in statements.values())


def test_what_a_configuration_never_does_is_not_allowed(tmp_path: Path) -> None:
    few = actions(policy(tmp_path))
    assert not {action for action in few if action.startswith("route53:")}
    assert not {"autoscaling:LaunchInstances", "sqs:GetQueueUrl", "dynamodb:ConditionCheckItem"} & few
    dns = '[dns]\nzone = "hpc.internal"\n[ha]\nenabled = true'
    everything = {"queue": "hpc-events", "launch": "launch-instances", "dns": dns}
    many = policy(tmp_path, "--account", "123456789012", log='[log.cloudwatch]\ngroup = "/headnode/hpc"', **everything)
    assert actions(many) == {call.action for call in CALLS if call.head}


def test_a_zone_by_its_id_is_the_only_one(tmp_path: Path) -> None:
    statements = policy(tmp_path, dns='[dns]\nzone_id = "Z0123456789ABCDEFGHIJ"')
    assert statements["HeadnodeZone"]["Resource"] == ["arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ"]
    assert "route53:ListHostedZonesByName" not in actions(statements)


def test_a_node_may_say_that_it_is_ready_and_look_whether_it_is_known(tmp_path: Path) -> None:
    assert actions(policy(tmp_path, "--role", "compute")) == {"sqs:SendMessage", "dynamodb:BatchGetItem"}


@pytest.mark.parametrize(("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")])
def test_partitions(region: str, partition: str, tmp_path: Path) -> None:
    statements = policy(tmp_path, region=region)
    assert statements["HeadnodeQueue"]["Resource"] == [f"arn:{partition}:sqs:{region}:123456789012:hpc-events"]


@pytest.mark.parametrize("role", ["queue", "topic"])
def test_a_resource_admits_this_account_and_no_other(role: str, tmp_path: Path) -> None:
    statements = policy(tmp_path, "--role", role)
    allowed = [statement for statement in statements.values() if statement["Effect"] == "Allow"]
    assert allowed
    for statement in allowed:
        assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
        assert set(statement["Principal"]) == {"Service"}
    assert statements["HeadnodeOnlyEncrypted"]["Effect"] == "Deny"


TOPIC = "arn:aws:sns:eu-west-1:123456789012:hpc"


@pytest.mark.parametrize("named", [{"sqswatcher": f'topics = ["{TOPIC}"]'}, {}])
def test_the_queue_admits_the_clusters_topic_and_rule_alone_where_they_are_named(named: dict[str, str], tmp_path: Path) -> None:
    words = ["--role", "queue", "--rule", "hpc-instances", *([] if named else ["--topic", TOPIC])]
    statements = policy(tmp_path, *words, **named)
    sources = {
        sid: one["Condition"]["ArnLike"]["aws:SourceArn"] for sid, one in statements.items() if "ArnLike" in one["Condition"]
    }
    assert sources == {
        "HeadnodeTopics": [TOPIC],
        "HeadnodeRules": ["arn:aws:events:eu-west-1:123456789012:rule/hpc-instances"],
    }


def test_a_topics_policy_is_about_that_topic(tmp_path: Path) -> None:
    statements = policy(tmp_path, "--role", "topic", "--topic", TOPIC)
    assert {one["Resource"] for one in statements.values()} == {TOPIC}
    with pytest.raises(InvalidValue, match="a policy of its own"):
        policy(tmp_path, "--role", "topic", "--topic", TOPIC, "--topic", f"{TOPIC}-hooks")


@pytest.mark.parametrize("words", [("--topic", "hpc"), ("--topic", f"{TOPIC}*"), ("--rule", "*")])
def test_what_is_no_name_is_put_into_no_policy(words: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(InvalidValue):
        policy(tmp_path, "--role", "queue", *words)


@pytest.mark.parametrize("words", [(), ("--account", "12"), ("--account", "12345678901x")])
def test_an_account_has_twelve_digits(words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="twelve digits"):
        policy(tmp_path, *words, queue="hpc-events")
