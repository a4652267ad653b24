"""Tell the head that this node is ready, unless it knows: one attempt, in a process of its own that takes AWS's libraries with it
when it ends. Exit codes: 0 the head has registered it (or is ending it), 3 told, not registered yet, 1 it could not be told.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

import psutil

from daemons.aws.queue import SqsQueue
from daemons.aws.session import open_clients
from daemons.aws.table import DynamoRows
from daemons.errors import HeadnodeError, InvalidValue
from daemons.model import InstanceId, State
from daemons.names import parse_instance_id
from nodewatcher.agent.config import AgentConfig, load_agent_config
from nodewatcher.agent.imds import Imds, ImdsUnavailable

REGISTERED, FAILED, TOLD = 0, 1, 3
_KNOWN = frozenset({State.REGISTERED, State.DRAINING, State.TERMINATING, State.GONE})


def render_ready(imds: Imds, instance_id: InstanceId, *, slots: int) -> str:
    """The message of `sqswatcher.messages.ComputeReady`. Raises ImdsUnavailable."""
    hostname = imds.read("meta-data/local-hostname")
    if hostname is None:
        raise ImdsUnavailable("the metadata service knows no host name of this instance")
    fields = {
        "Event": "parallelcluster:COMPUTE_READY",
        "StatusCode": "Complete",
        "Description": f"{instance_id} is ready",
        "EC2InstanceId": instance_id,
        "LocalHostname": hostname,
        "Slots": str(slots),
        "EC2InstanceType": imds.read("meta-data/instance-type") or "",
    }
    return json.dumps({"Type": "Notification", "Message": json.dumps(fields)})


async def announce(config: AgentConfig) -> int:
    """Look whether the head has the node, else tell it. Repeatable. Raises HeadnodeError."""
    imds = Imds(config.imds)
    instance_id = parse_instance_id(await asyncio.to_thread(imds.read, "meta-data/instance-id"))
    endpoints = {"default": config.endpoint} if config.endpoint else {}
    async with open_clients(region=config.region, endpoints=endpoints) as clients:
        row = (await DynamoRows(clients, table=config.table).get([instance_id])).get(instance_id)
        if row is not None and row.state in _KNOWN:
            return REGISTERED
        slots = config.slots or psutil.cpu_count() or 1
        body = await asyncio.to_thread(render_ready, imds, instance_id, slots=slots)
        await SqsQueue(clients, queue=config.queue).send(body)
    return TOLD


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    config = load_agent_config(parser.parse_args().config)
    try:
        return asyncio.run(announce(config))
    except (HeadnodeError, InvalidValue) as err:
        print(f"{err}" + (f"; next: {err.hint}" if err.hint else ""), file=sys.stderr)  # noqa: T201  the agent logs it
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
