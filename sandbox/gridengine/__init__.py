"""A private, throw-away, real Grid Engine on this machine: its own qmaster and execution daemons, and nobody else's."""

from sandbox.gridengine.cluster import GridEngineCluster
from sandbox.gridengine.host import can_run

__all__ = ["GridEngineCluster", "can_run"]
