import pytest

from adapter_predictor.placement import AdapterDemand, Limits, Objectives, frontier, place, plan_headroom
from adapter_predictor.predictor import TwinPredictor


@pytest.fixture
def demands():
    return [AdapterDemand(f"a{i:03d}", 0.1, 16) for i in range(400)]


@pytest.fixture
def placement(demands, steady):
    return place(demands, steady, Objectives(), Limits(max_replicas=20))


def test_a_plan_has_at_least_the_headroom_that_was_asked_for(demands, placement, steady):
    assert plan_headroom(placement.plan, demands, steady, Objectives()) >= 0.1 - 0.01


def test_a_plan_for_half_the_traffic_has_none(demands, placement, steady):
    hotter = [AdapterDemand(d.name, 4.0 * d.rate, d.rank) for d in demands]
    assert plan_headroom(placement.plan, hotter, steady, Objectives()) is None


def test_more_gpus_buy_headroom(demands, placement, steady):
    points = frontier(demands, steady, Objectives(), placement.plan)
    assert placement.plan.replicas in [point.gpus for point in points]
    known = [-1.0 if point.headroom is None else point.headroom for point in points]
    assert known == sorted(known)
    assert known[-1] > known[0]


def test_a_frontier_starts_at_one_gpu(steady):
    few = [AdapterDemand("a", 0.1, 8)]
    plan = place(few, steady, Objectives(), Limits()).plan
    assert frontier(few, steady, Objectives(), plan)[0].gpus == 1


def test_fewer_replicas_than_copies_carry_nothing(steady):
    twice = [AdapterDemand("a", 0.1, 8, 2)]
    plan = place(twice, steady, Objectives(), Limits()).plan
    points = frontier(twice, steady, Objectives(), plan)
    assert [point.headroom for point in points if point.gpus == 1] == [None]


def test_the_twin_is_not_asked_for_it(demands, placement, profile):
    assert frontier(demands, TwinPredictor(profile), Objectives(), placement.plan) == ()
