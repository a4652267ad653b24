"""What systemd says of the services, where it runs them."""

import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from daemons.cli.overview import Unit

BOOTED = Path("/run/systemd/system")  # sd_booted(3)
_PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "StatusText", "NRestarts", "ExecMainStartTimestampMonotonic")
_RUN = ("active", "activating", "reloading", "refreshing")
_PATIENCE_S = 5.0


def fetch_units(services: Sequence[str], *, booted: Path | None = None) -> Mapping[str, Unit]:
    """The services that systemd has a unit of. A machine without systemd, or one that does not answer, has none."""
    program = shutil.which("systemctl")
    if program is None or not (booted or BOOTED).is_dir():
        return {}
    argv = [program, "show", f"--property={','.join(_PROPERTIES)}", *(f"{service}.service" for service in services)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=_PATIENCE_S)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return {}
    return parse_units(done.stdout, awake_s=time.clock_gettime(time.CLOCK_MONOTONIC))


def parse_units(text: str, *, awake_s: float) -> Mapping[str, Unit]:
    """From `systemctl show`: a paragraph a unit, a line a property. Units that are not installed are left out.

    `awake_s` is what the clock says that cannot be set, in seconds: systemd tells by it when a process was started.
    """
    units: dict[str, Unit] = {}
    for paragraph in text.split("\n\n"):
        found = dict(line.split("=", 1) for line in paragraph.splitlines() if "=" in line)
        name = found.get("Id", "").removesuffix(".service")
        if name and found.get("LoadState") == "loaded":
            started_us = _count(found.get("ExecMainStartTimestampMonotonic", ""))
            units[name] = Unit(
                active=found.get("ActiveState", ""),
                sub=found.get("SubState", ""),
                status=found.get("StatusText", ""),
                restarts=_count(found.get("NRestarts", "")),
                runs_s=max(0.0, awake_s - started_us / 1e6) if started_us and found.get("ActiveState") in _RUN else None,
            )
    return units


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0
