"""Records a real Slurm's words into `recordings/`: `python -m tests.schedulers.slurm.record`, as root on Debian."""

import asyncio
import json
import secrets
import subprocess
import tempfile
import time
from pathlib import Path

from sandbox.guard import start_guard
from sandbox.slurm import SlurmCluster
from sandbox.world import enter_private_world
from schedulers.slurm import render
from tests.schedulers.slurm.bench import BATCH, GPU, Bench, until
from tests.schedulers.slurm.submissions import SUBMISSIONS

RECORDINGS = Path(__file__).parent / "recordings"


def _save(bench: Bench, name: str, argv: tuple[str, ...]) -> None:
    env = {**bench.cluster.environment(), "SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    (RECORDINGS / name).write_text(done.stdout or done.stderr)


async def _waiting(bench: Bench) -> None:
    ids = {one.label: bench.cluster.submit(*one.options.split()) for one in SUBMISSIONS}
    excluding = bench.cluster.submit("--exclude=bare-[0-1],other", "-N2")

    async def judged() -> bool:
        return all(job.reason != "None" for job in await bench.slurm.demand())

    await until(judged, what="slurmctld has looked at every job")
    ids["excluding"] = excluding
    (RECORDINGS / "ids.json").write_text(json.dumps(ids, indent=1))
    (RECORDINGS / "now.txt").write_text(f"{time.time():.0f}\n")
    _save(bench, "pending.txt", render.SHOW_PENDING)
    _save(bench, "excluded.txt", render.SHOW_EXCLUDED)
    _save(bench, "jobs.txt", render.SHOW_JOBS)


async def _nodes(bench: Bench) -> None:
    instances = [bench.launch(1), bench.launch(2), bench.launch(3, GPU), bench.launch(4)]
    await bench.join(*instances)
    jobs = [
        bench.cluster.submit("-N2", "-c4", "-C", "c5"),
        bench.cluster.submit("--gpus=a100:1", "-c2"),
        bench.cluster.submit("--array=1-3"),
    ]
    await bench.state_becomes(jobs[0], "RUNNING")
    await bench.state_becomes(jobs[1], "RUNNING")
    hosts = [instance.hostname.partition(".")[0] for instance in instances]
    run = bench.cluster.run
    run("scontrol", "update", f"NodeName={hosts[0]}", "State=DRAIN", "Reason=headnode: idle for 300 s")
    run("scontrol", "update", f"NodeName={hosts[1]}", "State=DRAIN", "Reason=disk [sda] State=IDLE Comment=headnode: no")
    run("scontrol", "update", f"NodeName={hosts[2]}", "Comment=of mine")
    await bench.slurm.register([bench.spec(bench.launch(5))])
    bench.cluster.kill(instances[3].instance_id)
    run("scontrol", "update", f"NodeName={hosts[3]}", "State=DOWN", "Reason=not responding\nat all")
    _save(bench, "nodes.txt", render.SHOW_NODES)
    _save(bench, "running.txt", render.SHOW_RUNNING)
    _save(bench, "config.txt", render.SHOW_CONFIG)
    _save(bench, "ping-up.txt", render.PING)
    bench.cluster.stop_controller()
    _save(bench, "ping-down.txt", render.PING)


async def _record(bench: Bench) -> None:
    RECORDINGS.mkdir(exist_ok=True)
    await bench.slurm.advertise(bench.fleets)
    for name in ("bare-[0-1]", "other"):
        bench.cluster.run(
            "scontrol", "create", f"NodeName={name}", "State=FUTURE", "NodeAddr=192.0.2.9", "CPUs=1", "RealMemory=100"
        )
    await _waiting(bench)
    bench.clear()
    await _nodes(bench)


def main() -> None:
    world = enter_private_world()
    directory = Path(tempfile.mkdtemp(prefix="hn-"))
    guard = start_guard(directory, f"record-{secrets.token_hex(8)}")
    cluster = SlurmCluster(
        directory=directory, fleets=(BATCH, GPU), world=world, env=guard.env, placeholders=6, options=("Licenses=matlab:1",)
    )
    try:
        cluster.start()
        asyncio.run(_record(Bench(cluster=cluster, fleets=(BATCH, GPU))))
        cluster.stop()
    finally:
        guard.close()


if __name__ == "__main__":
    main()
