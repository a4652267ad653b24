"""Leases in the DynamoDB table of the instances: two items a service, under keys that no instance can have.

Renewals write the one with the beat; only a change of holder writes the one with the fence, which row writes look at. So neither
stands in the other's way.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from daemons.aws.session import Clients, error_code, translated
from daemons.errors import AwsUnavailable, InvalidValue
from daemons.ha.lease import Lease, Seen, fence_key, lease_key

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient

_KEY = "instanceId"
_LONGEST_S = 3600.0
_NAMES = {"#token": "token", "#fence": "fence", "#beat": "beat"}


def render_lease(lease: Lease) -> dict[str, Any]:
    return {
        _KEY: {"S": lease_key(lease.service)},
        "holder": {"S": lease.holder},
        "token": {"S": lease.token},
        "fence": {"N": str(lease.fence)},
        "beat": {"N": str(lease.beat)},
        "lease_s": {"N": repr(lease.lease_s)},
        "since": {"N": repr(lease.since)},
        "renewed_at": {"N": repr(lease.renewed_at)},
    }


def parse_lease(service: str, item: Mapping[str, Any]) -> Lease:
    """Raises InvalidValue for an item that is no lease: nobody may guess who holds it."""
    try:
        lease = Lease(
            service=service,
            holder=str(item["holder"]["S"]),
            token=str(item["token"]["S"]),
            fence=int(item["fence"]["N"]),
            beat=int(item["beat"]["N"]),
            lease_s=float(item["lease_s"]["N"]),
            since=float(item["since"]["N"]),
            renewed_at=float(item["renewed_at"]["N"]),
        )
    except (KeyError, TypeError, ValueError) as err:
        raise _no_lease(service, item) from err
    if not 0 < lease.lease_s <= _LONGEST_S or not lease.holder.isprintable():
        raise _no_lease(service, item)
    return lease


def _no_lease(service: str, item: Mapping[str, Any]) -> InvalidValue:
    key = lease_key(service)
    return InvalidValue(
        f"the table's item {key} is no lease: {dict(item)!r:.200}", hint=f"stop {service} on both heads, then delete the item"
    )


class DynamoLeases:
    """Implements `daemons.ports.Leases`."""

    def __init__(self, clients: Clients, *, table: str) -> None:
        self._clients = clients
        self._table = table

    async def read(self, service: str) -> Seen:
        client = await self._client()
        keys: Any = [{_KEY: {"S": key}} for key in (lease_key(service), fence_key(service))]
        with translated("reading a lease", self._table):
            answer = await client.batch_get_item(RequestItems={self._table: {"Keys": keys, "ConsistentRead": True}})
        if answer.get("UnprocessedKeys"):
            raise AwsUnavailable(f"reading a lease ({self._table}): DynamoDB left keys unprocessed")
        items = {str(item[_KEY]["S"]): item for item in answer["Responses"].get(self._table, [])}
        found = items.get(lease_key(service))
        lease = None if found is None else parse_lease(service, found)
        return Seen(lease=lease, fence=max(lease.fence if lease else 0, _parse_fence(service, items)))

    async def take(self, lease: Lease, *, over: Seen) -> bool:
        client = await self._client()
        puts: Any = [{"Put": self._put_over(lease, over.lease)}, {"Put": self._put_fence(lease)}]
        try:
            with translated("taking a lease", self._table):
                await _unless_refused(client.transact_write_items(TransactItems=puts))
        except _Refused:
            return False
        return True

    async def renew(self, lease: Lease) -> bool:
        client = await self._client()
        put = self._put(
            lease,
            "#token = :token AND #fence = :fence AND #beat < :beat",
            {":token": {"S": lease.token}, ":fence": {"N": str(lease.fence)}, ":beat": {"N": str(lease.beat)}},
        )
        try:
            with translated("renewing a lease", self._table):
                await _unless_refused(client.put_item(**put))
        except _Refused:
            return False
        return True

    def _put_over(self, lease: Lease, before: Lease | None) -> dict[str, Any]:
        if before is None:
            return {
                "TableName": self._table,
                "Item": render_lease(lease),
                "ConditionExpression": f"attribute_not_exists({_KEY})",
            }
        return self._put(
            lease,
            "#token = :token AND #fence = :fence AND #beat = :beat",
            {":token": {"S": before.token}, ":fence": {"N": str(before.fence)}, ":beat": {"N": str(before.beat)}},
        )

    def _put(self, lease: Lease, condition: str, values: dict[str, Any]) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "Item": render_lease(lease),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": _NAMES,
            "ExpressionAttributeValues": values,
        }

    def _put_fence(self, lease: Lease) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "Item": {_KEY: {"S": fence_key(lease.service)}, "fence": {"N": str(lease.fence)}},
            "ConditionExpression": "attribute_not_exists(#fence) OR #fence < :fence",
            "ExpressionAttributeNames": {"#fence": "fence"},
            "ExpressionAttributeValues": {":fence": {"N": str(lease.fence)}},
        }

    async def _client(self) -> "DynamoDBClient":
        client: DynamoDBClient = await self._clients.get("dynamodb")
        return client


class _Refused(Exception):
    """A condition did not hold."""


async def _unless_refused(writing: Any) -> None:
    try:
        await writing
    except ClientError as err:
        reasons: Any = err.response.get("CancellationReasons", [])
        codes = {error_code(err), *(str(reason.get("Code")) for reason in reasons)}
        if codes & {"ConditionalCheckFailedException", "ConditionalCheckFailed"}:
            raise _Refused from err
        raise


def _parse_fence(service: str, items: Mapping[str, Any]) -> int:
    item = items.get(fence_key(service))
    try:
        return int(item["fence"]["N"]) if item is not None else 0
    except (KeyError, TypeError, ValueError) as err:
        raise _no_lease(service, item or {}) from err
