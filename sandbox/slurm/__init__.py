"""A private, throw-away, real Slurm on this machine: its own munged, slurmctld and slurmds, and nobody else's."""

from sandbox.slurm.cluster import SlurmCluster
from sandbox.slurm.host import can_run

__all__ = ["SlurmCluster", "can_run"]
