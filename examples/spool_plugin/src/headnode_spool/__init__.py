"""The spool scheduler, for headnode."""

from headnode_spool.plugin import Spool, SpoolSettings

__all__ = ["Spool", "SpoolSettings"]
