"""What EC2 knows of instances. Opened only where it is needed: this client alone takes 16 MB."""

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from daemons.aws.batches import batches
from daemons.aws.session import Clients, translated
from daemons.model import InstanceId
from daemons.names import parse_address

if TYPE_CHECKING:
    from types_aiobotocore_ec2.client import EC2Client

IDS_A_CALL = 200  # a filter's limit; a filter goes past ids that EC2 does not know (yet), a list of ids fails as a whole


class Ec2Addresses:
    """Implements `daemons.ports.Addresses`."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def addresses(self, instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, str]:
        found = await asyncio.gather(*map(self._addresses_of, batches(sorted(set(instance_ids)), IDS_A_CALL)))
        return {instance_id: address for some in found for instance_id, address in some.items()}

    async def _addresses_of(self, instance_ids: list[InstanceId]) -> dict[InstanceId, str]:
        client: EC2Client = await self._clients.get("ec2")
        request: dict[str, Any] = {
            "Filters": [
                {"Name": "instance-id", "Values": instance_ids},
                {"Name": "instance-state-name", "Values": ["pending", "running"]},
            ]
        }
        addresses: dict[InstanceId, str] = {}
        while True:
            with translated("looking up instances' addresses", ", ".join(instance_ids[:3])):
                page: Any = await client.describe_instances(**request)
            for reservation in page["Reservations"]:
                for instance in reservation["Instances"]:
                    if address := instance.get("PrivateIpAddress"):
                        addresses[InstanceId(instance["InstanceId"])] = parse_address(address)
            if not page.get("NextToken"):
                return addresses
            request["NextToken"] = page["NextToken"]
