"""Fitting a profile of S-LoRA to measured runs: bounded least squares on what the closed loop predicts.

All coefficients are positive and of known size, so each is fitted as a multiple of where it begins, and every
figure's error is a logarithm in units of its noise. Runs are simulated in milliseconds: no tricks are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import least_squares

from adapter_twin.errors import MeasurementError
from adapter_twin.measurements.measures import smape
from adapter_twin.profile.model import FitReport
from adapter_twin.profile.slora import SloraProfile, SloraStepTime
from adapter_twin.slora.runs import SloraPrediction, predict_slora_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adapter_twin.measurements.tables import SloraRun

Progress = Callable[[str, float], None]
"""Called with what is being done and the part that is done, 0 to 1."""

_STEP_TIME = tuple(name for name in SloraStepTime.model_fields if name != "per_pool_token")
_FRONT_END = ("request_s", "merge_per_connection")
_LARGEST_FACTOR = 20.0
_DIFFERENCE = 0.05
_ITERATIONS = 8
_WORST = 1.0
"""Bound of a logarithm: where a small error of the step time decides whether a queue builds up, the time to
the first token must not outweigh everything else."""


def _silent(what: str, part: float) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class Figure:
    """What is compared of a run: how a prediction and a row give it, and an error that counts as one."""

    predicted: Callable[[SloraPrediction], float]
    measured: Callable[[SloraRun], float | None]
    noise: float


FIGURES = {
    "throughput": Figure(lambda p: p.throughput, lambda run: run.throughput or None, 0.01),
    "ITL": Figure(lambda p: p.itl_s * 1e3, lambda run: run.itl_mean_ms, 0.02),
    "TPOT": Figure(lambda p: p.tpot_s * 1e3, lambda run: run.tpot_mean_ms, 0.02),
    "TTFT": Figure(lambda p: p.ttft_s * 1e3, lambda run: run.ttft_mean_ms, 0.5),
    "TTFT p50": Figure(lambda p: p.ttft_p50_s * 1e3, lambda run: run.ttft_p50_ms, 0.5),
    "batch size": Figure(lambda p: p.batch_size, lambda run: run.batch_mean, 0.03),
    "active adapters": Figure(lambda p: p.active_adapters_mean, lambda run: run.active_adapters_mean, 0.03),
}


@dataclass(frozen=True)
class Fold:
    """A profile fitted without the runs of one number of adapters, and what it says of them."""

    adapters: int
    rows: tuple[SloraRun, ...]
    predictions: tuple[SloraPrediction, ...]

    def smape(self) -> dict[str, float]:
        """Errors by figure."""
        return slora_smape(self.rows, self.predictions)


def calibrate_slora(
    profile: SloraProfile, rows: Sequence[SloraRun], *, threads: int = 1, progress: Progress = _silent
) -> SloraProfile:
    """The profile with step time and front end fitted to these runs, beginning with its own values.

    Reading the pool is not fitted: the data sheet has the bandwidth. In these runs context grows with the
    batch, so that fitting both would only trade one against the other.

    Raises:
        MeasurementError: there is no `ok` row of the profile's model.
    """
    runs = slora_rows_of(profile, rows)
    origin = _at_full_bandwidth(profile)
    start = _vector(origin)
    evaluations = _ITERATIONS * (start.size + 1)
    done = 0

    def residuals(factors: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal done
        done += 1
        progress(f"fitting {len(runs)} runs", min(1.0, done / evaluations))
        return _residuals(_with_vector(origin, factors * start), runs, threads)

    found = least_squares(
        residuals,
        np.ones(start.size),
        bounds=(1.0 / _LARGEST_FACTOR, _LARGEST_FACTOR),
        x_scale="jac",
        diff_step=_DIFFERENCE,
        loss="soft_l1",
        max_nfev=_ITERATIONS,
    )
    fitted = _with_vector(origin, found.x * start)
    return fitted.model_copy(update={"fit": _report(fitted, runs)})


def cross_validate_slora(
    profile: SloraProfile, rows: Sequence[SloraRun], *, threads: int = 1, progress: Progress = _silent
) -> list[Fold]:
    """Leave out one number of adapters after the other, fit to the rest, and predict what was left out.

    The profile given may have been fitted to the very rows that are left out. So that nothing is remembered
    of them, every fit begins at coefficients that are a quarter to a third off.
    """
    runs = slora_rows_of(profile, rows)
    start = _displaced(profile)
    counts = sorted({run.adapters for run in runs})
    folds = []
    for place, adapters in enumerate(counts):
        progress(f"without {adapters} adapters", place / len(counts))
        held_out = tuple(run for run in runs if run.adapters == adapters)
        others = [run for run in runs if run.adapters != adapters]
        fitted = calibrate_slora(start, others, threads=threads)
        folds.append(Fold(adapters, held_out, tuple(predict_slora_runs(fitted, held_out))))
    return folds


def slora_rows_of(profile: SloraProfile, rows: Sequence[SloraRun]) -> list[SloraRun]:
    """The `ok` rows of the profile's model."""
    runs = [run for run in rows if run.status == "ok" and run.model == profile.model.name]
    if not runs:
        raise MeasurementError(f"slora_runs: no ok row for model {profile.model.name}")
    return runs


