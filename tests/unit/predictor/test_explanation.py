import numpy as np
import pytest

from adapter_predictor.explanation import described_path, nearest_flip, quantity
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
