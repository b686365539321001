"""Scores of predictions against measured runs, in total and by regime."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adapter_twin.measurements.measures import (
    REGIMES,
    STARVATION_THRESHOLD,
    macro_f1,
    regime,
    smape,
)
from adapter_twin.measurements.tables import Run, pooled_tokens_per_request
from adapter_twin.validation.runs import Prediction, column

_FIGURES: dict[str, tuple[str, Callable[[Run], float]]] = {
    "throughput": ("throughput", lambda run: run.throughput),
    "ITL": ("itl_s", lambda run: (run.itl_mean_ms or np.nan) / 1e3),
    "TPOT": ("tpot_s", lambda run: (run.tpot_mean_ms or np.nan) / 1e3),
    "TTFT": ("ttft_s", lambda run: (run.ttft_mean_ms or np.nan) / 1e3),
    "batch size": ("running_mean", lambda run: run.running_mean or 0.0),
    "KV use": ("kv_usage_mean", lambda run: run.kv_usage_mean or 0.0),
}
FIGURES = tuple(_FIGURES)


@dataclass(frozen=True)
class Scores:
    """Errors of a profile over measured runs of one model."""

    rows: dict[str, int]
    """Rows by regime, and under `all`."""
    smape: dict[str, dict[str, float]]
    """SMAPE (0–100) by figure and regime (or `all`)."""
    bias: dict[str, dict[str, float]]
    """Median of predicted / measured − 1, in percent, by figure and regime."""
    starvation_macro_f1: float
    oom_accuracy: float


def score(runs: Sequence[Run], predictions: Sequence[Prediction]) -> Scores:
    """Scores of predictions, one per run in the same order.

    An `ok` row that is predicted out of memory counts an error of 100 in every figure.
    """
    ok = [i for i, run in enumerate(runs) if run.status == "ok"]
    ideal = _ideal_throughput(runs, ok)
    measured = np.array([runs[i].throughput for i in ok])
    predicted = np.nan_to_num(column([predictions[i] for i in ok], "throughput"))
    regimes = np.array([regime(m, i) for m, i in zip(measured, ideal, strict=True)])
    masks = {"all": np.ones(len(ok), bool)} | {name: regimes == name for name in REGIMES}
    errors, bias = _errors([runs[i] for i in ok], [predictions[i] for i in ok], masks)
    same = [run.status == prediction.status for run, prediction in zip(runs, predictions, strict=True)]
    return Scores(
        rows={name: int(mask.sum()) for name, mask in masks.items()},
        smape=errors,
        bias=bias,
        starvation_macro_f1=macro_f1(
            list(predicted < STARVATION_THRESHOLD * ideal), list(measured < STARVATION_THRESHOLD * ideal)
        ),
        oom_accuracy=float(np.mean(same)),
    )


def measured_figure(run: Run, figure: str) -> float:
    """What was measured, in the unit of the predictions."""
    return _FIGURES[figure][1](run)


def predicted_figure(prediction: Prediction, figure: str) -> float:
    """What was predicted."""
    return float(getattr(prediction, _FIGURES[figure][0]))


def _ideal_throughput(runs: Sequence[Run], ok: Sequence[int]) -> np.ndarray:
    tokens = pooled_tokens_per_request(runs)
    return np.array([runs[i].offered_rate_rps * tokens for i in ok])


def _errors(
    runs: Sequence[Run], predictions: Sequence[Prediction], masks: dict[str, np.ndarray]
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    errors: dict[str, dict[str, float]] = {}
    bias: dict[str, dict[str, float]] = {}
    for figure in FIGURES:
        m = np.array([measured_figure(run, figure) for run in runs])
        p = np.array([predicted_figure(prediction, figure) for prediction in predictions])
        errors[figure] = {name: smape(p[mask], m[mask]) for name, mask in masks.items()}
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = p / m - 1.0
        bias[figure] = {name: _median_percent(ratio[mask]) for name, mask in masks.items()}
    return errors, bias


def _median_percent(ratio: np.ndarray) -> float:
    finite = ratio[np.isfinite(ratio)]
    return float(100.0 * np.median(finite)) if finite.size else float("nan")
