import dataclasses
import math

import numpy as np
import pytest

from adapter_predictor import predictor as module
from adapter_predictor.artifact import TARGETS
from adapter_predictor.errors import ArtifactError
from adapter_predictor.load import LoadBatch, ReplicaLoad
from adapter_predictor.predictor import Predictor, SteadyStatePredictor, TreePredictor, TwinPredictor


@pytest.fixture
def trees(profile, artifact):
    return TreePredictor(profile, artifact)


@pytest.fixture
def slower(profile):
    step_time = profile.step_time.model_copy(update={"base": 2.0 * profile.step_time.base})
    return profile.model_copy(update={"step_time": step_time})


def test_trees_multiply_the_feature_that_they_correct(trees, steady, load):
    idle = load.scaled(0.1)
    said, closed = trees.predict(idle), steady.predict(idle)
    assert said.served_fraction == pytest.approx(closed.served_fraction)
    assert said.itl_s == pytest.approx(closed.itl_s)
    assert said.itl_high_s == pytest.approx(1.02 * closed.itl_s)
    assert said.served_fraction_low == pytest.approx(0.98 * closed.served_fraction)
    busy = load.scaled(3.0)
    assert trees.predict(busy).served_fraction == pytest.approx(0.8 * steady.predict(busy).served_fraction)


def test_a_batch_says_what_single_predictions_say(trees, load):
    loads = [load.scaled(factor) for factor in (0.1, 1.0, 2.0)]
    batch = trees.predict_batch(LoadBatch.of(loads))
    assert len(batch) == 3
    assert [batch[i] for i in range(3)] == [trees.predict(one) for one in loads]


@pytest.mark.parametrize("kind", ["trees", "steady"])
def test_what_does_not_fit_serves_nothing(kind, request, load):
    said = request.getfixturevalue(kind).predict(dataclasses.replace(load, max_loras=384))
    assert not said.fits
    assert said.served_fraction == said.throughput_tokens_per_s == 0.0
    assert math.isinf(said.itl_s)
    assert math.isinf(said.ttft_s)


def test_one_target_is_what_the_batch_says_to_the_last_bit(trees, load):
    x = trees.features.vector(load)
    for name in TARGETS:
        assert trees.target_one(name, x) == trees.target(name, x[None, :])[0][0]


def test_memory_is_computed(trees, steady, profile):
    for predictor in (trees, steady, TwinPredictor(profile)):
        assert predictor.memory(32, 32).fits
        assert not predictor.memory(384, 64).fits


def test_trees_refuse_a_profile_they_were_not_trained_for(slower, artifact):
    with pytest.raises(ArtifactError, match="trained for llama"):
        TreePredictor(slower, artifact)


def test_shipped_trees_are_taken_where_they_fit(profile, artifact, slower, monkeypatch, caplog):
    monkeypatch.setattr(module, "find_artifact", lambda name: artifact)
    assert isinstance(Predictor.for_profile(profile), TreePredictor)
    assert not caplog.records
    assert isinstance(Predictor.for_profile(slower), TwinPredictor)
    assert "trained on another version" in caplog.text
    monkeypatch.setattr(module, "find_artifact", lambda name: None)
    assert isinstance(Predictor.for_profile(profile), TwinPredictor)
    assert "No trees are shipped" in caplog.text


def test_derived_profiles_get_general_trees_with_wider_bounds(profile, artifact, load, monkeypatch, caplog):
    general = artifact.model_copy(update={"profile": "general", "profile_hash": None}).sealed()
    monkeypatch.setattr(module, "find_artifact", {"general": general}.get)
    derived = profile.model_copy(update={"name": "mine", "origin": "derived"})
    predictor = Predictor.for_profile(derived)
    assert isinstance(predictor, TreePredictor)
    assert "general trees and wider bounds" in caplog.text
    own, borrowed = TreePredictor(profile, artifact).predict(load), predictor.predict(load)
    assert borrowed.itl_s == own.itl_s
    assert borrowed.itl_high_s - own.itl_s == pytest.approx(2.0 * (own.itl_high_s - own.itl_s))


def test_the_twin_answers_where_there_are_no_trees(profile):
    twin = TwinPredictor(profile, horizon_s=120.0)
    load = ReplicaLoad((1.0, 0.5, 0.0), 50.0, 20.0, 8, 8)
    said = twin.predict(load)
    assert said.fits
    assert said.served_fraction > 0.95
    assert said.throughput_tokens_per_s == pytest.approx(1.5 * 70.0, rel=0.4)
    assert 0.0 < said.itl_s < said.itl_high_s
    assert said.served_fraction_low < said.served_fraction
    assert twin.predict(load) is twin.predict_batch(LoadBatch.of([load]))[0] or twin.predict(load) == said
    assert not twin.predict(dataclasses.replace(load, max_loras=384, max_lora_rank=64)).fits


def test_the_twin_has_nothing_to_measure_without_traffic(profile):
    said = TwinPredictor(profile, horizon_s=60.0).predict(ReplicaLoad((), 50.0, 20.0, 8, 8))
    assert said.served_fraction == 1.0
    assert said.itl_s == said.ttft_s == 0.0


def test_explanations_have_a_path_and_a_flip(trees, steady, profile, load):
    told = trees.explain(load, 0.9)
    assert len(told.path) == 2
    assert "served fraction of the steady state" in told.path[0]
    assert "which the tree multiplies by" in told.path[0]
    assert "offered rate over the rate that a full batch sustains" in told.path[1]
    assert "req/s" in told.nearest_flip
    assert not told.warnings
    for predictor in (steady, TwinPredictor(profile)):
        other = predictor.explain(load, 0.9)
        assert len(other.path) == 4
        assert "req/s" in other.nearest_flip


def test_loads_outside_of_what_was_trained_are_warned_of(profile, artifact, load):
    narrow = [
        one.model_copy(update={"upper": 10.0}) if one.name == "adapters" else one for one in artifact.features
    ]
    trees = TreePredictor(profile, artifact.model_copy(update={"features": narrow}))
    assert trees.explain(load).warnings == (
        "adapters that get traffic: 160 adapters is outside of what was trained (0 adapters to 10 adapters)",
    )


def test_a_target_is_one_walk(trees, load):
    x = trees.features.matrix(LoadBatch.of([load, load.scaled(0.1)]))
    for name in TARGETS:
        estimate, low, high = trees.target(name, x)
        assert (low <= estimate).all()
        assert (estimate <= high).all()
        assert np.isfinite(estimate).all()


def test_the_closed_form_is_monotone_enough(steady, load):
    served = steady.predict_batch(
        LoadBatch.of([load.scaled(f) for f in np.geomspace(0.1, 4, 30)])
    ).served_fraction
    assert (np.diff(served) <= 0.02).all()
    assert served[0] > 0.99
    assert served[-1] < 0.5
    assert isinstance(steady, SteadyStatePredictor)


def test_a_tree_may_stand_alone(profile, artifact, load):
    plain = {name: model.model_copy(update={"scale": None}) for name, model in artifact.targets.items()}
    trees = TreePredictor(profile, artifact.model_copy(update={"targets": plain}))
    assert trees.explain(load.scaled(3.0)).path[0] == "the tree's leaf: 0.8"
    assert trees.predict(load.scaled(3.0)).served_fraction == 0.8
