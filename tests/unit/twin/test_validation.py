"""Validation: scores by hand, predictions of real runs, the command and its JSON document, plots."""

import csv
import json
import math
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from adapter_twin.errors import AdaptwinError, MeasurementError
from adapter_twin.measurements.folder import MeasurementFolder
from adapter_twin.measurements.tables import Run, SloraRun, read_any_runs
from adapter_twin.profile import load_profile, profile_json
from adapter_twin.validation.cli import validate
from adapter_twin.validation.cross_validation import combinations, held_out_predictions
from adapter_twin.validation.document import validation_json
from adapter_twin.validation.plots import plot_validation
from adapter_twin.validation.runs import Prediction, predict_run, predict_runs
from adapter_twin.validation.scores import compare, score, score_by_model, score_by_regime

MEASUREMENTS = MeasurementFolder(Path(__file__).parents[2] / "data" / "measurements")
RUNS = MEASUREMENTS.path / "runs.csv"
QWEN = "qwen-2.5-7b-instruct"
GROUP_KEYS = {
    "throughput_smape",
    "itl_smape",
    "tpot_smape",
    "ttft_smape",
    "starvation_macro_f1",
    "oom_accuracy",
    "rows",
    "ok",
    "oom",
}


@pytest.fixture(scope="module", params=["llama-3.1-8b-instruct", QWEN])
def sampled(request):
    """A profile, every twelfth run of its model, and what the twin says of them."""
    profile = load_profile(f"{request.param}-h100-64gb")
    runs = MEASUREMENTS.runs(request.param)[::12]
    return profile, runs, list(predict_runs(runs, profile, threads=2))


