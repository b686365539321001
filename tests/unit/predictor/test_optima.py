import json
from pathlib import Path

import pytest

from adapter_predictor.training.evaluation import measured_scores
from adapter_predictor.training.optima import Comparison, Outcome, compare, optimum, points_by_slots
from adapter_twin.measurements.tables import read_runs

TABLE = Path(__file__).parents[2] / "data" / "measurements" / "runs.csv"


def cell(adapters, slots, throughput=1.0, *, starves=False):
    return Outcome(adapters, slots, throughput, starves)


def test_walks_stop_at_the_first_starving_cell():
    cells = [cell(8, 8), cell(16, 8), cell(32, 8, starves=True), cell(64, 8), cell(8, 16, starves=True)]
    assert points_by_slots(reversed(cells)) == {8: cell(16, 8)}


def test_the_optimum_prefers_adapters_then_throughput_then_few_slots():
    cells = [cell(32, 8, 5.0), cell(64, 16, 3.0), cell(64, 32, 4.0), cell(64, 64, 4.0)]
    assert optimum(cells) == cell(64, 32, 4.0)
    assert optimum([cell(8, 8, starves=True)]) is None


def test_no_prediction_counts_in_full():
    missing = Comparison("x", cell(8, 8), None, 100.0)
    assert missing.adapters_smape == missing.throughput_smape == 100.0
    exact = Comparison("x", cell(8, 8), cell(8, 8), 0.0)
    assert exact.adapters_smape == exact.throughput_smape == 0.0


@pytest.fixture(scope="module")
def placement_runs():
    return [run for run in read_runs(TABLE) if run.model.startswith("llama")]


def test_every_measured_combination_is_compared(placement_runs, steady):
    found = compare(placement_runs, {"llama-3.1-8b-instruct": steady})
    assert len(found) == 4
    assert all(one.combination.startswith("llama-3.1-8b-instruct/rate_") for one in found)
    assert all(one.measured is not None for one in found)
    mixed = next(one for one in found if "0.4-0.05-0.00625" in one.combination)
    assert (mixed.measured.adapters, mixed.measured.max_loras) == (160, 32)


def test_scores_are_plain_values(placement_runs, steady):
    scores = measured_scores(placement_runs, {"llama-3.1-8b-instruct": steady})
    assert set(scores["overall"]) == {"adapters_smape", "throughput_smape", "slots_regret_percent"}
    one = next(iter(scores["by_combination"].values()))
    assert set(one["measured"]) == {"adapters", "max_loras", "throughput"}
    assert json.loads(json.dumps(scores)) == scores
