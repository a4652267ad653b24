"""Records a real Grid Engine's words into `recordings/`: `python -m tests.schedulers.sge.record`, as root on Debian."""

import asyncio
import json
import secrets
import tempfile
from pathlib import Path

from sandbox.gridengine import GridEngineCluster
from sandbox.guard import start_guard
from sandbox.world import enter_private_world
from schedulers.sge import render
from schedulers.sge.demand import needed_details
from schedulers.sge.parse import parse_snapshot
from tests.schedulers.sge.bench import BARE_HOSTS, BATCH, BIG, GPU, Bench, until
from tests.schedulers.sge.submissions import SUBMISSIONS

RECORDINGS = Path(__file__).parent / "recordings"


def _save(bench: Bench, name: str, argv: render.Command) -> str:
    text = bench.cluster.run(*argv).stdout.replace(str(bench.cluster.directory), "/srv/sge")
    (RECORDINGS / name).write_text(text)
    return text


async def _limits(bench: Bench) -> None:
    """Two jobs that may not run: by a quota of their user, and of their queue."""
    await bench.join(bench.launch(1))
    bench.add_quota("of_user", "users {*} to matlab=0")
    bench.add_quota("of_queue", "queues {*} to h_vmem=1G")
    jobs = [bench.cluster.submit("-l", request) for request in ("matlab=1", "h_vmem=2G")]

    async def judged() -> bool:
        text = bench.cluster.run(*render.SHOW_VERDICTS).stdout
        return all(f">{job}<" in text for job in jobs)

    await until(judged, what="the scheduler has said why the jobs wait")
    _save(bench, "limited.xml", render.show_jobs([], waiting=True))
    _save(bench, "limited_verdicts.xml", render.SHOW_VERDICTS)
    _save(bench, "limited_details.xml", render.show_details(jobs))


async def _record(bench: Bench) -> None:
    await bench.sge.advertise(bench.fleets)
    await _submissions(bench)
    await bench.clear()
    await _limits(bench)


async def _submissions(bench: Bench) -> None:
    cell = await bench.sge.qmaster.cell()
    held, array = bench.cluster.submit("-h"), bench.cluster.submit("-h", "-t", "1-3")
    ids = {one.label: bench.cluster.submit(*one.options.format(held=held, array=array).split()) for one in SUBMISSIONS}
    (RECORDINGS / "ids.json").write_text(json.dumps(ids, indent=1))
    _save(bench, "submitted_cell.txt", render.show_cell([*cell.environments, *cell.groups]))
    text = _save(bench, "submitted.xml", render.show_jobs(sorted(cell.complexes), waiting=True))
    _save(bench, "submitted_later.xml", render.SHOW_LATER)
    _save(bench, "submitted_details.xml", render.show_details(needed_details(parse_snapshot(text)).details))


def main() -> None:
    world = enter_private_world()
    directory = Path(tempfile.mkdtemp(prefix="hn-"))
    guard = start_guard(directory, f"record-{secrets.token_hex(8)}")
    fleets = (BATCH, BIG, GPU)
    cluster = GridEngineCluster(
        directory=directory, fleets=fleets, world=world, env=guard.env, bare_hosts=BARE_HOSTS, licences={"matlab": 1}
    )
    try:
        cluster.start()
        asyncio.run(_record(Bench(cluster=cluster, fleets=fleets)))
        cluster.stop()
    finally:
        guard.close()


if __name__ == "__main__":
    main()
