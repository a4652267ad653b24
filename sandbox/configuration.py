"""The configuration file of a cluster that stands on a stack of the emulated AWS."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from daemons.model import FleetSpec
from sandbox.aws.stack import Stack

Section = Mapping[str, object]


def render_config(
    stack: Stack, scheduler: Section, *, fleets: Sequence[Section] = (), cluster: str = "hpc", **more: object
) -> str:
    """The stack's own names and addresses, that scheduler, those fleets, and what is said besides: `sqswatcher={"wait_s": 1}`.

    `fleets` () is one of nodes with four cores: `batch`, the stack's first group. `more` is stronger than the stack: a queue has
    a name as well as the address that is written otherwise.
    """
    known = {"region": stack.region, "queue": stack.queue_url, "table": stack.table, "endpoints": {"default": stack.endpoint_url}}
    return render_toml({"cluster": cluster, **known, "scheduler": scheduler, **more, "fleet": list(fleets) or [batch(stack)]})


def local_scheduler(file: Path) -> Section:
    """The local scheduler with that file."""
    return {"name": "local", "settings": {"file": file}}


def batch(stack: Stack, **more: object) -> Section:
    """A fleet of the stack's first group."""
    return {"name": "batch", "group": stack.groups[0], "instance_type": "c5.xlarge", "cpus": 4, **more}


def fleet_section(spec: FleetSpec) -> Section:
    """What distinguishes that fleet; what is left out is as it is by default."""
    shape = spec.shape
    told: dict[str, object] = {"name": spec.name, "group": spec.group, "instance_type": spec.instance_type}
    told |= {"partition": spec.partition, "cpus": shape.cpus, "memory_mib": shape.memory_mib, "gpus": shape.gpus}
    told |= {"gpu_type": shape.gpu_type, "features": sorted(spec.features), "price_per_hour": spec.price_per_hour}
    return {name: value for name, value in told.items() if value}


def render_toml(document: Section) -> str:
    """Tables and lists of tables; strings, paths, numbers, truth values and lists of these. What is None is left out."""
    return "\n".join([*_lines("", document), ""])


def _lines(path: str, table: Section) -> Iterator[str]:
    deeper = {name: tables for name, value in table.items() if (tables := _tables(value))}
    for name, value in table.items():
        if name not in deeper and value is not None:
            yield f"{name} = {json.dumps(value, default=str)}"  # in TOML these are written as in JSON
    for name, tables in deeper.items():
        title = f"{path}{name}"
        for each in tables:
            yield ""
            yield f"[{title}]" if isinstance(table[name], Mapping) else f"[[{title}]]"
            yield from _lines(f"{title}.", each)


def _tables(value: object) -> Sequence[Section]:
    if isinstance(value, Mapping):
        return [value]
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, Sequence) else []
