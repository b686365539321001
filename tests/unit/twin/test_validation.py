"""Validation: scores by hand, predictions of real runs, plots."""

import json
from pathlib import Path

import numpy as np
import pytest

from adapter_twin.measurements.folder import MeasurementFolder
from adapter_twin.profile import load_profile
from adapter_twin.validation.plots import Validated, plot_validation
from adapter_twin.validation.runs import Prediction, predict_run, predict_runs
from adapter_twin.validation.scores import score

MEASUREMENTS = MeasurementFolder(Path(__file__).parents[2] / "data" / "measurements")


@pytest.fixture(scope="module", params=["llama-3.1-8b-instruct", "qwen-2.5-7b-instruct"])
def sampled(request):
    """A profile, every twelfth run of its model, and what the twin says of them."""
    profile = load_profile(f"{request.param}-h100-64gb")
    runs = MEASUREMENTS.runs(request.param)[::12]
    return profile, runs, list(predict_runs(runs, profile, threads=2))


def test_shipped_profiles_are_as_accurate_as_promised(sampled):
    _, runs, predictions = sampled
    scores = score(runs, predictions)
    assert scores.smape["throughput"]["all"] <= 3.0
    assert scores.smape["ITL"]["all"] <= 7.0
    assert scores.oom_accuracy == 1.0
    assert scores.starvation_macro_f1 >= 0.96


def test_fresh_arrivals_are_predicted_as_well(sampled):
    profile, runs, _ = sampled
    steady = [run for run in runs if run.status == "ok" and run.offered_rate_rps < 20.0]
    predictions = [predict_run(run, profile, "fresh", seed=7) for run in steady]
    assert score(steady, predictions).smape["throughput"]["all"] <= 3.0


def test_a_wrong_out_of_memory_counts_a_hundred(sampled):
    _, runs, predictions = sampled
    ok = [run for run in runs if run.status == "ok"]
    told = [p for p in predictions if p.status == "ok"]
    scores = score(ok, [Prediction("oom"), *told[1:]])
    assert scores.oom_accuracy == pytest.approx(1.0 - 1.0 / len(ok))
    without = score(ok, told).smape["throughput"]["all"]
    assert scores.smape["throughput"]["all"] == pytest.approx(without + 100.0 / len(ok), abs=0.5)


def test_a_perfect_prediction_scores_zero():
    runs = [run for run in MEASUREMENTS.runs("qwen-2.5-7b-instruct") if run.status == "ok"][::40]
    perfect = [
        Prediction(
            "ok",
            run.throughput,
            run.itl_mean_ms / 1e3,
            run.tpot_mean_ms / 1e3,
            run.ttft_mean_ms / 1e3,
            run.running_mean,
            run.waiting_mean,
            run.kv_usage_mean,
        )
        for run in runs
    ]
    scores = score(runs, perfect)
    assert all(scores.smape[figure]["all"] == 0.0 for figure in scores.smape)
    assert scores.starvation_macro_f1 == 1.0
    assert np.nansum([abs(value) for figure in scores.bias.values() for value in figure.values()]) == 0.0


def test_predicted_against_measured_is_drawn(sampled, tmp_path):
    pytest.importorskip("matplotlib")
    profile, runs, predictions = sampled
    path = tmp_path / "validation.svg"
    plot_validation([Validated(profile.name, runs, predictions)], path)
    text = path.read_text(encoding="utf-8")
    assert text.count('<g id="axes_') == 4


def test_the_command_prints_json_for_machines():
    from typer.testing import CliRunner

    from adapter_twin.cli import app

    arguments = ["validate", "--measurements", str(MEASUREMENTS.path), "--every", "60", "-o", "json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert set(content) == {"llama-3.1-8b-instruct-h100-64gb", "qwen-2.5-7b-instruct-h100-64gb"}
    for figures in content.values():
        assert figures["smape"]["throughput"]["all"] < 5.0
        assert figures["memory"]["oom_accuracy"] == 1.0


def test_the_command_refuses_what_it_does_not_know():
    from typer.testing import CliRunner

    from adapter_twin.cli import app

    result = CliRunner().invoke(app, ["validate", "--arrivals", "yesterday"])
    assert result.exit_code == 2
    assert "'yesterday' is not one of measured, fresh" in " ".join(result.output.split())
