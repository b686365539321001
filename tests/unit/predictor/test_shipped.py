"""What is shipped, held against what was measured."""

from pathlib import Path

import numpy as np
import pytest

from adapter_predictor.artifact import TARGETS, find_artifact, prediction_hash
from adapter_predictor.load import LoadBatch, ReplicaLoad
from adapter_predictor.placement import AdapterDemand, Limits, Objectives, place
from adapter_predictor.predictor import Predictor, TreePredictor
from adapter_predictor.training.comparison import read_grids
from adapter_predictor.training.evaluation import measured_scores
from adapter_twin.profile import available_profiles, load_profile

RUNS = Path(__file__).parents[2] / "data" / "measurements" / "runs.csv"


@pytest.fixture(scope="module", params=available_profiles())
def predictor(request):
    return Predictor.for_profile(load_profile(request.param))


def test_every_shipped_profile_has_its_trees(predictor):
    assert isinstance(predictor, TreePredictor)
    artifact = find_artifact(predictor.profile.name)
    assert artifact.profile_hash == prediction_hash(predictor.profile)
    assert artifact.samples >= 1000
    assert set(artifact.targets) == set(TARGETS)


def test_measured_optima_are_met(predictor):
    grids = [grid for grid in read_grids(RUNS) if grid.model == predictor.profile.model.name]
    overall = measured_scores(grids, {predictor.profile.model.name: predictor})["overall"]
    assert overall["adapters_smape"] <= 4.0
    assert overall["throughput_smape"] <= 3.0
    assert overall["slots_regret_percent"] <= 2.0


def test_the_served_fraction_hardly_ever_rises_with_traffic(predictor):
    rng = np.random.default_rng(0)
    lengths = predictor.profile.workload_defaults
    for slots in (16, 64):
        rates = tuple(rng.lognormal(-3.0, 1.0, size=120).tolist())
        load = ReplicaLoad(rates, lengths.prompt.mean, lengths.output.mean, slots, 16)
        sweep = LoadBatch.of([load.scaled(factor) for factor in np.geomspace(0.1, 4.0, 60)])
        served = predictor.predict_batch(sweep).served_fraction
        assert (served - np.minimum.accumulate(served)).max() < 0.02
        assert served[0] > 0.97
        assert served[-1] < 0.8


def test_bounds_are_beside_the_estimates(predictor):
    load = ReplicaLoad((0.1,) * 100, 222.0, 194.0, 32, 16)
    said = predictor.predict(load)
    assert said.served_fraction_low <= said.served_fraction <= 1.0
    assert said.throughput_low_tokens_per_s <= said.throughput_tokens_per_s
    assert said.itl_high_s >= said.itl_s
    assert said.ttft_high_s >= said.ttft_s


def test_the_measured_example_takes_one_replica_with_the_measured_slots():
    predictor = Predictor.for_profile(load_profile("llama-3.1-8b-instruct-h100-64gb"))
    mixed = [AdapterDemand(f"a{i:03d}", (0.4, 0.05, 0.00625)[i % 3], (8, 16, 32)[i % 3]) for i in range(160)]
    found = place(mixed, predictor, Objectives(served_fraction=0.9, headroom=0.0), Limits())
    assert found.feasible
    assert found.plan.replicas == 1
    assert (found.plan.pools[0].max_loras, found.plan.pools[0].max_lora_rank) in {(32, 32), (64, 32)}
