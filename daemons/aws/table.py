"""The DynamoDB table: one item an instance id, each write conditional on the version it was planned from."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import structlog
from botocore.exceptions import ClientError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from daemons.aws.batches import batches
from daemons.aws.session import Clients, error_code, translated
from daemons.errors import AwsUnavailable, InvalidValue, LeaseLost
from daemons.ha.lease import Fence, is_lease_key
from daemons.model import FleetName, Instance, InstanceId, Notice, State, live_rows
from daemons.names import parse_hostname, parse_instance_id

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient

log = structlog.get_logger()

READ_BATCH = 100  # BatchGetItem's keys
WRITE_BATCH = 100  # TransactWriteItems' items
TOMBSTONE_S = 86_400  # longer than any message is late for, short enough that the table stays small

_KEY = "instanceId"  # the ancestor's name, so that its tables are taken over as they are
_TIMES = tuple(field.name for field in fields(Instance) if field.name.endswith(("_at", "_since", "_until")))
_TEXTS = ("fleet", "address", "instance_type", "drain_reason", "launch_hook", "terminate_hook", "held_by", "hold_reason")
_UNSETTLED: Mapping[str, Any] = {  # the ancestor's items have no state, and are registered
    "FilterExpression": (
        "(attribute_not_exists(#state) OR #state <> :gone) AND (attribute_exists(notice) OR attribute_exists(held_until)"
        " OR (attribute_exists(#state) AND #state <> :registered))"
    ),
    "ExpressionAttributeNames": {"#state": "state"},
    "ExpressionAttributeValues": {":gone": {"S": State.GONE}, ":registered": {"S": State.REGISTERED}},
}
_LEGACY = Instance(instance_id=InstanceId(""), fleet=FleetName(""), state=State.REGISTERED)


def render_item(row: Instance) -> dict[str, Any]:
    """The row as DynamoDB's item. Empty values are left out; a tombstone carries `expires_at` for the table's TTL."""
    item: dict[str, Any] = {_KEY: {"S": row.instance_id}, "state": {"S": row.state}, "version": {"N": str(row.version)}}
    item |= {name: {"S": text} for name in _TEXTS if (text := getattr(row, name))}
    item |= {name: {"N": repr(time)} for name in _TIMES if (time := getattr(row, name)) is not None}
    if row.hostname:
        item["hostname"] = {"S": row.hostname}
    if row.notice:
        item["notice"] = {"S": row.notice}
    if row.state is State.GONE and row.gone_at is not None:
        item["expires_at"] = {"N": str(int(row.gone_at) + TOMBSTONE_S)}
    return item


def parse_item(item: Mapping[str, Any]) -> Instance:
    """The row of an item. The ancestor's `{instanceId, hostname}` reads as registered, version 0. Raises InvalidValue."""
    try:
        hostname = item["hostname"]["S"] if "hostname" in item else None
        notice = item["notice"]["S"] if "notice" in item else None
        plain: dict[str, Any] = {name: item[name]["S"] for name in _TEXTS if name in item}
        plain |= {name: float(item[name]["N"]) for name in _TIMES if name in item}
        return replace(
            _LEGACY,
            instance_id=parse_instance_id(item[_KEY]["S"]),
            hostname=parse_hostname(hostname) if hostname else None,
            state=State(item["state"]["S"]) if "state" in item else State.REGISTERED,
            version=int(item["version"]["N"]) if "version" in item else 0,
            notice=Notice(notice) if notice else None,
            **plain,
        )
    except (KeyError, TypeError, ValueError) as err:
        raise InvalidValue(f"the table holds an item that is not a row: {item!r:.200}: {err}") from err


class _UnprocessedKeys(AwsUnavailable):
    """DynamoDB answered for some of the keys only."""


