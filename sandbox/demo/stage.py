"""Everything that the demo stands on: a private directory, the emulated AWS, a scheduler with nodes, and the three services."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from daemons.model import FleetSpec
from sandbox.aws.faults import Faults, MessageFaults
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, Stack, StackSpec, client, create_stack
from sandbox.aws.values import EmulatedInstance
from sandbox.aws.world import Timing
from sandbox.configuration import fleet_section, render_config
from sandbox.demo.services import Services
from sandbox.demo.story import DemoJob
from sandbox.demo.verdict import Leftovers
from sandbox.runtime import NodeRuntime

REGION = "eu-west-1"
BOOT_S = 2.0
INTERVAL_S = 1.0
IDLE_FOR_S = 5.0
RECEIVES = 20  # before a message is given up: faults make many a try fail
CHAOS_RESYNC = {"resync_s": 10, "resync_grace_s": 5, "max_removal_share": 1.0}  # messages get lost: compare often
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox", "AWS_EC2_METADATA_DISABLED": "true"}


class SchedulerOnStage(NodeRuntime, Protocol):
    """A real scheduler that plays its nodes' machines, as the demo needs it. What it tells is the scheduler's own word."""

    name: str

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def settings(self) -> Mapping[str, object]:
        """For `[scheduler.settings]`."""
        ...

    def submit(self, job: DemoJob, script: Path) -> None: ...

    def waiting(self) -> frozenset[str]:
        """Labels of the jobs that wait, held ones included."""
        ...

    def counts(self) -> tuple[int, int]:
        """How many jobs or tasks wait, and how many run."""
        ...

    def nodes(self) -> Mapping[str, bool]:
        """The nodes that it knows, placeholders left out: host name → does something run there?"""
        ...


@dataclass(frozen=True, slots=True)
class Announcement:
    hostname: str
    at: float


class Announcer:
    """Sends a node's COMPUTE_READY to the queue, as the node itself would, and remembers when."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: list[Announcement] = []
        self._send: Any = None

    def connect(self, stack: Stack) -> None:
        sqs = client("sqs", endpoint_url=stack.endpoint_url, region=stack.region)
        self._send = lambda body: sqs.send_message(QueueUrl=stack.queue_url, MessageBody=body)

    def __call__(self, instance: EmulatedInstance) -> None:
        event = {
            "Event": "parallelcluster:COMPUTE_READY",
            "StatusCode": "Complete",
            "Description": f"Succesfully launched {instance.instance_id}",
            "EC2InstanceId": instance.instance_id,
            "Slots": "4",
            "LocalHostname": instance.hostname,
            "EC2InstanceType": instance.instance_type,
        }
        with self._lock:
            self._said.append(Announcement(instance.hostname.split(".")[0], time.monotonic()))
        self._send(json.dumps({"Type": "Notification", "Message": json.dumps(event)}))

    @property
    def said(self) -> tuple[Announcement, ...]:
        with self._lock:
            return tuple(self._said)


def cause_chaos(faults: Faults) -> None:
    """Every fault that the emulated AWS knows, each at a moderate rate."""
    for service in ("sqs", "dynamodb", "route53", "autoscaling", "ec2"):
        faults.throttle(service, probability=0.03)
        faults.server_error(service, probability=0.03)
        faults.drop(service, after_effect=False, probability=0.02)
        faults.drop(service, after_effect=True, probability=0.02)
        faults.slow(service, delay_s=0.5, probability=0.05)
    faults.messages = MessageFaults(duplicate=0.2, delay=0.2, longest_delay_s=3.0, reorder=0.2, drop=0.1)


