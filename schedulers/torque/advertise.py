"""Make Torque queue jobs while no node exists: a node that stands for those to come, and a limit that admits them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from daemons.errors import SchedulerRefused
from daemons.model import FleetSpec
from schedulers.base import DRAIN_MARK
from schedulers.torque.nodes import NOT_SENT, PLACEHOLDER, is_placeholder
from schedulers.torque.parse import NodeRow
from schedulers.torque.server import Server
from schedulers.torque.settings import TorqueSettings

log = structlog.get_logger()

_LIMIT = "resources_available.nodect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertisement:
    """Without these, `qsub` refuses every request for nodes on an empty cluster ("cannot locate feasible nodes")."""

    server: Server
    settings: TorqueSettings

    async def advertise(self, fleets: Sequence[FleetSpec]) -> None:
        """Repeatable. Raises SchedulerRefused where a setting cannot do what the fleets need."""
        self._check(fleets)
        facts = await self.server.facts()
        name = self.settings.placeholder or facts.name.partition(".")[0]
        await self._stand(name, await self.server.nodes())
        if facts.attributes.get(_LIMIT) != str(self.settings.most_nodes):
            # A value that was once refused switches the limit off while it is still shown: unset mends that.
            await self.server.manage(f"unset server {_LIMIT}")
            self._must(await self.server.manage(f"set server {_LIMIT} = {self.settings.most_nodes}"), f"setting {_LIMIT}")
        if self.settings.probe and (said := await self.server.probe()):
            log.warning(
                "torque.probe_failed",
                error=said,
                because="pbs_server deletes waiting jobs after its restart unless a job is submitted first",
                hint="let headnode's user submit jobs (qmgr: `set server acl_roots += root@HOST` for root), or set probe = false",
            )

    def _check(self, fleets: Sequence[FleetSpec]) -> None:
        largest = max((fleet.shape.cpus for fleet in fleets), default=1)
        if largest > self.settings.placeholder_slots:
            raise SchedulerRefused(
                f"a node of {largest} CPUs is more than the placeholder's {self.settings.placeholder_slots} slots",
                hint="raise scheduler.settings.placeholder_slots",
            )

    async def _stand(self, name: str, rows: Sequence[NodeRow]) -> None:
        """The placeholder is there, large enough, and offline once pbs_server takes that, seconds after its making."""
        known = next((row for row in rows if row.name.partition(".")[0] == name), None)
        slots = self.settings.placeholder_slots
        if known is None:
            self._must(
                await self.server.manage(f"create node {name} np={slots},properties={PLACEHOLDER}"),
                f"creating the placeholder node {name}",
            )
            return
        if not is_placeholder(known):
            raise SchedulerRefused(
                f"{name} cannot stand for nodes to come: it is a node of the cluster",
                hint="name another host that resolves in scheduler.settings.placeholder",
            )
        if known.slots != slots:
            self._must(await self.server.manage(f"set node {name} np = {slots}"), f"setting np of {name}")
        if "offline" not in known.states and NOT_SENT not in known.states:
            await self.server.mark(("-o", "-N", f"{DRAIN_MARK} stands for nodes to come"), [name])

    def _must(self, said: Mapping[str, str], doing: str) -> None:
        if said:
            raise SchedulerRefused(
                f"{doing}: {'; '.join(said.values())}", hint="see whether the name resolves on pbs_server's host"
            )
