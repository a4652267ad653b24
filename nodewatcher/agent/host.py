"""What this machine is doing, by psutil and, where there is one, nvidia-smi."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath

import psutil

from daemons.metrics import HostReading

_SMI = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")
_SMI_TIMEOUT_S = 5.0
_STEPS = ("slurmstepd", "sge_shepherd")  # one for each step or job that runs here
_KEEPER = ("slurmstepd", "infinity")
_MOM = "pbs_mom"  # whose children are jobs


class Host:
    """Looks at the machine; rates and shares are since the last look. `awake` counts seconds that nobody can set."""

    def __init__(self, awake: Callable[[], float] = time.monotonic) -> None:
        self._awake = awake
        self._at = awake()
        self._bytes = _bytes_moved()
        self._has_gpus = shutil.which(_SMI[0]) is not None
        psutil.cpu_percent(interval=None)  # the first answer is since nothing

    async def look(self, *, spot_action: str = "", rebalance: bool = False) -> HostReading:
        """One reading. Raises psutil.Error or OSError where the machine does not let us look."""
        busy_percent, (now, before) = psutil.cpu_percent(interval=None), (self._awake(), self._at)
        moved, earlier = _bytes_moved(), self._bytes
        self._at, self._bytes = now, moved
        elapsed_s = max(now - before, 1e-3)
        memory = psutil.virtual_memory()
        return HostReading(
            load_1min=psutil.getloadavg()[0],
            cpu_share=_share(busy_percent / 100),
            memory_share=_share(1 - memory.available / memory.total),
            sessions=len(psutil.users()),
            disk_bytes_per_s=max(0.0, moved[0] - earlier[0]) / elapsed_s,
            network_bytes_per_s=max(0.0, moved[1] - earlier[1]) / elapsed_s,
            gpu_share=await _gpu_share() if self._has_gpus else None,
            steps=count_steps(),
            spot_action=spot_action,
            rebalance=rebalance,
        )


def count_steps() -> int:
    """The job steps that run here, by their supervisors' names."""
    return steps_among(_described())


def _described() -> Iterable[Mapping[str, object]]:
    """The command line of supervisors only: reading everyone's takes longer than all the rest."""
    for process in psutil.process_iter(["pid", "ppid", "name"]):
        words: tuple[str, ...] = ()
        if str(process.info["name"] or "").startswith(_STEPS):
            with contextlib.suppress(psutil.Error):
                words = tuple(PurePath(word).name for word in process.cmdline())
        yield {**process.info, "cmdline": words}


def steps_among(processes: Iterable[Mapping[str, object]]) -> int:
    """Of processes as psutil describes them. What ended meanwhile has no name.

    `slurmstepd infinity` is no step: slurmd keeps one for as long as it runs, to hold its control group (cgroup v2).
    """
    known = [process for process in processes if process.get("cmdline") != _KEEPER]
    moms = {process["pid"] for process in known if process["name"] == _MOM}
    shepherds = sum(1 for process in known if str(process["name"] or "").startswith(_STEPS))
    return shepherds + sum(1 for process in known if process["ppid"] in moms)


def parse_gpu_share(text: str) -> float | None:
    """The busiest GPU's share of what nvidia-smi printed; None where it names none that can tell."""
    percents = [float(line) for line in text.split() if line.replace(".", "", 1).isdecimal()]
    return _share(max(percents) / 100) if percents else None


async def _gpu_share() -> float | None:
    """None where nvidia-smi does not answer: nobody knows then."""
    process = await asyncio.create_subprocess_exec(
        *_SMI, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), _SMI_TIMEOUT_S)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return parse_gpu_share(out.decode(errors="replace")) if process.returncode == 0 else None


def _bytes_moved() -> tuple[float, float]:
    """So far: by the disks, and by the networks but the loopback."""
    disk = psutil.disk_io_counters()
    networks = [counters for name, counters in psutil.net_io_counters(pernic=True).items() if name != "lo"]
    return (
        float(disk.read_bytes + disk.write_bytes) if disk is not None else 0.0,
        float(sum(counters.bytes_sent + counters.bytes_recv for counters in networks)),
    )


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))