class Stage:
    """The whole cluster, up and running between `start` and `stop`."""

    def __init__(
        self,
        directory: Path,
        scheduler: SchedulerOnStage,
        announcer: Announcer,
        fleet: FleetSpec,
        *,
        maximum: int,
        minimum: int,
        environment: Mapping[str, str],
        chaos: bool,
    ) -> None:
        """`environment` is added to that of every process; it marks them as this sandbox's. `chaos`: nothing can be relied on."""
        self.directory = directory
        self.scheduler = scheduler
        self.fleet = fleet
        self.minimum, self.maximum = minimum, maximum
        self.aws = SandboxAws(region=REGION, runtime=scheduler, timing=Timing(boot_s=BOOT_S))
        self.services = Services(directory, directory / "headnode.toml", {**CREDENTIALS, **environment})
        self._announcer = announcer
        self._chaos = chaos
        self._stack: Stack | None = None
        self._clients: dict[str, Any] = {}

    def start(self) -> None:
        self.aws.start()
        group = GroupSpec(
            name=self.fleet.group,
            minimum=self.minimum,
            desired=self.minimum,
            maximum=self.maximum,
            instance_type=self.fleet.instance_type,
            zones=(f"{REGION}a", f"{REGION}b"),
        )
        self._stack = create_stack(
            self.aws.endpoint_url, StackSpec(name="hpc", region=REGION, groups=(group,), max_receive_count=RECEIVES)
        )
        self._announcer.connect(self._stack)
        self.scheduler.start()
        self.services.config.write_text(self._render_config())
        if self._chaos:
            cause_chaos(self.aws.faults)
        self.services.start()

    def stop(self) -> None:
        """Services first, so that none of them sees its world fall apart. Repeatable, and complete whatever did start."""
        self.services.stop()
        self.aws.stop()
        self.scheduler.stop()

    @property
    def desired(self) -> int:
        return self.aws.scaling.group(self.fleet.group).desired

    def in_service(self) -> int:
        """Instances that run and belong to the group."""
        return sum(one.state == "running" and one.lifecycle == "InService" for one in self.aws.scaling.instances())

    def booting(self) -> int:
        return sum(one.lifecycle.startswith("Pending") for one in self.aws.scaling.instances())

    def alive(self) -> int:
        """Instances that have not ended yet."""
        return sum(one.state != "terminated" for one in self.aws.scaling.instances())

    def leftovers(self) -> Leftovers:
        """What is there beyond the minimum, by each store's own word."""
        stack = self._known_stack()
        kept = self.minimum
        zone = self._boto("route53").list_resource_record_sets(HostedZoneId=stack.zone_id)["ResourceRecordSets"]
        return Leftovers(
            scheduler=max(0, len(self.scheduler.nodes()) - kept),
            table=max(0, sum(state != "gone" for state in self.row_states()) - kept),
            dns=max(0, sum(record["Type"] in ("A", "AAAA") for record in zone) - kept),
            queue=self._depth(stack.queue_url),
            dead_letter=self._depth(stack.dead_letter_queue_url),
        )

    def row_states(self) -> list[str]:
        items = self._boto("dynamodb").scan(TableName=self._known_stack().table, ConsistentRead=True)["Items"]
        return [item["state"]["S"] for item in items]

    def _depth(self, url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
        found = self._boto("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(map(int, found.values()))

    def _boto(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = client(service, endpoint_url=self.aws.endpoint_url, region=REGION)
        return self._clients[service]

    def _known_stack(self) -> Stack:
        if self._stack is None:
            raise RuntimeError("the stage has not been started")
        return self._stack

    def _render_config(self) -> str:
        stack, kept = self._known_stack(), self.directory
        return render_config(
            stack,
            {"name": self.scheduler.name, "settings": self.scheduler.settings()},
            cluster="demo",
            dns={"zone_id": stack.zone_id},
            fleets=[fleet_section(self.fleet)],
            sqswatcher={"wait_s": 1, "visibility_s": 10, **(CHAOS_RESYNC if self._chaos else {})},
            jobwatcher={
                "interval_s": INTERVAL_S,
                "state_dir": kept / "jobwatcher",
                "wake_socket": kept / "wake.sock",
                "backoff_s": INTERVAL_S,
            },
            nodewatcher={
                "interval_s": INTERVAL_S,
                "idle_for_s": IDLE_FOR_S,
                "max_ending_share": 1.0,
                "state_dir": kept / "nodewatcher",
            },
        )
