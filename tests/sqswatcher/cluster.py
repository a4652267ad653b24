"""A cluster of stateful fakes around the real service, and the messages that reach it."""

import asyncio
import json
from dataclasses import dataclass, field

from daemons.model import State
from daemons.ports import Place
from sqswatcher import reconcile
from sqswatcher.apply import World
from sqswatcher.checking import Check, take_as_it_is
from sqswatcher.service import Membership, Settings
from tests.fakes import BATCH, FakeGroups, FakePlaces, FakeQueue, FakeRows, FakeScheduler, FakeZone, hostname, instance_id

DOMAIN = "eu-west-1.compute.internal"


def compute_ready(number: int, host: int | None = None) -> str:
    event = {
        "Event": "parallelcluster:COMPUTE_READY",
        "StatusCode": "Complete",
        "Description": "",
        "EC2InstanceId": instance_id(number),
        "Slots": "8",
        "LocalHostname": f"{hostname(host or number)}.{DOMAIN}",
        "EC2InstanceType": "c5.2xlarge",
    }
    return json.dumps({"Type": "Notification", "Message": json.dumps(event)})


def notification(number: int, event: str) -> str:
    return json.dumps(
        {
            "Service": "AWS Auto Scaling",
            "Event": f"autoscaling:EC2_INSTANCE_{event}",
            "AutoScalingGroupName": BATCH.group,
            "EC2InstanceId": instance_id(number),
            "StatusCode": "InProgress",
            "Progress": 50,
            "Time": "2026-11-23T10:15:30.912Z",
            "ActivityId": "f4d8c8a1-2f0b-9a0c-ab6b-0c9b5a6f1d11",
            "Details": {"Availability Zone": "eu-west-1a"},
        }
    )


def hook(number: int, transition: str, name: str, **more: str) -> str:
    return json.dumps(
        {
            **more,
            "Service": "AWS Auto Scaling",
            "LifecycleTransition": f"autoscaling:EC2_INSTANCE_{transition}",
            "LifecycleHookName": name,
            "LifecycleActionToken": f"87654321-4321-4321-4321-{number:012d}",
            "AutoScalingGroupName": BATCH.group,
            "EC2InstanceId": instance_id(number),
            "Time": "2026-11-23T10:15:06.123Z",
        }
    )


def spot_interruption(number: int) -> str:
    return json.dumps(
        {
            "version": "0",
            "detail-type": "EC2 Spot Instance Interruption Warning",
            "source": "aws.ec2",
            "time": "2026-11-23T10:50:00Z",
            "detail": {"instance-id": instance_id(number), "instance-action": "terminate"},
        }
    )


@dataclass
class Cluster:
    groups: FakeGroups
    queue: FakeQueue = field(default_factory=FakeQueue)
    rows: FakeRows = field(default_factory=FakeRows)
    zone: FakeZone = field(default_factory=FakeZone)
    scheduler: FakeScheduler = field(default_factory=FakeScheduler)
    places: FakePlaces = field(default_factory=FakePlaces)
    now: float = 1000.0
    rings: list[str] = field(default_factory=list)  # what jobwatcher was woken with

    def __post_init__(self) -> None:
        for number in range(1, 10):
            self.places.known[instance_id(number)] = Place(address=f"10.0.0.{number}", hostname=hostname(number))
        self.restart()

    def restart(self, *, check: Check = take_as_it_is) -> None:
        """A new process: it knows only what it finds."""
        world = World(
            queue=self.queue,
            rows=self.rows,
            scheduler=self.scheduler,
            groups=self.groups,
            zone=self.zone,
            fleets={BATCH.name: BATCH},
        )
        settings = Settings(
            wait_s=0,
            receivers=4,
            visibility_s=60,
            terminate_grace_s=100,
            resync_s=1e9,
            resync=reconcile.Options(age_grace_s=300, max_removal_share=1),
        )
        self.service = Membership(
            world, places=self.places, settings=settings, clock=lambda: self.now, ring=self.rings.append, check=check
        )

    async def hears(self, *bodies: str) -> None:
        for body in bodies:
            self.queue.put(body)
        await self.service.cycle(asyncio.Event())

    async def hears_again(self) -> None:
        self.queue.time_passes()
        await self.service.cycle(asyncio.Event())

    def state(self, number: int) -> State:
        return self.rows.stored[instance_id(number)].state

    @property
    def settled(self) -> bool:
        return not self.queue.waiting and not self.queue.in_flight