class DynamoRows:
    """Implements `daemons.ports.Rows`. The items about leases are no rows."""

    def __init__(self, clients: Clients, *, table: str, fence: Fence | None = None) -> None:
        """With a `fence` every write carries it: where the table has another one, DynamoDB itself refuses, and `put` raises
        LeaseLost with nothing written of that batch.
        """
        self._clients = clients
        self._table = table
        self._fence = fence
        self._one_writer = asyncio.Lock()  # two transactions that look at the same fence would refuse each other
        self._unreadable: set[str] = set()  # the keys that have been told of

    async def get(self, instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, Instance]:
        found = await asyncio.gather(*(self._get_batch(batch) for batch in batches(sorted(set(instance_ids)), READ_BATCH)))
        return {row.instance_id: row for items in found for row in self._readable(items)}

    async def put(self, rows: Sequence[Instance]) -> Mapping[InstanceId, Instance | None]:
        if self._fence is None:
            written = await asyncio.gather(*(self._put_batch(batch) for batch in batches(rows, WRITE_BATCH)))
        else:
            async with self._one_writer:
                written = [await self._put_batch(batch) for batch in batches(rows, WRITE_BATCH - 1)]
        return {instance_id: row for batch in written for instance_id, row in batch.items()}

    async def live(self) -> tuple[Instance, ...]:
        return live_rows(await self.all())

    async def all(self) -> tuple[Instance, ...]:
        return await self._scan({})

    async def unsettled(self) -> tuple[Instance, ...]:
        return tuple(row for row in live_rows(await self._scan(_UNSETTLED)) if not row.is_settled)

    async def _scan(self, which: Mapping[str, Any]) -> tuple[Instance, ...]:
        client = await self._client()
        found: list[Instance] = []
        request: dict[str, Any] = {"TableName": self._table, "ConsistentRead": True, **which}
        while True:
            with translated("listing the rows", self._table):
                page = await client.scan(**request)
            found += self._readable(page.get("Items", []))
            if "LastEvaluatedKey" not in page:
                return tuple(found)
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _readable(self, items: Iterable[Mapping[str, Any]]) -> list[Instance]:
        """The rows among the items. Of an item that is no row nothing follows: its instance is as if it had none, and a warning
        says so once.
        """
        rows = []
        for item in items:
            if is_lease_key(item.get(_KEY, {}).get("S")):
                continue
            try:
                rows.append(parse_item(item))
            except InvalidValue as err:
                key = repr(item.get(_KEY))[:100]
                if key not in self._unreadable:
                    self._unreadable.add(key)
                    log.warning("row.unreadable", table=self._table, key=key, **err.to_event())
        return rows

    async def _client(self) -> "DynamoDBClient":
        client: DynamoDBClient = await self._clients.get("dynamodb")
        return client

    async def _get_batch(self, instance_ids: list[InstanceId]) -> list[Any]:
        client = await self._client()
        wanted: Any = {self._table: {"Keys": [{_KEY: {"S": one}} for one in instance_ids], "ConsistentRead": True}}
        items: list[Any] = []
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(5),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            retry=retry_if_exception_type(_UnprocessedKeys),  # the call itself is retried by botocore
            reraise=True,
        ):
            with attempt:
                with translated("reading rows", self._table):
                    answer = await client.batch_get_item(RequestItems=wanted)
                items += answer.get("Responses", {}).get(self._table, [])
                wanted = answer.get("UnprocessedKeys") or {}
                if wanted:
                    raise _UnprocessedKeys(f"reading rows ({self._table}): DynamoDB left keys unprocessed five times")
        return items

    async def _put_batch(self, rows: list[Instance]) -> dict[InstanceId, Instance | None]:
        """One transaction for many rows; where conditions fail, those rows are set aside as stale and the rest is written."""
        client = await self._client()
        stale: dict[InstanceId, Instance | None] = {}
        while rows:
            with translated("writing rows", self._table):
                try:
                    await self._put_once(client, rows)
                    break
                except ClientError as err:
                    self._raise_if_fenced_off(err, len(rows))
                    refused = _refused_conditions(err, len(rows))
                    if not refused:
                        raise
            stale |= {rows[place].instance_id: None for place in refused}
            rows = [row for place, row in enumerate(rows) if place not in refused]
        return stale | {row.instance_id: replace(row, version=row.version + 1) for row in rows}

    async def _put_once(self, client: "DynamoDBClient", rows: list[Instance]) -> None:
        puts: Any = [self._put_request(row) for row in rows]
        if self._fence is not None:
            check: Any = self._fence_check(self._fence)
            items: Any = [*({"Put": put} for put in puts), {"ConditionCheck": check}]
            await client.transact_write_items(TransactItems=items)
        elif len(puts) == 1:
            await client.put_item(**puts[0])
        else:
            await client.transact_write_items(TransactItems=[{"Put": put} for put in puts])

    def _fence_check(self, fence: Fence) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "Key": {_KEY: {"S": fence.key}},
            "ConditionExpression": "#fence = :mine",
            "ExpressionAttributeNames": {"#fence": "fence"},
            "ExpressionAttributeValues": {":mine": {"N": str(fence.number)}},
        }

    def _raise_if_fenced_off(self, err: ClientError, count: int) -> None:
        """The fence stands behind the rows."""
        if self._fence is not None and count in _refused_conditions(err, count):
            raise LeaseLost(
                f"the table refused to write {count} rows: another head has taken over",
                table=self._table,
                fence=self._fence.number,
            ) from err

    def _put_request(self, row: Instance) -> dict[str, Any]:
        request: dict[str, Any] = {"TableName": self._table, "Item": render_item(replace(row, version=row.version + 1))}
        request["ExpressionAttributeNames"] = {"#version": "version"}
        if row.version == 0:
            request["ConditionExpression"] = "attribute_not_exists(#version)"
        else:
            request["ConditionExpression"] = "#version = :planned_from"
            request["ExpressionAttributeValues"] = {":planned_from": {"N": str(row.version)}}
        return request


def _refused_conditions(err: ClientError, count: int) -> set[int]:
    """The places of what was written and looked at whose condition failed; empty where the error is of another kind."""
    if error_code(err) == "ConditionalCheckFailedException":
        return set(range(count))
    if error_code(err) != "TransactionCanceledException":
        return set()
    reasons: Any = err.response.get("CancellationReasons", [])
    return {place for place, reason in enumerate(reasons) if reason.get("Code") == "ConditionalCheckFailed"}
