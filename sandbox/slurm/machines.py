"""The emulated machines of a private Slurm: where each is placed, how it boots, how it vanishes."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daemons.model import FleetSpec, Hostname
from sandbox.aws.values import EmulatedInstance
from sandbox.slurm.conf import NETWORK, Layout
from schedulers.slurm import render
from schedulers.slurm.membership import DeclaredMembership
from schedulers.slurm.parse import parse_nodes

_REGISTRATION_S = 600.0
_POLL_S = 0.2
_KILL_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One address of the subnet and the hostname that belongs to it."""

    index: int
    address: str
    hostname: str


@dataclass(slots=True, kw_only=True, eq=False)
class _Machine:
    slot: Slot
    killed: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)  # between the step of a boot and a kill
    process: subprocess.Popen[bytes] | None = None
    has_namespace: bool = False


@dataclass(slots=True, kw_only=True)
class Machines:
    """All machines of a cluster. Methods may be called from any thread."""

    layout: Layout
    environment: Mapping[str, str]
    slots: Sequence[Slot]
    isolated: bool
    announce: Callable[[EmulatedInstance], None] | None = None
    _machines: dict[str, _Machine] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def place(self, instance_id: str) -> Slot:
        """The lowest free slot; the same again for the same instance. Raises OSError when the subnet is full."""
        with self._lock:
            if instance_id not in self._machines:
                taken = {machine.slot.index for machine in self._machines.values()}
                free = next((slot for slot in self.slots if slot.index not in taken), None)
                if free is None:
                    raise OSError(f"all {len(self.slots)} addresses of the sandbox's subnet are in use")
                self._machines[instance_id] = _Machine(slot=free)
            return self._machines[instance_id].slot

    def boot(self, instance: EmulatedInstance) -> None:
        """Raises OSError if the machine cannot be made, or the scheduler does not get to know the node in time."""
        with self._lock:
            machine = self._machines.get(instance.instance_id)
        if machine is None:
            return  # killed before it booted
        if self.isolated:
            with machine.lock:
                if machine.killed.is_set():
                    return
                machine.has_namespace = True
                NETWORK.make_namespace(machine.slot.index, machine.slot.address)
        if self.announce is not None:
            self.announce(instance)
        if self._wait_for_registration(machine):
            with machine.lock:
                if not machine.killed.is_set():
                    machine.process = self._start_slurmd(machine.slot, self._fleet(instance))

    def kill(self, instance_id: str) -> None:
        with self._lock:
            machine = self._machines.get(instance_id)
        if machine is None:
            return
        machine.killed.set()
        with machine.lock:
            self._destroy(machine)
        with self._lock:
            self._machines.pop(instance_id, None)

    def kill_all(self) -> None:
        for instance_id in list(self._machines):
            self.kill(instance_id)

    def _fleet(self, instance: EmulatedInstance) -> FleetSpec:
        return next(fleet for fleet in self.layout.fleets if fleet.group == instance.group)

    def _wait_for_registration(self, machine: _Machine) -> bool:
        """A slurmd that starts before the scheduler knows its node would let itself in. False if the machine is killed first."""
        deadline = time.monotonic() + _REGISTRATION_S
        while not self._is_registered(machine.slot):
            if machine.killed.wait(_POLL_S):
                return False
            if time.monotonic() > deadline:
                raise OSError(f"{machine.slot.hostname} was not registered within {_REGISTRATION_S:g} s of its boot")
        return not machine.killed.is_set()

    def _is_registered(self, slot: Slot) -> bool:
        done = subprocess.run(
            [*render.SHOW_NODES, slot.hostname],
            env=self.environment,
            text=True,
            capture_output=True,
            check=False,
            timeout=30,
        )
        if done.returncode:
            return False
        node = parse_nodes(done.stdout).get(Hostname(slot.hostname))
        if node is None or node.address != slot.address:
            return False
        return self.isolated or node.comment.startswith(DeclaredMembership.mark)

    def _start_slurmd(self, slot: Slot, fleet: FleetSpec) -> subprocess.Popen[bytes]:
        """In the foreground. Isolated, it is the first process of a namespace, and whatever it starts dies with it."""
        (self.layout.directory / "spool" / slot.hostname).mkdir(exist_ok=True)
        argv = [str(self.layout.directory / "bin" / "slurmd"), "-D", "-N", slot.hostname]
        if self.isolated:
            inside = ["nsenter", f"--net={NETWORK.namespace(slot.index)}", "unshare", "--pid", "--fork", "--kill-child"]
            argv = [*inside, "--mount-proc", "--", *argv, "-Z", "--conf", " ".join(render.kind_of(fleet).words())]
        with (self.layout.directory / "log" / f"{slot.hostname}.start").open("ab") as said:
            return subprocess.Popen(
                argv,
                env={**self.environment, "SLURM_CONF": str(self.layout.directory / "etc" / fleet.name / "slurm.conf")},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def _destroy(self, machine: _Machine) -> None:
        if machine.has_namespace:
            NETWORK.remove_namespace(machine.slot.index)
        if machine.process is not None:
            inside = _children(machine.process.pid) if self.isolated else []
            machine.process.kill()
            machine.process.wait()
            self._await_end(machine.slot, inside)

    def _await_end(self, slot: Slot, inside: Sequence[int]) -> None:
        """Until nothing of the node lives. Without a namespace its steps and jobs have to be found one by one."""
        deadline = time.monotonic() + _KILL_S
        while left := [pid for pid in inside if is_alive(pid)] + ([] if self.isolated else list(self._strays(slot))):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise OSError(f"processes of {slot.hostname} do not end: {left}")
            time.sleep(0.01)

    def _strays(self, slot: Slot) -> Iterator[int]:
        """What a slurmd leaves: steps, known by their log file, and jobs, which Slurm tells the node's name."""
        node = f"SLURMD_NODENAME={slot.hostname}".encode()
        ours = f"SLURM_CONF={self.layout.directory}/".encode()
        log = str(self.layout.directory / "log" / f"{slot.hostname}.log")
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):  # it ended meanwhile, or is somebody else's
                    environment = (entry / "environ").read_bytes().split(b"\0")
                    of_node = node in environment and any(word.startswith(ours) for word in environment)
                    if of_node or _writes_to(entry, log):
                        yield int(entry.name)


def _writes_to(process: Path, log: str) -> bool:
    if (process / "comm").read_text().strip() != "slurmstepd":
        return False
    return any(str(descriptor.readlink()) == log for descriptor in (process / "fd").iterdir())


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """Does that process run? One that has ended and waits for its parent does not."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
