import numpy as np
import pytest

from adapter_predictor.explanation import conditions, described_path, nearest_flip, other_flips, quantity
from adapter_predictor.features import FEATURE_INDEX, FEATURES
from adapter_predictor.load import ReplicaLoad
from adapter_predictor.trees import Tree

LOAD = ReplicaLoad((1.0, 1.0), 200.0, 200.0, 8, 8)


def served_up_to(limit):
    """Everything up to a rate, nothing above."""
    return lambda loads: np.array([1.0 if load.rate <= limit else 0.0 for load in loads])


def chain(*questions):
    """A tree that asks one question after another; who answers "more" goes on to the next."""
    feature, threshold, left, right = [], [], [], []
    for number, (name, edge) in enumerate(questions):
        feature += [FEATURE_INDEX[name], -1]
        threshold += [edge, 0.0]
        left += [2 * number + 1, -1]
        right += [2 * number + 2, -1]
    feature, threshold, left, right = [*feature, -1], [*threshold, 0.0], [*left, -1], [*right, -1]
    integers = [np.array(values, dtype=np.int32) for values in (feature, left, right)]
    value = np.ones(len(feature))
    return Tree(
        integers[0], np.array(threshold), integers[1], integers[2], value, value, value, integers[0] * 0
    )


def test_a_further_replica_is_needed_above():
    assert (
        nearest_flip(served_up_to(3.1), LOAD, 0.9)
        == "a further replica is needed above 3.1 req/s (now 2 req/s)"
    )


def test_one_replica_would_be_enough_up_to():
    told = nearest_flip(served_up_to(0.5), LOAD, 0.9)
    assert told == "one replica would be enough up to 0.5 req/s (now 2 req/s)"


def test_where_nothing_flips():
    assert nearest_flip(served_up_to(1e9), LOAD, 0.9) == "one replica stays enough up to 64 req/s"
    assert "not even 0.0625 req/s" in nearest_flip(served_up_to(0.0), LOAD, 0.9)
    idle = ReplicaLoad((0.0,), 1.0, 1.0, 8, 8)
    assert nearest_flip(served_up_to(1.0), idle, 0.9) == "the replica has no traffic"


def test_questions_about_one_feature_are_put_together():
    tree = chain(("rate", 1.0), ("max_loras", 4.0), ("rate", 2.0)).check(len(FEATURES))
    x = np.zeros(len(FEATURES))
    x[FEATURE_INDEX["rate"]], x[FEATURE_INDEX["max_loras"]] = 1.5, 8.0
    assert described_path(tree, x) == (
        "requests per second: 1.5 req/s, between 1 req/s and 2 req/s",
        "adapter slots: 8 slots, above 4 slots",
    )
    x[FEATURE_INDEX["rate"]] = 0.5
    assert described_path(tree, x) == ("requests per second: 0.5 req/s, at most 1 req/s",)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rate", 3.14159, "3.14 req/s"),
        ("kv_cache_tokens", 181072.0, "181,072 tokens"),
        ("top_share", 0.25, "0.25"),
    ],
)
def test_quantities_have_units(name, value, words):
    assert quantity(FEATURES[FEATURE_INDEX[name]], value) == words


def fewer_than(adapters):
    return lambda loads: np.array([1.0 if len(load.rates) < adapters else 0.5 for load in loads])


def slots_between(low, high):
    return lambda loads: np.array([1.0 if low <= load.max_loras <= high else 0.5 for load in loads])


def test_the_number_of_adapters_that_flips_is_told():
    load = ReplicaLoad((0.1, 0.2, 0.3, 0.4), 100.0, 100.0, 8, 8)
    assert other_flips(fewer_than(20), load, 0.9, (8,))[0] == "20 adapters like these are too many (now 4)"
    assert "2 adapters like these would be few enough" in other_flips(fewer_than(3), load, 0.9, (8,))[0]
    assert "change nothing" in other_flips(fewer_than(10**6), load, 0.9, (8,))[0]


def test_the_slots_that_flip_are_told():
    load = ReplicaLoad((0.1, 0.2), 100.0, 100.0, 32, 8)
    grid = (8, 16, 32, 64, 128)
    assert other_flips(slots_between(32, 64), load, 0.9, grid)[1] == (
        "16 or 128 slots would not be enough (now 32)"
    )
    assert other_flips(slots_between(128, 128), load, 0.9, grid)[1] == "128 slots would be enough (now 32)"
    assert "no other number of slots" in other_flips(slots_between(0, 999), load, 0.9, grid)[1]
    assert other_flips(slots_between(0, 999), ReplicaLoad((), 1.0, 1.0, 8, 8), 0.9, grid) == ()


def test_conditions_lead_to_a_leaf(stump_nodes):
    tree = stump_nodes.tree()
    rate = "offered rate over the rate that a full batch sustains"
    assert conditions(tree, 1) == (f"{rate} at most 0.8",)
    assert conditions(tree, 2) == (f"{rate} above 0.8",)
    assert conditions(tree, 0) == ()
