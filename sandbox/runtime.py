"""What an emulated instance does when it "runs": the seam between the emulated AWS and whatever plays the machines."""

from dataclasses import dataclass
from typing import Protocol

from sandbox.aws.values import EmulatedInstance


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where an instance lives. `hostname` is fully qualified, as `local-hostname` of the metadata service shows it."""

    address: str
    hostname: str


class NodeRuntime(Protocol):
    """Plays the machines. Calls come from the sandbox's own threads; an instance sees place, then boot, then kill."""

    def place(self, instance_id: str) -> Placement:
        """Reserve an address for a launch. An exception fails the launch with its text as the reason.

        Called while the emulation is locked: answer at once, and wait for no thread that asks the sandbox something.
        """
        ...

    def boot(self, instance: EmulatedInstance) -> None:
        """The instance runs now. Called in a thread of its own; an exception impairs the instance, nothing else."""
        ...

    def kill(self, instance_id: str) -> None:
        """The instance vanished: stop what it ran and free its address. Repeatable; unknown ids are fine."""
        ...
