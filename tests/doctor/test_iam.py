"""IAM's own word on what the role may do, from a fake: no emulation evaluates policies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from daemons.cli.common import read_config
from daemons.doctor.findings import Finding, Severity
from daemons.doctor.judges.account import Caller
from daemons.doctor.looks.permissions import look_at_permissions
from daemons.doctor.scene import Scene, find_who
from tests.doctor.ground import FakeSystemd
from tests.doctor.test_broker import FILE

ROLE = "arn:aws:iam::123456789012:role/hpc/head"
SESSION = "arn:aws:sts::123456789012:assumed-role/head/i-0c9f3a52c7de10001"


@dataclass
class FakeIam:
    """One role, in place of all clients. `denied` are actions that its policy does not allow; a page holds two results."""

    denied: set[str] = field(default_factory=set)
    may_be_asked: bool = True
    asked: list[Mapping[str, Any]] = field(default_factory=list)

    async def get(self, service: str) -> "FakeIam":
        if service != "iam":
            raise _denied(service)
        return self

    async def get_role(self, **request: str) -> Any:
        if not self.may_be_asked:
            raise _denied("GetRole")
        assert request == {"RoleName": "head"}
        return {"Role": {"Arn": ROLE}}

    async def simulate_principal_policy(self, **request: Any) -> Any:
        self.asked.append(request)
        begin = int(request.get("Marker", 0))
        shown, rest = request["ActionNames"][begin : begin + 2], request["ActionNames"][begin + 2 :]
        results = [{"EvalActionName": one, "EvalDecision": "implicitDeny" if one in self.denied else "allowed"} for one in shown]
        return {"EvaluationResults": results, "IsTruncated": bool(rest), "Marker": str(begin + 2)}


def _denied(what: str) -> ClientError:
    return ClientError({"Error": {"Code": "AccessDenied", "Message": f"not {what}"}}, what)


async def look(iam: FakeIam, directory: Path) -> dict[str, Finding]:
    file = directory / "headnode.toml"
    file.write_text(FILE)
    clients: Any = iam
    scene = Scene(config=read_config(file), file=file, clients=clients, commands=FakeSystemd(), who=find_who({}))

    async def caller(_: Scene) -> Caller:
        return Caller(account="123456789012", arn=SESSION, ahead_s=0.0)

    await scene.once("caller", caller)
    return {finding.id: finding for finding in await look_at_permissions(scene)}


async def test_each_action_is_asked_for_on_the_clusters_own_resources(tmp_path: Path) -> None:
    iam = FakeIam()
    found = await look(iam, tmp_path)
    assert {finding.severity for finding in found.values()} == {Severity.OK}
    assert "permission-sqs-receive-message" in found, "which nothing else could tell"
    assert {request["PolicySourceArn"] for request in iam.asked} == {ROLE}, "with the path that STS leaves out"
    asked = {action: request for request in iam.asked for action in request["ActionNames"]}
    assert asked["dynamodb:PutItem"]["ResourceArns"] == ["arn:aws:dynamodb:eu-west-1:123456789012:table/hpc-instances"]
    assert asked["ec2:GetConsoleOutput"]["ContextEntries"][0]["ContextKeyValues"] == ["hpc-batch"]


async def test_an_action_that_the_policy_lacks_is_named(tmp_path: Path) -> None:
    found = await look(FakeIam(denied={"autoscaling:SetDesiredCapacity"}), tmp_path)
    bad = [finding for finding in found.values() if finding.severity is Severity.ERROR]
    assert [finding.id for finding in bad] == ["permission-autoscaling-set-desired-capacity"]
    assert "headnode iam render --role head" in bad[0].remedy


async def test_where_iam_may_not_be_asked_what_has_no_effect_is_tried(tmp_path: Path) -> None:
    found = await look(FakeIam(may_be_asked=False), tmp_path)
    assert found["permission-sqs-receive-message"].severity is Severity.NOTE
    assert found["permission-dynamodb-put-item"].severity is Severity.ERROR, "it was tried, and refused"
