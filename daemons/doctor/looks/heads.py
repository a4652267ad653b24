"""The leases of the services."""

import asyncio
from collections.abc import Sequence

from daemons.aws.leases import DynamoLeases
from daemons.doctor.findings import Finding
from daemons.doctor.judges.heads import check_lease
from daemons.doctor.looks.absence import is_absent
from daemons.doctor.scene import SERVICES, Scene
from daemons.errors import AwsRefused
from daemons.ha.lease import Seen


async def look_at_leases(scene: Scene) -> Sequence[Finding]:
    leases, enabled = DynamoLeases(scene.clients, table=scene.config.table), scene.config.ha.enabled
    try:
        seen = await asyncio.gather(*map(leases.read, SERVICES))
    except AwsRefused as err:
        if not is_absent(err.error_code):
            raise
        seen = [Seen()] * len(SERVICES)  # that there is no table, its own look says
    return [check_lease(service, one, enabled=enabled, now=scene.clock()) for service, one in zip(SERVICES, seen, strict=True)]
