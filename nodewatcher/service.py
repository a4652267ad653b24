"""One cycle: observe, plan, apply; one line for each node whose sentence changed."""

import re
from collections.abc import Callable, Sequence

import structlog

from daemons.model import InstanceId
from nodewatcher.apply import World, apply_verdicts
from nodewatcher.needed import needed_hostnames
from nodewatcher.observe import observe
from nodewatcher.plan import Options, Verdict, plan_nodes

log = structlog.get_logger()

_NUMBERS = re.compile(r"[0-9.]+")  # a sentence whose numbers alone changed is the same sentence


class Shrinking:
    """Gives back the nodes that no one needs, one pass a cycle."""

    def __init__(self, world: World, *, options: Options, clock: Callable[[], float]) -> None:
        self._world = world
        self._options = options
        self._clock = clock
        self._said: dict[InstanceId, str] = {}

    async def cycle(self) -> None:
        now = self._clock()
        seen = await observe(self._world.scheduler, self._world.groups, self._world.rows, now=now)
        verdicts = plan_nodes(seen, self._options, needed=needed_hostnames(seen))
        self._report(verdicts)
        await apply_verdicts(verdicts, self._world, now=now)

    def _report(self, verdicts: Sequence[Verdict]) -> None:
        said = {verdict.row.instance_id: f"{verdict.action}: {_NUMBERS.sub('', verdict.reason)}" for verdict in verdicts}
        for verdict in verdicts:
            instance_id = verdict.row.instance_id
            if self._said.get(instance_id) != said[instance_id]:
                log.info(
                    "node.judged",
                    instance_id=instance_id,
                    hostname=verdict.row.hostname,
                    action=verdict.action,
                    because=verdict.reason,
                )
        self._said = said
