"""Every call of the plugin dies at each of its commands and is made again, on a real Grid Engine."""

from collections.abc import Awaitable, Callable

import pytest

from daemons.errors import SchedulerRefused, SchedulerUnavailable
from daemons.model import Hostname
from sandbox.gridengine.host import BINARIES
from schedulers.base import NodeResult, Outcome, Results
from schedulers.sge import Sge, SgeSettings
from tests.schedulers.sge.bench import BATCH, GPU, Bench, bare_specs

pytestmark = pytest.mark.sge
DONE = NodeResult(outcome=Outcome.DONE)
MOST_COMMANDS = 40


class Death(Exception):
    """The plugin's process ends here."""


def dying_at(bench: Bench, last: int) -> Sge:
    """A plugin that runs so many commands and dies at the next."""
    left = iter(range(last))

    def before(argv: tuple[str, ...]) -> None:
        if next(left, None) is None:
            raise Death(argv)

    return bench.plugin_over(before)


async def until_it_lives(
    bench: Bench,
    call: Callable[[Sge], Awaitable[object]],
    check: Callable[[], Awaitable[None]],
    reset: Callable[[], Awaitable[None]],
) -> None:
    """Die one command later each time, and make the call again: its effect is that of one call. Ends when it lives to the end."""
    for last in range(MOST_COMMANDS):
        await reset()
        try:
            await call(dying_at(bench, last))
        except Death:
            await call(bench.sge)
            await check()
        else:
            assert last > 1
            return
    pytest.fail(f"the call runs more than {MOST_COMMANDS} commands")


def all_done(results: Results) -> bool:
    return set(results.values()) == {DONE}


async def test_registering_survives_death(sge_bench: Bench) -> None:
    specs = [*bare_specs(2), *bare_specs(3, GPU)[2:]]

    async def reset() -> None:
        await sge_bench.sge.deregister([spec.hostname for spec in specs])

    async def call(sge: Sge) -> None:
        assert all_done(await sge.register(specs))

    async def check() -> None:
        nodes = {node.hostname: node for node in await sge_bench.sge.nodes()}
        assert {name: (node.partitions, node.is_awaited) for name, node in nodes.items()} == {
            spec.hostname: (frozenset({spec.partition}), True) for spec in specs
        }

    await until_it_lives(sge_bench, call, check, reset)


async def test_deregistering_survives_death(sge_bench: Bench) -> None:
    specs = bare_specs(2)

    async def reset() -> None:
        await sge_bench.sge.register(specs)
        sge_bench.cluster.run("qconf", "-aattr", "queue", "slots", f"[{specs[0].hostname}=9]", "compute")

    async def call(sge: Sge) -> None:
        results = await sge.deregister([spec.hostname for spec in specs])
        assert {result.outcome for result in results.values()} <= {Outcome.DONE, Outcome.ABSENT}

    async def check() -> None:
        assert await sge_bench.sge.nodes() == ()
        known = await sge_bench.sge.qmaster.hosts()
        assert not {spec.hostname for spec in specs} & (known.execution | known.administrative)

    await until_it_lives(sge_bench, call, check, reset)


async def test_draining_survives_death(sge_bench: Bench) -> None:
    specs = bare_specs(2)
    hostnames = [spec.hostname for spec in specs]
    await sge_bench.sge.register(specs)

    async def reset() -> None:
        await sge_bench.sge.resume(hostnames)

    async def call(sge: Sge) -> None:
        assert all_done(await sge.drain(hostnames, reason="idle"))

    async def check() -> None:
        assert [node.drained_by_us for node in await sge_bench.sge.nodes()] == [True, True]

    await until_it_lives(sge_bench, call, check, reset)


async def test_resuming_survives_death(sge_bench: Bench) -> None:
    specs = bare_specs(2)
    hostnames = [spec.hostname for spec in specs]
    await sge_bench.sge.register(specs)

    async def reset() -> None:
        await sge_bench.sge.drain(hostnames, reason="idle")

    async def call(sge: Sge) -> None:
        assert all_done(await sge.resume(hostnames))

    async def check() -> None:
        hosts = (await sge_bench.sge.membership.look()).hosts
        assert [(hosts[name].is_disabled, hosts[name].note) for name in hostnames] == [(False, ""), (False, "")]

    await until_it_lives(sge_bench, call, check, reset)


async def test_advertising_survives_death(sge_bench: Bench) -> None:
    fleets = [BATCH, GPU]

    async def reset() -> None:
        await sge_bench.sge.advertise([])

    async def call(sge: Sge) -> None:
        await sge.advertise(fleets)

    async def check() -> None:
        for queue in ("compute", "gpu"):
            sge_bench.cluster.submit("-h", "-q", f"{queue}@@headnode-*")

    await until_it_lives(sge_bench, call, check, reset)


async def test_whoever_is_no_manager_is_refused_with_what_to_do(sge_bench: Bench) -> None:
    """The same commands, run as nobody."""
    cluster = sge_bench.cluster
    directory = cluster.directory / "as-nobody"
    directory.mkdir()
    for name in ("qconf", "qstat", "qmod", "qdel"):
        become = " ".join(
            cluster.head.inside("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", str(BINARIES / name))
        )
        (directory / name).write_text(f'#!/bin/sh\nexec {become} "$@"\n')
        (directory / name).chmod(0o755)
    settings = SgeSettings.model_validate({**cluster.settings, "bin": str(directory)})
    nobody = Sge.open(settings, cluster="test", fleets=sge_bench.fleets)
    assert await nobody.nodes() == ()
    with pytest.raises(SchedulerRefused, match="must be manager") as refused:
        await nobody.register(bare_specs(1))
    assert "qconf -am USER" in refused.value.hint


async def test_no_client_commands_are_no_empty_cluster(sge_bench: Bench) -> None:
    settings = SgeSettings.model_validate({**sge_bench.cluster.settings, "bin": "/nonexistent"})
    with pytest.raises(SchedulerUnavailable, match="could not be started"):
        await Sge.open(settings, cluster="test", fleets=()).nodes()


async def test_another_cell_is_no_empty_cluster(sge_bench: Bench) -> None:
    settings = SgeSettings.model_validate({**sge_bench.cluster.settings, "cell": "elsewhere"})
    with pytest.raises(SchedulerUnavailable, match="cell directory"):
        await Sge.open(settings, cluster="test", fleets=()).jobs_on([Hostname("bare-0")])
