"""The Route 53 zone: address records of nodes, changed in batches, one batch at a time, within a rate."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from daemons.aws.batches import batches
from daemons.aws.session import Clients, translated
from daemons.errors import AwsRefused, AwsUnavailable, InvalidValue
from daemons.model import Hostname
from daemons.names import parse_address, parse_hostname
from daemons.ports import Records

if TYPE_CHECKING:
    from types_aiobotocore_route53.client import Route53Client

BATCH = 500  # a change batch holds 1,000 records, and an UPSERT counts twice
SYNC_POLL_S = 1.0
_NOT_AS_IT_IS = ("InvalidChangeBatch", "InvalidInput")  # AWS's answer to a DELETE that does not match, and moto's
SYNC_TRIES = 120


class Route53Zone:
    """Implements `daemons.ports.Zone`. One writer a zone: calls are serialised here, and only sqswatcher makes any."""

    def __init__(
        self, clients: Clients, *, zone_id: str, zone_name: str, ttl_s: int, changes_per_s: float, clock: Callable[[], float]
    ) -> None:
        """`zone_name` without the last dot; `changes_per_s` bounds our ChangeResourceRecordSets calls; `clock` is monotonic."""
        self._clients = clients
        self._zone_id = zone_id
        self._zone_name = zone_name.rstrip(".")
        self._ttl_s = ttl_s
        self._spacing_s = 1.0 / changes_per_s
        self._clock = clock
        self._next_change_at = 0.0
        self._one_writer = asyncio.Lock()

    @classmethod
    async def open(
        cls, clients: Clients, *, zone_id: str, ttl_s: int, changes_per_s: float, clock: Callable[[], float]
    ) -> "Route53Zone":
        """The zone of that id, whose name Route 53 tells. Raises AwsRefused where there is none."""
        client: Route53Client = await clients.get("route53")
        with translated("looking up the hosted zone", zone_id):
            name = (await client.get_hosted_zone(Id=zone_id))["HostedZone"]["Name"]
        return cls(clients, zone_id=zone_id, zone_name=name, ttl_s=ttl_s, changes_per_s=changes_per_s, clock=clock)

    async def change(self, records: Records, *, await_sync: bool) -> None:
        async with self._one_writer:
            changes = [self._change("DELETE", *record) for record in records.deletes.items()]
            changes += [self._change("UPSERT", *record) for record in records.upserts.items()]
            for batch in batches(changes, BATCH):
                change_id = await self._change_batch(batch)
                if await_sync and change_id:
                    await self._await_sync(change_id)

    async def records(self) -> Mapping[Hostname, str]:
        found = {}
        async for record in self._record_sets():
            if (parsed := self._parse(record)) is not None:
                found[parsed[0]] = parsed[1]
        return found

    def _change(self, action: str, hostname: Hostname, address: str) -> dict[str, Any]:
        kind = "AAAA" if ":" in address else "A"
        record = {"Name": f"{hostname}.{self._zone_name}.", "Type": kind, "TTL": self._ttl_s}
        return {"Action": action, "ResourceRecordSet": record | {"ResourceRecords": [{"Value": address}]}}

    async def _change_batch(self, changes: list[dict[str, Any]]) -> str:
        """The id of the change; "" where nothing was left to change. A batch is applied whole or not at all."""
        try:
            return await self._submit(changes)
        except AwsRefused as err:
            if err.error_code not in _NOT_AS_IT_IS or all(change["Action"] == "UPSERT" for change in changes):
                raise
        # A DELETE must name the record exactly as it is. Some are not as the rows say: see what is there, and ask for just that.
        there = {(record["Name"], record["Type"]): record async for record in self._record_sets()}
        changes = [exact for change in changes if (exact := _as_it_is(change, there))]
        return await self._submit(changes) if changes else ""

    async def _submit(self, changes: list[dict[str, Any]]) -> str:
        await asyncio.sleep(max(0.0, self._next_change_at - self._clock()))
        self._next_change_at = self._clock() + self._spacing_s
        client = await self._client()
        with translated("changing DNS records", self._zone_id):
            answer = await client.change_resource_record_sets(HostedZoneId=self._zone_id, ChangeBatch={"Changes": changes})  # type: ignore[typeddict-item]  # plain dicts
        return answer["ChangeInfo"]["Id"]

    async def _await_sync(self, change_id: str) -> None:
        client = await self._client()
        for _ in range(SYNC_TRIES):
            with translated("asking whether DNS records are in sync", self._zone_id):
                answer = await client.get_change(Id=change_id)
            if answer["ChangeInfo"]["Status"] == "INSYNC":
                return
            await asyncio.sleep(SYNC_POLL_S)
        raise AwsUnavailable(f"DNS change {change_id} ({self._zone_id}) is not in sync after {SYNC_TRIES * SYNC_POLL_S:.0f} s")

    async def _record_sets(self) -> AsyncIterator[dict[str, Any]]:
        client = await self._client()
        request: dict[str, Any] = {"HostedZoneId": self._zone_id}
        while True:
            with translated("listing DNS records", self._zone_id):
                page: Any = await client.list_resource_record_sets(**request)
            for record in page["ResourceRecordSets"]:
                yield record
            if not page["IsTruncated"]:
                return
            request["StartRecordName"] = page["NextRecordName"]
            request["StartRecordType"] = page["NextRecordType"]

    def _parse(self, record: Mapping[str, Any]) -> tuple[Hostname, str] | None:
        """A node's record, or None for one that is none of ours: another type, a deeper name, several values."""
        label, _, zone = str(record["Name"]).rstrip(".").partition(".")
        values = record.get("ResourceRecords", [])
        if record["Type"] not in ("A", "AAAA") or zone != self._zone_name or len(values) != 1:
            return None
        try:
            return parse_hostname(label), parse_address(values[0]["Value"])
        except InvalidValue:
            return None

    async def _client(self) -> "Route53Client":
        client: Route53Client = await self._clients.get("route53")
        return client


def _as_it_is(change: dict[str, Any], there: Mapping[tuple[str, str], dict[str, Any]]) -> dict[str, Any] | None:
    """A DELETE with the stored record's own TTL; None if the record is not there or has another address by now."""
    if change["Action"] != "DELETE":
        return change
    wanted = change["ResourceRecordSet"]
    stored = there.get((wanted["Name"], wanted["Type"]))
    if stored is None or stored.get("ResourceRecords") != wanted["ResourceRecords"]:
        return None
    return {"Action": "DELETE", "ResourceRecordSet": stored}


async def find_zone(clients: Clients, *, name: str) -> str:
    """The id of the hosted zone of that name. Raises AwsRefused unless there is exactly one."""
    client: Route53Client = await clients.get("route53")
    wanted = name.rstrip(".") + "."
    with translated("looking up the hosted zone", name):
        answer = await client.list_hosted_zones_by_name(DNSName=wanted)
    ids = [zone["Id"] for zone in answer["HostedZones"] if zone["Name"] == wanted]
    if len(ids) != 1:
        raise AwsRefused(
            f"there are {len(ids)} hosted zones named {name}",
            error_code="NoSuchHostedZone",
            hint="set dns.zone_id to the one that is meant" if ids else f"create the zone {name}, or correct dns.zone",
        )
    return ids[0].removeprefix("/hostedzone/")
