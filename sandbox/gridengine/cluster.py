"""A private Grid Engine: a qmaster, and an execution daemon for each emulated instance. Plays the emulated AWS's machines."""

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daemons.model import FleetSpec, JobId
from daemons.names import parse_word
from sandbox.aws.values import EmulatedInstance
from sandbox.gridengine import conf
from sandbox.gridengine.head import Head
from sandbox.gridengine.machines import Machines, Slot
from sandbox.runtime import Placement
from sandbox.world import World
from schedulers.sge.parse import QueueInstance, Row, Snapshot, parse_snapshot

_SUBMITTED = re.compile(r"Your job(?:-array)? ([0-9]+)")


@dataclass(kw_only=True)
class GridEngineCluster:
    """One cluster in `directory`, which is its alone. A `sandbox.runtime.NodeRuntime`. Needs an isolated world.

    Each node is a network, a process and a UTS namespace. A queue is made for each partition of the fleets; groups of hosts and
    the rest of what concerns fleets are the plugin's to make. `env` is added to every process's environment (the guard's mark).
    `announce` is called when a machine has booted; its daemon starts once the scheduler knows the node.
    """

    directory: Path
    fleets: Sequence[FleetSpec]
    world: World
    env: Mapping[str, str] = field(default_factory=dict)
    announce: Callable[[EmulatedInstance], None] | None = None
    most_nodes: int = 32  # how many machines there can be at once
    bare_hosts: Mapping[str, str] = field(default_factory=dict)  # further names that resolve, and their addresses
    licences: Mapping[str, int] = field(default_factory=dict)  # consumables of the whole cluster

    def __post_init__(self) -> None:
        self.layout = conf.Layout(directory=self.directory)
        self._slots = _slots(self.most_nodes)
        self.head = Head(layout=self.layout, environment=self.environment())
        self._machines = Machines(
            layout=self.layout,
            head=self.head,
            environment=self.environment(),
            slots=self._slots,
            announce=self.announce,
        )

    @property
    def settings(self) -> dict[str, object]:
        """The Grid Engine plugin's settings for this cluster."""
        return {
            "root": str(self.layout.root),
            "cell": conf.CELL,
            "qmaster_port": conf.PORTS[0],
            "execd_port": conf.PORTS[1],
            "bin": str(self.layout.bin),
        }

    def environment(self) -> dict[str, str]:
        """For every process of the cluster: small, so that jobs do not depend on who runs the sandbox."""
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C",
            "HOME": str(self.directory),
            "SGE_ROOT": str(self.layout.root),
            "SGE_CELL": conf.CELL,
            "SGE_QMASTER_PORT": str(conf.PORTS[0]),
            "SGE_EXECD_PORT": str(conf.PORTS[1]),
            "SGE_SINGLE_LINE": "1",
            **self.env,
        }

    def start(self) -> None:
        """Make the head and start the qmaster; back when it answers and has its queues, within two seconds. Raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)  # the qmaster is another user
        conf.NETWORK.make_bridge()
        names = {slot.hostname: slot.address for slot in self._slots}
        self.head.make({conf.HEAD: conf.NETWORK.head, **names, **self.bare_hosts})
        self.head.start_qmaster()
        self._configure()

    def stop(self) -> None:
        """End every process of the cluster, machines first. Repeatable; the directory stays, with its logs."""
        self._machines.kill_all()
        self.head.destroy()
        conf.NETWORK.remove_bridge()

    def stop_controller(self) -> None:
        self.head.stop_qmaster()

    def start_controller(self) -> None:
        self.head.start_qmaster()

    def frozen_controller(self) -> contextlib.AbstractContextManager[None]:
        """The qmaster hangs meanwhile."""
        return self.head.frozen_qmaster()

    def run(self, *argv: str, text: str = "", timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run one of Grid Engine's commands on the head, `text` on its standard input. Any exit code is fine."""
        return self.head.run(*argv, text=text, timeout_s=timeout_s)

    def submit(self, *options: str, script: str = "#!/bin/sh\nexec sleep 600\n") -> JobId:
        """Submit a batch job; its number. Raises OSError with qsub's words if Grid Engine rejects it."""
        done = self.run("qsub", "-o", "/dev/null", "-j", "y", *options, text=script)
        found = _SUBMITTED.search(done.stdout)
        if done.returncode or found is None:
            raise OSError(f"qsub {' '.join(options)}: {(done.stderr or done.stdout).strip()}")
        return JobId(found[1])

    def snapshot(self) -> Snapshot:
        """What qstat says of hosts and jobs. Raises OSError if the qmaster does not answer."""
        return parse_snapshot(self.head.tell("qstat", "-f", "-r", "-u", "*", "-xml"))

    def running(self) -> list[tuple[QueueInstance, Row]]:
        """What runs, and where; a parallel job once for each of its hosts."""
        return [(instance, row) for instance in self.snapshot().instances for row in instance.jobs]

    def place(self, instance_id: str) -> Placement:
        """The lowest free address, its hostname with it: both are used again after a machine's end, as in a real subnet."""
        slot = self._machines.place(instance_id)
        return Placement(address=slot.address, hostname=f"{slot.hostname}.ec2.internal")

    def boot(self, instance: EmulatedInstance) -> None:
        """Announce the machine, wait for its registration, start its daemon. Returns early if it is killed meanwhile."""
        self._machines.boot(instance)

    def kill(self, instance_id: str) -> None:
        """The machine is gone: its daemon and their jobs at once, and its address is free. Repeatable."""
        self._machines.kill(instance_id)

    def announce_to(self, announce: Callable[[EmulatedInstance], None] | None) -> None:
        """From now on tell this one when a machine has booted."""
        self._machines.announce = announce

    def clear_machines(self) -> None:
        """Every machine is gone; the qmaster goes on."""
        self._machines.kill_all()

    def _configure(self) -> None:
        """What an administrator would have set: environments, memory and licences as consumables, a queue for each partition."""
        for name in conf.ENVIRONMENTS:
            self._from_file("-Ap", conf.render_environment(name))
        self._from_file("-Mc", conf.with_consumables(self.head.tell("qconf", "-sc"), self.licences))
        if self.licences:
            amounts = ",".join(f"{name}={amount}" for name, amount in self.licences.items())
            self.head.tell("qconf", "-mattr", "exechost", "complex_values", amounts, "global")
        template = self.head.tell("qconf", "-sq")
        for partition in dict.fromkeys(parse_word(fleet.partition) for fleet in self.fleets):
            self._from_file("-Aq", conf.with_values(template, conf.queue_values(partition)))
        self._from_file("-Msconf", conf.with_values(self.head.tell("qconf", "-ssconf"), conf.scheduler_values()))
        self.head.tell("qconf", "-as", conf.HEAD)

    def _from_file(self, option: str, text: str) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self.directory) as file:
            file.write(text)
            file.flush()
            self.head.tell("qconf", option, file.name)


def _slots(count: int) -> tuple[Slot, ...]:
    """Addresses of a subnet, lowest first: 10.80.1.1, 10.80.1.2, ..."""
    numbers = ((1 + index // 250, 1 + index % 250) for index in range(count))
    return tuple(
        Slot(index=index, address=f"10.80.{high}.{low}", hostname=f"ip-10-80-{high}-{low}")
        for index, (high, low) in enumerate(numbers)
    )
