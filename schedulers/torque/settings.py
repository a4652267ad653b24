"""What an operator can set for the Torque plugin."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class TorqueSettings(BaseModel):
    """`[scheduler.settings]` for `name = "torque"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bin: Annotated[str, Field(description='directory of qmgr, pbsnodes and qstat; "" looks them up in PATH')] = ""
    server: Annotated[
        str,
        Field(
            pattern=r"(?:[A-Za-z0-9][A-Za-z0-9.:-]{0,252})?",
            description='pbs_server\'s host, with :PORT if it is not the usual one; "" is the one in server_name',
        ),
    ] = ""
    timeout_s: Annotated[
        float, Field(gt=0, le=300, description="a command that takes longer is killed and its effect is unknown")
    ] = 20.0
    api_timeout_s: Annotated[
        int, Field(ge=1, le=300, description="how long Torque's own commands wait for pbs_server (PBSAPITIMEOUT)")
    ] = 10
    deletes_at_once: Annotated[
        int, Field(ge=1, le=200, description="how many nodes are deleted at once; each takes pbs_server two seconds")
    ] = 50
    placeholder: Annotated[
        str,
        Field(
            pattern=r"(?:[A-Za-z0-9][A-Za-z0-9-]{0,62})?",
            description="a node that never comes up and stands for nodes to come, so that jobs queue; its name has to resolve."
            ' "" is pbs_server\'s host',
        ),
    ] = ""
    placeholder_slots: Annotated[
        int, Field(ge=1, le=1_000_000, description="slots of that node: at least the most that one job may ask for")
    ] = 20_000
    most_nodes: Annotated[
        int, Field(ge=1, le=1_000_000, description="nodes that one job may ask for (the server's resources_available.nodect)")
    ] = 1_000
    probe: Annotated[
        bool,
        Field(
            description="submit and delete a held job each time headnode begins: pbs_server loads its limit of nodes at a"
            " submission only, and after its restart deletes waiting jobs that exceed what it has not loaded"
        ),
    ] = True
