import pytest

from daemons.errors import ConfigError
from schedulers.base import Scheduler
from schedulers.plugins import find_plugins, load_plugin


def test_an_unknown_scheduler_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no scheduler plugin named 'slrum'; known are: .*local.*slurm"):
        load_plugin("slrum")


@pytest.mark.parametrize("name", sorted(find_plugins()))
def test_every_installed_plugin_loads_and_has_its_name_and_settings(name: str) -> None:
    plugin = load_plugin(name)
    assert issubclass(plugin, Scheduler)
    assert plugin.name == name
    assert plugin.Settings.model_config.get("extra") == "forbid"
