import dataclasses

import numpy as np
import pytest

from adapter_predictor.errors import PredictionError
from adapter_predictor.features import FEATURE_INDEX, FEATURES, FeatureFunction, feature_vector
from adapter_predictor.lengths import held_tokens
from adapter_predictor.load import LoadBatch, ReplicaLoad

RISING = [feature.name for feature in FEATURES if feature.demand == "rises"]
FALLING = [feature.name for feature in FEATURES if feature.demand == "falls"]


@pytest.fixture(scope="module")
def function(profile):
    return FeatureFunction(profile)


def named(function, load):
    return dict(zip(FEATURE_INDEX, function.vector(load), strict=True))


def test_features_are_named_with_units_and_sentences():
    assert len(FEATURE_INDEX) == len(FEATURES)
    assert all(feature.name.isidentifier() and feature.description for feature in FEATURES)


def test_one_load_is_a_batch_of_one(profile, function, load):
    single = feature_vector(profile, load)
    batch = function.matrix(LoadBatch.of([load.scaled(0.5), load, load.scaled(2.0)]))
    assert np.array_equal(batch[1], single)
    assert np.isfinite(batch).all()


def test_what_a_person_would_count(function, load):
    x = named(function, load)
    assert x["adapters"] == 160
    assert x["rate"] == pytest.approx(load.rate)
    assert x["offered_tokens"] == pytest.approx(load.offered_tokens_per_s)
    assert x["top_share"] == pytest.approx(0.4 / load.rate)
    assert 54 < x["effective_adapters"] < 160
    assert x["kv_cache_tokens"] == function.memory(32, 32).kv_cache_tokens


def test_adapters_without_traffic_change_nothing_but_memory(function, load):
    silent = dataclasses.replace(load, rates=(*load.rates, 0.0, 1e-300))
    assert np.array_equal(function.vector(silent), function.vector(load))


def test_a_replica_without_traffic_serves_all(function):
    x = named(function, ReplicaLoad((0.0,), 223.0, 194.0, 8, 8))
    assert x["rate"] == x["adapters"] == x["slot_wait"] == 0.0
    assert x["steady_served"] == 1.0


def test_where_memory_does_not_fit_features_stay_finite(function, load):
    huge = dataclasses.replace(load, max_loras=384)
    assert not function.fits(LoadBatch.of([huge]))[0]
    assert np.isfinite(function.vector(huge)).all()


@pytest.mark.parametrize("slots", [8, 32, 64])
def test_demand_moves_features_the_way_they_declare(function, load, slots):
    """The trees' monotone constraints hold only if these do."""
    base = dataclasses.replace(load, max_loras=slots)
    by_rate = [base.scaled(factor) for factor in np.geomspace(0.02, 3.0, 40)]
    x = function.matrix(LoadBatch.of(by_rate))
    for name in RISING:
        steps = np.diff(x[:, FEATURE_INDEX[name]])
        assert (steps >= -0.05 * np.abs(x[1:, FEATURE_INDEX[name]])).all(), name
    for name in FALLING:
        assert (np.diff(x[:, FEATURE_INDEX[name]]) <= 0.02).all(), name


def test_the_steady_state_knows_idle_from_overload(function, load):
    idle, over = named(function, load.scaled(0.05)), named(function, load.scaled(3.0))
    assert idle["steady_served"] == pytest.approx(1.0, abs=1e-3)
    assert idle["utilisation"] < 0.1
    assert over["steady_served"] < 0.6
    assert over["steady_ttft"] > 100.0 * idle["steady_ttft"]


def test_too_few_slots_make_adapters_wait(function, load):
    light = load.scaled(0.3)
    waits = [
        named(function, dataclasses.replace(light, max_loras=slots))["slot_wait"] for slots in (8, 16, 32, 64)
    ]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] > 100.0
    assert waits[-1] == 0.0


def test_long_outputs_hold_more_than_their_share(profile):
    lengths = profile.workload_defaults
    held = held_tokens(lengths, lengths.prompt.mean, lengths.output.mean)
    assert held > lengths.prompt.mean + 0.5 * lengths.output.mean
    assert held == held_tokens(lengths, lengths.prompt.mean, lengths.output.mean)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rates": (1.0, -1.0)}, "rates"),
        ({"rates": (float("nan"),)}, "rates"),
        ({"prompt_tokens_mean": 0.5}, "prompt_tokens_mean"),
        ({"max_loras": 0}, "max_loras: 0"),
    ],
)
def test_impossible_loads_are_refused(load, change, message):
    with pytest.raises(PredictionError, match=message):
        dataclasses.replace(load, **change)


def test_batches_give_their_loads_back(load):
    loads = [load, load.scaled(2.0), ReplicaLoad((), 10.0, 20.0, 8, 8)]
    batch = LoadBatch.of(loads)
    assert len(batch) == 3
    assert [batch.load(index) for index in range(3)] == loads
