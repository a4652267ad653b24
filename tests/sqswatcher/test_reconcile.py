from dataclasses import replace

import pytest

from daemons.model import Fleet, Hostname, Instance, InstanceId, Member, Node, NodeState, State
from sqswatcher.plan import Effect
from sqswatcher.reconcile import Options, Reconciliation, Survey, plan_reconcile
from tests.fakes import BATCH, hostname, instance_id

NOW = 10_000.0
OPTIONS = Options(age_grace_s=300, max_removal_share=0.5)


def row(number: int, state: State = State.REGISTERED, *, age_s: float = 1000) -> Instance:
    entered = {"registered_at": NOW - age_s} if state is not State.GONE else {"gone_at": NOW - age_s}
    whole = Instance(
        instance_id=instance_id(number),
        fleet=BATCH.name,
        state=state,
        version=1,
        hostname=hostname(number),
        address=f"10.0.0.{number}",
    )
    return replace(whole, **entered)  # type: ignore[arg-type]  # one of the row's times


def survey(*rows: Instance, members: tuple[int, ...], nodes: tuple[int, ...], records: tuple[int, ...] | None = None) -> Survey:
    named = nodes if records is None else records
    fleet = Fleet(
        spec=BATCH,
        minimum=0,
        desired=len(members),
        maximum=10,
        members=tuple(Member(instance_id=instance_id(number), lifecycle="InService") for number in members),
    )
    return Survey(
        now=NOW,
        fleets=(fleet,),
        rows=rows,
        nodes=tuple(Node(hostname=hostname(number), total=BATCH.shape) for number in nodes),
        records={hostname(number): f"10.0.0.{number}" for number in named},
        hostnames={instance_id(number): hostname(number) for number in members},
        addresses={instance_id(number): f"10.0.0.{number}" for number in members},
    )


def twice(seen: Survey) -> Reconciliation:
    first = plan_reconcile(seen, frozenset(), OPTIONS)
    return plan_reconcile(seen, first.suspects, OPTIONS)


def effects(result: Reconciliation) -> dict[InstanceId, tuple[Effect, State | None]]:
    return {step.instance_id: (step.effect, step.after.state if step.after else None) for step in result.plan.steps}


def test_a_cluster_in_order_needs_nothing() -> None:
    result = twice(survey(row(1), row(2), members=(1, 2), nodes=(1, 2)))
    assert (result.findings, result.plan.steps, result.suspects) == ((), (), frozenset())


def test_a_member_that_no_row_knows_gets_one_at_the_second_sighting() -> None:
    seen = survey(members=(1,), nodes=())
    assert plan_reconcile(seen, frozenset(), OPTIONS).plan.steps == ()
    [step] = twice(seen).plan.steps
    assert step.before is not None
    assert (step.effect, step.before.state) == (Effect.NONE, State.PENDING)


def test_a_pending_row_whose_ready_message_was_lost_is_registered_with_ec2s_word_once_it_is_old() -> None:
    pending = replace(row(1, State.PENDING), hostname=None, address="", pending_at=NOW - 1000, registered_at=None)
    assert effects(twice(survey(pending, members=(1,), nodes=()))) == {instance_id(1): (Effect.REGISTER, State.REGISTERED)}
    young = replace(pending, pending_at=NOW - 10)
    assert effects(twice(survey(young, members=(1,), nodes=()))) == {}


def test_a_registered_node_that_the_scheduler_lost_is_registered_again() -> None:
    assert effects(twice(survey(row(1), members=(1,), nodes=(), records=(1,)))) == {
        instance_id(1): (Effect.REGISTER, State.REGISTERED)
    }


def test_a_registered_node_whose_daemon_has_long_been_awaited_is_registered_again() -> None:
    seen = survey(row(1), row(2, age_s=10), members=(1, 2), nodes=(1, 2))
    awaited = tuple(replace(node, states=frozenset({NodeState.AWAITED})) for node in seen.nodes)
    result = twice(replace(seen, nodes=awaited))
    assert [finding.kind for finding in result.findings] == ["awaited-node"]
    assert effects(result) == {instance_id(1): (Effect.REGISTER, State.REGISTERED)}


def test_a_lost_record_is_written_again() -> None:
    result = twice(survey(row(1), members=(1,), nodes=(1,), records=()))
    assert [finding.kind for finding in result.findings] == ["wrong-record"]
    assert effects(result) == {instance_id(1): (Effect.REGISTER, State.REGISTERED)}


def test_a_row_whose_instance_is_in_no_group_is_removed_at_the_second_sighting_only() -> None:
    seen = survey(row(1), row(2), members=(2,), nodes=(1, 2))
    first = plan_reconcile(seen, frozenset(), OPTIONS)
    assert effects(first) == {}
    assert [finding.kind for finding in first.findings] == ["ended-instance"]
    assert effects(plan_reconcile(seen, first.suspects, OPTIONS)) == {instance_id(1): (Effect.DEREGISTER, State.GONE)}


def test_a_young_row_is_not_judged() -> None:
    assert effects(twice(survey(row(1, age_s=10), row(2), members=(2,), nodes=(1, 2)))) == {}


@pytest.mark.parametrize(("nodes", "records"), [((1, 2), (2,)), ((2,), (1, 2)), ((1, 2), (1, 2))])
def test_what_a_tombstone_proves_to_have_been_ours_is_removed(nodes: tuple[int, ...], records: tuple[int, ...]) -> None:
    result = twice(survey(row(1, State.GONE), row(2), members=(2,), nodes=nodes, records=records))
    assert effects(result) == {instance_id(1): (Effect.DEREGISTER, State.GONE)}


def test_nodes_and_records_that_were_never_ours_are_left_alone() -> None:
    seen = survey(row(2), members=(2,), nodes=(2, 7), records=(2, 8))
    assert twice(seen).findings == ()


def test_a_reused_host_name_protects_the_new_node_from_the_old_tombstone() -> None:
    tombstone = replace(row(1, State.GONE), hostname=Hostname(hostname(2)), address="10.0.0.2")
    assert twice(survey(tombstone, row(2), members=(2,), nodes=(2,))).findings == ()


def test_a_pass_that_would_remove_more_than_its_share_removes_nobody_and_says_so_but_still_mends() -> None:
    rows = tuple(row(number) for number in range(1, 5))
    result = twice(survey(*rows, members=(4, 5), nodes=(1, 2, 3, 4)))
    assert effects(result) == {instance_id(5): (Effect.NONE, None)}
    assert result.refused.startswith("3 removals asked for, and one pass removes at most 2 of 4")


def test_a_time_that_is_still_to_come_since_the_clock_was_set_back_holds_nothing_up() -> None:
    seen = survey(row(1, age_s=-7200), row(2), members=(2,), nodes=(1, 2))
    assert effects(twice(seen)) == {instance_id(1): (Effect.DEREGISTER, State.GONE)}
