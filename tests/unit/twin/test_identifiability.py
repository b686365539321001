"""What measurements say of coefficients, and where a profile extrapolates."""

import numpy as np
import pytest

from adapter_twin.calibration.identifiability import (
    Verdict,
    identify,
    open_deviations,
    relative_gradients,
    step_time_error,
)
from adapter_twin.calibration.parameters import BENCH_PARAMETERS, vector_of
from adapter_twin.profile import load_profile
from adapter_twin.profile.validity import extrapolation_warning, extrapolations

NAMES = [parameter.name for parameter in BENCH_PARAMETERS]
SCALE = np.array([parameter.scale for parameter in BENCH_PARAMETERS])


@pytest.fixture
def profile():
    return load_profile("llama-3.1-8b-instruct-h100-64gb")


@pytest.fixture
def values(profile):
    return vector_of(profile, BENCH_PARAMETERS)


def found(values, rows, residuals=None):
    """From rows of {name: change of a residual, in noise, for one standard error before the data}."""
    jacobian = np.zeros((len(rows), len(NAMES)))
    for place, row in enumerate(rows):
        for name, change in row.items():
            jacobian[place, NAMES.index(name)] = change
    jacobian *= SCALE / open_deviations(BENCH_PARAMETERS, values)
    return identify(
        BENCH_PARAMETERS, values, values, jacobian, np.zeros(len(rows)) if residuals is None else residuals
    )


def of(identifiability, name):
    return next(c for c in identifiability.coefficients if c.name == name)


def test_without_data_nothing_is_known(values):
    result = found(values, [{}])
    assert {c.verdict for c in result.coefficients} == {Verdict.KEPT}
    assert all(c.left == pytest.approx(1.0) for c in result.coefficients)


def test_verdicts_follow_the_uncertainty_that_is_left(values):
    result = found(values, [{"base": 10.0}, {"per_decode": 2.0}, {"per_waiting": 0.3}])
    assert of(result, "base").left == pytest.approx(1 / np.sqrt(101))
    assert of(result, "base").verdict is Verdict.IDENTIFIED
    assert of(result, "per_decode").verdict is Verdict.WEAK
    assert of(result, "per_waiting").verdict is Verdict.KEPT
    assert of(result, "base").deviation == pytest.approx(0.5 * values[0] / np.sqrt(101))


def test_a_sum_that_is_known_without_its_parts_names_them_together(values):
    result = found(values, [{"lora_per_slot": 20.0, "lora_per_adapter": 20.0}, {"base": 20.0}])
    assert result.groups == (("lora_per_adapter", "lora_per_slot"),)
    assert of(result, "lora_per_slot").verdict is Verdict.KEPT
    apart = found(values, [{"lora_per_slot": 20.0, "lora_per_adapter": 20.0}, {"lora_per_slot": 20.0}])
    assert apart.groups == ()
    assert of(apart, "lora_per_slot").verdict is Verdict.IDENTIFIED


def test_residuals_that_scatter_more_than_assumed_widen_the_errors(values):
    rows = [{"base": 10.0}] * 40
    calm, wild = found(values, rows), found(values, rows, np.tile([1.8, -1.8], 20))
    assert calm.noise == 0.0
    assert wild.noise == pytest.approx(1.8, rel=0.05)
    assert of(wild, "base").deviation == pytest.approx(1.8 * of(calm, "base").deviation, rel=0.05)


def test_the_step_time_is_known_better_than_its_parts(profile, values):
    nothing, both = found(values, [{}]), found(values, [{name: 50.0} for name in NAMES])
    assert step_time_error(both, profile) < 0.02
    assert step_time_error(nothing, profile) > 0.2


def test_gradients_add_up_to_the_whole_step(profile):
    gradients = relative_gradients(profile, (8, 128), (8, 32))
    assert gradients @ profile.coefficients() == pytest.approx(np.ones(len(gradients)))


def test_inside_the_measured_range_there_is_nothing_to_say(profile):
    clauses = extrapolations(profile, max_loras=32, max_lora_rank=16, adapters=64, offered_rate_rps=0.01)
    assert clauses == ()
    assert extrapolation_warning(profile, clauses) == ""


def test_each_way_out_of_the_range_is_named(profile):
    clauses = extrapolations(profile, max_loras=4, max_lora_rank=64, adapters=1000, offered_rate_rps=1e4)
    assert len(clauses) == 4
    warning = extrapolation_warning(profile, clauses)
    assert warning.startswith(f"profile {profile.name} extrapolates: slots (max_loras) 4 outside")
    assert "padded rank (max_lora_rank) 64 outside the measured 8 to 32" in warning


def test_a_base_model_without_slots_extrapolates_in_its_rate_only(profile):
    assert extrapolations(profile, max_loras=0, max_lora_rank=256, adapters=0, offered_rate_rps=1.0) == ()
