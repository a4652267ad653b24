"""Which scheduler plays, and the private place that it plays in."""

import contextlib
import importlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from daemons.errors import ConfigError
from daemons.model import FleetSpec
from sandbox.demo.stage import Announcer, SchedulerOnStage
from sandbox.guard import Guard, start_guard
from sandbox.slurm import can_run
from sandbox.world import World, enter_private_world


def choose_scheduler(wanted: str | None) -> tuple[str, str]:
    """The scheduler to run and why it is that one. Raises ConfigError where the wanted one cannot run here."""
    reason = can_run(World(isolated=os.geteuid() == 0, reason="only root can make network namespaces"))
    if wanted == "slurm" and reason:
        raise ConfigError(
            f"a real Slurm cannot run here: {reason}", hint="run make setup as root on Debian or Ubuntu, or use --scheduler local"
        )
    if wanted:
        return wanted, "as asked"
    return ("local", f"Slurm cannot run here: {reason}") if reason else ("slurm", "it is installed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Players:
    """A private directory, and on it the scheduler of that name."""

    name: str
    directory: Path
    guard: Guard
    world: World

    @classmethod
    @contextlib.contextmanager
    def private(cls, name: str) -> Iterator["Players"]:
        """Everything made inside is gone afterwards, processes and files, however this process ends."""
        world = enter_private_world() if name == "slurm" else World(isolated=False, reason="the local scheduler needs none")
        if name == "slurm" and (reason := can_run(world)):
            raise ConfigError(f"a real Slurm cannot run here: {reason}", hint="use --scheduler local")
        # In a world of our own even the directory vanishes with the last process: /run is that world's.
        directory = Path(tempfile.mkdtemp(prefix="headnode-demo-", dir="/run" if world.isolated else None))
        directory.chmod(0o755)
        guard = start_guard(directory, f"demo-{uuid.uuid4().hex}")
        try:
            yield cls(name=name, directory=directory, guard=guard, world=world)
        finally:
            guard.close()

    @property
    def setting(self) -> str:
        """How its nodes are set up, in words."""
        if self.name == "local":
            return "a process a node"
        return "a network namespace a node" if self.world.isolated else f"a port a node: {self.world.reason}"

    def scheduler(self, announcer: Announcer, fleet: FleetSpec) -> SchedulerOnStage:
        """Make the scheduler; nothing of it runs yet."""
        module = importlib.import_module(f"sandbox.demo.on_{self.name}")
        stage: SchedulerOnStage = module.open_scheduler(self, announcer, fleet)
        return stage
