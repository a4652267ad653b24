"""What nodewatcher writes down leads to the same verdicts again, and tells of each node in a line."""

from dataclasses import replace

from daemons.model import JobDemand, JobId, NodeState, Notice, Shape
from daemons.record import read_records
from nodewatcher.explain import explain_node, node_lines
from nodewatcher.record import Record
from nodewatcher.replay import replay
from tests.fakes import FakeGroups, hostname, instance_id
from tests.nodewatcher.cluster import OPTIONS, Cluster


async def an_eventful_hour() -> Cluster:
    """Nodes idle, work, fall, are held, are announced and go; time jumps, jobs wait."""
    six = Cluster(
        groups=FakeGroups.of(*range(1, 7), minimum=1), options=replace(OPTIONS, sessions_keep=True, metrics_stale_s=86_400.0)
    )
    for number in range(1, 7):
        six.tells(number)
    six.scheduler.work(hostname(1), "5")
    six.change_row(2, held_until=six.now + 300, held_by="ops", hold_reason="kernel test")
    await six.passes()
    six.scheduler.falls(hostname(3), NodeState.DOWN)
    six.checks.bad.add(instance_id(3))
    await six.passes(after_s=10)
    six.change_row(4, notice=Notice.REBALANCE)
    six.scheduler.waiting.append(JobDemand(jobs=(JobId("9"),), per_task=Shape(cpus=8)))
    await six.watches(60)
    six.now += 3600
    await six.watches(60)
    six.scheduler.waiting.clear()
    await six.watches(120)
    return six


async def test_recorded_verdicts_come_out_the_same() -> None:
    six = await an_eventful_hour()
    records = list(read_records(six.directory, Record))
    assert len(records) > 8
    assert len(six.groups.ended) >= 3
    assert [replay(record).differences for record in records] == [()] * len(records)
    drained = next(record for record in records if any(one.reason.startswith("idle for") for one in record.verdicts))
    patient = replace(drained, options=replace(drained.options, idle_for_s=86_400.0))
    assert any("'drain: idle for" in difference for difference in replay(patient).differences)


async def test_a_line_for_each_node_and_the_sentences_behind_it() -> None:
    two = Cluster(groups=FakeGroups.of(1, 2))
    two.scheduler.work(hostname(2), "5")
    two.tells(1, cpu_share=0.25, sessions=3)
    two.checks.bad.add(instance_id(2))
    await two.passes()
    await two.watches(30)
    first, second = node_lines(two.record())
    assert (first.node, first.scheduler, first.jobs, first.cpus) == (hostname(1), "idle", 0, "0/8")
    assert first.verdict.endswith("of 60 s")
    assert first.idle_s is not None
    assert (second.jobs, second.cpus, second.idle_s, second.metrics_age_s) == (1, "8/8", None, None)
    assert second.verdict == "busy: job 5"
    sentences = explain_node(two.record(), instance_id(1))
    assert sentences[0].startswith(f"{instance_id(1)} is to keep at 2027-01-15 08:00 UTC: idle ")
    assert sentences[1].endswith("CPU 25% busy, 3 logged in")
    assert explain_node(two.record(), "elsewhere") == ()


async def test_a_quiet_cycle_asks_a_constant_number_of_questions_and_writes_history_once() -> None:
    many = Cluster(groups=FakeGroups.of(*range(1, 60)), options=replace(OPTIONS, idle_for_s=1e6))
    await many.passes()
    many.groups.calls.clear()
    many.rows.calls.clear()
    many.scheduler.calls.clear()
    await many.passes(after_s=10)
    assert dict(many.groups.calls) == {"fleets": 1}
    assert dict(many.rows.calls) == {"live": 1}
    assert dict(many.scheduler.calls) == {"nodes": 1, "demand": 1}
    assert len(list(read_records(many.directory, Record))) == 1


async def test_a_dry_run_decides_and_changes_nothing() -> None:
    one = Cluster(groups=FakeGroups.of(1), options=replace(OPTIONS, dry_run=True))
    await one.passes()
    one.change_row(1, idle_since=one.now - 1000)
    await one.passes(after_s=10)
    assert (one.groups.ended, one.scheduler.calls["drain"], one.rows.calls["put"]) == ([], 0, 0)
    assert one.record().verdicts[0].action == "drain"
