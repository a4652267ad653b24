"""Which scheduler plays, and the private place that it plays in."""

import contextlib
import importlib
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from daemons.errors import ConfigError
from daemons.model import FleetSpec
from sandbox import gridengine, slurm
from sandbox.demo.stage import Announcer, SchedulerOnStage
from sandbox.guard import Guard, start_guard
from sandbox.world import World, enter_private_world

_REAL: Mapping[str, tuple[str, Callable[[World], str | None]]] = {
    "slurm": ("Slurm", slurm.can_run),
    "sge": ("Grid Engine", gridengine.can_run),
}


def choose_scheduler(wanted: str | None) -> tuple[str, str]:
    """The scheduler to run and why it is that one. Raises ConfigError where the wanted one cannot run here."""
    world = World(isolated=os.geteuid() == 0, reason="only root can make network namespaces")
    reasons = {name: can_run(world) for name, (_, can_run) in _REAL.items()}
    if wanted is not None:
        if reason := reasons.get(wanted):
            raise ConfigError(
                f"a real {_REAL[wanted][0]} cannot run here: {reason}",
                hint="run make setup as root on Debian or Ubuntu, or use --scheduler local",
            )
        return wanted, "as asked"
    able = next((name for name, reason in reasons.items() if not reason), None)
    return (able, "it is installed") if able else ("local", f"Slurm cannot run here: {reasons['slurm']}")


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
        world = enter_private_world() if name in _REAL else World(isolated=False, reason="the local scheduler needs none")
        if name in _REAL and (reason := _REAL[name][1](world)):
            raise ConfigError(f"a real {_REAL[name][0]} cannot run here: {reason}", hint="use --scheduler local")
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
