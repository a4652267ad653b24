"""The Slurm plugin: dynamic nodes where Slurm (22.05 or newer) can add them, declared FUTURE nodes elsewhere."""

from schedulers.slurm.plugin import Slurm
from schedulers.slurm.settings import Mode, SlurmSettings

__all__ = ["Mode", "Slurm", "SlurmSettings"]
