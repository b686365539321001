"""Status, conditions and news after one pass: the same pass gives the same, and flips are told once."""

from datetime import timedelta

import pytest

from adapter_operator.api.conditions import ConditionType, Reason, find_condition
from adapter_operator.api.v1alpha1 import Status
from adapter_operator.reconcile.account import Account, Fault
from adapter_operator.reconcile.audit import audit_line
from adapter_operator.reconcile.conditions import conditions
from adapter_operator.reconcile.desired import rollout_step
from adapter_operator.reconcile.judgement import Judged
from adapter_operator.reconcile.news import news
from adapter_operator.reconcile.report import is_news, status_after, to_json
from adapter_operator.reconcile.values import EngineProblem


@pytest.fixture
def make_account(make_observed, make_intent, now):
    """A pass over the small object."""

    def make(*, pools=(), record=None, step=True, status=None, seconds=0.0, **parts):
        observed = make_observed(pools=pools, plans=[record] if record else [])
        intent = parts.pop("intent", make_intent())
        taken = rollout_step(observed, record, intent.deployment, 1) if record and step and intent else None
        return Account(
            observed=observed,
            status=status or Status(),
            now=now + timedelta(seconds=seconds),
            intent=intent,
            record=record,
            step=taken,
            **parts,
        )

    return make


@pytest.fixture
def applied(make_account, make_record, make_pool, verified):
    """The pass that applies the first plan."""
    return make_account(
        record=make_record(), pools=[make_pool(ready=0)], judged=Judged(verified(), "i-1", "")
    )


def told(status):
    return {c.type: (c.status, c.reason) for c in status.conditions}


def test_a_verified_plan(applied):
    status = status_after(applied)
    assert told(status) == {
        "Ready": ("False", "ReplicasNotReady"),
        "Planned": ("True", "PlanFound"),
        "Verified": ("True", "TwinVerified"),
        "Progressing": ("True", "RollingOut"),
        "TrafficObserved": ("True", "Declared"),
        "Degraded": ("False", "AsExpected"),
    }
    assert (status.replicas, status.gpus, status.adapters, status.plan.generation) == (1, 1, 3, 1)
    assert status.prediction.tokens_per_second == 1234
    assert status.prediction.inter_token_latency == "20ms"
    assert status.verdict.served_fraction_percent == 99
    assert [entry.action for entry in status.history] == ["Apply"]
    assert Status.model_validate_json(status.model_dump_json(by_alias=True, exclude_none=True)) == status


def test_the_same_pass_again_changes_nothing(applied, make_account, make_record, make_pool):
    """Also not some time later, with the decision no longer at hand."""
    status = status_after(applied)
    later = make_account(record=make_record(), pools=[make_pool(ready=0)], status=status, seconds=120.0)
    assert to_json(status_after(later)) == to_json(status)


def test_times_move_only_where_a_condition_flips(applied, make_account, make_record, make_pool):
    before = status_after(applied)
    ready = make_account(record=make_record(), pools=[make_pool()], status=before, seconds=60.0)
    after = status_after(ready)
    assert told(after)["Ready"] == ("True", "AllReplicasReady")
    moved = {
        c.type
        for c in after.conditions
        if c.last_transition_time
        != find_condition(before.conditions, ConditionType(c.type)).last_transition_time
    }
    assert moved == {"Ready", "Progressing"}


def test_a_rejected_first_spec(make_account, rejected):
    status = status_after(make_account(judged=Judged(rejected(), "i", "")))
    assert told(status)["Planned"] == told(status)["Verified"] == ("False", "ObjectivesUnreachable")
    assert told(status)["Ready"] == ("False", "NoPlan")
    assert status.plan_hash is None
    assert status.verdict.message == "raise scaling.maxReplicas"


def test_a_rejected_edit_keeps_what_runs(applied, make_account, make_record, make_pool, rejected):
    before = status_after(applied)
    judged = Judged(rejected(), "i-2", before.plan_hash)
    edit = make_account(record=make_record(), pools=[make_pool()], step=False, status=before, judged=judged)
    status = status_after(edit)
    assert told(status)["Verified"] == ("False", "ObjectivesUnreachable")
    assert told(status)["Degraded"] == ("True", "KeepingLastPlan")
    assert told(status)["Ready"] == ("True", "AllReplicasReady")
    assert (status.plan_hash, status.prediction) == (before.plan_hash, before.prediction)
    assert [entry.action for entry in status.history] == ["Reject", "Apply"]


def test_an_invalid_spec(make_account, make_record, make_pool, applied):
    before = status_after(applied)
    fault = Fault(Reason.INVALID_SPEC, "spec.profile.name: there is none")
    account = make_account(intent=None, fault=fault, record=make_record(), pools=[make_pool()], status=before)
    status = status_after(account)
    assert told(status)["Planned"] == ("False", "InvalidSpec")
    assert told(status)["Verified"] == ("Unknown", "InvalidSpec")
    assert told(status)["Ready"] == ("True", "AllReplicasReady")
    assert status.gpus == 1
    assert [item.reason for item in news(account, status)] == ["InvalidSpec"]


