"""Whether what was decided still stands, and how decisions are numbered and named."""

import pytest

from adapter_operator.api.v1alpha1 import Status
from adapter_operator.api.v1alpha1.status import VerdictStatus
from adapter_operator.reconcile.desired import desired_state, number_plan, rollout_step
from adapter_operator.reconcile.judgement import Judged, stands, still_holds


@pytest.fixture
def settled(make_observed, make_intent, make_record):
    """An object whose plan in force was decided from its present inputs, and its status says so."""
    intent = make_intent()
    record = make_record(inputs=intent.inputs)
    status = Status(planHash=record.plan.hash, verdict=_verdict(record.plan.hash))
    return make_observed(plans=[record]), status, intent, record


def _verdict(plan_hash, status="Verified"):
    return VerdictStatus(status=status, planHash=plan_hash)


def test_a_plan_stands_while_its_inputs_do(settled, make_intent):
    observed, status, intent, record = settled
    assert stands(observed, status, intent) is record
    assert stands(observed, status, make_intent(adapters=2)) is None


def test_a_plan_that_the_status_does_not_tell_of_is_decided_again(settled):
    observed, status, intent, _ = settled
    assert stands(observed, Status(), intent) is None
    rejected_edit = status.model_copy(update={"verdict": _verdict("another", "Rejected")})
    assert stands(observed, rejected_edit, intent) is None


def test_a_decision_answers_the_same_question_only(make_observed, make_intent, make_record, rejected):
    intent, record = make_intent(), make_record()
    judged = Judged(rejected(), intent.inputs, present="")
    assert still_holds(judged, make_observed(), intent)
    assert not still_holds(judged, make_observed(plans=[record]), intent), "another plan is in force"
    assert not still_holds(judged, make_observed(), make_intent(adapters=2))
    assert not still_holds(None, make_observed(), intent)


def test_only_what_the_twin_verified_is_applied(verified, rejected):
    assert Judged(verified(), "i", "").action == "Apply"
    assert Judged(rejected(), "i", "").action == "Reject"


def test_running_out_of_time_does_not_last(rejected):
    assert not Judged(rejected("Timeout", "too slow"), "i", "").lasting
    assert Judged(rejected(), "i", "").lasting


def test_a_decision_has_the_same_name_after_a_restart(verified, rejected):
    judged = Judged(verified(), "i", "")
    assert judged.decision_id("u-1") == Judged(verified(), "i", "").decision_id("u-1")
    others = [Judged(verified(), "j", ""), Judged(verified(), "i", "p"), Judged(rejected(), "i", "")]
    names = {judged.decision_id("u-2"), *(other.decision_id("u-1") for other in (judged, *others))}
    assert len(names) == 5


def test_generations_only_grow_and_only_with_another_plan(make_plan, make_record):
    first, second = make_plan(), make_plan(replicas=2)
    assert number_plan(first, "i", ()).generation == 1
    record = make_record(generation=4)
    assert number_plan(record.plan, "other", [record]).generation == 4
    assert number_plan(second, "i", [record]).generation == 5
    back = [make_record(generation=4), make_record(generation=5, replicas=2)]
    assert number_plan(first, "i", back).generation == 6, "an older plan in force again has a new number"


def test_leaving_ordinals_keep_what_they_serve_until_they_are_gone(
    make_observed, make_intent, make_record, make_pool
):
    record = make_record(generation=2, replicas=2)
    pool = make_pool(replicas=3, ready=2, r0="old 0", r1="old 1", r2="old 2")
    observed, intent = make_observed(pools=[pool], plans=[record]), make_intent()
    step = rollout_step(observed, record, intent.deployment, 1)
    assert step.replicas == {"p-00000001": 2} or step.ready == 2
    waiting = make_pool(replicas=3, ready=1, r0="old 0", r1="old 1", r2="old 2")
    observed = make_observed(pools=[waiting], plans=[record])
    step = rollout_step(observed, record, intent.deployment, 1)
    desired = desired_state(observed, record, step, intent.deployment, intent.request.profile, ())
    assert step.replicas == {"p-00000001": 3}
    assert desired.pools[0].carried == {2: "old 2"}
    assert set(desired.pools[0].assignments) == {0, 1}


def test_pools_of_earlier_plans_are_outgoing_then_retired(make_observed, make_intent, make_record, make_pool):
    intent, record = make_intent(), make_record(generation=2, name="p-00000002")
    before = make_record(generation=1)
    old, new = make_pool(), make_pool(name="p-00000002", ready=0)
    for pools, outgoing, retired in (
        ([old], {"p-00000001": 1}, ()),
        ([old, new], {"p-00000001": 1}, ()),
        ([old, make_pool(name="p-00000002")], {}, ("p-00000001",)),
    ):
        observed = make_observed(pools=pools, plans=[record, before])
        step = rollout_step(observed, record, intent.deployment, 1)
        desired = desired_state(observed, record, step, intent.deployment, intent.request.profile, ())
        assert (desired.outgoing, desired.retired) == (outgoing, retired)
        assert [(pool.pool.name, pool.replicas) for pool in desired.pools] == [("p-00000002", 1)]
