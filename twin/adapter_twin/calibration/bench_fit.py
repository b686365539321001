"""Calibration on results of `vllm bench serve`: a profile for one's own GPU from a dozen short runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.calibration.bench_runs import (
    FIGURES,
    BenchFigures,
    BenchRun,
    bench_run,
    measured_figures,
    simulate_benches,
)
from adapter_twin.calibration.fit import FitSettings, Progress, fit_closed_loop, jacobian_at
from adapter_twin.calibration.identifiability import (
    Identifiability,
    identify,
    open_deviations,
    step_time_error,
)
from adapter_twin.calibration.parameters import BENCH_PARAMETERS, Parameter, vector_of
from adapter_twin.calibration.physical import fit_fixed_bytes
from adapter_twin.errors import MeasurementError
from adapter_twin.measurements.measures import smape
from adapter_twin.measurements.tables import KvCapacity
from adapter_twin.profile import FitReport, LoadingCoefficients, Profile, ValidityRange
from adapter_twin.profile.derivation import SAFETY_MARGIN_PERCENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adapter_twin.calibration.bench_serve import BenchResult

    _Vector = NDArray[np.float64]

NOISE = {"throughput": 0.02, "TTFT": 0.10, "TPOT": 0.02}
"""Relative size of an error that counts as one, by figure: runs of a minute repeat to this."""
FEWEST_RESULTS = 3
_MARGIN = 2.0
"""Standard errors of the step time that a plan keeps as a margin."""
_WORST = 1.0
"""Bound of a logarithm of predicted over measured."""
_ENGINE = ("max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "max_model_len")


@dataclass(frozen=True)
class BenchObjective:
    """Benchmark runs, with the first uncertainty of every coefficient as the prior."""

    runs: Sequence[BenchRun]
    measured: Sequence[BenchFigures]
    settings: FitSettings
    parameters: Sequence[Parameter] = BENCH_PARAMETERS

    def residuals(self, profile: Profile) -> _Vector:
        """Logarithms of predicted over measured in units of noise, shape (runs × figures,)."""
        found = simulate_benches(self.runs, profile, self.settings.threads)
        pairs = zip(found, self.measured, strict=True)
        return np.concatenate([bench_residuals(predicted, measured) for predicted, measured in pairs])

    def pull(self, start: _Vector, residuals: int) -> _Vector:  # noqa: ARG002 (noise is not shared between runs)
        """One unit of noise for each first standard error away from the start."""
        scale = np.array([parameter.scale for parameter in self.parameters])
        return np.asarray(scale / open_deviations(self.parameters, start))


@dataclass(frozen=True)
class BenchCalibration:
    """A profile fitted to benchmark runs, and what they say of it."""

    profile: Profile
    identifiability: Identifiability
    results: tuple[BenchResult, ...]
    predicted: tuple[BenchFigures, ...]
    step_time_error: float
    """Relative standard error over the profile's validity range, the largest."""
    notes: tuple[str, ...]
    """What the results did not hold, and what was done about it."""


def bench_residuals(predicted: BenchFigures, measured: BenchFigures) -> _Vector:
    """Of one run, shape (figures,); 0 where nothing was measured, the bound where the twin has no number."""
    p, m = predicted.vector(), measured.vector()
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.where(m > 0.0, np.log(p / m), 0.0)
    bounded = np.clip(np.nan_to_num(logs, nan=_WORST), -_WORST, _WORST)
    in_noise: _Vector = bounded / np.array([NOISE[figure] for figure in FIGURES])
    return in_noise


def calibrate_on_bench(
    start: Profile, results: Sequence[BenchResult], settings: FitSettings, progress: Progress
) -> BenchCalibration:
    """Fit memory and, in closed loop, step time to benchmark runs; what they do not identify keeps its value.

    Raises:
        MeasurementError: the results are of another model or GPU than `start`, or too few.
    """
    _require_suitable(start, results)
    with_memory, memory_note = _fit_memory(start, results)
    runs = [bench_run(result, settings.seed) for result in results]
    measured = [measured_figures(result) for result in results]
    objective = BenchObjective(runs, measured, settings)
    fitted = fit_closed_loop(with_memory, objective, progress)
    residuals = objective.residuals(fitted)
    values = vector_of(fitted, BENCH_PARAMETERS)
    jacobian = jacobian_at(fitted, objective, values, residuals)
    found = identify(BENCH_PARAMETERS, vector_of(start, BENCH_PARAMETERS), values, jacobian, residuals)
    predicted = tuple(simulate_benches(runs, fitted, settings.threads))
    profile = _finished(fitted, start, results, found, predicted)
    return BenchCalibration(
        profile,
        found,
        tuple(results),
        predicted,
        step_time_error(found, profile),
        (*memory_note, *_notes(results)),
    )