def test_paused(make_account):
    status = status_after(make_account(fault=Fault(Reason.PAUSED, "paused")))
    assert told(status)["Planned"] == ("Unknown", "Paused")
    assert "Verified" not in told(status)
    assert told(status)["Degraded"] == ("False", "AsExpected")


def test_while_a_decision_is_being_made(make_account):
    status = status_after(make_account(deciding=True))
    assert told(status)["Planned"] == told(status)["Verified"] == ("Unknown", "Verifying")
    assert status.history == ()


@pytest.mark.parametrize(
    ("reason", "message", "lacks"),
    [
        ("Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", True),
        ("Unschedulable", '0/3 nodes are available: persistentvolumeclaim "adapters" not found.', False),
        ("ImagePullBackOff", "Insufficient scope", False),
    ],
)
def test_only_a_node_that_is_too_small_lacks_gpus(reason, message, lacks):
    assert EngineProblem("llama-p-00000001-0", reason, message).lacks_gpus == lacks


def test_a_rollout_that_stands_still_is_given_up_and_taken_up_again(
    applied, make_account, make_record, make_pool
):
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    lacking = EngineProblem("llama-p-00000001-0", "Unschedulable", message)

    def later(status, seconds, ready=0):
        return make_account(
            record=make_record(),
            pools=[make_pool(ready=ready)],
            status=status,
            seconds=seconds,
            problems=[lacking] if not ready else [],
        )

    status = status_after(later(status_after(applied), 60.0))
    assert told(status)["Progressing"] == ("True", "RollingOut")
    assert message in find_condition(status.conditions, ConditionType.PROGRESSING).message
    assert status.exceptions[0].reason == "Unschedulable"
    status = status_after(later(status, 31 * 60.0))
    assert told(status)["Progressing"] == ("False", "InsufficientGPUs")
    status = status_after(later(status, 32 * 60.0))
    assert told(status)["Progressing"] == ("False", "InsufficientGPUs"), "it does not flap"
    status = status_after(later(status, 33 * 60.0, ready=1))
    assert told(status)["Progressing"] == ("False", "RolledOut")


def test_a_refusal_of_the_cluster_is_told(make_account, make_record, verified):
    account = make_account(
        record=make_record(), judged=Judged(verified(), "i-1", ""), failure="exceeded quota"
    )
    status = status_after(account)
    assert told(status)["Degraded"] == ("True", "ApplyFailed")
    assert ("Warning", "ApplyFailed") in [(item.kind, item.reason) for item in news(account, status)]


def test_news_are_told_once(applied, make_account, make_record, make_pool):
    status = status_after(applied)
    assert [item.reason for item in news(applied, status)] == ["RollingOut"]
    again = make_account(record=make_record(), pools=[make_pool(ready=0)], status=status)
    assert list(news(again, status_after(again))) == []


def test_history_and_messages_are_bounded(make_account, rejected):
    status = Status()
    for number in range(30):
        judged = Judged(rejected(message=f"{number} " + "x" * 5000), f"i-{number}", "")
        status = status_after(make_account(judged=judged, status=status))
        assert not is_news(status, judged.decision_id("u-1"))
    assert len(status.history) == 10
    assert len(status.history[0].message) == 1024
    assert status.history[0].message.startswith("29 ")


def test_traffic_that_is_not_observed_is_said_to_be_so(make_account, make_intent):
    status = status_after(make_account(intent=make_intent(traffic={"source": "Gateway"})))
    assert told(status)["TrafficObserved"] == ("False", "NotSupported")


def test_the_audit_line_tells_what_was_decided_and_why(applied):
    line = audit_line(applied, applied.judged)
    assert (line["object"], line["action"], line["present_plan"]) == ("team/llama", "Apply", "")
    assert line["verdict"]["status"] == "Verified"
    assert line["pools"] == [{"name": "p-00000001", "replicas": 1, "max_loras": 4, "max_lora_rank": 8}]


def test_every_rejection_of_the_twin_has_its_reason():
    from typing import get_args

    from adapter_operator.planning import Reason as VerdictReason
    from adapter_operator.reconcile.conditions import REJECTIONS

    assert set(REJECTIONS) == set(get_args(VerdictReason)) - {""}


def test_conditions_of_other_types_are_kept(applied):
    from dataclasses import replace

    from adapter_operator.api.v1alpha1 import Condition

    foreign = Condition(
        type="Audited", status="True", reason="Done", message="", lastTransitionTime="2026-01-01T00:00:00Z"
    )
    account = replace(applied, status=Status(conditions=(foreign,)))
    assert conditions(account)[0] == foreign
