"""What EC2 says of instances that may be broken. Opened only where it is needed: this client alone takes 16 MB."""

import asyncio
import base64
import binascii
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from daemons.aws.batches import batches
from daemons.aws.session import Clients, translated
from daemons.errors import AwsRefused
from daemons.model import InstanceId

if TYPE_CHECKING:
    from types_aiobotocore_ec2.client import EC2Client

IDS_A_CALL = 100  # DescribeInstanceStatus' limit for a list of ids
TAIL_CHARS = 2000
_ENDED = ("stopping", "stopped", "shutting-down", "terminated")
_ABSENT = "InvalidInstanceID.NotFound"


class Ec2Checks:
    """Implements `daemons.ports.Checks`."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def impaired(self, instance_ids: Collection[InstanceId]) -> frozenset[InstanceId]:
        found = await asyncio.gather(*map(self._impaired, batches(sorted(set(instance_ids)), IDS_A_CALL)))
        return frozenset[InstanceId]().union(*found)

    async def console_tail(self, instance_id: InstanceId) -> str:
        client: EC2Client = await self._clients.get("ec2")
        try:
            with translated("reading the console", instance_id):
                answer = await client.get_console_output(InstanceId=instance_id)
        except AwsRefused as err:
            if err.error_code == _ABSENT:
                return ""
            raise
        try:
            text = base64.b64decode(answer.get("Output") or "").decode(errors="replace")
        except binascii.Error:
            return ""
        return "".join(char if char.isprintable() or char == "\n" else " " for char in text[-TAIL_CHARS:]).strip()

    async def _impaired(self, instance_ids: list[InstanceId]) -> set[InstanceId]:
        """A list of ids fails as a whole if EC2 does not know one of them: then it is split until that one is found.

        There is no filter by id here. What EC2 says it does not know does not run.
        """
        client: EC2Client = await self._clients.get("ec2")
        try:
            with translated("reading status checks", ", ".join(instance_ids[:3])):
                answer: Any = await client.describe_instance_status(InstanceIds=instance_ids, IncludeAllInstances=True)
        except AwsRefused as err:
            if err.error_code != _ABSENT:
                raise
            if len(instance_ids) == 1:
                return set(instance_ids)
            middle = len(instance_ids) // 2
            return await self._impaired(instance_ids[:middle]) | await self._impaired(instance_ids[middle:])
        return {InstanceId(one["InstanceId"]) for one in answer["InstanceStatuses"] if _is_impaired(one)}


def _is_impaired(status: Any) -> bool:
    """A check that is being made, or lacks data, has not failed."""
    checks = (status.get("InstanceStatus", {}).get("Status"), status.get("SystemStatus", {}).get("Status"))
    return "impaired" in checks or status.get("InstanceState", {}).get("Name") in _ENDED
