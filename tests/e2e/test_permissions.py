"""What is granted is what an AWS sees: whole clusters that come by every call, and the policy that was rendered for them."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from botocore import xform_name

from daemons.aws.permissions import CALLS, Account, Role, grants
from daemons.cli.common import read_config
from daemons.config import Config
from daemons.model import Shape
from nodewatcher.agent.announce import TOLD, announce
from nodewatcher.agent.config import AgentConfig
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, HookSpec, Stack, StackSpec, client, create_stack
from sandbox.aws.values import EmulatedInstance
from sandbox.aws.world import Timing
from sandbox.demo.services import Services
from sandbox.demo.stage import CREDENTIALS, Announcer
from sandbox.guard import start_guard
from sandbox.local import LocalCluster
from sandbox.runtime import Placement
from schedulers.local.values import JobSpec
from tests.doctor.ground import Ground

pytestmark = pytest.mark.e2e

ACCOUNT = "333344445555"
REGION = "eu-west-1"
DEADLINE_S = 180.0
SHORT = "m5.xlarge"  # the type of which AWS has none
JOIN = HookSpec(name="join", transition="autoscaling:EC2_INSTANCE_LAUNCHING", heartbeat_s=1200)
LEAVE = HookSpec(name="leave", transition="autoscaling:EC2_INSTANCE_TERMINATING", heartbeat_s=1200)

# Granted to every configuration of that kind, and made only where a scheduler looks names up itself: `resolves_names`, which Grid
# Engine does and the local scheduler does not. tests/daemons/aws/test_adapters.py makes it, and every demo on a real Grid Engine.
ELSEWHERE = {"route53:GetChange"}
# What the doctor asks of IAM alone, where it is a role, and of groups that are made of launch configurations.
ELSEWHERE_OF_THE_DOCTOR = {"iam:GetRole", "iam:SimulatePrincipalPolicy", "autoscaling:DescribeLaunchConfigurations"}


def actions(calls: Counter[tuple[str, str]], config: Config) -> set[str]:
    """The IAM actions that those calls need: by the list, and for what is not in it by the call's own name."""
    needed: set[str] = set()
    for service, name in calls:
        listed = {call.action for call in CALLS if call.operation == xform_name(name) and call.is_made(config)}
        needed |= listed or {f"{service}:{name}"}
    return needed


def granted(role: Role, config: Config) -> set[str]:
    return {action for grant in grants(role, config, Account(number=ACCOUNT)) for action in grant.actions}


@dataclass
class Machines:
    """The local scheduler's nodes, of which those of group `silent` never come up."""

    cluster: LocalCluster
    silent: str
    silenced: list[str] = field(default_factory=list)

    def place(self, instance_id: str) -> Placement:
        return self.cluster.place(instance_id)

    def boot(self, instance: EmulatedInstance) -> None:
        if instance.group == self.silent:
            self.silenced.append(instance.instance_id)
        else:
            self.cluster.boot(instance)

    def kill(self, instance_id: str) -> None:
        self.cluster.kill(instance_id)

    def freeze(self, instance_id: str) -> None:
        """Its daemon hangs: the scheduler hears no more of the node, and AWS sees an instance that runs."""
        self.cluster._daemons[instance_id].send_signal(signal.SIGSTOP)


@dataclass
class Site:
    aws: SandboxAws
    stack: Stack
    cluster: LocalCluster
    machines: Machines
    services: Services
    config: Config
    events: list[str] = field(default_factory=list)

    def until(self, is_so: Callable[[], object], what: str) -> None:
        give_up_at = time.monotonic() + DEADLINE_S
        while not is_so():
            if time.monotonic() >= give_up_at:
                never = granted(Role.HEAD, self.config) - self.actions()
                pytest.fail(f"not within {DEADLINE_S:g} s: {what}; not called: {never}; {self.events[-40:]}")
            self.services.check()
            self.events += [str(event.get("event")) for event in self.services.events()]
            time.sleep(0.1)

    def submit(self, name: str, *, features: frozenset[str], cpus: int = 4, run_s: float = 2.0) -> None:
        script = f"#!/bin/sh\nsleep {run_s}\n"
        self.cluster.submit(JobSpec(name=name, script=script, per_node=Shape(cpus=cpus), features=features))

    def has_called(self, operation: str) -> bool:
        return any(name == operation for _, name in self.aws.calls_by("headnode"))

    def actions(self) -> set[str]:
        return actions(self.aws.calls_by("headnode"), self.config)

    def running_on(self, group: str) -> str:
        """The instance of that group on which a job runs; waits until there is one."""
        found: list[str] = []

        def look() -> bool:
            busy = {hostname for hostname, runs in self.cluster.nodes().items() if runs}
            members = [one for one in self.aws.scaling.instances() if one.group == group and one.lifecycle == "InService"]
            found[:] = [one.instance_id for one in members if one.hostname.partition(".")[0] in busy]
            return bool(found)

        self.until(look, f"a job runs in {group}")
        return found[0]


def _fleet(name: str, launch: str, boot_timeout_s: float, instance_type: str = "c5.xlarge") -> str:
    return f"""
        [[fleet]]
        name = "{name}"
        group = "perm-{name}"
        instance_type = "{instance_type}"
        cpus = 4
        memory_mib = 7000
        features = ["{name}"]
        launch = "{launch}"
        boot_timeout_s = {boot_timeout_s}
        """


