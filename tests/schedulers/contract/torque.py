"""The emulated Torque as the kit drives it, with its own commands."""

import asyncio
import contextlib
import re
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from daemons.model import Hostname, NodeSpec
from sandbox.torque.cluster import FakeTorque
from schedulers.contract import JobAsk, JobState
from schedulers.torque import Torque, TorqueSettings
from tests.schedulers.contract.named import FLEET, NamedBench


class TorqueBench(NamedBench):
    """It keeps no addresses; the rest it has."""

    def __init__(self, directory: Path, plugin: type[Torque] = Torque) -> None:
        self.fake = FakeTorque(directory=directory / "torque")
        self.fake.start()
        settings = TorqueSettings(bin=self.fake.bin, api_timeout_s=1, most_nodes=10)
        super().__init__(plugin.open(settings, cluster="kit", fleets=[FLEET]))

    async def boot(self, *nodes: NodeSpec) -> None:
        self.fake.boot(*(node.hostname for node in nodes))

    async def submit(self, ask: JobAsk) -> str:
        place = f"{ask.node or ask.nodes}:ppn={ask.cpus}" + (f":gpus={ask.gpus}" if ask.gpus else "")
        asked = f"nodes={place}" + (f":{ask.feature}" if ask.feature else "")
        if ask.memory_mib:
            asked += f",mem={ask.memory_mib * ask.nodes}mb"
        argv = ["-l", asked, "-p", str(ask.priority)]
        if ask.array:
            argv += ["-t", f"1-{ask.array}" + (f"%{ask.throttle}" if ask.throttle else "")]
        argv += ["-h"] if ask.held else ["-a", "203001010000"] if ask.later else []
        argv += ["-W", f"depend=afterok:{ask.after}"] if ask.after else []
        return await asyncio.to_thread(self.fake.submit, *argv, *(["-n"] if ask.exclusive else []))

    async def state(self, job: str) -> JobState:
        text = (await asyncio.to_thread(self.fake.run, "qstat", "-x")).stdout
        found = re.search(rf"<Job_Id>{re.escape(job)}</Job_Id>.*?<job_state>(.)</job_state>", text, re.DOTALL)
        if found is None or found[1] == "C":
            return JobState.ENDED
        return JobState.RUNNING if found[1] == "R" else JobState.WAITING

    async def cancel(self, job: str) -> None:
        await asyncio.to_thread(self.fake.run, "qdel", job)

    async def known(self) -> Collection[str]:
        text = (await asyncio.to_thread(self.fake.run, "pbsnodes", "-x")).stdout
        return set(re.findall(r"<name>(kit-[^<]*)</name>", text))

    async def administrator_drains(self, node: Hostname, reason: str) -> None:
        """As many do, without a note."""
        del reason
        await asyncio.to_thread(self.fake.run, "pbsnodes", "-o", node)

    async def is_drained(self, node: Hostname) -> bool:
        answer = await asyncio.to_thread(self.fake.run, "pbsnodes", "-x", node)
        return "offline" in answer.stdout.partition("<state>")[2].partition("</state>")[0]

    def silence(self) -> AbstractContextManager[None]:
        return self.fake.down()

    @contextlib.contextmanager
    def hang(self) -> Iterator[None]:
        with self.fake.frozen():
            yield
