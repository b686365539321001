"""Calibration: the open-loop parts find what made the data, and the vector of parameters is faithful."""

from pathlib import Path

import numpy as np
import pytest

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
