"""Which waiting jobs go where. Shared: jobwatcher asks for capacity by it, nodewatcher keeps what it is about to use."""

from daemons.packing.pack import Packing, Placement, needed_hostnames, pack

__all__ = ["Packing", "Placement", "needed_hostnames", "pack"]
