"""What an operator can set for the Slurm plugin."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Mode(StrEnum):
    """How nodes come to be known to slurmctld."""

    DYNAMIC = "dynamic"  # created and deleted while it runs; slurm.conf names none of them
    DECLARED = "declared"  # slurm.conf declares every node that can ever be, State=FUTURE; joining marks one as a member


class SlurmSettings(BaseModel):
    """`[scheduler.settings]` for `name = "slurm"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    conf: Annotated[str, Field(description="slurm.conf of the cluster, given to every command as SLURM_CONF")] = (
        "/etc/slurm/slurm.conf"
    )
    bin: Annotated[str, Field(description='directory of scontrol and squeue; "" looks them up in PATH')] = ""
    mode: Annotated[Mode, Field(description="dynamic: nodes are created and deleted; declared: slurm.conf lists them all")] = (
        Mode.DYNAMIC
    )
    timeout_s: Annotated[
        float, Field(gt=0, le=300, description="a command that takes longer is killed and its effect is unknown")
    ] = 15.0
    placeholders: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="nodes of each shape that only exist so that jobs queue: a job that needs more nodes of one shape than"
            " exist may be rejected, so set it to the largest fleet's maximum; slurm.conf's MaxNodeCount has to leave room",
        ),
    ] = 64
