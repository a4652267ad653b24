"""What concerns the whole run: tests with real schedulers live in a network of their own."""

import logging
import signal
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import is_hypothesis_test

from sandbox.world import World, enter_private_world

pytest_plugins = ["tests.slurm_fixtures", "tests.sge_fixtures"]

_WORLD = pytest.StashKey[World]()
_NEED_A_WORLD = ("slurm", "sge", "e2e")


def pytest_configure() -> None:
    """A shell has what runs in its background ignore SIGINT, and what tests start would inherit that and never end."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before anything has started a thread: namespaces are entered by the main thread, and others would stay outside.

    What tests visit by chance, and thousands of times, is not counted as covered: the tracing would take most of their time.
    """
    for item in items:
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker("no_cover")
    if any(item.get_closest_marker(name) for item in items for name in _NEED_A_WORLD):
        config.stash[_WORLD] = enter_private_world()


@pytest.fixture(autouse=True)
def fresh_logs() -> Iterator[None]:
    """What one test does to the logs, the next does not find."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def world(pytestconfig: pytest.Config) -> World:
    """The world that this run lives in."""
    return pytestconfig.stash.get(_WORLD, World(isolated=False, reason="no selected test asked for one"))
