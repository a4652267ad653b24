"""A small honest batch scheduler in one SQLite file: the default where no other runs, and the plugin to read first."""

from schedulers.local.plugin import Local, LocalSettings

__all__ = ["Local", "LocalSettings"]