def _render(stack: Stack, directory: Path, scheduler: str, *, two_heads: bool = False) -> str:
    state = "\n".join(
        f"[{name}]\ninterval_s = 1.0\nstate_dir = {json.dumps(str(directory / name))}\n{more}"
        for name, more in (
            ("jobwatcher", f"wake_socket = {json.dumps(str(directory / 'wake.sock'))}\ncancel_after_s = 1.0"),
            ("nodewatcher", "idle_for_s = 4.0\nmax_ending_share = 1.0\nmax_unhealthy_share = 1.0\ndown_for_s = 3.0"),
        )
    )
    return f"""
        cluster = "perm"
        region = "{REGION}"
        queue = "perm-events"
        table = "{stack.table}"
        [endpoints]
        default = "{stack.endpoint_url}"
        [dns]
        zone = "{stack.domain}"
        [log.cloudwatch]
        group = "/headnode/perm"
        spool_dir = "{directory / "spool"}"
        period_s = 0.5
        [scheduler]
        name = "local"
        [scheduler.settings]
        file = "{scheduler}"
        [ha]
        enabled = {json.dumps(two_heads)}
        [sqswatcher]
        wait_s = 1
        {state}
        {_fleet("asked", "desired-capacity", 120.0)}
        {_fleet("launched", "launch-instances", 120.0)}
        {_fleet("silent", "desired-capacity", 5.0)}
        {_fleet("short", "desired-capacity", 120.0, SHORT)}
        """


@pytest.fixture(params=[False, True], ids=["one head", "two heads"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    guard = start_guard(tmp_path, f"test-permissions-{os.getpid()}")
    announcer = Announcer()
    cluster = LocalCluster(directory=tmp_path / "local", env=guard.env, announce=announcer)
    cluster.start()
    machines = Machines(cluster, "perm-silent")
    aws = SandboxAws(region=REGION, account=ACCOUNT, runtime=machines, timing=Timing(boot_s=0.5))
    services = Services(tmp_path, tmp_path / "headnode.toml", {**CREDENTIALS, **guard.env})
    try:
        aws.start()
        groups = (
            GroupSpec(name="perm-asked", maximum=2, hooks=(JOIN, LEAVE)),
            GroupSpec(name="perm-launched", maximum=2),
            GroupSpec(name="perm-silent", maximum=1),
            GroupSpec(name="perm-short", maximum=1, instance_type=SHORT),
        )
        stack = create_stack(aws.endpoint_url, StackSpec(name="perm", region=REGION, groups=groups, visibility_timeout_s=60))
        announcer.connect(stack)
        services.config.write_text(_render(stack, tmp_path, str(cluster.file), two_heads=request.param))
        config = read_config(services.config)
        services.start()
        yield Site(aws, stack, cluster, machines, services, config)
    finally:
        services.stop()
        aws.stop()
        cluster.stop()
        guard.close()


def test_services_make_every_call_that_the_head_is_granted_and_no_other(site: Site) -> None:
    """Jobs for both ways to grow; capacity that is not to be had; an instance that never comes up; one that ends under a running
    job; a node that falls silent.
    """
    site.aws.scaling.fail_launches(reason="insufficient-capacity", instance_type=SHORT)
    site.submit("lacks", features=frozenset({"short"}))
    site.submit("grows", features=frozenset({"asked"}), run_s=15.0)
    site.submit("launches", features=frozenset({"launched"}))
    site.submit("never", features=frozenset({"silent"}))
    busy = site.running_on("perm-asked")
    client("autoscaling", endpoint_url=site.stack.endpoint_url, region=REGION).terminate_instance_in_auto_scaling_group(
        InstanceId=busy, ShouldDecrementDesiredCapacity=False
    )
    site.until(lambda: site.has_called("RecordLifecycleActionHeartbeat"), "an end is held up for the job")
    site.submit("dies", features=frozenset({"launched"}), run_s=600.0)
    site.machines.freeze(site.running_on("perm-launched"))
    wanted = granted(Role.HEAD, site.config) - ELSEWHERE
    site.until(lambda: wanted <= site.actions(), "all that is granted is done")
    seen = site.actions()
    assert seen - granted(Role.HEAD, site.config) == set(), "no call is missing from the policy"
    assert granted(Role.HEAD, site.config) - seen <= ELSEWHERE, "nothing is granted in vain"


async def test_a_node_makes_every_call_that_it_is_granted_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with SandboxAws(region=REGION, account=ACCOUNT, timing=Timing(boot_s=0.1)) as aws:
        stack = create_stack(aws.endpoint_url, StackSpec(name="perm", region=REGION, groups=(GroupSpec(name="perm", desired=1),)))
        while not (running := [one for one in aws.scaling.instances() if one.state == "running"]):
            await asyncio.sleep(0.05)
        config = AgentConfig(
            cluster="perm",
            region=REGION,
            queue="perm-events",
            table=stack.table,
            imds=aws.imds_url(running[0].instance_id).rstrip("/"),
            endpoint=aws.endpoint_url,
        )
        assert await announce(config) == TOLD
        file = tmp_path / "headnode.toml"
        file.write_text(_render(stack, tmp_path, str(tmp_path / "local.db")))
        head = read_config(file)
        assert actions(aws.calls_by("headnode"), head) == granted(Role.COMPUTE, head)


def test_the_doctor_makes_every_call_that_it_is_granted_besides_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with SandboxAws(region=REGION, account=ACCOUNT) as aws:
        ground = Ground.make(aws, tmp_path)
        ground.examine()
        seen = actions(aws.calls_by("headnode"), ground.config)
        assert seen - granted(Role.HEAD, ground.config) - granted(Role.DOCTOR, ground.config) == set()
        assert granted(Role.DOCTOR, ground.config) - seen == ELSEWHERE_OF_THE_DOCTOR
