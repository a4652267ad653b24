"""What the services need of the outside, in headnode's own words. The adapters in `daemons.aws` do it; tests hold stateful fakes.

Every call may be repeated after a failure. No usable answer raises AwsUnavailable and a definite no raises AwsRefused, both with
nothing assumed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from daemons.ha.lease import Lease, Seen
from daemons.model import Fleet, FleetName, Hostname, Instance, InstanceId, LaunchFailure

MESSAGES_A_RECEIVE = 10  # SQS's limit, and so the sign of a backlog


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One message as the queue handed it out. `receipt` is good for this delivery only."""

    message_id: str
    receipt: str
    body: str
    receives: int = 1  # how many times it has been handed out, this one included
    sent_at: float | None = None  # when the queue took it, by the queue's clock


class Queue(Protocol):
    async def receive(self, *, wait_s: int) -> tuple[Received, ...]:
        """Up to ten messages; () after `wait_s` seconds without any."""

    async def delete(self, messages: Sequence[Received]) -> None:
        """Acknowledge for good."""

    async def postpone(self, messages: Sequence[Received], delay_s: int) -> None:
        """Let these come again in `delay_s` seconds (0 … 43,200): to keep them while work is under way, or to back off."""


class Rows(Protocol):
    """An item of the table that is no row is left out of every answer, with a warning: its instance is as if it had none."""

    async def get(self, instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, Instance]:
        """The rows of these ids as last written (a consistent read), tombstones included. An id without a row is left out."""

    async def put(self, rows: Sequence[Instance]) -> Mapping[InstanceId, Instance | None]:
        """Write each row whose version is still the stored one. Answers the row with its new version, None where it was stale."""

    async def live(self) -> tuple[Instance, ...]:
        """Every row that is not a tombstone."""

    async def all(self) -> tuple[Instance, ...]:
        """Every row, tombstones included."""

    async def unsettled(self) -> tuple[Instance, ...]:
        """The live rows that are not settled (`Instance.is_settled`): few, and so cheap to ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Changes to the zone. Only headnode's own names, one address each; deleting what is not there is no error."""

    upserts: Mapping[Hostname, str]
    deletes: Mapping[Hostname, str]  # the address each is thought to have: a record with another address stays


class Zone(Protocol):
    async def change(self, records: Records, *, await_sync: bool) -> None:
        """Apply all of it, in as few batches as Route 53 allows; with `await_sync` until every name server has it."""

    async def records(self) -> Mapping[Hostname, str]:
        """The address records of the zone, by first label."""


class EndOutcome(StrEnum):
    ENDING = "ending"  # Auto Scaling has taken it on; the group's desired capacity is one less
    AT_MINIMUM = "at-minimum"  # refused: the group would fall below its minimum
    ABSENT = "absent"  # no group holds this instance any more


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchAnswer:
    """What became of a synchronous launch."""

    launched: tuple[InstanceId, ...]
    failures: tuple[LaunchFailure, ...]


class Groups(Protocol):
    async def fleets(self) -> tuple[Fleet, ...]:
        """Every configured fleet with its group's bounds and members. A missing group raises AwsRefused."""

    async def fleet_of(self, instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, FleetName]:
        """Which of our fleets each instance is in now. An id that is in none is left out."""

    async def raise_desired(self, fleet: Fleet, target: int) -> None:
        """Set the desired capacity. Raises ValueError unless it is above `fleet.desired` and within its bounds."""

    async def launch(self, fleet: Fleet, count: int, *, zones: Sequence[str], token: str) -> LaunchAnswer:
        """Launch up to `count` instances now, in these zones, one after the other as long as each has some to give.

        The desired capacity grows by what was launched. The same call with the same token launches nothing more.
        """

    async def cancel_unfulfilled(self, fleet: Fleet, target: int) -> int:
        """Lower the desired capacity to `target`, or to what the group holds by now if that is more; the new desired capacity.

        No instance is ended by it: it changes nothing, and answers the desired capacity as it is, unless new instances of the
        group are protected from scale-in and all that are in service are.
        """

    async def launch_failures(self, fleet: FleetName, *, since: float) -> tuple[LaunchFailure, ...]:
        """The launches of the group that failed at or after `since`, oldest first; of very many the last hundred."""

    async def end(self, instance_id: InstanceId, *, relaunch: bool = False) -> EndOutcome:
        """End this one instance and lower the desired capacity by one, or with `relaunch` leave that as it is: the group launches
        another unless it holds more than it should. Not repeatable while it is not known what became of it: an instance on its
        way out lowers the desired capacity again.
        """

    async def complete_hook(self, fleet: FleetName, hook: str, instance_id: InstanceId, *, proceed: bool) -> None:
        """Answer a lifecycle hook with CONTINUE or ABANDON. One that waits no more is no error."""

    async def extend_hook(self, fleet: FleetName, hook: str, instance_id: InstanceId) -> None:
        """Keep a lifecycle hook waiting for another of its heartbeats. One that waits no more is no error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an instance is. `hostname` is what EC2 itself calls it; None where it says nothing that can be one."""

    address: str
    hostname: Hostname | None


class Places(Protocol):
    async def places(self, instance_ids: Collection[InstanceId]) -> Mapping[InstanceId, Place]:
        """Where each instance that runs is. One that EC2 does not know of yet, or no more, is left out."""


class Checks(Protocol):
    async def impaired(self, instance_ids: Collection[InstanceId]) -> frozenset[InstanceId]:
        """Those of them whose own or whose host's status check fails, or that do not run any more by EC2's word."""

    async def console_tail(self, instance_id: InstanceId) -> str:
        """The last lines of what the instance wrote to its console, printable; "" where there is nothing."""


class Leases(Protocol):
    """Who acts for which service. A write that was refused has changed nothing."""

    async def read(self, service: str) -> Seen:
        """The lease and the fence as last written (a consistent read). An item that is no lease raises InvalidValue."""

    async def take(self, lease: Lease, *, over: Seen) -> bool:
        """Write lease and fence, both or neither. False: what is there is not `over` any more."""

    async def renew(self, lease: Lease) -> bool:
        """Write it over an older beat of the same token and fence. False: that is not what is there."""
