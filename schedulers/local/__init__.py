"""A small honest batch scheduler in one SQLite file: the default where no other runs, and the plugin to read first."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedulers.local.plugin import Local, LocalSettings

__all__ = ["Local", "LocalSettings"]


def __getattr__(name: str) -> object:
    """The plugin is loaded when it is asked for: the nodes' daemons, of which there are many, need none of its libraries."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from schedulers.local import plugin  # noqa: PLC0415  see above

    return getattr(plugin, name)
