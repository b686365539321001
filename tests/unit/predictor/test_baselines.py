import math

import pytest

from adapter_predictor.placement import AdapterDemand, Objectives, TokenMeans
from adapter_predictor.placement.baselines import BASELINES
from adapter_predictor.placement.baselines.copies import carried_alone
from adapter_predictor.placement.baselines.rendezvous import rendezvous
from adapter_predictor.placement.judge import Judge
from adapter_predictor.placement.packing import contents_of

REPLICAS = 4


@pytest.fixture
def judge(steady):
    return Judge(steady, Objectives(), TokenMeans(223.0, 194.0))


@pytest.fixture
def mixed():
    """60 adapters, one of them too hot for a replica, some with two copies."""
    cold = [
        AdapterDemand(f"a{i:02d}", 0.05 + 0.01 * i, (8, 16, 32)[i % 3], 1 + (i % 5 == 0)) for i in range(59)
    ]
    return [*cold, AdapterDemand("hot", 45.0, 16)]


@pytest.mark.parametrize("name", BASELINES)
def test_every_adapter_is_served_once_with_its_copies(name, judge, mixed):
    bins = BASELINES[name](mixed, judge, REPLICAS)
    assert len(bins) == REPLICAS
    for index, demand in enumerate(mixed):
        holders = [place for place, pieces in enumerate(bins) if any(p.adapter == index for p in pieces)]
        shares = [piece.share for pieces in bins for piece in pieces if piece.adapter == index]
        assert len(holders) == len(shares) >= demand.min_copies
        assert math.isclose(sum(shares), 1.0)


@pytest.mark.parametrize("name", BASELINES)
def test_the_same_question_gets_the_same_answer(name, judge, mixed):
    assert BASELINES[name](mixed, judge, REPLICAS) == BASELINES[name](mixed, judge, REPLICAS)


def test_an_adapter_that_no_replica_carries_alone_is_split(judge, mixed):
    alone = carried_alone(judge, 16)
    assert 20.0 < alone < 45.0
    for name in ("round robin", "least adapters", "least load", "greedy", "rendezvous"):
        bins = BASELINES[name](mixed, judge, REPLICAS)
        assert max(piece.rate for pieces in bins for piece in pieces) <= alone


def test_least_load_is_even_in_rate_and_least_adapters_in_number(judge, mixed):
    rates = [
        sum(piece.rate for piece in pieces) for pieces in BASELINES["least load"](mixed[:-1], judge, REPLICAS)
    ]
    assert max(rates) < 1.1 * min(rates)
    sizes = [len(pieces) for pieces in BASELINES["least adapters"](mixed, judge, REPLICAS)]
    assert max(sizes) - min(sizes) <= 1


def test_rendezvous_moves_little_when_a_replica_comes(judge, mixed):
    before = rendezvous(mixed, judge, REPLICAS)
    after = rendezvous(mixed, judge, REPLICAS + 1)
    for old, new in zip(before, after, strict=False):
        assert len({p.adapter for p in new} - {p.adapter for p in old}) <= 2


def test_the_greedy_one_does_not_starve_what_it_fills(judge, mixed):
    bins = BASELINES["greedy"](mixed, judge, 8)
    assert judge.stricter(-0.1).carries([contents_of(pieces) for pieces in bins if pieces]).all()


def test_the_greedy_one_deals_out_what_it_cannot_pack(judge, mixed):
    crowded = [AdapterDemand(f"b{i:03d}", 2.0, 16) for i in range(100)]
    bins = BASELINES["greedy"](crowded, judge, 2)
    assert sum(len(pieces) for pieces in bins) == 100
