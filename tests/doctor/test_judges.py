"""What no emulation carries: judges on values as AWS and schedulers tell them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from daemons.aws.permissions import Grant, Scope
from daemons.doctor.findings import Finding, Severity, judged, worst
from daemons.doctor.judges import groups, schedulers
from daemons.doctor.judges.host import PathFacts, Who, check_directory
from daemons.doctor.judges.permissions import Verdict, check_permission, is_denial, permission_id, role_name
from daemons.doctor.judges.policy import admits, parse_policy, strangers
from daemons.doctor.judges.zone import parse_search
from daemons.doctor.looks.permissions import parse_simulation
from daemons.model import FleetName, FleetSpec, Shape

FLEET = FleetSpec(name=FleetName("batch"), group="hpc-batch", shape=Shape(cpus=4, memory_mib=7000), instance_type="c5.xlarge")
GPU = replace(FLEET, name=FleetName("gpu"), shape=Shape(cpus=4, gpus=1), partition="gpu")
GROUP = groups.GroupFacts(
    name="hpc-batch",
    minimum=0,
    maximum=10,
    protects_new=True,
    suspended=frozenset({"AZRebalance"}),
    zones=("eu-west-1a",),
    health_check="EC2",
    has_template=True,
    instance_types=("c5.xlarge",),
    spot=False,
    notices={"arn:aws:sns:eu-west-1:123456789012:hpc": groups.NOTICES},
)
TOPIC = "arn:aws:sns:eu-west-1:123456789012:hpc"


def bad(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {one.id: one for one in findings if one.severity in (Severity.WARNING, Severity.ERROR)}


def policy(*statements: Mapping[str, Any]) -> Any:
    return parse_policy(json.dumps({"Statement": list(statements)}))


def allow(principal: Any, **condition: Any) -> Mapping[str, Any]:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "SQS:*"}
    return statement | ({"Condition": condition} if condition else {})


def test_the_worst_finding_decides() -> None:
    some = [
        judged("one", "", "", holds=True, remedy="x"),
        judged("two", "", "", holds=False, otherwise=Severity.NOTE, remedy="x"),
    ]
    assert (worst(some), worst([]), some[0].remedy) == (Severity.NOTE, Severity.OK, "")


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"weights": frozenset({"c5.xlarge counts 4"})}, "group-weights"),
        ({"instance_types": ("c5.xlarge", "m5.xlarge")}, "group-instance-type"),
        ({"warm_pool": True, "spot": True}, "group-warm-pool"),
        ({"lifetime_s": 86_400}, "group-lifetime"),
        ({"zones": ("a", "b"), "suspended": frozenset()}, "group-az-rebalance"),
        ({"suspended": frozenset({"AZRebalance", "ReplaceUnhealthy"})}, "group-processes"),
        ({"notices": {TOPIC: frozenset({"autoscaling:EC2_INSTANCE_LAUNCH"})}}, "group-notifications"),
    ],
)
def test_groups(changes: dict[str, Any], check: str) -> None:
    assert bad(groups.check_group(FLEET, GROUP)) == {}
    assert bad(groups.check_group(FLEET, replace(GROUP, **changes)))[check].remedy


def test_hooks_to_the_queue_are_as_good_as_notifications() -> None:
    hooks = tuple(
        groups.HookFacts(name=name, launching=name == "join", timeout_s=1200, result="ABANDON", target="queue")
        for name in ("join", "leave")
    )
    hooked = replace(GROUP, notices={}, hooks=hooks)
    assert bad(groups.check_group(FLEET, hooked)) == {}
    assert bad(groups.check_hooks(FLEET, hooked, heard=frozenset({"queue"}), grace_s=300)) == {}
    assert set(bad(groups.check_hooks(FLEET, hooked, heard=frozenset(), grace_s=300))) == {"hook-target"}


def test_a_policy_admits_whom_it_names() -> None:
    sns = {"Service": "sns.amazonaws.com"}
    for statement in (
        allow("*"),
        allow(sns),
        allow({"AWS": "*"}, ArnLike={"aws:SourceArn": "arn:aws:sns:*:123456789012:*"}),
        allow(sns, StringEquals={"AWS:SourceAccount": ["123456789012"]}),
    ):
        assert admits(policy(statement), "sqs:SendMessage", service="sns.amazonaws.com", source_arn=TOPIC)
    for statement in (
        allow({"Service": "events.amazonaws.com"}),
        allow(sns, ArnEquals={"aws:SourceArn": TOPIC + "-other"}),
        allow(sns, StringEquals={"aws:SourceAccount": "999999999999"}),
        {**allow(sns), "Action": "sqs:ReceiveMessage"},
    ):
        assert not admits(policy(statement), "sqs:SendMessage", service="sns.amazonaws.com", source_arn=TOPIC)
    denied = policy(allow("*"), {**allow("*"), "Effect": "Deny"})
    assert not admits(denied, "sqs:SendMessage", service="sns.amazonaws.com", source_arn=TOPIC)


def test_who_is_bound_to_an_account_is_no_stranger() -> None:
    assert strangers(policy(allow("*")), "sqs:SendMessage") == ("*",)
    assert strangers(policy(allow({"Service": "sns.amazonaws.com"})), "sqs:SendMessage") == ("sns.amazonaws.com",)
    assert strangers(policy(allow("*", StringNotEquals={"aws:SourceAccount": "1"})), "sqs:SendMessage") == ("*",)
    for statement in (
        allow({"AWS": "arn:aws:iam::123456789012:root"}),
        allow({"AWS": "*"}, StringEquals={"AWS:SourceOwner": "123456789012"}),
        {**allow("*"), "Effect": "Deny"},
    ):
        assert strangers(policy(statement), "sqs:SendMessage") == ()


@pytest.mark.parametrize("text", ["[]", '{"Statement": "all"}', '{"Statement": [1]}', "{"])
def test_what_is_no_policy_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  json's own among them
        parse_policy(text)


def test_iam_is_believed() -> None:
    grant = Grant(scope=Scope.TABLE, actions=("dynamodb:PutItem", "dynamodb:Scan"), resources=("arn", "other"), conditions={})
    results = [
        {"EvalActionName": "dynamodb:PutItem", "EvalDecision": "implicitDeny"},
        {"EvalActionName": "dynamodb:Scan", "EvalDecision": "allowed"},
        {
            "EvalActionName": "dynamodb:Query",
            "EvalDecision": "allowed",
            "ResourceSpecificResults": [{"EvalResourceDecision": "allowed"}, {"EvalResourceDecision": "explicitDeny"}],
        },
    ]
    put, scan, query = map(check_permission, parse_simulation(results, grant))
    assert (put.id, put.severity, scan.severity) == ("permission-dynamodb-put-item", Severity.ERROR, Severity.OK)
    assert query.severity is Severity.ERROR, "on one of its resources"
    assert "dynamodb:PutItem on arn, other" in put.remedy


def test_what_cannot_be_tried_is_a_note() -> None:
    finding = check_permission(Verdict(action="sqs:ReceiveMessage", resource="arn", allowed=None, how="only IAM can tell"))
    assert finding.severity is Severity.NOTE
    assert "iam:SimulatePrincipalPolicy" in finding.remedy


def test_names_of_permissions_and_roles() -> None:
    assert permission_id("route53:ListHostedZonesByName") == "permission-route53-list-hosted-zones-by-name"
    assert role_name("arn:aws:sts::123456789012:assumed-role/head/i-0c9f3a52c7de10001") == "head"
    assert role_name("arn:aws:iam::123456789012:user/ops") == ""
    assert all(map(is_denial, ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError")))
    assert not any(map(is_denial, ("ValidationError", "DryRunOperation", "")))


def test_a_directory_that_we_may_not_look_into_is_not_said_to_be_missing() -> None:
    who = Who(name="headnode", uid=900, gids=frozenset({900}))
    finding = check_directory(PathFacts(path="/var/lib/headnode/jobwatcher", hidden=True), who, setting="jobwatcher.state_dir")
    assert finding.severity is Severity.NOTE
    theirs = PathFacts(path="/var/lib/headnode/jobwatcher", mode=0o40750, uid=900, gid=900)
    assert check_directory(theirs, who, setting="").severity is Severity.OK
    assert check_directory(replace(theirs, uid=0, gid=0), who, setting="").severity is Severity.ERROR
    assert check_directory(replace(theirs, uid=0, mode=0o40770), who, setting="").severity is Severity.OK


def test_the_last_line_of_resolv_conf_counts() -> None:
    assert parse_search("domain a.internal\n# search b\nsearch c.internal d.internal\n") == ("c.internal", "d.internal")
    assert parse_search("nameserver 10.0.0.2") == ()


SLURM = schedulers.SlurmFacts(
    config={
        "SLURM_VERSION": "22.05.8",
        "EnforcePartLimits": "NO",
        "SelectType": "select/cons_tres",
        "ReturnToService": "2",
        "SuspendProgram": "(null)",
        "GresTypes": "gpu",
        "MaxNodeCount": "1024",
    },
    partitions=frozenset({"compute", "gpu"}),
    dynamic=True,
    placeholders=64,
    kinds=2,
    most=20,
    largest=10,
)


@pytest.mark.parametrize(
    ("setting", "value", "check", "remedy"),
    [
        ("SLURM_VERSION", "21.08.5", "slurm-version", "22.05"),
        ("EnforcePartLimits", "ALL", "slurm-part-limits", "EnforcePartLimits=NO"),
        ("ReturnToService", "0", "slurm-return-to-service", "ReturnToService=2"),
        ("SuspendProgram", "/usr/sbin/suspend", "slurm-power-saving", "SuspendProgram"),
        ("GresTypes", "(null)", "slurm-gres-types", "GresTypes=gpu"),
        ("MaxNodeCount", "100", "slurm-max-node-count", "MaxNodeCount="),
    ],
)
def test_slurms_settings(setting: str, value: str, check: str, remedy: str) -> None:
    assert bad(schedulers.check_slurm(SLURM, [FLEET, GPU])) == {}
    found = bad(schedulers.check_slurm(replace(SLURM, config={**SLURM.config, setting: value}), [FLEET, GPU]))
    assert set(found) == {check}
    assert remedy in found[check].remedy


@pytest.mark.parametrize(
    ("changes", "check"),
    [({"partitions": frozenset({"gpu"})}, "slurm-partition"), ({"placeholders": 4, "largest": 10}, "slurm-placeholders")],
)
def test_slurm_and_the_fleets(changes: dict[str, Any], check: str) -> None:
    assert set(bad(schedulers.check_slurm(replace(SLURM, **changes), [FLEET, GPU]))) == {check}


SGE = schedulers.SgeFacts(
    queues=frozenset({"compute", "gpu"}),
    groups=frozenset({"@headnode-batch", "@headnode-gpu"}),
    wanted_groups=frozenset({"@headnode-batch", "@headnode-gpu"}),
    complexes={
        "h_vmem": schedulers.SgeComplex(consumable=True, default="512M"),
        "gpu": schedulers.SgeComplex(consumable=True, default="0"),
    },
    memory="h_vmem",
    counted=frozenset({"gpu"}),
    placeholder="head",
    stands=frozenset({"compute", "gpu"}),
)


@pytest.mark.parametrize(
    ("changes", "check", "remedy"),
    [
        ({"queues": frozenset({"gpu"})}, "sge-queue", "qconf -aq compute"),
        ({"complexes": {"h_vmem": schedulers.SgeComplex(consumable=True, default="0")}}, "sge-memory-default", "512M"),
        ({"complexes": {"gpu": schedulers.SgeComplex(consumable=False, default="0")}}, "sge-consumable", "gpu gpu INT"),
        ({"groups": frozenset({"@allhosts"})}, "sge-host-groups", "sqswatcher"),
        ({"stands": frozenset({"gpu"})}, "sge-placeholder", "scheduler.settings.placeholder"),
    ],
)
def test_grid_engines_settings(changes: dict[str, Any], check: str, remedy: str) -> None:
    assert bad(schedulers.check_sge(SGE, [FLEET, GPU])) == {}
    found = bad(schedulers.check_sge(replace(SGE, **changes), [FLEET, GPU]))
    assert set(found) == {check}
    assert remedy in found[check].remedy


TORQUE = schedulers.TorqueFacts(
    attributes={"resources_available.nodect": "1000", "scheduling": "True"},
    most_nodes=1000,
    slots=20_000,
    wanted_slots=20_000,
    largest=10,
)


@pytest.mark.parametrize(
    ("changes", "check", "remedy"),
    [
        ({"attributes": {}}, "torque-nodect", "resources_available.nodect = 1000"),
        ({"slots": None}, "torque-placeholder", "sqswatcher"),
        ({"largest": 5000}, "torque-most-nodes", "most_nodes = 5000"),
        ({"attributes": {**TORQUE.attributes, "scheduling": "False"}}, "torque-scheduling", "scheduling = true"),
    ],
)
def test_torques_settings(changes: dict[str, Any], check: str, remedy: str) -> None:
    assert bad(schedulers.check_torque(TORQUE)) == {}
    found = bad(schedulers.check_torque(replace(TORQUE, **changes)))
    assert set(found) == {check}
    assert remedy in found[check].remedy
