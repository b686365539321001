import csv
import json
from pathlib import Path

import pytest

from adapter_predictor.optima import Outcome
from adapter_predictor.predictor import SteadyStatePredictor
from adapter_predictor.training.comparison import Comparison, compare, read_grids
from adapter_predictor.training.evaluation import measured_scores
from adapter_twin.errors import MeasurementError
from adapter_twin.profile import load_profile

TABLE = Path(__file__).parents[2] / "data" / "measurements" / "runs.csv"
PROFILES = ("llama-3.1-8b-instruct-h100-64gb", "qwen-2.5-7b-instruct-h100-64gb")


@pytest.fixture(scope="module")
def predictors():
    loaded = (load_profile(name) for name in PROFILES)
    return {profile.model.name: SteadyStatePredictor(profile) for profile in loaded}


@pytest.fixture(scope="module")
def grids():
    return read_grids(TABLE)


@pytest.fixture
def table(tmp_path):
    """Writes the rows of the table that a function lets through, changed by it."""

    def write(change):
        with TABLE.open(newline="") as file:
            rows = [changed for row in csv.DictReader(file) if (changed := change(row))]
        path = tmp_path / "runs.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def cell(adapters, slots, throughput=1.0, *, starves=False):
    return Outcome(adapters, slots, throughput, starves)


def test_no_prediction_counts_in_full():
    missing = Comparison.of("x", [cell(8, 8)], [])
    assert missing.adapters_smape == missing.throughput_smape == missing.slots_regret_percent == 100.0
    exact = Comparison.of("x", [cell(8, 8)], [cell(8, 8)])
    assert exact.adapters_smape == exact.throughput_smape == exact.slots_regret_percent == 0.0


def test_regret_is_what_the_predicted_slots_lose_where_they_have_a_point():
    measured = [cell(32, 8, 90.0), cell(32, 16, 100.0), cell(8, 32, starves=True)]
    assert Comparison.of("x", measured, [cell(32, 8)]).slots_regret_percent == pytest.approx(10.0)
    assert Comparison.of("x", measured, [cell(32, 16)]).slots_regret_percent == 0.0
    assert Comparison.of("x", measured, [cell(32, 32)]).slots_regret_percent == 100.0


def test_every_measured_combination_is_compared(grids, predictors):
    found = compare(grids, predictors)
    assert len(found) == 8
    assert all(one.measured is not None for one in found)
    mixed = next(one for one in found if one.combination.startswith("llama-3.1-8b-instruct/rate_0.4-0.05"))
    assert (mixed.measured.adapters, mixed.measured.max_loras) == (160, 32)


def test_scores_are_plain_values(grids, predictors):
    scores = measured_scores(grids, predictors)
    assert set(scores["overall"]) == {"adapters_smape", "throughput_smape", "slots_regret_percent"}
    one = next(iter(scores["by_combination"].values()))
    assert set(one["measured"]) == set(one["predicted"]) == {"adapters", "max_loras", "throughput"}
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def walked(cells):
    """The rules once more, in their own words: cells are (slots, adapters, passes, throughput)."""
    best = None
    for slots in {cell[0] for cell in cells}:
        point = None
        for _, adapters, passes, throughput in sorted(c for c in cells if c[0] == slots):
            if not passes:
                break
            point = (adapters, throughput, -slots)
        best = point if best is None or (point is not None and point > best) else best
    return best


def test_an_independent_reading_of_the_rules_agrees(grids, predictors):
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = measured_scores(grids, predictors)
    for name, one in scores["by_combination"].items():
        model, combination = name.split("/")
        ok = [r for r in rows if r["model"] == model and r["status"] == "ok"]
        tokens = sum(float(r["input_tokens"]) + float(r["output_tokens"]) for r in ok)
        per_request = tokens / sum(float(r["completed"]) for r in ok)
        cells = []
        for r in rows:
            if (r["model"], r["set"], r["combination"]) != (model, "placement", combination):
                continue
            through = 0.0
            if r["status"] == "ok":
                through = (float(r["input_tokens"]) + float(r["output_tokens"])) / float(r["duration_s"])
            passes = r["status"] == "ok" and through >= 0.9 * float(r["offered_rate_rps"]) * per_request
            cells.append((int(r["max_loras"]), int(r["adapters"]), passes, through))
        adapters, throughput, slots = walked(cells)
        measured, predicted = one["measured"], one["predicted"]
        assert (measured["adapters"], measured["max_loras"]) == (adapters, -slots)
        assert measured["throughput"] == pytest.approx(throughput)
        p, m = predicted["adapters"], adapters
        assert one["adapters_smape"] == pytest.approx(100.0 * abs(p - m) / (p + m))
        point = walked([c for c in cells if c[0] == predicted["max_loras"]])
        regret = 100.0 if point is None else 100.0 * max(0.0, 1.0 - point[1] / throughput)
        assert one["slots_regret_percent"] == pytest.approx(regret)
    means = [one["adapters_smape"] for one in scores["by_combination"].values()]
    assert scores["overall"]["adapters_smape"] == pytest.approx(sum(means) / len(means))


def test_a_model_that_nobody_predicts_counts_in_full(grids, predictors):
    llama = {name: one for name, one in predictors.items() if name.startswith("llama")}
    scores = measured_scores(grids, llama)
    assert len(scores["by_combination"]) == 8
    lost = [one for name, one in scores["by_combination"].items() if name.startswith("qwen")]
    assert [one["adapters_smape"] for one in lost] == [100.0] * 4
    assert all(one["predicted"] is None for one in lost)


def test_combinations_are_those_of_their_column_whatever_runs_are_called(table, predictors):
    path = table(lambda row: row | {"run": "r", "combination": "mine"} if row["set"] == "placement" else row)
    assert [grid.combination for grid in read_grids(path)] == ["mine", "mine"]


def test_a_combination_in_which_all_runs_starve_has_no_measured_optimum(table, predictors):
    path = table(lambda row: row | {"status": "oom"} if row["set"] == "placement" else row)
    scores = measured_scores(read_grids(path), predictors)
    assert all(one["measured"] is None for one in scores["by_combination"].values())
    assert scores["overall"]["adapters_smape"] == 100.0


@pytest.mark.parametrize(
    "change", [{"status": "oom"}, {"completed": 0, "input_tokens": 0, "output_tokens": 0}]
)
def test_a_model_of_which_no_run_finished_anything_has_no_measured_optimum(table, predictors, change):
    path = table(lambda row: row | change)
    scores = measured_scores(read_grids(path), predictors)
    assert all(one["measured"] is None for one in scores["by_combination"].values())
    assert set(scores["overall"].values()) == {100.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row if row["set"] == "validation" else None, "no row with set=placement"),
        (lambda row: {k: v for k, v in row.items() if k != "combination"}, "column combination missing"),
    ],
)
def test_tables_that_say_nothing_are_refused(table, change, message):
    with pytest.raises(MeasurementError, match=message):
        read_grids(table(change))
