"""What the head's role may do: IAM's own word where it gives it, else tries that change nothing."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from daemons.aws.batches import batches
from daemons.aws.dns import find_zone
from daemons.aws.permissions import Account, Grant, Role, grants
from daemons.aws.session import translated
from daemons.doctor.findings import Finding
from daemons.doctor.judges.account import Caller
from daemons.doctor.judges.permissions import Verdict, check_permission, is_denial, role_name
from daemons.doctor.looks.account import fetch_caller
from daemons.doctor.scene import Scene
from daemons.errors import AwsRefused, AwsUnavailable

ACTIONS_A_CALL = 50
_NOBODY = "headnode-doctor"  # no instance, message, hook, record or stream is called that
_NO_ADDRESS = "192.0.2.1"  # of a network that is for documentation (RFC 5737)
_ANOTHER = "i-00000000"

T = TypeVar("T")
Try = Callable[[Scene], Awaitable[object]]


async def look_at_permissions(scene: Scene) -> Sequence[Finding]:
    caller: Caller = await scene.once("caller", fetch_caller)
    account = Account(number=caller.account, partition=caller.arn.split(":")[1])
    wanted = grants(Role.HEAD, scene.config, account)
    if name := role_name(caller.arn):
        try:
            return [check_permission(verdict) for grant in wanted for verdict in await _ask_iam(scene, name, grant)]
        except (AwsRefused, AwsUnavailable):  # it may not be asked, or cannot be reached from here
            pass
    return [check_permission(await _try(scene, action, grant)) for grant in wanted for action in grant.actions]


async def _ask_iam(scene: Scene, name: str, grant: Grant) -> list[Verdict]:
    client = await scene.clients.get("iam")
    with translated("asking IAM for the role", name):
        arn = (await client.get_role(RoleName=name))["Role"]["Arn"]  # with its path, which STS leaves out
    context = [
        {"ContextKeyName": key, "ContextKeyType": "stringList", "ContextKeyValues": list(values)}
        for compared in grant.conditions.values()
        for key, values in compared.items()
    ]
    found: list[Verdict] = []
    for actions in batches(grant.actions, ACTIONS_A_CALL):
        request: dict[str, Any] = {
            "PolicySourceArn": arn,
            "ActionNames": actions,
            "ResourceArns": list(grant.resources),
            "ContextEntries": context,
        }
        results: list[Any] = []
        while True:
            with translated("asking IAM what the role may do", arn):
                page = await client.simulate_principal_policy(**request)
            results += page["EvaluationResults"]
            if not page.get("IsTruncated"):
                break
            request["Marker"] = page["Marker"]
        found += parse_simulation(results, grant)
    return found


def parse_simulation(results: Sequence[Any], grant: Grant) -> list[Verdict]:
    """IAM's answer, one verdict an action: an action that is refused on one of its resources is refused."""
    asked = dict.fromkeys(one["EvalActionName"] for one in results)
    refused = {one["EvalActionName"] for one in results if not _is_allowed(one)}
    where = ", ".join(grant.resources)
    return [Verdict(action=action, resource=where, allowed=action not in refused, how="IAM says so") for action in asked]


def _is_allowed(result: Mapping[str, Any]) -> bool:
    decisions = [result["EvalDecision"]]
    decisions += [one["EvalResourceDecision"] for one in result.get("ResourceSpecificResults", [])]
    return set(decisions) == {"allowed"}


async def _try(scene: Scene, action: str, grant: Grant) -> Verdict:
    where, attempt = ", ".join(grant.resources), TRIES.get(action)
    if attempt is None:
        return Verdict(action=action, resource=where, allowed=None, how="only IAM can tell")
    try:
        with translated("trying", action):
            await attempt(scene)
    except AwsRefused as err:
        denied = is_denial(err.error_code)
        return Verdict(action=action, resource=where, allowed=not denied, how=f"AWS answered {err.error_code}")
    except AwsUnavailable as err:
        return Verdict(action=action, resource=where, allowed=None, how=str(err))
    return Verdict(action=action, resource=where, allowed=True, how="it was tried")


async def _first(needed: Awaitable[T]) -> T:
    """What a try needs to know beforehand. Being refused that says nothing about what is tried. Raises AwsUnavailable."""
    try:
        return await needed
    except AwsRefused as err:
        raise AwsUnavailable(f"something before it was refused: {err}") from err


async def _queue_url(scene: Scene) -> str:
    name = scene.config.queue
    return name if "://" in name else await _first(_find_queue(scene))


async def _find_queue(scene: Scene) -> str:
    client = await scene.clients.get("sqs")
    with translated("looking up the queue", scene.config.queue):
        url: str = (await client.get_queue_url(QueueName=scene.config.queue))["QueueUrl"]
    return url


async def _zone_id(scene: Scene) -> str:
    dns = scene.config.dns
    return "" if dns is None else dns.zone_id or await _first(find_zone(scene.clients, name=dns.zone))


async def _zone_name(scene: Scene, zone_id: str) -> str:
    client = await scene.clients.get("route53")
    with translated("looking up the hosted zone", zone_id):
        name: str = (await client.get_hosted_zone(Id=zone_id))["HostedZone"]["Name"]
    return name


async def _get_queue_url(scene: Scene) -> object:
    client = await scene.clients.get("sqs")
    return await client.get_queue_url(QueueName=scene.config.queue)


