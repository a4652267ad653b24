"""A whole cluster to look at: a real Slurm, the emulated AWS with four fleets, and the three services as processes."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemons.errors import InvalidValue
from daemons.model import FleetName, FleetSpec, JobId, Shape
from daemons.record import read_last
from jobwatcher.explain import explain_job
from jobwatcher.record import Record
from sandbox.aws.server import SandboxAws
from sandbox.aws.stack import GroupSpec, Stack, StackSpec, create_stack
from sandbox.aws.world import Timing
from sandbox.configuration import fleet_section, render_config
from sandbox.demo.services import Services
from sandbox.demo.stage import CREDENTIALS, Announcer
from sandbox.slurm import SlurmCluster

REGION = "eu-west-1"
DEADLINE_S = 60.0
FIRST = FleetSpec(
    name=FleetName("first"),
    group="cap-first",
    shape=Shape(cpus=4, memory_mib=7_000),
    instance_type="c5.xlarge",
    partition="cap",
    price_per_hour=0.2,
)
SPARE = FleetSpec(
    name=FleetName("spare"),
    group="cap-spare",
    shape=FIRST.shape,
    instance_type="m5.xlarge",
    partition="cap",
    price_per_hour=0.3,
)
GPUS = FleetSpec(
    name=FleetName("gpus"),
    group="cap-gpus",
    shape=Shape(cpus=8, memory_mib=30_000, gpus=2, gpu_type="a100"),
    instance_type="p4d.24xlarge",
    partition="gpus",
)
NIGHT = FleetSpec(
    name=FleetName("night"),
    group="cap-night",
    shape=Shape(cpus=2, memory_mib=4_000),
    instance_type="c5.large",
    partition="night",
)
FLEETS = (FIRST, SPARE, GPUS, NIGHT)
MAXIMA = {FIRST.name: 4, SPARE.name: 2, GPUS.name: 3, NIGHT.name: 2}


@dataclass
class Scene:
    """Submit, watch, ask. `peaks` are the largest desired capacities since the last `clear`."""

    directory: Path
    cluster: SlurmCluster
    aws: SandboxAws
    services: Services
    peaks: dict[FleetName, int] = field(default_factory=dict)
    said: dict[str, set[str]] = field(default_factory=dict)  # what jobwatcher explained so far, by job

    def submit(self, *options: str, run_s: float = 1.0) -> JobId:
        job = self.cluster.submit("--time=5", *options, script=f"#!/bin/sh\nsleep {run_s}\n")
        self.said[job] = set()
        return job

    def look(self) -> None:
        """Note how large the fleets are, and what jobwatcher says of each job."""
        self.services.check()
        for fleet in FLEETS:
            self.peaks[fleet.name] = max(self.peaks.get(fleet.name, 0), self.desired(fleet))
        try:
            record = read_last(self.directory / "state", Record)
        except InvalidValue:
            record = None
        if record is not None:
            for job, sentences in self.said.items():
                sentences.update(explain_job(record, job).sentences)

    def until(self, is_so: Callable[[], object], what: str, *, deadline_s: float = DEADLINE_S) -> None:
        give_up_at = time.monotonic() + deadline_s
        while not is_so():
            assert time.monotonic() < give_up_at, f"not within {deadline_s:g} s: {what}; {self.peaks}; {self.said}"
            self.look()
            time.sleep(0.05)
        self.look()

    def until_done(self, *jobs: JobId) -> None:
        self.until(lambda: set(self.states(*jobs)) == {"COMPLETED"}, f"{jobs} are done, of {self.cluster.job_states()}")

    def states(self, *jobs: JobId) -> list[str]:
        return [state for job, state in self.cluster.job_states().items() if job.split("_")[0] in jobs]

    def desired(self, fleet: FleetSpec) -> int:
        return self.aws.scaling.group(fleet.group).desired

    def has_said(self, job: JobId, *parts: str) -> bool:
        """Did one sentence about that job hold all of these?"""
        return any(all(part in sentence for part in parts) for sentence in self.said[job])

    def headnode(self, *argv: str) -> tuple[int, Any]:
        """Run the command line; its exit code and its JSON."""
        done = subprocess.run(
            [sys.executable, "-c", "from daemons.cli import main; main()", *argv, "--json"],
            env={**self.services.environment, "HEADNODE_CONFIG": str(self.services.config), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    def clear(self) -> None:
        """No job, no node, no shortage: what the next test finds."""
        self.aws.scaling.clear_launch_failures()
        self.cluster.run("scancel", "--full", "--quiet", *self.said)
        self.until(self._is_empty, "the cluster is empty again")
        self.peaks.clear()
        self.said.clear()

    def _is_empty(self) -> bool:
        alive = [one for one in self.aws.scaling.instances() if one.state != "terminated"]
        return not alive and not any(map(self.desired, FLEETS))


@contextmanager
def open_scene(directory: Path, cluster: SlurmCluster) -> Iterator[Scene]:
    announcer = Announcer()
    cluster.announce_to(announcer)
    with SandboxAws(region=REGION, account="444455556666", runtime=cluster, timing=Timing(boot_s=0.5)) as aws:
        groups = tuple(
            GroupSpec(
                name=fleet.group,
                maximum=MAXIMA[fleet.name],
                instance_type=fleet.instance_type,
                zones=(f"{REGION}a", f"{REGION}b"),
            )
            for fleet in FLEETS
        )
        stack = create_stack(aws.endpoint_url, StackSpec(name="cap", region=REGION, groups=groups))
        announcer.connect(stack)
        config = directory / "headnode.toml"
        config.write_text(_render_config(stack, cluster, directory / "state"))
        services = Services(directory, config, {**CREDENTIALS, **cluster.env})
        services.start()
        try:
            _await_placeholders(services)
            yield Scene(directory, cluster, aws, services)
        finally:
            services.stop()
    cluster.announce_to(None)
    cluster.clear_machines()


def _await_placeholders(services: Services) -> None:
    """Before that, Slurm would refuse jobs for which no node exists."""
    give_up_at = time.monotonic() + DEADLINE_S
    while not any(event.get("event") == "membership.started" for event in services.events()):
        assert time.monotonic() < give_up_at, "sqswatcher did not start"
        services.check()
        time.sleep(0.05)


def _render_config(stack: Stack, cluster: SlurmCluster, state: Path) -> str:
    return render_config(
        stack,
        {"name": "slurm", "settings": cluster.settings},
        cluster="cap",
        fleets=[fleet_section(fleet) for fleet in FLEETS],
        sqswatcher={"wait_s": 1, "visibility_s": 10},
        jobwatcher={
            "interval_s": 0.5,
            "state_dir": state,
            "wake_socket": f"{state}.sock",
            "wake_quiet_s": 0.2,
            "backoff_s": 4.0,
            "cancel_after_s": 2.0,
        },
        nodewatcher={"interval_s": 0.5, "idle_for_s": 2.0, "max_ending_share": 1.0, "state_dir": f"{state}-nodes"},
    )
