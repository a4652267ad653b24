"""When a node that nobody leads any more and that does nothing may end itself. Pure."""

from dataclasses import dataclass

from daemons.metrics import HostReading


@dataclass(slots=True, kw_only=True)
class DeadMan:
    """Counts seconds that only pass while the machine is awake. A head that was never heard is not silent: it is not there to be
    missed, and a wrong broker must not end a cluster.
    """

    silent_s: float  # 0: off
    idle_cpu_share: float  # 1: whatever the CPUs do
    head_at: float | None = None
    busy_at: float | None = None

    def heard(self, now: float) -> None:
        self.head_at = now

    def saw(self, reading: HostReading | None, now: float) -> None:
        """None: the machine did not let itself be looked at, and so may be busy."""
        if self.busy_at is None or reading is None or self.is_busy(reading):
            self.busy_at = now

    def is_busy(self, reading: HostReading) -> bool:
        works = self.idle_cpu_share < 1 and reading.cpu_share >= self.idle_cpu_share
        return bool(works or reading.steps or reading.sessions or reading.gpu_share)

    def is_due(self, now: float) -> bool:
        """The head has been silent, and the node idle, for all of the time."""
        if not self.silent_s or self.head_at is None or self.busy_at is None:
            return False
        return min(now - self.head_at, now - self.busy_at) >= self.silent_s
