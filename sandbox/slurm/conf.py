"""The configuration files of a private Slurm. Pure: values in, text out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daemons.model import FleetSpec
from daemons.names import parse_word
from sandbox.network import Network
from schedulers.slurm import render

NETWORK = Network(name="slurm", head="10.77.0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredNode:
    """A node that slurm.conf names, for where nodes cannot have addresses of their own."""

    hostname: str
    address: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything of one cluster is. `controller` is slurmctld's address."""

    directory: Path
    host: str
    user: str
    controller: str
    controller_port: int
    node_port: int
    fleets: tuple[FleetSpec, ...]
    max_nodes: int
    declared: tuple[DeclaredNode, ...] = ()
    options: tuple[str, ...] = field(default=())  # further lines of slurm.conf

    @property
    def conf(self) -> Path:
        return self.directory / "etc" / "slurm.conf"

    @property
    def munge_socket(self) -> Path:
        return self.directory / "run" / "munge.sock"


def render_slurm_conf(layout: Layout) -> str:
    """A Slurm in a hurry: it looks every second, keeps ended jobs for an hour, and gives a requeued one its second chance after
    `cred_expire` seconds (120 by default).
    """
    at = layout.directory
    gres = sorted({"gpu"} | {name for fleet in layout.fleets for name, _ in fleet.shape.consumables})
    return "\n".join(
        [
            "ClusterName=headnode",
            f"SlurmctldHost={layout.host}({layout.controller})",
            f"SlurmctldPort={layout.controller_port}",
            f"SlurmdPort={layout.node_port}",
            "AuthType=auth/munge",
            "CredType=cred/munge",
            f"AuthInfo=socket={layout.munge_socket},cred_expire=5",
            f"SlurmUser={layout.user}",
            f"SlurmdUser={layout.user}",
            f"StateSaveLocation={at}/state",
            f"SlurmdSpoolDir={at}/spool/%n",
            f"SlurmctldPidFile={at}/run/slurmctld.pid",
            f"SlurmdPidFile={at}/run/%n.pid",
            f"SlurmctldLogFile={at}/log/slurmctld.log",
            f"SlurmdLogFile={at}/log/%n.log",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "SwitchType=switch/none",
            "MpiDefault=none",
            "MailProg=/bin/true",
            "JobAcctGatherType=jobacct_gather/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_CPU_Memory",
            "SlurmdParameters=config_overrides",  # nodes are as large as they say, not as this machine is
            "SchedulerType=sched/backfill",
            "SchedulerParameters=bf_interval=1,sched_interval=2,default_queue_depth=1000",
            "PriorityType=priority/basic",
            "EnforcePartLimits=NO",
            "ReturnToService=2",
            "JobRequeue=1",
            "SlurmdTimeout=30",
            "InactiveLimit=0",
            "KillWait=2",
            "MinJobAge=3600",
            "MaxJobCount=200000",
            "MaxArraySize=100001",
            "DefMemPerCPU=100",
            "TreeWidth=65533",
            f"MaxNodeCount={layout.max_nodes}",
            f"GresTypes={','.join(gres)}",
            *layout.options,
            *_partitions(layout.fleets),
            *_declared(layout),
            "",
        ]
    )


def _partitions(fleets: Sequence[FleetSpec]) -> list[str]:
    lines: list[str] = []
    for number, name in enumerate(dict.fromkeys(parse_word(fleet.partition) for fleet in fleets)):
        lines.append(f"NodeSet={name}_nodes Feature={name}")
        lines.append(
            f"PartitionName={name} Nodes={name}_nodes MaxTime=INFINITE State=UP" + (" Default=YES" if not number else "")
        )
    return lines


def _declared(layout: Layout) -> list[str]:
    if not layout.declared:
        return []
    kind = render.Kind(
        shape=layout.fleets[0].shape,
        features=frozenset[str]().union(*(render.kind_of(fleet).features for fleet in layout.fleets)),
    )
    return [
        render.render_conf(kind, node.hostname, address=node.address, port=str(node.port)) + f" NodeHostName={layout.host}"
        for node in layout.declared
    ]


def render_gres_conf(fleet: FleetSpec, devices: Path) -> str:
    """GPUs are plain files; other generic resources are mere counts."""
    shape = fleet.shape
    kind = f" Type={parse_word(shape.gpu_type)}" if shape.gpu_type else ""
    lines = [f"Name=gpu{kind} File={devices}/gpu{number}" for number in range(shape.gpus)]
    return "\n".join([*lines, *(f"Name={parse_word(name)} Count={amount}" for name, amount in shape.consumables), ""])
