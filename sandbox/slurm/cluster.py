"""A private Slurm: munged and slurmctld here, a slurmd for each emulated instance. Plays the machines of the emulated AWS."""

import contextlib
import getpass
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daemons.model import FleetSpec, JobId
from sandbox.aws.values import EmulatedInstance
from sandbox.runtime import Placement
from sandbox.slurm.conf import NETWORK, DeclaredNode, Layout, render_gres_conf, render_slurm_conf
from sandbox.slurm.host import daemon, find, free_ports
from sandbox.slurm.machines import Machines, Slot, is_alive
from sandbox.world import World
from schedulers.slurm import render
from schedulers.slurm.parse import parse_ping

_SUBDIRECTORIES = ("bin", "etc", "state", "spool", "log", "run", "munge", "dev")
_SOCKET_PATH_CHARS = 100
_START_S = 10.0


@dataclass(kw_only=True)
class SlurmCluster:
    """One cluster in `directory`, which is its alone and short enough for a socket's path. A `sandbox.runtime.NodeRuntime`.

    In an isolated world each node is a network and a process namespace, and Slurm learns of it dynamically; elsewhere nodes are
    declared, differ by port, and one shape serves all fleets. `env` is added to every process's environment (the guard's mark).
    `announce` is called when a machine has booted; its slurmd starts once the scheduler knows the node.
    """

    directory: Path
    fleets: Sequence[FleetSpec]
    world: World
    env: Mapping[str, str] = field(default_factory=dict)
    announce: Callable[[EmulatedInstance], None] | None = None
    most_nodes: int = 32  # how many machines there can be at once
    spare_nodes: int = 1000  # how many more slurmctld has room for: placeholders, and nodes without a machine
    placeholders: int = 16
    options: Sequence[str] = ()  # further lines of slurm.conf

    def __post_init__(self) -> None:
        self._slots = _slots(self.most_nodes, isolated=self.world.isolated)
        self.layout = self._lay_out()
        self._machines = Machines(
            layout=self.layout,
            environment=self.environment(),
            slots=self._slots,
            isolated=self.world.isolated,
            announce=self.announce,
        )

    @property
    def settings(self) -> dict[str, object]:
        """The Slurm plugin's settings for this cluster."""
        mode = "dynamic" if self.world.isolated else "declared"
        return {"conf": str(self.layout.conf), "mode": mode, "placeholders": self.placeholders}

    def environment(self) -> dict[str, str]:
        """For every process of the cluster: small, so that jobs do not depend on who runs the sandbox."""
        path = f"{self.directory / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "LC_ALL": "C", "HOME": str(self.directory), "SLURM_CONF": str(self.layout.conf), **self.env}

    def start(self) -> None:
        """Start munged and slurmctld; back when slurmctld answers, within a second. Raises OSError with the log's last words."""
        self._write_files()
        if self.world.isolated:
            NETWORK.make_bridge()
        self._start_munged()
        self.start_controller()

    def stop(self) -> None:
        """End every process of the cluster, machines first. Repeatable; the directory stays, with its logs."""
        self._machines.kill_all()
        self.stop_controller(wait_s=0.3)  # nothing of it is needed again
        _end(self._pid("munged"), wait_s=3.0)
        if self.world.isolated:
            NETWORK.remove_bridge()

    def start_controller(self) -> None:
        """Start slurmctld, with what it saved if it ran before."""
        self._daemon(str(self.directory / "bin" / "slurmctld"))
        deadline = time.monotonic() + _START_S
        while not parse_ping(self.run(*render.PING).stdout):
            if time.monotonic() > deadline:
                raise OSError(f"slurmctld did not start: {self._log_tail('slurmctld')}")
            time.sleep(0.02)

    def stop_controller(self, *, wait_s: float = 10.0) -> None:
        """Let slurmctld save its state and end. Repeatable."""
        _end(self._pid("slurmctld"), wait_s=wait_s)

    @contextlib.contextmanager
    def frozen_controller(self) -> Iterator[None]:
        """Slurmctld hangs meanwhile: it takes connections and says nothing."""
        pid = self._pid("slurmctld")
        if pid is None:
            raise OSError("slurmctld does not run")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def run(self, *argv: str, text: str = "", timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands against this cluster, `text` on its standard input. Any exit code is fine."""
        return subprocess.run(
            argv, input=text, env=self.environment(), cwd="/", text=True, capture_output=True, check=False, timeout=timeout_s
        )

    def submit(self, *options: str, script: str = "#!/bin/sh\nexec sleep 600\n") -> JobId:
        """Submit a batch job; its id. Raises OSError with sbatch's words if Slurm rejects it."""
        done = self.run("sbatch", "--parsable", "--output=/dev/null", *options, text=script)
        if done.returncode:
            raise OSError(f"sbatch {' '.join(options)}: {done.stderr.strip()}")
        return JobId(done.stdout.strip().partition(";")[0])

    def job_states(self) -> dict[JobId, str]:
        """Every job's state in Slurm's own words (PENDING, RUNNING, COMPLETED, ...), tasks of arrays one by one. Ended jobs are
        shown for an hour. Raises OSError if slurmctld does not answer.
        """
        done = self.run("squeue", "-h", "-a", "-r", "-t", "all", "-o", "%i %T")
        if done.returncode:
            raise OSError(f"squeue: {done.stderr.strip()}")
        return {JobId(job): state for job, state in (line.split() for line in done.stdout.splitlines())}

    def place(self, instance_id: str) -> Placement:
        """The lowest free address, its hostname with it: both are used again after a machine's end, as in a real subnet."""
        slot = self._machines.place(instance_id)
        return Placement(address=slot.address, hostname=f"{slot.hostname}.ec2.internal")

    def boot(self, instance: EmulatedInstance) -> None:
        """Announce the machine, wait for its registration, start its slurmd. Returns early if it is killed meanwhile."""
        self._machines.boot(instance)

    def kill(self, instance_id: str) -> None:
        """The machine is gone: slurmd, its steps and their jobs at once, and its address is free. Repeatable."""
        self._machines.kill(instance_id)

    def announce_to(self, announce: Callable[[EmulatedInstance], None] | None) -> None:
        """From now on tell this one when a machine has booted."""
        self._machines.announce = announce

    def clear_machines(self) -> None:
        """Every machine is gone; the controller goes on."""
        self._machines.kill_all()

    def _lay_out(self) -> Layout:
        isolated = self.world.isolated
        ports = [6817, 6818] if isolated else free_ports(2 + self.most_nodes)
        declared = () if isolated else zip(self._slots, ports[2:], strict=True)
        layout = Layout(
            directory=self.directory,
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            controller=NETWORK.head if isolated else "127.0.0.1",
            controller_port=ports[0],
            node_port=ports[1],
            fleets=tuple(self.fleets),
            max_nodes=self.most_nodes + self.spare_nodes,
            declared=tuple(DeclaredNode(hostname=slot.hostname, address=slot.address, port=port) for slot, port in declared),
            options=tuple(self.options),
        )
        if len(str(layout.munge_socket)) > _SOCKET_PATH_CHARS:
            raise OSError(f"{self.directory} is too long for a socket's path: choose a shorter directory")
        return layout

    def _write_files(self) -> None:
        for name in _SUBDIRECTORIES:
            (self.directory / name).mkdir(parents=True, exist_ok=True, mode=0o700 if name == "munge" else 0o755)
        self.directory.chmod(0o755)  # jobs of other users read their scripts below it
        for name in ("slurmctld", "slurmd"):
            link = self.directory / "bin" / name  # under another name, such as slurmctld-wlm, it ignores every Gres=
            path = daemon(name)
            if path is None:
                raise OSError(f"{name} is not installed")
            link.unlink(missing_ok=True)
            link.symlink_to(path)
        self.layout.conf.write_text(render_slurm_conf(self.layout))
        (self.directory / "etc" / "gres.conf").write_text("# nodes bring their own\n")
        for fleet in self.fleets:
            self._write_fleet(fleet)
        key = self.directory / "munge" / "key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(secrets.token_bytes(256))

    def _write_fleet(self, fleet: FleetSpec) -> None:
        """What differs between slurmds is their gres.conf, which lies beside the slurm.conf they are given."""
        etc = self.directory / "etc" / fleet.name
        etc.mkdir(exist_ok=True)
        (etc / "gres.conf").write_text(render_gres_conf(fleet, self.directory / "dev") or "# none\n")
        (etc / "slurm.conf").unlink(missing_ok=True)
        (etc / "slurm.conf").symlink_to(self.layout.conf)
        for number in range(fleet.shape.gpus):
            (self.directory / "dev" / f"gpu{number}").touch()

    def _start_munged(self) -> None:
        at = self.directory
        self._daemon(
            find("munged") or "munged",
            f"--key-file={at}/munge/key",
            f"--socket={self.layout.munge_socket}",
            f"--pid-file={at}/run/munged.pid",
            f"--log-file={at}/log/munged.log",
            f"--seed-file={at}/munge/seed",
            "--num-threads=2",
            "--force",  # it minds a private parent directory, which is what we want
        )

    def _daemon(self, *argv: str) -> None:
        """Start something that detaches itself, which would keep a pipe of ours open for ever."""
        name = Path(argv[0]).name
        with (self.directory / "log" / f"{name}.start").open("wb") as said:
            done = subprocess.run(
                argv,
                env=self.environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                check=False,
                timeout=30,
                start_new_session=True,
            )
        if done.returncode:
            raise OSError(f"{name} did not start: {self._log_tail(name)}")

    def _log_tail(self, name: str) -> str:
        texts = [path.read_text(errors="replace") for path in (self.directory / "log").glob(f"{name}.*")]
        return " | ".join(line for text in texts for line in text.splitlines()[-5:])

    def _pid(self, name: str) -> int | None:
        """The pid that a daemon wrote down, if that process still lives."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.directory / "run" / f"{name}.pid").read_text())
            if (Path("/proc") / str(pid) / "comm").read_text().strip() == name:
                return pid
        return None


def _slots(count: int, *, isolated: bool) -> tuple[Slot, ...]:
    """Addresses of a subnet, lowest first: 10.77.1.1 ... in namespaces, 127.77.1.1 ... on this machine's own loopback."""
    first = 10 if isolated else 127
    numbers = ((1 + index // 250, 1 + index % 250) for index in range(count))
    return tuple(
        Slot(index=index, address=f"{first}.77.{high}.{low}", hostname=f"ip-{first}-77-{high}-{low}")
        for index, (high, low) in enumerate(numbers)
    )


def _end(pid: int | None, *, wait_s: float) -> None:
    """Ask a process that is not our child to end, then make it."""
    if pid is None:
        return
    for number, patience_s in ((signal.SIGTERM, wait_s), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not is_alive(pid):
                return
            time.sleep(0.01)
