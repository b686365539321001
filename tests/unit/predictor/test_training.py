import numpy as np
import pytest
from typer.testing import CliRunner

from adapter_predictor.artifact import TARGETS, parse_artifact, read_artifact
from adapter_predictor.cli import app
from adapter_predictor.errors import DatasetError
from adapter_predictor.features import FEATURE_INDEX, FEATURES
from adapter_predictor.load import LoadBatch
from adapter_predictor.predictor import TreePredictor
from adapter_predictor.training import mixes
from adapter_predictor.training.dataset import Dataset, Manifest, Sample
from adapter_predictor.training.evaluation import against_twin
from adapter_predictor.training.fit import SCALES, train, train_general
from adapter_predictor.training.regression import LEAF_SAMPLES
from adapter_predictor.training.sampling import Sampler
from adapter_predictor.trees import LEAF

HORIZON_S = 30.0


@pytest.fixture(scope="module")
def loads(profile):
    sampler = Sampler(profile, seed=1)
    return [sampler.draw(index) for index in range(300)]


@pytest.fixture(scope="module")
def dataset(profile, steady, loads):
    """What a twin would say that is the closed form, a little worse, and noisy."""
    rng = np.random.default_rng(0)
    said = steady.predict_batch(LoadBatch.of(loads))
    samples = []
    for index, load in enumerate(loads):
        noise = 1.0 + 0.01 * rng.standard_normal()
        samples.append(
            Sample(
                index=index,
                rates=list(load.rates),
                prompt_tokens_mean=load.prompt_tokens_mean,
                output_tokens_mean=load.output_tokens_mean,
                max_loras=load.max_loras,
                max_lora_rank=load.max_lora_rank,
                served_fraction=min(1.0, 0.95 * noise * float(said.served_fraction[index])),
                throughput_tokens_per_s=0.9 * noise * float(said.throughput_tokens_per_s[index]),
                itl_s=1.2 * noise * float(said.itl_s[index]),
                ttft_s=None if index % 50 == 0 else 1.5 * noise * float(said.ttft_s[index]),
            )
        )
    return Dataset(Manifest.of(profile, 1, HORIZON_S), tuple(samples))


@pytest.fixture(scope="module")
def trained(dataset, profile):
    return train(dataset, profile)


def test_samples_do_not_depend_on_one_another(profile, loads):
    assert Sampler(profile, seed=1).draw(17) == loads[17]
    assert Sampler(profile, seed=2).draw(17) != loads[17]


def test_samples_cover_sizes_and_gather_at_the_edge(steady, loads):
    sizes = np.array([len(load.rates) for load in loads])
    assert sizes.min() == 1
    assert sizes.max() > 500
    assert {load.max_lora_rank for load in loads} == {8, 16, 32, 64, 128, 256}
    served = steady.predict_batch(LoadBatch.of(loads)).served_fraction
    assert np.mean(served > 0.8) > 0.6
    assert np.mean(served < 0.8) > 0.02
    assert all(steady.memory(load.max_loras, load.max_lora_rank).fits for load in loads)


def test_trees_correct_the_closed_form(trained, dataset, profile):
    for name, model in trained.targets.items():
        assert model.scale == SCALES[name]
        assert model.scores.smape_percent < 1.5
        assert model.scores.smape_percent < model.scores.physics_smape_percent
        assert all(abs(one.percent - one.nominal_percent) < 15.0 for one in model.scores.coverage)
        assert len(model.scores.by_depth) > 5
    scores = against_twin(dataset, TreePredictor(profile, trained))
    assert scores.samples == 300
    assert scores.served_mean_absolute_error < 0.02
    assert scores.starvation_macro_f1 > 0.7
    assert set(scores.smape_percent) == set(TARGETS)


def test_leaves_have_enough_samples_and_ordered_bounds(trained):
    for model in trained.targets.values():
        tree = model.tree.tree()
        leaves = tree.feature == LEAF
        assert tree.samples[leaves].min() >= LEAF_SAMPLES
        assert (tree.low <= tree.value).all()
        assert (tree.value <= tree.high).all()


def test_the_command_trains_and_writes_what_it_trained(dataset, trained, profile, tmp_path, monkeypatch):
    monkeypatch.setattr(mixes, "MIXES", 40)
    (tmp_path / "manifest.json").write_text(dataset.manifest.model_dump_json())
    lines = [sample.model_dump_json() + "\n" for sample in dataset.samples]
    (tmp_path / "samples.jsonl").write_text("".join(lines))
    out = tmp_path / "artifact.json"
    arguments = ["train", "-p", profile.name, "--dataset", str(tmp_path), "--out", str(out)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "Depth against accuracy" in done.output
    written = read_artifact(out)
    assert written.targets == trained.targets
    assert written.mix.mixes > 20


def test_training_is_deterministic_and_its_artifact_reads_back(trained, dataset, profile):
    assert train(dataset, profile) == trained
    assert parse_artifact(trained.to_json(), "x") == trained


def test_the_served_fraction_asks_only_what_is_monotone(trained):
    asked = set(trained.targets["served_fraction"].tree.feature) - {LEAF}
    assert all(FEATURES[index].demand != "mixed" for index in asked)


def test_ranges_are_those_of_the_samples(trained, loads):
    sizes = [len(load.rates) for load in loads]
    adapters = trained.features[FEATURE_INDEX["adapters"]]
    assert (adapters.lower, adapters.upper) == (min(sizes), max(sizes))


def test_too_few_samples_or_another_profile_are_refused(dataset, profile):
    few = Dataset(dataset.manifest, dataset.samples[:50])
    with pytest.raises(DatasetError, match="50 runs are too few"):
        train(few, profile)
    slower = profile.step_time.model_copy(update={"base": 2.0 * profile.step_time.base})
    with pytest.raises(DatasetError, match="made with llama"):
        train(dataset, profile.model_copy(update={"step_time": slower}))


def test_latencies_may_be_missing(dataset):
    assert np.isnan(dataset.target("ttft_s")).sum() == 6
    assert np.isfinite(dataset.target("itl_s")).all()


def test_general_trees_hold_for_no_profile_in_particular(dataset, profile):
    other = profile.model_copy(update={"name": "other"})
    general = train_general([(dataset, profile), (dataset, other)])
    assert (general.profile, general.profile_hash, general.samples) == ("general", None, 600)
    predictor = TreePredictor(other, general)
    own = TreePredictor(profile, train(dataset, profile))
    load = dataset.samples[0].load
    said, borrowed = own.predict(load), predictor.predict(load)
    assert borrowed.served_fraction_low <= borrowed.served_fraction
    assert said.fits == borrowed.fits
    assert "none of them of this profile" in predictor.source
    assert any("general ones answer" in warning for warning in predictor.explain(load).warnings)


def test_bounds_keep_their_promise_whatever_the_distribution(trained):
    """A leaf of n samples leaves out ⌊(n + 1)(1 − p)⌋ of them, not n(1 − p)."""
    for model in trained.targets.values():
        nominal = {one.nominal_percent: one.percent for one in model.scores.coverage}
        assert nominal[50.0] < nominal[90.0] <= nominal[95.0]


def test_the_small_tree_of_the_served_fraction_asks_what_a_person_can_reckon(trained):
    simple = trained.targets["served_fraction"].simple
    asked = {FEATURES[index].name for index in simple.tree.feature if index != LEAF}
    assert simple.scale is None
    assert asked
    assert not any(name.startswith("steady") for name in asked)
