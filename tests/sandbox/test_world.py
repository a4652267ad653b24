"""A private world shares no network and no /run with anybody, and vanishes with its last process."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sandbox.world import World, enter_private_world
from tests.needs import skip_or_fail

LOOK = """
import os, socket, subprocess
from sandbox.world import enter_private_world
outside = os.stat("/proc/self/ns/net").st_ino
world = enter_private_world()
if not world.isolated:
    raise SystemExit(world.reason)
assert os.stat("/proc/self/ns/net").st_ino != outside
assert os.listdir("/run") == []
with socket.socket() as one:
    one.bind(("127.0.0.1", 6817))
    subprocess.run(["ip", "netns", "add", "headnode-test-world"], check=True)
    subprocess.run(["ip", "link", "add", "hn-test-world", "type", "bridge"], check=True)
    links = subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True).stdout
    assert "eth0" not in links and "hn-test-world" in links and os.listdir("/run/netns") == ["headnode-test-world"]
print("isolated")
"""


def look() -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run([sys.executable, "-c", LOOK], cwd=root, text=True, capture_output=True, check=False, timeout=30)


@pytest.fixture
def root_only() -> None:
    if os.geteuid() != 0:
        skip_or_fail("private worlds need root")


@pytest.mark.usefixtures("root_only")
def test_worlds_do_not_meet_and_leave_nothing() -> None:
    """Twice, for what one left would be in the other's way: the port, the bridge, the named namespace."""
    for _ in range(2):
        seen = look()
        assert (seen.stdout, seen.stderr) == ("isolated\n", "")
    assert not Path("/run/netns/headnode-test-world").exists()
    assert not Path("/sys/class/net/hn-test-world").exists()


def test_with_other_threads_nothing_is_changed() -> None:
    before = Path("/proc/self/ns/net").readlink()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        world = enter_private_world()
    finally:
        stop.set()
        thread.join()
    assert not world.isolated
    assert world.reason
    assert Path("/proc/self/ns/net").readlink() == before


def test_without_root_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert enter_private_world() == World(isolated=False, reason="only root can make network namespaces")


def test_without_its_tools_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    world = enter_private_world()
    assert (world.isolated, world.reason) == (False, "not installed: ip, nsenter, unshare (Debian: iproute2, util-linux)")
