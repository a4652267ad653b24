"""The table and the zone."""

from collections.abc import Sequence

from daemons.aws.dns import find_zone
from daemons.aws.session import translated
from daemons.doctor.findings import Finding, Severity
from daemons.doctor.judges import table as judge_table
from daemons.doctor.judges import zone as judge_zone
from daemons.doctor.looks.absence import is_absent
from daemons.doctor.scene import Scene
from daemons.errors import AwsRefused


async def look_at_table(scene: Scene) -> Sequence[Finding]:
    client, name = await scene.clients.get("dynamodb"), scene.config.table
    try:
        with translated("looking at the table", name):
            table = (await client.describe_table(TableName=name))["Table"]
            ttl = (await client.describe_time_to_live(TableName=name))["TimeToLiveDescription"]
    except AwsRefused as err:
        if not is_absent(err.error_code):
            raise
        remedy = (
            f"aws dynamodb create-table --table-name {name} --key-schema AttributeName=instanceId,KeyType=HASH"
            " --attribute-definitions AttributeName=instanceId,AttributeType=S --billing-mode PAY_PER_REQUEST, or correct table"
        )
        found = "there is no such table"
        return [Finding(id="table-exists", severity=Severity.ERROR, looked_at=name, found=found, remedy=remedy)]
    kinds = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}
    units = table.get("ProvisionedThroughput", {})
    by_request = table.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST"
    facts = judge_table.TableFacts(
        name=name,
        status=table["TableStatus"],
        keys=tuple((one["AttributeName"], kinds[one["AttributeName"]]) for one in table["KeySchema"]),
        reads=None if by_request else units.get("ReadCapacityUnits", 0),
        writes=None if by_request else units.get("WriteCapacityUnits", 0),
        ttl=ttl.get("AttributeName", "") if ttl["TimeToLiveStatus"] in ("ENABLED", "ENABLING") else "",
    )
    return list(judge_table.check_table(facts))


async def look_at_zone(scene: Scene) -> Sequence[Finding]:
    if (dns := scene.config.dns) is None:
        return [Finding(id="zone-exists", severity=Severity.OK, looked_at="dns", found="no zone is configured")]
    client = await scene.clients.get("route53")
    try:
        zone_id = dns.zone_id or await find_zone(scene.clients, name=dns.zone)
        with translated("looking at the hosted zone", zone_id):
            answer = await client.get_hosted_zone(Id=zone_id)
    except AwsRefused as err:
        if not is_absent(err.error_code):
            raise
        where = dns.zone_id or dns.zone
        remedy = "make the zone, or correct dns.zone_id" if dns.zone_id else err.hint
        return [Finding(id="zone-exists", severity=Severity.ERROR, looked_at=where, found=str(err), remedy=remedy)]
    facts = judge_zone.ZoneFacts(
        id=zone_id,
        name=answer["HostedZone"]["Name"].rstrip("."),
        private=answer["HostedZone"].get("Config", {}).get("PrivateZone", False),
        vpc_regions=tuple(vpc.get("VPCRegion", "") for vpc in answer.get("VPCs", [])),
    )
    return list(judge_zone.check_zone(facts, region=scene.config.region, search=_search(scene)))


def _search(scene: Scene) -> tuple[str, ...]:
    try:
        return judge_zone.parse_search(scene.resolv_conf.read_text(errors="replace"))
    except OSError:
        return ()