@pytest.fixture
def table(tmp_path):
    """Writes a table of the quick runs among the measured ones, changed as told; its path."""

    def write(change=lambda rows: rows, columns=None):
        with RUNS.open(newline="", encoding="utf-8") as file:
            every = list(csv.DictReader(file))
        quick = [row for row in every if row["status"] == "ok" and float(row["offered_rate_rps"]) < 3.0]
        rows = change(quick[::8] + [row for row in every if row["status"] == "oom"][:2])
        path = tmp_path / "measured.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            names = columns or list(rows[0] if rows else ())
            writer = csv.DictWriter(file, names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def perfect(run):
    """A prediction that says what was measured."""
    return Prediction(
        "ok",
        run.throughput,
        run.itl_mean_ms / 1e3,
        run.tpot_mean_ms / 1e3,
        run.ttft_mean_ms / 1e3,
        run.running_mean,
        run.waiting_mean,
        run.kv_usage_mean,
    )


def invoke(*arguments):
    app = typer.Typer()
    app.command()(validate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_shipped_profiles_are_as_accurate_as_promised(sampled):
    _, runs, predictions = sampled
    scores = score(compare(runs, predictions))
    assert scores.smape["throughput"] <= 1.5
    assert scores.smape["ITL"] <= 3.5
    assert scores.smape["TPOT"] <= 3.5
    assert scores.smape["TTFT"] <= 8.0
    assert scores.oom_accuracy == 1.0
    assert scores.starvation_macro_f1 >= 0.96


def test_fresh_arrivals_are_predicted_as_well(sampled):
    profile, runs, _ = sampled
    steady = [run for run in runs if run.status == "ok" and run.offered_rate_rps < 20.0]
    predictions = [predict_run(run, profile, "fresh", seed=7) for run in steady]
    assert score(compare(steady, predictions)).smape["throughput"] <= 3.0


def test_several_draws_are_averaged():
    run = next(run for run in MEASUREMENTS.runs(QWEN) if run.status == "ok" and run.offered_rate_rps < 2.0)
    profile = load_profile(f"{QWEN}-h100-64gb")
    single = [predict_run(run, profile, "fresh", seed) for seed in (1, 2, 3)]
    (mean,) = predict_runs([run], profile, "fresh", seed=1, draws=3)
    assert mean.throughput == pytest.approx(sum(one.throughput for one in single) / 3)
    assert len({one.throughput for one in single}) == 3


def test_a_wrong_out_of_memory_counts_a_hundred(sampled):
    _, runs, predictions = sampled
    ok = [run for run in runs if run.status == "ok"]
    told = [p for p in predictions if p.status == "ok"]
    scores = score(compare(ok, [Prediction("oom"), *told[1:]]))
    assert scores.oom_accuracy == pytest.approx(1.0 - 1.0 / len(ok))
    without = score(compare(ok, told)).smape["throughput"]
    assert scores.smape["throughput"] == pytest.approx(without + 100.0 / len(ok), abs=0.5)


def test_a_perfect_prediction_scores_zero_and_each_run_counts_once_in_its_regime():
    runs = [run for run in MEASUREMENTS.runs(QWEN) if run.status == "ok"][::20]
    comparisons = compare(runs, [perfect(run) for run in runs])
    total, regimes = score(comparisons), score_by_regime(comparisons)
    for scores in (total, *regimes.values()):
        assert set(scores.smape.values()) == {0.0}
        assert scores.starvation_macro_f1 == 1.0
        assert not any(scores.bias.values())
    assert sum(scores.rows for scores in regimes.values()) == total.rows == len(runs)


def test_a_figure_that_was_not_measured_is_not_compared():
    runs = [run for run in MEASUREMENTS.runs(QWEN) if run.status == "ok"][:4]
    predictions = [perfect(run) for run in runs]
    blank = [run.model_copy(update={"tpot_mean_ms": None, "kv_usage_mean": None}) for run in runs]
    scores = score(compare([*blank[:3], runs[3]], predictions))
    assert scores.smape["TPOT"] == scores.smape["KV use"] == 0.0
    assert math.isnan(score(compare(blank, predictions)).smape["TPOT"])


def test_ideal_throughput_is_pooled_over_the_runs_of_a_model():
    runs = [run for run in MEASUREMENTS.runs(QWEN) if run.status == "ok"][:2]
    tokens = sum(run.input_tokens + run.output_tokens for run in runs) / sum(run.completed for run in runs)
    other = runs[0].model_copy(update={"model": "another", "input_tokens": 1.0, "output_tokens": 1.0})
    comparisons = compare([*runs, other], [perfect(run) for run in (*runs, other)])
    assert comparisons[0].ideal_throughput == pytest.approx(runs[0].offered_rate_rps * tokens)
    assert set(score_by_model(comparisons)) == {QWEN, "another"}


def test_predicted_against_measured_and_errors_are_drawn(sampled, tmp_path):
    pytest.importorskip("matplotlib")
    profile, runs, predictions = sampled
    path = tmp_path / "validation.svg"
    plot_validation({profile.name: compare(runs, predictions)}, path)
    assert path.read_text(encoding="utf-8").count('<g id="axes_') == 8


def test_the_json_document_holds_every_score_of_every_group(table, tmp_path):
    out = tmp_path / "out.json"
    result = invoke(table(), "--json", out)
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert set(content["by_model"]) == {"llama-3.1-8b-instruct", QWEN}
    assert set(content["by_regime"]) == {"unsaturated", "knee", "overloaded"}
    for group in (content["overall"], *content["by_model"].values(), *content["by_regime"].values()):
        assert set(group) >= GROUP_KEYS
    overall = content["overall"]
    assert overall["rows"] == overall["ok"] + overall["oom"]
    assert overall["oom"] == 2
    assert overall["oom_accuracy"] == 1.0
    assert 0.0 < overall["throughput_smape"] < 2.0
    assert content["by_regime"]["overloaded"]["rows"] == 0
    assert content["by_regime"]["overloaded"]["throughput_smape"] is None
    assert content["by_regime"]["unsaturated"]["oom"] == 0
    assert content["skipped"] == []
    assert content["settings"]["arrivals"] == "client-seed0"


def test_rows_that_nothing_can_be_compared_with_are_listed_and_left_out(table, tmp_path):
    def change(rows):
        rows[0]["model"] = "gpt-oss-20b"
        rows[1]["completed"] = ""
        rows[2]["max_lora_rank"] = "24"
        rows[3]["itl_mean_ms"] = ""
        return rows

    out, path = tmp_path / "out.json", table(change)
    result = invoke(path, "--json", out)
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text(encoding="utf-8"))
    assert [(item["table"], item["line"]) for item in content["skipped"]] == [
        ("measured.csv", 2),
        ("measured.csv", 3),
        ("measured.csv", 4),
    ]
    reasons = [item["reason"].split(":")[0] for item in content["skipped"]]
    assert reasons == ["model", "completed", "max_lora_rank"]
    assert "line 2" in result.stderr
    assert content["overall"]["rows"] == len(path.read_text(encoding="utf-8").splitlines()) - 1 - 3


def test_columns_that_only_tell_more_may_be_absent(table, tmp_path):
    needed = [name for name, field in Run.model_fields.items() if field.is_required()]
    assert "running_mean" not in needed
    out = tmp_path / "out.json"
    assert invoke(table(columns=needed), "--json", out).exit_code == 0
    assert json.loads(out.read_text(encoding="utf-8"))["overall"]["batch_size_smape"] is None


def test_nothing_is_fitted_on_the_file(table, tmp_path):
    def double(rows):
        return [row | {"itl_mean_ms": str(2.0 * float(row["itl_mean_ms"] or 0.0))} for row in rows]

    predictions = []
    for change in (lambda rows: rows, double):
        runs = [run for run in read_any_runs(table(change)).rows if run.model == QWEN]
        predictions.append(list(predict_runs(runs, load_profile(f"{QWEN}-h100-64gb"))))
    assert predictions[0] == predictions[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: [rows[0] | {"adapters": "many"}], "line 2: adapters"),
        (lambda rows: [rows[0], rows[1] | {"status": "fine"}], "line 3: status"),
        (lambda rows: [rows[0] | {"adapter_rates": "0.1 -0.2"}], "line 2: adapter_rates"),
        (lambda rows: [row | {"model": "gpt-oss-20b"} for row in rows], "there is no profile of gpt-oss-20b"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_and_nothing_is_written(table, tmp_path, change, words):
    out = tmp_path / "out.json"
    result = invoke(table(change), "--json", out)
    assert isinstance(result.exception, AdaptwinError)
    assert words in str(result.exception)
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("model,price\n", "one of vLLM lacks the columns run,"),
        ("\x00\xff", "no table of measured runs"),
    ],
)
def test_a_file_that_is_no_table_of_runs_is_refused(tmp_path, text, words):
    path = tmp_path / "what.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MeasurementError, match=words):
        read_any_runs(path)


