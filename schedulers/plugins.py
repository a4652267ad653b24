"""Finds scheduler plugins by their entry points (group `headnode.schedulers`), this project's and anybody else's alike."""

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint, entry_points

from pydantic import BaseModel

from daemons.config import Config
from daemons.errors import ConfigError
from schedulers.base import Scheduler

GROUP = "headnode.schedulers"


def find_plugins() -> dict[str, EntryPoint]:
    """The installed plugins by name. Nothing is imported."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def load_plugin(name: str) -> type[Scheduler]:
    """Import the plugin of that name. Raises ConfigError that lists the known ones, or says why it did not load."""
    plugins = find_plugins()
    if name not in plugins:
        raise ConfigError(
            f"there is no scheduler plugin named {name!r}; known are: {', '.join(plugins) or 'none'}",
            hint="correct scheduler.name, or install the package that provides it",
        )
    try:
        plugin = plugins[name].load()
    except (ImportError, AttributeError) as err:
        raise ConfigError(
            f"scheduler plugin {name!r} ({plugins[name].value}) could not be imported: {err}",
            hint="reinstall the package that provides it",
        ) from err
    if not (isinstance(plugin, type) and issubclass(plugin, Scheduler)):
        raise ConfigError(f"scheduler plugin {name!r} ({plugins[name].value}) is not a subclass of schedulers.base.Scheduler")
    return plugin


def load_settings(name: str) -> type[BaseModel]:
    """The model of that plugin's own settings. Raises ConfigError like `load_plugin`."""
    return load_plugin(name).Settings


@contextlib.asynccontextmanager
async def opened(plugin: type[Scheduler], config: Config) -> AsyncIterator[Scheduler]:
    """The plugin at work for this cluster, closed at the end."""
    scheduler = plugin.open(config.scheduler.settings, cluster=config.cluster, fleets=config.fleets)
    try:
        yield scheduler
    finally:
        await scheduler.close()
