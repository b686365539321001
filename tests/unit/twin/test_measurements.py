"""Measurement tables, the repeated arrivals and the measures of error."""

from pathlib import Path

import numpy as np
import pytest

from adapter_twin.errors import MeasurementError
from adapter_twin.measurements.arrivals import measured_arrivals
from adapter_twin.measurements.folder import MeasurementFolder
from adapter_twin.measurements.measures import macro_f1, regime, smape
from adapter_twin.measurements.tables import pooled_tokens_per_request, read_kv_capacity, read_runs

FOLDER = Path(__file__).parents[2] / "data" / "measurements"
MODELS = ("llama-3.1-8b-instruct", "qwen-2.5-7b-instruct")


def all_runs():
    return [run for model in MODELS for run in MeasurementFolder(FOLDER).runs(model)]


def test_all_rows_are_read():
    runs = all_runs()
    assert len(runs) == 746
    assert sum(run.status == "oom" for run in runs) == 96
    assert len({run.combination for run in runs}) == 6


def test_repeated_arrivals_give_the_measured_requests():
    """Runs without a queue finish or still run what arrived: measured_arrivals must count the same."""
    unqueued = [run for run in all_runs() if run.status == "ok" and run.waiting_mean < 1.0]
    assert len(unqueued) == 135
    arrived = [measured_arrivals(run.adapter_rates, run.adapters)[0].size for run in unqueued]
    assert smape(arrived, [run.completed + run.running_mean for run in unqueued]) < 0.05


def test_arrivals_are_sorted_within_the_hour_and_at_the_declared_rates():
    times, adapters = measured_arrivals((0.4, 0.05), 20)
    assert np.all(np.diff(times) >= 0.0)
    assert 0.0 <= times[0] <= times[-1] < 3600.0
    counts = np.bincount(adapters, minlength=20)
    assert counts[::2].mean() == pytest.approx(0.4 * 3600.0, rel=0.05)
    assert counts[1::2].mean() == pytest.approx(0.05 * 3600.0, rel=0.1)


def test_smape_is_half_the_relative_error_when_small_and_100_for_no_number():
    assert smape([103.0], [97.0]) == pytest.approx(3.0)
    assert smape([np.nan, 1.0], [1.0, 1.0]) == pytest.approx(50.0)
    assert smape([0.0], [0.0]) == 0.0
    assert np.isnan(smape([], []))


def test_macro_f1_by_hand():
    assert macro_f1([True, True, False, False], [True, False, False, False]) == pytest.approx(
        (2 / 3 + 4 / 5) / 2
    )
    assert macro_f1([False], [False]) == 1.0


def test_regimes_by_the_part_of_the_ideal():
    assert [regime(x, 100.0) for x in (98.0, 97.0, 96.9, 80.0, 79.9)] == [
        "unsaturated",
        "unsaturated",
        "knee",
        "knee",
        "overloaded",
    ]


def test_tokens_per_request_are_pooled_over_requests_not_runs():
    runs = [run for run in all_runs() if run.model == MODELS[0]]
    assert pooled_tokens_per_request(runs) == pytest.approx(417.0, abs=2.0)


def test_a_missing_column_is_named_with_what_is_needed(tmp_path):
    table = tmp_path / "kv_capacity.csv"
    table.write_text("model,max_loras,status\nm,1,ok\n", encoding="utf-8")
    with pytest.raises(MeasurementError, match="column max_lora_rank, kv_cache_tokens missing"):
        read_kv_capacity(table)


def test_a_wrong_value_is_named_by_line_and_column(tmp_path):
    table = tmp_path / "kv_capacity.csv"
    table.write_text(
        "model,max_loras,max_lora_rank,status,kv_cache_tokens\nm,many,8,ok,1\n", encoding="utf-8"
    )
    with pytest.raises(
        MeasurementError, match=r"kv_capacity\.csv line 2: max_loras: Input should be a valid"
    ):
        read_kv_capacity(table)


def test_a_missing_folder_or_table_is_named(tmp_path):
    with pytest.raises(MeasurementError, match="there is no folder"):
        MeasurementFolder(tmp_path / "none")
    with pytest.raises(MeasurementError, match=r"cannot read .*runs\.csv"):
        read_runs(tmp_path / "runs.csv")
