"""The files that make a machine a head node or a compute node, as this installation has them."""

import importlib.resources
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

UNITS = "etc/systemd/system"
SERVICES = ("sqswatcher", "jobwatcher", "nodewatcher")
PROGRAMS_AS_SHIPPED = "/opt/headnode/bin/"


class Role(StrEnum):
    HEAD = "head"
    COMPUTE = "compute"


_SHIPPED = {  # by its name in systemd/: where it goes, and which machines have it
    **{f"{name}.service": (f"{UNITS}/{name}.service", Role.HEAD) for name in SERVICES},
    "headnode.target": (f"{UNITS}/headnode.target", Role.HEAD),
    "headnode.sysusers": ("etc/sysusers.d/headnode.conf", Role.HEAD),
    "headnode.tmpfiles": ("etc/tmpfiles.d/headnode.conf", Role.HEAD),
    "headnode.toml.example": ("etc/headnode/headnode.toml.example", Role.HEAD),
    "headnode-agent.service": (f"{UNITS}/headnode-agent.service", Role.COMPUTE),
    "agent.toml.example": ("etc/headnode/agent.toml.example", Role.COMPUTE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """A file to be laid down. `path` is relative to the prefix."""

    path: str
    text: str


def shipped_files(role: Role, *, programs: PurePosixPath) -> tuple[Shipped, ...]:
    """The role's files, with units that start the programs of that directory."""
    return tuple(
        Shipped(path=path, text=read_shipped(name).replace(PROGRAMS_AS_SHIPPED, f"{programs}/"))
        for name, (path, whose) in _SHIPPED.items()
        if whose is role
    )


def read_shipped(name: str) -> str:
    """One file of systemd/, which the wheel has as `daemons/units`."""
    return (importlib.resources.files("daemons") / "units" / name).read_text(encoding="utf-8")


def program_names(role: Role) -> Iterator[str]:
    yield from SERVICES if role is Role.HEAD else ("headnode-agent",)


def unit_names(role: Role) -> tuple[str, ...]:
    """The target first: what it wants, it takes along."""
    return ("headnode.target", *(f"{name}.service" for name in SERVICES)) if role is Role.HEAD else ("headnode-agent.service",)
