"""What EC2 knows of instances. Opened only where it is needed: this client alone takes 16 MB."""

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from daemons.aws.batches import batches
from daemons.aws.session import Clients, translated
from daemons.errors import InvalidValue
from daemons.model import Hostname, InstanceId
from daemons.names import parse_address, parse_hostname
from daemons.ports import Place

if TYPE_CHECKING:
    from types_aiobotocore_ec2.client import EC2Client

IDS_A_CALL = 200  # a filter's limit; a filter goes past ids that EC2 does not know (yet), a list of ids fails as a whole


class Ec2Places:
    """Implements `daemons.ports.Places`."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def places(self, instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, Place]:
        found = await asyncio.gather(*map(self._places_of, batches(sorted(set(instance_ids)), IDS_A_CALL)))
        return {instance_id: place for some in found for instance_id, place in some.items()}

    async def _places_of(self, instance_ids: list[InstanceId]) -> dict[InstanceId, Place]:
        client: EC2Client = await self._clients.get("ec2")
        request: dict[str, Any] = {
            "Filters": [
                {"Name": "instance-id", "Values": instance_ids},
                {"Name": "instance-state-name", "Values": ["pending", "running"]},
            ]
        }
        places: dict[InstanceId, Place] = {}
        while True:
            with translated("looking up instances' addresses", ", ".join(instance_ids[:3])):
                page: Any = await client.describe_instances(**request)
            for reservation in page["Reservations"]:
                for instance in reservation["Instances"]:
                    if instance.get("PrivateIpAddress"):
                        places[InstanceId(instance["InstanceId"])] = _parse_place(instance)
            if not page.get("NextToken"):
                return places
            request["NextToken"] = page["NextToken"]


def _parse_place(instance: Mapping[str, Any]) -> Place:
    hostname: Hostname | None
    try:
        hostname = parse_hostname(instance.get("PrivateDnsName"))
    except InvalidValue:
        hostname = None
    return Place(address=parse_address(instance["PrivateIpAddress"]), hostname=hostname)
