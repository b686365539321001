from dataclasses import replace

import pytest

from adapter_operator.planning import Verdict
from adapter_operator.planning.repair import Adjustment, repairs
from adapter_predictor.placement import Limits
from adapter_predictor.plan import Plan, Pool


@pytest.fixture
def plan():
    pool = Pool(name="p-a", replicas=2, max_loras=64, max_lora_rank=16)
    return Plan.build((pool,), {"p-a-0": {"x": 1.0}, "p-a-1": {"y": 1.0}})


@pytest.fixture
def rejected(plan):
    return Verdict("Rejected", "Starvation", "too little", plan.hash, "profile", margin=-0.05)


def kinds(*arguments):
    return [adjustment.kind for adjustment in repairs(*arguments)]


def test_what_costs_no_gpu_comes_first(request_for, plan, rejected):
    assert kinds(request_for(), plan, rejected, Adjustment()) == ["headroom", "slots", "replica"]


def test_each_repair_is_followed_by_the_next(request_for, plan, rejected):
    assert kinds(request_for(), plan, rejected, Adjustment(kind="headroom"))[0] == "slots"
    assert kinds(request_for(), plan, rejected, Adjustment(kind="replica"))[0] == "headroom"


def test_far_too_little_asks_for_a_replica_at_once(request_for, plan, rejected):
    hopeless = replace(rejected, margin=-0.4)
    assert kinds(request_for(), plan, hopeless, Adjustment())[0] == "replica"


def test_no_replica_beyond_the_limits(request_for, plan, rejected):
    request = request_for(limits=Limits(1, 2))
    assert kinds(request, plan, rejected, Adjustment()) == ["headroom", "slots"]
    assert kinds(request, plan, replace(rejected, margin=-0.4), Adjustment()) == []


def test_headroom_grows_with_what_is_missing_and_adds_up(request_for, plan, rejected):
    slight, grave = replace(rejected, margin=-0.001), replace(rejected, margin=-0.12)
    small, large = (next(repairs(request_for(), plan, one, Adjustment())) for one in (slight, grave))
    assert 0.0 < small.extra_headroom < large.extra_headroom
    again = next(repairs(request_for(), plan, slight, replace(large, kind="")))
    assert again.extra_headroom > large.extra_headroom


def test_memory_is_mended_by_other_slots_alone(request_for, plan, rejected):
    (only,) = repairs(request_for(), plan, replace(rejected, reason="OutOfMemory"), Adjustment())
    assert only.excluded_slots == {(64, 16)}


def test_limits_are_narrowed_and_never_contradict_one_another():
    limits = Limits(2, 4)
    assert Adjustment(min_replicas=3).limits(limits) == Limits(3, 4)
    assert Adjustment(max_replicas=1).limits(limits) == Limits(1, 1)
    assert Adjustment(min_replicas=9).limits(limits) == Limits(4, 4)
