"""What came of making a recorded decision again."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One decision made again. No `differences`: it is the same to the last bit."""

    at: float
    version: str  # that made it first
    differences: tuple[str, ...]

    @property
    def title(self) -> str:
        verdict = "the same" if not self.differences else f"{len(self.differences)} differences"
        when = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{when} (headnode {self.version}): {verdict}"
