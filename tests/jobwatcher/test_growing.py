from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemons.errors import AwsUnavailable, SchedulerUnavailable
from daemons.model import JobId, State
from tests.fakes import BATCH, FakeGroups, hostname
from tests.jobwatcher.cluster import Cluster

MakeCluster = Callable[[FakeGroups], Cluster]


@pytest.fixture
def cluster(tmp_path: Path) -> Callable[[FakeGroups], Cluster]:
    return lambda groups: Cluster(tmp_path, groups)


async def test_waiting_jobs_raise_the_fleet_up_to_its_maximum_and_say_why(cluster: MakeCluster) -> None:
    none = cluster(FakeGroups.of(maximum=4))
    none.waits(9)
    with capture_logs() as events:
        await none.service.cycle()
    assert none.desired == 4
    assert ("capacity.raised", 0, 4) in [(each["event"], each.get("previous"), each.get("target")) for each in events]
    answers = [each["because"] for each in events if each["event"] == "demand.answered"]
    assert answers == ["4 on new nodes of batch; 5 wait: fleet batch may hold no more than 4 nodes"]


async def test_capacity_on_its_way_is_not_asked_for_again(cluster: MakeCluster) -> None:
    none = cluster(FakeGroups.of())
    none.waits(2)
    for _ in range(3):
        await none.service.cycle()
    assert none.desired == 2
    assert none.groups.calls["raise_desired"] == 1


async def test_a_booting_node_is_coming_until_it_is_up_and_then_its_room_is_live(cluster: MakeCluster) -> None:
    one = cluster(FakeGroups.of(1))
    one.waits(1)
    one.registered(1, up=False)
    await one.service.cycle()
    assert one.desired == 1
    one.registered(1)
    await one.service.cycle()
    assert one.desired == 1
    one.scheduler.work(hostname(1), "6")
    await one.service.cycle()
    assert one.desired == 2


async def test_a_node_that_is_on_its_way_out_is_not_waited_for(cluster: MakeCluster) -> None:
    one = cluster(FakeGroups.of(1))
    one.registered(1, state=State.DRAINING)
    one.scheduler.administrator_drains(hostname(1), "on its way out")
    one.waits(1)
    await one.service.cycle()
    assert one.desired == 2


async def test_a_silent_scheduler_is_not_an_empty_queue_and_auto_scalings_silence_not_an_empty_group(
    cluster: MakeCluster,
) -> None:
    one = cluster(FakeGroups.of(1))
    one.waits(5)
    one.scheduler.unplugged = True
    with pytest.raises(SchedulerUnavailable):
        await one.service.cycle()
    one.scheduler.unplugged = False
    one.groups.unplugged = True
    with pytest.raises(AwsUnavailable):
        await one.service.cycle()
    assert one.desired == 1


async def test_it_never_lowers(cluster: MakeCluster) -> None:
    many = cluster(FakeGroups.of(1, 2, 3))
    for number in (1, 2, 3):
        many.registered(number)
    await many.service.cycle()
    assert many.desired == 3
    assert many.groups.calls["raise_desired"] == 0


async def test_a_static_fleet_is_never_touched(cluster: MakeCluster) -> None:
    static = cluster(FakeGroups.of(1, minimum=1, maximum=1))
    static.waits(5)
    await static.service.cycle()
    assert static.desired == 1


async def test_one_fleet_that_cannot_be_raised_does_not_keep_another_from_growing(cluster: MakeCluster) -> None:
    other = replace(BATCH, name=type(BATCH.name)("night"), group="hpc-night", partition="night")
    groups = FakeGroups.of()
    groups.groups |= FakeGroups.of(spec=other).groups

    class OneRefuses(FakeGroups):
        async def raise_desired(self, fleet: object, target: int) -> None:
            if getattr(fleet, "name", "") == BATCH.name:
                raise AwsUnavailable("no answer")
            await super().raise_desired(fleet, target)  # type: ignore[arg-type]

    two = cluster(OneRefuses(groups=groups.groups))
    two.waits(1)
    two.scheduler.waiting.append(replace(two.scheduler.waiting[0], jobs=(JobId("8"),), partitions=frozenset({"night"})))
    two.scheduler.waiting[0] = replace(two.scheduler.waiting[0], partitions=frozenset({"compute"}))
    with pytest.raises(AwsUnavailable):
        await two.service.cycle()
    assert {name: fleet.desired for name, fleet in two.groups.groups.items()} == {"batch": 0, "night": 1}


async def test_a_quiet_cycle_asks_a_constant_number_of_questions(cluster: MakeCluster) -> None:
    many = cluster(FakeGroups.of(*range(1, 9)))
    for number in range(1, 9):
        many.registered(number)
    await many.service.cycle()
    assert (dict(many.groups.calls), dict(many.rows.calls)) == ({"fleets": 1}, {"live": 1})
    assert dict(many.scheduler.calls) == {"nodes": 1, "demand": 1}
