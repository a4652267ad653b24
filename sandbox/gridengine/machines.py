"""The emulated machines of a private Grid Engine: where each is placed, how it boots, how it vanishes."""

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.aws.values import EmulatedInstance
from sandbox.gridengine.conf import NETWORK, Layout
from sandbox.gridengine.head import Head
from sandbox.gridengine.host import BINARIES

_REGISTRATION_S = 600.0
_POLL_S = 0.2
_KILL_S = 5.0
# The first process of a node: it starts the daemon, again while the qmaster will not have it, and reaps what jobs leave.
_BE_NODE = 'hostname "$1"; until "$2"; do sleep 0.2; done; while :; do sleep 3600 & wait $!; done'


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
    head: Head
    environment: Mapping[str, str]
    slots: Sequence[Slot]
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
                    machine.process = self._start_node(machine.slot)

    def kill(self, instance_id: str) -> None:
        """Everything of that machine is dead when this is back. Repeatable."""
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

    def _wait_for_registration(self, machine: _Machine) -> bool:
        """An unknown host's daemon is turned away. False if the machine is killed first."""
        deadline = time.monotonic() + _REGISTRATION_S
        while machine.slot.hostname not in self.head.run("qconf", "-sel").stdout.split():
            if machine.killed.wait(_POLL_S):
                return False
            if time.monotonic() > deadline:
                raise OSError(f"{machine.slot.hostname} was not registered within {_REGISTRATION_S:g} s of its boot")
        return not machine.killed.is_set()

    def _start_node(self, slot: Slot) -> subprocess.Popen[bytes]:
        """With the head's /etc, in a network of its own, as the first process of a namespace: what it starts dies with it."""
        enter = ["nsenter", f"--target={self.head.pid}", "--mount", f"--net={NETWORK.namespace(slot.index)}", "--"]
        apart = ["unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        with (self.layout.directory / f"{slot.hostname}.start").open("ab") as said:
            return subprocess.Popen(
                [*enter, *apart, "sh", "-c", _BE_NODE, "sh", slot.hostname, str(BINARIES / "sge_execd")],
                env=dict(self.environment),
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
            inside = _children(machine.process.pid)
            machine.process.kill()
            machine.process.wait()
            deadline = time.monotonic() + _KILL_S
            while any(is_alive(pid) for pid in inside):  # the first process's end is the end of all
                if time.monotonic() > deadline:
                    raise OSError(f"processes of {machine.slot.hostname} do not end: {inside}")
                time.sleep(0.01)


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