def _require_suitable(start: Profile, results: Sequence[BenchResult]) -> None:
    if len(results) < FEWEST_RESULTS:
        raise MeasurementError(
            f"results: {len(results)} are too few to calibrate on, it takes {FEWEST_RESULTS} or more; "
            "twin calibrate --plan prints which"
        )
    for result in results:
        for key, wanted in (("profile_model", start.model.name), ("profile_gpu", start.gpu.name)):
            given = getattr(result, key)
            if given not in (None, wanted):
                raise MeasurementError(
                    f"{result.source}: {key}: {given}, but the profile is of {wanted}; "
                    "start from a profile of that model and GPU (adaptwin twin derive)"
                )


def _fit_memory(start: Profile, results: Sequence[BenchResult]) -> tuple[Profile, tuple[str, ...]]:
    """The memory model's constant, from the KV capacities that came with the results."""
    known = {(r.max_loras, r.max_lora_rank): r for r in results if r.kv_cache_tokens and r.max_loras}
    if not known:
        return start, ("no kv_cache_tokens with adapters: memory keeps the starting profile's constant",)
    given = {name: getattr(next(iter(known.values())), name) for name in _ENGINE}
    overrides = {name: value for name, value in given.items() if value is not None}
    as_started = start.model_copy(update={"engine": start.engine.model_copy(update=overrides)})
    rows = [
        KvCapacity(
            model=start.model.name,
            max_loras=slots,
            max_lora_rank=rank or 0,
            status="ok",
            kv_cache_tokens=result.kv_cache_tokens,
        )
        for (slots, rank), result in known.items()
    ]
    allocator = fit_fixed_bytes(as_started, rows).allocator
    return start.model_copy(update={"allocator": allocator}), ()


def _notes(results: Sequence[BenchResult]) -> tuple[str, ...]:
    notes = []
    if not any(result.adapters for result in results):
        notes.append("no run has adapters: all LoRA coefficients keep the starting profile's values")
    if all(result.max_loras for result in results):
        notes.append("no run is without LoRA: what LoRA adds is told from the base model by scaling alone")
    if not all(result.detailed for result in results):
        notes.append("some runs lack --save-detailed: their requests are taken to be of mean length")
    notes.append(
        "disk reads, start-up times, scrapes, an adapter's first request and token lengths are not in such "
        "results: they keep the starting profile's values"
    )
    return tuple(notes)


def _finished(
    fitted: Profile,
    start: Profile,
    results: Sequence[BenchResult],
    found: Identifiability,
    predicted: Sequence[BenchFigures],
) -> Profile:
    """Marked as calibrated within what was measured, with the margin that the uncertainty left demands."""
    versions = sorted({result.vllm_version for result in results if result.vllm_version})
    engine = fitted.engine.model_copy(update={"version": versions[-1]} if versions else {})
    measured = fitted.model_copy(update={"validity": validity_of(results, start.validity)})
    margin = math.ceil(100.0 * _MARGIN * step_time_error(found, measured))
    return measured.model_copy(
        update={
            "origin": "calibrated",
            "engine": engine,
            "loading": _loading(fitted.loading, start.loading),
            "safety_margin_percent": min(margin, SAFETY_MARGIN_PERCENT),
            "fit": _report(results, predicted),
        }
    )


def _loading(fitted: LoadingCoefficients, start: LoadingCoefficients) -> LoadingCoefficients:
    """What padding adds changes with the rest: both are copies over the same bus."""
    ratio = fitted.cpu_to_gpu_base_s / start.cpu_to_gpu_base_s if start.cpu_to_gpu_base_s else 1.0
    return fitted.model_copy(update={"cpu_to_gpu_per_padding_s": start.cpu_to_gpu_per_padding_s * ratio})


def validity_of(results: Sequence[BenchResult], start: ValidityRange) -> ValidityRange:
    """What the results cover; the starting profile's range of what none of them has."""
    rates = [result.completed_rps for result in results]
    with_slots = [result for result in results if result.max_loras]
    served = [result.adapters for result in results if result.adapters]
    if not with_slots or not served:
        return start.model_copy(update={"offered_rate_rps": (min(rates), max(rates))})
    slots = [result.max_loras for result in with_slots]
    ranks = [result.max_lora_rank or 0 for result in with_slots]
    return ValidityRange(
        max_loras=(min(slots), max(slots)),
        max_lora_rank=(min(ranks), max(ranks)),
        adapters=(min(served), max(served)),
        offered_rate_rps=(min(rates), max(rates)),
    )


def _report(results: Sequence[BenchResult], predicted: Sequence[BenchFigures]) -> FitReport:
    measured = np.array([measured_figures(result).vector() for result in results])
    found = np.array([figures.vector() for figures in predicted])
    errors = {
        figure: round(smape(found[:, i][measured[:, i] > 0], measured[:, i][measured[:, i] > 0]), 3)
        for i, figure in enumerate(FIGURES)
    }
    return FitReport(
        source=f"vllm bench serve, {len(results)} runs",
        rows=len(results),
        throughput_smape=errors["throughput"],
        itl_smape=errors["TPOT"],
        tpot_smape=errors["TPOT"],
        ttft_smape=errors["TTFT"],
    )