def test_a_table_without_rows_is_refused(table, tmp_path):
    path = table(lambda rows: rows[:1])
    path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    assert "there is no row at all" in str(invoke(path, "--json", tmp_path / "out.json").exception)


def test_a_model_has_one_profile(table, tmp_path):
    shipped = load_profile(f"{QWEN}-h100-64gb")
    mine = tmp_path / "mine.json"
    mine.write_text(profile_json(shipped.model_copy(update={"name": "mine"})), encoding="utf-8")
    result = invoke(table(), "--profile", shipped.name, "--profile", mine)
    assert "are both of qwen-2.5-7b-instruct; name one per model" in str(result.exception)


def test_the_engine_is_told_from_the_columns():
    assert isinstance(read_any_runs(RUNS).rows[0], Run)
    assert isinstance(read_any_runs(MEASUREMENTS.path / "slora_runs.csv").rows[0], SloraRun)


def test_an_empty_group_is_null_and_not_a_number():
    content = json.loads(validation_json([], settings={}, skipped=[], kv_capacity={}))
    assert content["overall"]["rows"] == 0
    assert content["overall"]["throughput_smape"] is None


def test_the_command_refuses_what_it_does_not_know():
    result = invoke("--arrivals", "yesterday")
    assert isinstance(result.exception, AdaptwinError)
    assert "'yesterday' is not one of client-seed0, fresh" in str(result.exception)


def test_cross_validation_predicts_each_run_by_a_fold_without_it(monkeypatch):
    runs = [run for run in MEASUREMENTS.runs(QWEN) if run.status == "ok" and run.offered_rate_rps < 1.5][::3]
    fitted_on = []

    def note(profile, objective, _, slopes):
        fitted_on.append({run.combination for run in objective.runs})
        assert slopes.shape[0] == objective.residuals(profile).size
        return profile

    monkeypatch.setattr("adapter_twin.validation.cross_validation.fit_closed_loop", note)
    profile, told = load_profile(f"{QWEN}-h100-64gb"), []
    benchmarks = MEASUREMENTS.microbenchmarks()
    held_out = held_out_predictions(profile, runs, benchmarks, threads=1, progress=told.append)
    assert held_out == list(predict_runs(runs, profile))
    assert told[-1] == 1.0
    assert told == sorted(told)
    assert all(fold not in others for fold, others in zip(combinations(runs), fitted_on, strict=True))


def test_cross_validation_needs_something_to_fit_to():
    runs = [run for run in MEASUREMENTS.runs(QWEN) if run.combination == "0.1 0.05 0.025"]
    profile = load_profile(f"{QWEN}-h100-64gb")
    with pytest.raises(MeasurementError, match=r"all runs of .* have adapter_rates 0.1 0.05 0.025"):
        held_out_predictions(profile, runs, [], threads=1, progress=lambda _: None)


def test_a_table_of_slora_runs_is_validated_too(tmp_path):
    out = tmp_path / "out.json"
    result = invoke(MEASUREMENTS.path / "slora_runs.csv", "--every", "12", "--json", out)
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["by_model"]["llama-2-7b"]["throughput_smape"] < 3.0
    assert content["by_model"]["llama-2-7b"]["itl_smape"] < 5.0
