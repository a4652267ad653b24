"""What systemd says of the services, where it runs them."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from daemons.cli.overview import Unit

BOOTED = Path("/run/systemd/system")  # sd_booted(3)
_PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "StatusText", "NRestarts")
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
    return parse_units(done.stdout)


def parse_units(text: str) -> Mapping[str, Unit]:
    """From `systemctl show`: a paragraph a unit, a line a property. Units that are not installed are left out."""
    units: dict[str, Unit] = {}
    for paragraph in text.split("\n\n"):
        found = dict(line.split("=", 1) for line in paragraph.splitlines() if "=" in line)
        name = found.get("Id", "").removesuffix(".service")
        if name and found.get("LoadState") == "loaded":
            restarts = found.get("NRestarts", "")
            units[name] = Unit(
                active=found.get("ActiveState", ""),
                sub=found.get("SubState", ""),
                status=found.get("StatusText", ""),
                restarts=int(restarts) if restarts.isascii() and restarts.isdecimal() else 0,
            )
    return units