async def _delete_message(scene: Scene) -> object:
    """Of a receipt that nobody was given."""
    client = await scene.clients.get("sqs")
    return await client.delete_message(QueueUrl=await _queue_url(scene), ReceiptHandle=_NOBODY)


async def _change_visibility(scene: Scene) -> object:
    client = await scene.clients.get("sqs")
    return await client.change_message_visibility(QueueUrl=await _queue_url(scene), ReceiptHandle=_NOBODY, VisibilityTimeout=0)


async def _scan(scene: Scene) -> object:
    client = await scene.clients.get("dynamodb")
    return await client.scan(TableName=scene.config.table, Limit=1)


async def _get_item(scene: Scene) -> object:
    client, table = await scene.clients.get("dynamodb"), scene.config.table
    return await client.batch_get_item(RequestItems={table: {"Keys": [{"instanceId": {"S": _NOBODY}}]}})


async def _put_item(scene: Scene) -> object:
    """On a condition that does not hold: nothing is written."""
    client = await scene.clients.get("dynamodb")
    return await client.put_item(
        TableName=scene.config.table, Item={"instanceId": {"S": _NOBODY}}, ConditionExpression="attribute_exists(instanceId)"
    )


async def _complete_hook(scene: Scene) -> object:
    """Of an instance that waits for no hook."""
    client = await scene.clients.get("autoscaling")
    return await client.complete_lifecycle_action(
        LifecycleHookName=_NOBODY,
        AutoScalingGroupName=scene.config.fleets[0].group,
        InstanceId=_ANOTHER,
        LifecycleActionResult="CONTINUE",
    )


async def _extend_hook(scene: Scene) -> object:
    client = await scene.clients.get("autoscaling")
    return await client.record_lifecycle_action_heartbeat(
        LifecycleHookName=_NOBODY, AutoScalingGroupName=scene.config.fleets[0].group, InstanceId=_ANOTHER
    )


async def _describe_groups(scene: Scene) -> object:
    client = await scene.clients.get("autoscaling")
    return await client.describe_auto_scaling_groups(AutoScalingGroupNames=[scene.config.fleets[0].group])


async def _describe_members(scene: Scene) -> object:
    client = await scene.clients.get("autoscaling")
    return await client.describe_auto_scaling_instances(MaxRecords=1)


async def _describe_activities(scene: Scene) -> object:
    client = await scene.clients.get("autoscaling")
    return await client.describe_scaling_activities(AutoScalingGroupName=scene.config.fleets[0].group, MaxRecords=1)


async def _describe_instances(scene: Scene) -> object:
    client = await scene.clients.get("ec2")
    return await client.describe_instances(DryRun=True)


async def _describe_status(scene: Scene) -> object:
    client = await scene.clients.get("ec2")
    return await client.describe_instance_status(DryRun=True)


async def _change_records(scene: Scene) -> object:
    """Deletes a record that is not there, which Route 53 refuses."""
    client, zone_id = await scene.clients.get("route53"), await _zone_id(scene)
    zone = await _first(_zone_name(scene, zone_id))
    record = {"Name": f"{_NOBODY}.{zone}", "Type": "A", "TTL": 1, "ResourceRecords": [{"Value": _NO_ADDRESS}]}
    changes = [{"Action": "DELETE", "ResourceRecordSet": record}]
    return await client.change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch={"Changes": changes})


async def _list_records(scene: Scene) -> object:
    client = await scene.clients.get("route53")
    return await client.list_resource_record_sets(HostedZoneId=await _zone_id(scene), MaxItems="1")


async def _get_zone(scene: Scene) -> object:
    client = await scene.clients.get("route53")
    return await client.get_hosted_zone(Id=await _zone_id(scene))


async def _get_change(scene: Scene) -> object:
    client = await scene.clients.get("route53")
    return await client.get_change(Id="C00000000000000000000")


async def _list_zones(scene: Scene) -> object:
    client = await scene.clients.get("route53")
    return await client.list_hosted_zones_by_name(MaxItems="1")


async def _put_lines(scene: Scene) -> object:
    """Into a stream that is not there."""
    client, log = await scene.clients.get("logs"), scene.config.log.cloudwatch
    event = {"timestamp": int(scene.clock() * 1000), "message": _NOBODY}
    return await client.put_log_events(logGroupName=log.group if log else "", logStreamName=_NOBODY, logEvents=[event])


TRIES: Mapping[str, Try] = {
    "sqs:GetQueueUrl": _get_queue_url,
    "sqs:DeleteMessage": _delete_message,
    "sqs:ChangeMessageVisibility": _change_visibility,
    "dynamodb:Scan": _scan,
    "dynamodb:BatchGetItem": _get_item,
    "dynamodb:PutItem": _put_item,
    "autoscaling:CompleteLifecycleAction": _complete_hook,
    "autoscaling:RecordLifecycleActionHeartbeat": _extend_hook,
    "autoscaling:DescribeAutoScalingGroups": _describe_groups,
    "autoscaling:DescribeAutoScalingInstances": _describe_members,
    "autoscaling:DescribeScalingActivities": _describe_activities,
    "ec2:DescribeInstances": _describe_instances,
    "ec2:DescribeInstanceStatus": _describe_status,
    "route53:ChangeResourceRecordSets": _change_records,
    "route53:ListResourceRecordSets": _list_records,
    "route53:GetHostedZone": _get_zone,
    "route53:GetChange": _get_change,
    "route53:ListHostedZonesByName": _list_zones,
    "logs:PutLogEvents": _put_lines,
}
