"""The configuration of a private Grid Engine. Pure: values in, text out. Templates are the program's own words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.gridengine.host import BINARIES
from sandbox.network import Network

CELL = "headnode"
HEAD = "head"
NETWORK = Network(name="sge", head="10.80.0.1")
PORTS = (6444, 6445)  # qmaster and execution daemons; the network is private
MEMORY_DEFAULT = "100M"  # what a job is charged that asks for no memory
ENVIRONMENTS: Mapping[str, str] = {  # parallel environments and their allocation rules
    "smp": "$pe_slots",
    "mpi": "$fill_up",
    "rr": "$round_robin",
    "by1": "1",
    "by2": "2",
    "by4": "4",
    "by8": "8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything of one cluster is."""

    directory: Path

    @property
    def root(self) -> Path:
        return self.directory / "sge"

    @property
    def common(self) -> Path:
        return self.root / CELL / "common"

    @property
    def spool(self) -> Path:
        return self.directory / "spool"

    @property
    def etc(self) -> Path:
        return self.directory / "etc"

    @property
    def bin(self) -> Path:
        """Client commands that run on the head."""
        return self.directory / "bin"


def with_values(template: str, values: Mapping[str, str]) -> str:
    """`name value` lines with other values; a name that the template lacks is added."""
    left = dict(values)
    lines = []
    for line in template.splitlines():
        name = line.split(maxsplit=1)[0] if line.strip() else ""
        lines.append(f"{name} {left.pop(name)}" if name in left else line)
    return "\n".join([*lines, *(f"{name} {value}" for name, value in left.items()), ""])


def bootstrap_values(layout: Layout) -> dict[str, str]:
    return {
        "spooling_params": f"{layout.spool}/spooldb",
        "qmaster_spool_dir": f"{layout.spool}/qmaster",
        "binary_path": str(BINARIES),
        "ignore_fqdn": "true",
    }


def global_values(layout: Layout) -> dict[str, str]:
    """A Grid Engine in a hurry: hosts report every second and are lost after five; root may run jobs; nobody gets mail."""
    return {
        "execd_spool_dir": f"{layout.spool}/execd",
        "min_uid": "0",
        "min_gid": "0",
        "load_report_time": "00:00:01",
        "max_unheard": "00:00:05",
        "loglevel": "log_info",
        "mailer": "/bin/true",
        "administrator_mail": "none",
        "reporting_params": "accounting=false reporting=false flush_time=00:00:00 joblog=false sharelog=00:00:00",
    }


def scheduler_values() -> dict[str, str]:
    """It looks every second, and load does not keep jobs from hosts, which all share this machine's."""
    return {
        "schedule_interval": "0:0:1",
        "flush_submit_sec": "1",
        "flush_finish_sec": "1",
        "schedd_job_info": "true",
        "job_load_adjustments": "NONE",
        "weight_priority": "4.000000",  # more than jobs' slots, so that a user's word counts
    }


def queue_values(name: str) -> dict[str, str]:
    """A queue of no host yet: the plugin brings the groups."""
    return {
        "qname": name,
        "hostlist": "NONE",
        "slots": "0",
        "load_thresholds": "NONE",
        "pe_list": " ".join(ENVIRONMENTS),
        "rerun": "TRUE",
        "shell_start_mode": "unix_behavior",
    }


def render_environment(name: str) -> str:
    values = {
        "pe_name": name,
        "slots": "99999",
        "user_lists": "NONE",
        "xuser_lists": "NONE",
        "start_proc_args": "NONE",
        "stop_proc_args": "NONE",
        "allocation_rule": ENVIRONMENTS[name],
        "control_slaves": "TRUE",
        "job_is_first_task": "TRUE",
        "urgency_slots": "min",
        "accounting_summary": "TRUE",
        "qsort_args": "NONE",
    }
    return with_values("", values)


def with_consumables(table: str, licences: Iterable[str]) -> str:
    """`qconf -sc` as an administrator of a cluster that counts memory has it."""
    lines = [line for line in table.splitlines() if line and not line.startswith("#") and line.split()[0] != "h_vmem"]
    lines.append(f"h_vmem h_vmem MEMORY <= YES YES {MEMORY_DEFAULT} 0")
    return "\n".join([*lines, *(f"{name} {name} INT <= YES YES 0 0" for name in licences), ""])


def render_hosts(hosts: Mapping[str, str]) -> str:
    """/etc/hosts: the address of each name. The head's must not be a loopback address, and must lead back to its name alone."""
    return "".join(f"{address} {name}\n" for name, address in {"localhost": "127.0.0.1", **hosts}.items())


def render_nsswitch() -> str:
    databases = ("passwd", "group", "shadow", "hosts", "networks", "protocols", "services")
    return "".join(f"{database}: files\n" for database in databases)


def render_client(program: str, head_pid: int) -> str:
    """A command of that name which runs the real one on the head: with its names for hosts, and as one of them."""
    return f'#!/bin/sh\nexec nsenter --target={head_pid} --mount --uts -- {BINARIES}/{program} "$@"\n'
