"""Calibration: the open-loop parts find what made the data, and the vector of parameters is faithful."""

from pathlib import Path

import numpy as np
import pytest

from adapter_twin.calibration.calibrate import calibrate_profile
from adapter_twin.calibration.fit import FitSettings, Objective, fit_closed_loop
from adapter_twin.calibration.parameters import PARAMETERS, vector_of, with_vector
from adapter_twin.calibration.physical import fit_fixed_bytes, fit_length_means, fit_loading
from adapter_twin.calibration.residuals import decode_rows, microbenchmark_residuals
from adapter_twin.errors import MeasurementError
from adapter_twin.measurements.folder import MeasurementFolder
from adapter_twin.measurements.tables import AdapterLoading, KvCapacity
from adapter_twin.memory import memory_verdict
from adapter_twin.profile import load_profile

MEASUREMENTS = MeasurementFolder(Path(__file__).parents[2] / "data" / "measurements")


@pytest.fixture
def profile():
    return load_profile("llama-3.1-8b-instruct-h100-64gb")


def test_the_memory_constant_is_recovered_from_capacities_it_made(profile):
    rows = []
    for slots, rank in ((8, 8), (64, 16), (32, 32)):
        tokens = memory_verdict(profile, slots, rank).kv_cache_tokens
        rows.append(
            KvCapacity(
                model=profile.model.name,
                max_loras=slots,
                max_lora_rank=rank,
                status="ok",
                kv_cache_tokens=tokens,
            )
        )
    allocator = profile.allocator.model_copy(update={"fixed_bytes": 0})
    found = fit_fixed_bytes(profile.model_copy(update={"allocator": allocator}), rows)
    block_bytes = 16 * profile.model.kv_bytes_per_token
    assert abs(found.allocator.fixed_bytes - profile.allocator.fixed_bytes) < block_bytes


def test_loading_times_are_recovered(profile):
    rows = [
        AdapterLoading(
            model=profile.model.name,
            max_lora_rank=32,
            adapter_rank=rank,
            load_cpu_to_gpu_ms=5.0 + 2.0 * (1 - rank / 32),
        )
        for rank in (8, 16, 32)
    ]
    found = fit_loading(profile, rows)
    assert found.cpu_to_gpu_s(32, 32) == pytest.approx(5e-3)
    assert found.cpu_to_gpu_s(8, 32) == pytest.approx(6.5e-3)


def test_mean_lengths_are_those_of_the_runs_without_a_queue(profile):
    found = fit_length_means(profile, MEASUREMENTS.runs(profile.model.name)).workload_defaults
    assert found.prompt.mean == pytest.approx(223.0, abs=1.5)
    assert found.output.mean == pytest.approx(194.0, abs=1.5)


def test_tables_without_a_row_of_the_model_are_an_error(profile):
    with pytest.raises(MeasurementError, match="kv_capacity: no ok row"):
        fit_fixed_bytes(profile, [])
    with pytest.raises(MeasurementError, match="adapter_loading: no row"):
        fit_loading(profile, [])
    with pytest.raises(MeasurementError, match="no ok row without a queue"):
        fit_length_means(profile, [])


def test_the_parameter_vector_is_faithful(profile):
    values = vector_of(profile)
    assert values.shape == (len(PARAMETERS),)
    assert with_vector(profile, list(values)) == profile
    for index, parameter in enumerate(PARAMETERS):
        moved = values.copy()
        moved[index] += parameter.scale / 10
        assert np.flatnonzero(vector_of(with_vector(profile, list(moved))) != values).tolist() == [index]


def test_microbenchmark_residuals_fall_when_the_coefficients_fit_better(profile):
    rows = decode_rows(MEASUREMENTS.microbenchmarks(), profile)
    assert len(rows) > 20
    slower = profile.step_time.model_copy(update={"base": 5 * profile.step_time.base})
    worse = microbenchmark_residuals(profile.model_copy(update={"step_time": slower}), rows)
    assert np.abs(microbenchmark_residuals(profile, rows)).mean() < np.abs(worse).mean()


def test_the_closed_loop_mends_a_profile_that_was_made_wrong(profile):
    runs = [run for run in MEASUREMENTS.runs(profile.model.name) if run.offered_rate_rps < 8.0][::9]
    microbenchmarks = decode_rows(MEASUREMENTS.microbenchmarks(), profile)[::6]
    objective = Objective(runs, microbenchmarks, FitSettings(iterations=1, threads=1))
    wrong = profile.step_time.model_copy(update={"base": 1.6 * profile.step_time.base})
    start = profile.model_copy(update={"step_time": wrong})
    told = []
    fitted = fit_closed_loop(start, objective, lambda what, part: told.append((what, part)))
    before, after = (np.abs(objective.residuals(p)).mean() for p in (start, fitted))
    assert after < 0.5 * before
    assert fitted.step_time.base < start.step_time.base
    assert told[0][1] == 0.0
    assert told[-1][1] == 1.0


def test_the_whole_calibration_reports_on_all_runs(profile, tmp_path):
    for name in ("kv_capacity", "adapter_loading", "microbenchmarks"):
        content = (MEASUREMENTS.path / f"{name}.csv").read_text(encoding="utf-8")
        (tmp_path / f"{name}.csv").write_text(content, encoding="utf-8")
    header, *rows = (MEASUREMENTS.path / "runs.csv").read_text(encoding="utf-8").splitlines()
    light = [row for row in rows if "rank_16_rates_0.1_0.05_0.025/" in row and "llama" in row][:6]
    (tmp_path / "runs.csv").write_text("\n".join([header, *light]) + "\n", encoding="utf-8")
    settings = FitSettings(iterations=1, threads=1)
    fitted = calibrate_profile(
        profile, MeasurementFolder(tmp_path), settings, every=2, progress=lambda *_: None
    )
    assert fitted.fit is not None
    assert fitted.fit.rows == sum(",ok," in row for row in light)
    assert fitted.fit.throughput_smape < 3.0
    assert fitted.name == profile.name
