import dataclasses

import numpy as np
import pytest

from adapter_predictor.artifact import MIX_TARGETS, parse_artifact
from adapter_predictor.errors import ArtifactError, PredictionError
from adapter_predictor.mix_features import MIX_FEATURES, MIX_INDEX
from adapter_predictor.mix_prediction import MixPredictor
from adapter_predictor.optima import ADAPTER_STEPS, Mix, Outcome, points_by_slots
from adapter_predictor.predictor import TreePredictor
from adapter_predictor.training import mixes, twin_optima
from adapter_predictor.training.backends import Workers
from adapter_predictor.training.sampling import Sampler


@pytest.fixture(scope="module")
def mix():
    return Mix((0.4, 0.05, 0.00625), 223.0, 194.0, 32)


@pytest.fixture
def predictor(profile, artifact):
    return MixPredictor(TreePredictor(profile, artifact))


@pytest.fixture
def trained(profile, artifact, monkeypatch):
    monkeypatch.setattr(mixes, "MIXES", 60)
    return mixes.with_mix_trees(artifact, profile, seed=1)


def test_a_mix_is_a_cycle_of_rates(mix):
    assert mix.load(4, 8).rates == (0.4, 0.05, 0.00625, 0.4)
    batch = mix.batch([(4, 8), (1, 16)])
    assert batch.load(0) == mix.load(4, 8)
    assert batch.load(1) == mix.load(1, 16)
    with pytest.raises(PredictionError, match="at least one"):
        dataclasses.replace(mix, rates=(0.0,))


def test_steps_are_fine_enough_to_find_the_edge():
    steps = np.array(ADAPTER_STEPS)
    assert steps[0] == 1
    assert steps[-1] == 1000
    assert ((steps[1:] / steps[:-1])[30:] < 1.1).all()


def test_the_walk_agrees_with_asking_cell_by_cell(predictor, mix):
    found = predictor.walk(mix)
    assert found is not None
    one = predictor.predictor
    assert one.predict(mix.load(found.adapters, found.max_loras)).served_fraction >= 0.9
    beyond = ADAPTER_STEPS[ADAPTER_STEPS.index(found.adapters) + 1]
    assert one.predict(mix.load(beyond, found.max_loras)).served_fraction < 0.9


def test_a_mix_that_nothing_serves_has_no_optimum(predictor, mix):
    assert predictor.walk(dataclasses.replace(mix, rates=(900.0,))) is None


def test_features_say_what_a_mix_is(predictor, mix):
    x = predictor.features(mix)
    assert x.shape == (len(MIX_FEATURES),)
    assert x[MIX_INDEX["rate_per_adapter"]] == pytest.approx(0.45625 / 3)
    assert x[MIX_INDEX["top_ratio"]] == pytest.approx(0.4 / (0.45625 / 3))
    assert x[MIX_INDEX["steady_adapters"]] > 100


def test_trees_about_mixes_are_distilled_from_the_walk(trained, profile, mix):
    assert set(trained.mix.targets) == set(MIX_TARGETS)
    assert parse_artifact(trained.to_json(), "x") == trained
    predictor = MixPredictor(TreePredictor(profile, trained))
    said, walked = predictor.predict(mix), predictor.walk(mix)
    assert said.adapters == pytest.approx(walked.adapters, rel=0.3)
    assert said.adapters_low <= said.adapters
    assert said.max_loras in {8, 16, 32, 64, 96, 128, 160, 192, 256, 320, 384}
    assert said.throughput_tokens_per_s == pytest.approx(walked.throughput, rel=0.3)


def test_an_artifact_without_them_says_so(predictor, mix):
    with pytest.raises(ArtifactError, match="no trees about mixes"):
        predictor.predict(mix)


def test_mixes_do_not_depend_on_one_another(profile):
    sampler = Sampler(profile, 1)
    assert mixes.draw_mix(sampler, 5) == mixes.draw_mix(sampler, 5)
    assert mixes.draw_mix(sampler, 5) != mixes.draw_mix(sampler, 6)


def test_the_twins_own_optimum_is_found_by_bisection(profile, mix, monkeypatch):
    asked = []

    def simulated(_profile, _mix, adapters, slots, _seed):
        asked.append(adapters)
        return Outcome(adapters, slots, float(adapters), starves=adapters > 100)

    monkeypatch.setattr(twin_optima, "_simulated", simulated)
    cells = twin_optima.twin_walk(profile, mix, [32], seed=0)
    assert points_by_slots(cells) == {32: Outcome(96, 32, 96.0, starves=False)}
    assert len(asked) < 6


def test_predicted_and_simulated_optima_are_compared_on_one_grid(profile, artifact, monkeypatch):
    monkeypatch.setattr(twin_optima, "HORIZON_S", 20.0)
    predictor = TreePredictor(profile, artifact)
    found = list(twin_optima.twin_comparisons(predictor, 1, seed=0, workers=Workers()))
    assert [one.combination for one in found] == ["llama-3.1-8b-instruct/mix_0000"]
