"""What an operator can set for the Grid Engine plugin."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_COMPLEX = r"[A-Za-z_][A-Za-z0-9_.-]{0,62}"


class SgeSettings(BaseModel):
    """`[scheduler.settings]` for `name = "sge"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Annotated[str, Field(min_length=1, description="SGE_ROOT of the cell")] = "/var/lib/gridengine"
    cell: Annotated[str, Field(min_length=1, description="SGE_CELL")] = "default"
    qmaster_port: Annotated[int, Field(ge=1, le=65_535, description="SGE_QMASTER_PORT")] = 6444
    execd_port: Annotated[int, Field(ge=1, le=65_535, description="SGE_EXECD_PORT")] = 6445
    bin: Annotated[
        str,
        Field(
            description='directory of qconf, qstat, qmod and qdel; "" looks them up in PATH, which costs ten times as much where'
            " PATH leads to Debian's wrapper script: the commands themselves are in /usr/lib/gridengine"
        ),
    ] = ""
    timeout_s: Annotated[
        float, Field(gt=0, le=300, description="a command that takes longer is killed and its effect is unknown")
    ] = 15.0
    memory: Annotated[
        str,
        Field(
            pattern=_COMPLEX,
            description="the complex by which jobs ask for memory; memory is counted where an administrator made it a consumable",
        ),
    ] = "h_vmem"
    gpu: Annotated[str, Field(pattern=_COMPLEX, description="the consumable by which jobs ask for GPUs")] = "gpu"
    submit_hosts: Annotated[bool, Field(description="may jobs submit jobs: are nodes submit hosts besides?")] = True
    placeholder: Annotated[
        str,
        Field(
            pattern=r"(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252})?",
            description="a host without slots that stands for nodes to come in every queue and group of the fleets, so that jobs"
            ' queue; its name has to resolve. "" is the qmaster\'s host',
        ),
    ] = ""
