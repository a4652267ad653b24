"""Recorded and made-up words of Grid Engine for the tests of what reads them."""

from pathlib import Path

from daemons.model import FleetName, FleetSpec, Shape
from schedulers.sge.asks import Site
from schedulers.sge.cell import Cell, parse_cell

RECORDINGS = Path(__file__).parent / "recordings"

BATCH = FleetSpec(
    name=FleetName("batch_1"),
    group="hpc-batch",
    shape=Shape(cpus=4, memory_mib=7_000, gpus=2, consumables=(("perjob", 3),)),
    instance_type="g5.xlarge",
    partition="all.q",
    features=frozenset({"c5.big-x_1"}),
)


def recording(name: str) -> str:
    return (RECORDINGS / name).read_text()


def recorded_cell() -> Cell:
    """Queue all.q with the group of fleet batch_1, which has h_vmem, gpu, perjob and a feature; environments of every rule."""
    return parse_cell(recording("cell.txt"))


def recorded_site(*fleets: FleetSpec) -> Site:
    return Site(cell=recorded_cell(), fleets=fleets or (BATCH,), memory="h_vmem", gpu="gpu", licences={"lic": 1.0})


def waiting_job(*, number: int = 7, state: str = "qw", priority: float = 0.5, slots: int = 1, inside: str = "") -> str:
    """One waiting job as qstat writes it; `inside` are further elements."""
    return f"""<job_list state="pending">
      <JB_job_number>{number}</JB_job_number><JAT_prio>{priority:.5f}</JAT_prio><JB_name>a</JB_name><JB_owner>alice</JB_owner>
      <state>{state}</state><JB_submission_time>2026-11-23T13:15:{number % 60:02d}</JB_submission_time><slots>{slots}</slots>
      {inside}<binding>NONE</binding></job_list>"""


def request(name: str, value: str) -> str:
    return f'<hard_request name="{name}" resource_contribution="0.000000">{value}</hard_request>'


def environment(name: str, slots: str) -> str:
    return f'<requested_pe name="{name}">{slots}</requested_pe>'


def instance(name: str, *, state: str = "", total: int = 4, used: int = 0, reserved: int = 0, inside: str = "") -> str:
    """One queue instance as qstat writes it."""
    return f"""<Queue-List><name>{name}</name><qtype>BIP</qtype><slots_used>{used}</slots_used><slots_resv>{reserved}</slots_resv>
      <slots_total>{total}</slots_total><state>{state}</state>{inside}</Queue-List>"""


def qstat(*jobs: str, instances: str = "") -> str:
    return f"<?xml version='1.0'?><job_info><queue_info>{instances}</queue_info><job_info>{''.join(jobs)}</job_info></job_info>"
