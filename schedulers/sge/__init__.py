"""The Grid Engine plugin: a host group a fleet, in the queue that is its partition."""

from schedulers.sge.plugin import Sge
from schedulers.sge.settings import SgeSettings

__all__ = ["Sge", "SgeSettings"]
