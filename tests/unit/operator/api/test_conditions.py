from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from adapter_operator.api.conditions import ConditionType, Reason, find_condition, format_time, set_condition
from adapter_operator.api.v1alpha1 import Status

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def ready(conditions, status, reason, *, generation=1, now=NOON, message="so it is"):
    return set_condition(
        conditions, ConditionType.READY, status, reason, message, observed_generation=generation, now=now
    )


def test_a_condition_is_added():
    (condition,) = ready((), "False", Reason.NO_PLAN)
    assert condition.model_dump(by_alias=True) == {
        "type": "Ready",
        "status": "False",
        "reason": "NoPlan",
        "message": "so it is",
        "lastTransitionTime": "2026-11-22T12:00:00Z",
        "observedGeneration": 1,
    }


def test_the_transition_time_stays_while_the_status_stays():
    before = ready((), "False", Reason.NO_PLAN)
    (after,) = ready(
        before, "False", Reason.REPLICAS_NOT_READY, generation=2, now=NOON + timedelta(hours=1), message="new"
    )
    assert after.last_transition_time == before[0].last_transition_time
    assert (after.reason, after.message, after.observed_generation) == ("ReplicasNotReady", "new", 2)


def test_the_transition_time_moves_with_a_flip():
    before = ready((), "False", Reason.NO_PLAN)
    (after,) = ready(before, "True", Reason.ALL_REPLICAS_READY, now=NOON + timedelta(hours=1))
    assert after.last_transition_time == "2026-11-22T13:00:00Z"


def test_other_conditions_and_their_order_are_kept():
    both = set_condition(
        ready((), "False", Reason.NO_PLAN),
        ConditionType.PLANNED,
        "True",
        Reason.PLAN_FOUND,
        "",
        observed_generation=1,
        now=NOON,
    )
    after = ready(both, "True", Reason.ALL_REPLICAS_READY)
    assert [condition.type for condition in after] == ["Ready", "Planned"]
    assert after[1] is both[1]


def test_nothing_that_is_given_is_changed():
    before = ready((), "False", Reason.NO_PLAN)
    copy = before[0].model_copy()
    ready(before, "True", Reason.ALL_REPLICAS_READY)
    assert before == (copy,)


def test_long_messages_are_cut():
    (condition,) = ready((), "True", Reason.ALL_REPLICAS_READY, message="x" * 5000)
    assert len(condition.message) == 1024
    assert condition.message.endswith("…")


def test_times_are_written_in_utc():
    there = timezone(timedelta(hours=2))
    assert format_time(datetime(2026, 11, 22, 14, 0, 0, 999, tzinfo=there)) == "2026-11-22T12:00:00Z"


def test_a_condition_is_found():
    conditions = ready((), "False", Reason.NO_PLAN)
    assert find_condition(conditions, ConditionType.READY) is conditions[0]
    assert find_condition(conditions, ConditionType.DEGRADED) is None


def test_every_reason_is_one_that_kubernetes_takes():
    for reason in Reason:
        ready((), "True", reason)


def test_a_status_refuses_two_conditions_of_a_type():
    item = {
        "type": "Ready",
        "status": "True",
        "reason": "A",
        "message": "",
        "lastTransitionTime": "2026-11-22T12:00:00Z",
    }
    with pytest.raises(ValidationError, match="listed already"):
        Status.model_validate({"conditions": (item, item)}, strict=False)