def slora_smape(rows: Sequence[SloraRun], predictions: Sequence[SloraPrediction]) -> dict[str, float]:
    """SMAPE (0-100) by figure, over the rows that measured it."""
    errors = {}
    for name, figure in FIGURES.items():
        pairs = [
            (figure.predicted(prediction), measured)
            for run, prediction in zip(rows, predictions, strict=True)
            if (measured := figure.measured(run)) is not None
        ]
        errors[name] = smape([p for p, _ in pairs], [m for _, m in pairs])
    return errors


def _residuals(profile: SloraProfile, runs: Sequence[SloraRun], threads: int) -> NDArray[np.float64]:
    """Shape (runs × figures,); 0 where nothing was measured."""
    rows = [
        [_residual(figure, prediction, run) for figure in FIGURES.values()]
        for run, prediction in zip(runs, predict_slora_runs(profile, runs, threads=threads), strict=True)
    ]
    return np.array(rows).ravel()


def _residual(figure: Figure, prediction: SloraPrediction, run: SloraRun) -> float:
    measured = figure.measured(run)
    if not measured:
        return 0.0
    error = float(np.log(figure.predicted(prediction) / measured))
    return min(_WORST, max(-_WORST, error)) / figure.noise


def _vector(profile: SloraProfile) -> NDArray[np.float64]:
    step_time = [getattr(profile.step_time, name) for name in _STEP_TIME]
    return np.array(step_time + [getattr(profile.front_end, name) for name in _FRONT_END])


def _at_full_bandwidth(profile: SloraProfile) -> SloraProfile:
    seconds = profile.model.kv_bytes_per_token / profile.gpu.bandwidth_bytes_per_s
    step_time = profile.step_time.model_copy(update={"per_pool_token": float(f"{seconds:.6g}")})
    return profile.model_copy(update={"step_time": step_time})


def _displaced(profile: SloraProfile) -> SloraProfile:
    values = _vector(profile)
    return _with_vector(profile, values * np.where(np.arange(values.size) % 2, 1.3, 0.75))


def _with_vector(profile: SloraProfile, values: NDArray[np.float64]) -> SloraProfile:
    rounded = [float(f"{value:.6g}") for value in values]
    step_time = dict(zip(_STEP_TIME, rounded[: len(_STEP_TIME)], strict=True))
    front_end = dict(zip(_FRONT_END, rounded[len(_STEP_TIME) :], strict=True))
    return profile.model_copy(
        update={
            "step_time": profile.step_time.model_copy(update=step_time),
            "front_end": profile.front_end.model_copy(update=front_end),
        }
    )


def _report(profile: SloraProfile, runs: Sequence[SloraRun]) -> FitReport:
    errors = slora_smape(runs, list(predict_slora_runs(profile, runs)))
    figures = {name: round(value, 3) for name, value in errors.items()}
    return FitReport(
        source="arXiv:2508.08343, runs on one H100 64 GB, S-LoRA",
        rows=len(runs),
        throughput_smape=figures["throughput"],
        itl_smape=figures["ITL"],
        tpot_smape=figures["TPOT"],
        ttft_smape=figures["TTFT"],
    )
