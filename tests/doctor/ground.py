"""A cluster that is set up as it should be, on the emulated AWS, for the doctor to look at and for tests to spoil."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from daemons.aws.session import open_clients
from daemons.cli.common import read_config
from daemons.config import Config
from daemons.doctor.examine import LOOKS, Told, examine
from daemons.doctor.findings import Finding, Severity
from daemons.doctor.scene import Scene, find_who
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, HookSpec, Stack, StackSpec, client, create_stack
from sandbox.configuration import batch, local_scheduler, render_config
from schedulers.commands import Answer
from schedulers.local import store

ACCOUNT = "777788889999"
HOOKS = (
    HookSpec(name="join", transition="autoscaling:EC2_INSTANCE_LAUNCHING", heartbeat_s=1200),
    HookSpec(name="leave", transition="autoscaling:EC2_INSTANCE_TERMINATING", heartbeat_s=300),
)
UNITS = ("headnode.target", "sqswatcher.service", "jobwatcher.service", "nodewatcher.service")
RUNNING = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "disabled", "Result": "success", "NRestarts": "0"}


@dataclass
class FakeSystemd:
    """systemctl show, of units whose properties tests set. Without any, there is no systemd."""

    units: dict[str, dict[str, str]] = field(
        default_factory=lambda: {name: RUNNING | ({"UnitFileState": "enabled"} if name == UNITS[0] else {}) for name in UNITS}
    )

    async def run(self, *argv: str) -> Answer:
        if not self.units:
            return Answer(exit_code=1, out="", err="System has not been booted with systemd as init system (PID 1).")
        asked = [name for name in argv if name in UNITS]
        blocks = [[f"Id={name}", *(f"{key}={value}" for key, value in self.units[name].items())] for name in asked]
        return Answer(exit_code=0, out="\n\n".join("\n".join(block) for block in blocks) + "\n", err="")


@dataclass
class Ground:
    """The cluster, its configuration and this machine, each open to being spoilt."""

    aws: SandboxAws
    stack: Stack
    directory: Path
    config: Config
    systemd: FakeSystemd = field(default_factory=FakeSystemd)
    ahead_s: float = 0.0

    @classmethod
    def make(cls, aws: SandboxAws, directory: Path) -> "Ground":
        groups = (GroupSpec(name="hpc-batch", hooks=HOOKS), GroupSpec(name="hpc-gpu", instance_type="g4dn.xlarge", spot=True))
        stack = create_stack(aws.endpoint_url, StackSpec(name="hpc", groups=groups))
        store.create(directory / "local.db")
        for name in ("jobwatcher", "nodewatcher"):
            (directory / name).mkdir()
        (directory / "resolv.conf").write_text("nameserver 10.0.0.2\nsearch hpc.internal eu-west-1.compute.internal\n")
        file = directory / "headnode.toml"
        file.write_text(_render(stack, directory))
        file.chmod(0o640)
        ground = cls(aws, stack, directory, read_config(file))
        ground.boto("sqs").set_queue_attributes(
            QueueUrl=stack.dead_letter_queue_url, Attributes={"MessageRetentionPeriod": "1209600"}
        )
        return ground

    def boto(self, service: str) -> Any:
        return client(service, endpoint_url=self.aws.endpoint_url, region=self.stack.region)

    def reconfigure(self, **changes: Any) -> None:
        self.config = replace(self.config, **changes)

    def refleet(self, **changes: Any) -> None:
        """Change the first fleet."""
        first, *others = self.config.fleets
        self.reconfigure(fleets=(replace(first, **changes), *others))

    def queue(self, **attributes: str) -> None:
        """Change the queue. moto forgets a policy that is not given anew."""
        sqs, url = self.boto("sqs"), self.stack.queue_url
        kept = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={**kept, **attributes})

    def group(self, **changes: Any) -> None:
        """Change the first group."""
        self.boto("autoscaling").update_auto_scaling_group(AutoScalingGroupName="hpc-batch", **changes)

    def hook(self, name: str, **changes: Any) -> None:
        self.boto("autoscaling").put_lifecycle_hook(AutoScalingGroupName="hpc-batch", LifecycleHookName=name, **changes)

    def examine(self, *areas: str) -> tuple[Told, ...]:
        """What the doctor tells of these areas, or of all."""
        return asyncio.run(self._examine(areas))

    async def _examine(self, areas: Sequence[str]) -> tuple[Told, ...]:
        async with open_clients(region=self.config.region, endpoints=self.config.endpoints) as clients:
            real = Scene(
                config=self.config,
                file=self.directory / "headnode.toml",
                clients=clients,
                commands=self.systemd,
                who=find_who(os.environ),
                resolv_conf=self.directory / "resolv.conf",
            )
            scene = replace(real, clock=lambda: real.clock() + self.ahead_s)
            return await examine(scene, [look for look in LOOKS if not areas or look.area in areas])


def bad(told: Sequence[Told]) -> Mapping[str, Finding]:
    """What is worse than a note, by its check's id: of several, the worst."""
    ordered = sorted(told, key=lambda one: one.finding.severity is Severity.ERROR)
    return {one.finding.id: one.finding for one in ordered if one.finding.severity in (Severity.WARNING, Severity.ERROR)}


def _render(stack: Stack, directory: Path) -> str:
    return render_config(
        stack,
        local_scheduler(directory / "local.db"),
        dns={"zone_id": stack.zone_id},
        jobwatcher={"state_dir": directory / "jobwatcher", "wake_socket": "", "record_mib": 1},
        nodewatcher={"state_dir": directory / "nodewatcher", "record_mib": 1},
        fleets=[
            batch(stack, memory_mib=7600),
            {
                "name": "gpu",
                "group": "hpc-gpu",
                "instance_type": "g4dn.xlarge",
                "cpus": 4,
                "memory_mib": 15000,
                "gpus": 1,
                "purchase": "spot",
            },
        ],
    )
